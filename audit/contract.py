"""What a method owes the audit: tensors of the right shape and finite, certificates of the right length, repeatability.

Whatever breaks the contract ends in one line that names the verb, what was expected and what came.
"""

import torch
from torch import Tensor

from unlearning.claim import Certificate
from unlearning.errors import BrokenMethod
from unlearning.protocols import Diagnostic, State


def check_state(state: object, replicas: int, size: int | None, *, verb: str) -> None:
    """Refuse what is no state of `replicas` models with finite parameters.

    Raises:
        BrokenMethod: it is none.
    """
    if not isinstance(state, State):
        raise BrokenMethod(
            f"{verb} must return a state with parameters [K, P] and take(positions), got {type(state).__name__}."
        )
    check_parameters(state.parameters, replicas, size, verb=verb)


def check_parameters(parameters: object, replicas: int, size: int | None, *, verb: str) -> None:
    """Refuse what is no finite tensor [replicas, size].

    Raises:
        BrokenMethod: it is none; the message names the first replica that is not finite.
    """
    if not isinstance(parameters, Tensor):
        raise BrokenMethod(f"{verb} must give parameters as a tensor [K, P], got {type(parameters).__name__}.")
    expected = [replicas, size if size is not None else "P"]
    wrong = (
        parameters.ndim != 2 or parameters.shape[0] != replicas or (size is not None and parameters.shape[1] != size)
    )
    if wrong:
        raise BrokenMethod(f"{verb} must give parameters of shape {expected}, got {list(parameters.shape)}.")
    finite = torch.isfinite(parameters).all(1)
    if not bool(finite.all()):
        first = int((~finite).nonzero()[0])
        raise BrokenMethod(f"{verb} must give finite parameters, got NaN or infinity in replica {first} of {replicas}.")


def check_certificate(certificate: object, replicas: int) -> None:
    """Refuse what is neither None nor a certificate with one Δ per replica.

    Raises:
        BrokenMethod: it is neither.
    """
    if certificate is None:
        return
    if not isinstance(certificate, Certificate):
        raise BrokenMethod(f"certify must return a Certificate or None, got {type(certificate).__name__}.")
    if len(certificate.sensitivity_upper) != replicas:
        raise BrokenMethod(
            f"certify must give one sensitivity_upper per replica, {replicas} here, got "
            f"{len(certificate.sensitivity_upper)}."
        )


def check_diagnostics(diagnostics: object, replicas: int) -> None:
    """Refuse what is no tuple of diagnostics with one value per replica.

    Raises:
        BrokenMethod: it is none.
    """
    if not isinstance(diagnostics, tuple) or not all(isinstance(one, Diagnostic) for one in diagnostics):
        raise BrokenMethod(f"diagnostics must return a tuple of Diagnostic, got {type(diagnostics).__name__}.")
    for one in diagnostics:
        if len(one.values) != replicas:
            raise BrokenMethod(
                f"diagnostics must give one value per replica, {replicas} here, got {len(one.values)} of {one.name!r}."
            )
