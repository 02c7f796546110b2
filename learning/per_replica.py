"""One adapter that lifts code for one model onto the replica axis, so that anyone's method can be checked and audited.

class Mine:
    declaration = Declaration(title="Mine", citation="…")

    def learn(self, features, labels, generator): ...                         # → parameters [P]
    def unlearn(self, parameters, features, labels, removed, generator): ...  # → parameters [P]

    def sensitivity_upper(self, parameters, features, labels, removed): ...   # optional: a theorem's Δ, a number
    def release(self, parameters, noise_scale, generator): ...                # optional: N(0, σ²I) without it
    failure_probability = 0.0                                                 # optional: with which the Δ may fail
    def check_task(self, task): ...                                           # optional: PlanError: not for it

Plans, `certunlearn check` and `--method` lift such a class by themselves; in Python, `lifted(Mine())` does.

What the adapter adds, so that the author need not:

* each replica has a generator of its own, and nothing that the author's code changes in place is anybody else's;
* bad requests are refused, parameters keep the task's dtype and device, and must be finite;
* an empty request is the identity where the reference is the retrained model, and U(·, ∅) elsewhere;
* a certificate after several requests. The author's bound speaks of one request to a model that `learn` gave. With w
  the model after R₁, …, R_k, and w¹ what `unlearn` makes of the learned model for R = R₁ ∪ … ∪ R_k at once,

      ‖w − reference‖ ≤ ‖w − w¹‖ + ‖w¹ − reference‖ ≤ ‖w − w¹‖ + sensitivity_upper(learned, D, R),

  and the first term is computed. It is 0 after one request. Where the reference is U(A(D_r), ∅), an empty request is a
  request: after several of them, and no other, w¹ is U(A(D), ∅), and the reference is the same. The author's bound is
  used once, so that its failure probability is paid once.
"""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, Self, cast

import numpy as np
import torch
from torch import Tensor

from unlearning.claim import Assumption, Certificate, Reference, Status
from unlearning.errors import BrokenMethod, CertunlearnError, PlanError
from unlearning.fields import as_number
from unlearning.protocols import AnyMethod, Declaration
from unlearning.streams import Streams

from .release import check_release, gaussian_release
from .task import Learned, Task, check_request
from .workers import told

_ARGUMENTS = {
    "learn": ("features", "labels", "generator"),
    "unlearn": ("parameters", "features", "labels", "removed", "generator"),
    "sensitivity_upper": ("parameters", "features", "labels", "removed"),
    "release": ("parameters", "noise_scale", "generator"),
    "check_task": ("task",),
}
_REQUIRED = ("learn", "unlearn")
_FOR_REPLICAS = ("prior_sensitivity_upper", "diagnostics")  # parts of other methods, which nobody would ask for here


class OneModel(Protocol):
    """A method that handles one model at a time; it refuses data that are not for it with `PlanError`."""

    @property
    def declaration(self) -> Declaration:
        """What the method says of itself."""

    def learn(self, features: Tensor, labels: Tensor, generator: np.random.Generator) -> Tensor:
        """Parameters [P] learned from features [n, d] and labels [n]."""

    def unlearn(
        self, parameters: Tensor, features: Tensor, labels: Tensor, removed: Tensor, generator: np.random.Generator
    ) -> Tensor:
        """Parameters [P] after forgetting the records of the mask `removed`, bool [n], of the training set."""


class HasSensitivity(Protocol):
    """A method for one model with a theorem."""

    def sensitivity_upper(self, parameters: Tensor, features: Tensor, labels: Tensor, removed: Tensor) -> float:
        """Δ ≥ ‖unlearned − reference‖₂ for this request to the model that `learn` gave on these records.

        Guarantee: must hold for every generator that `unlearn` is given, or with probability 1 − ρ over it where the
        method has the field `failure_probability`, ρ; inf where the theorem does not apply.
        """


def for_one_model(method: object) -> bool:
    """Whether a method, or its class, is written for one model: it certifies nothing itself and takes no streams."""
    return not hasattr(method, "certify") and not any("streams" in _names(method, verb) for verb in _REQUIRED)


def lifted(method: object) -> AnyMethod:
    """The method on the replica axis: as it is, or wrapped if it is written for one model.

    Raises:
        PlanError: it is written for one model, and lacks a part, has one that only methods for replicas have, or takes
            other arguments than it will be given.
    """
    return PerReplica(cast("OneModel", method)) if for_one_model(method) else cast("AnyMethod", method)


@dataclass(frozen=True, slots=True)
class Lifted(Learned):
    """State of a method for one model, with what its certificate is computed from.

    Attributes:
        learned: parameters that `learn` gave, [K, P].
        began: records they were learned from, bool [K, n].
        detour: distance between the parameters and those of forgetting everything at once, [K], float64.
        asked: whether `unlearn` of the wrapped method has been called for the replica, bool [K].
    """

    learned: Tensor
    began: Tensor
    detour: Tensor
    asked: Tensor

    def take(self, positions: list[int]) -> Self:
        """State of the replicas at these positions; a position may repeat."""
        chosen = Learned.take(self, positions)
        return replace(
            chosen,
            learned=self.learned[positions],
            began=self.began[positions],
            detour=self.detour[positions],
            asked=self.asked[positions],
        )


class PerReplica:
    """A method for one model, run replica by replica with a generator of its own; released with N(0, σ²I).

    Attributes:
        one: the wrapped method.
        brings_own_loss: it is given records, and nothing else of a task.
    """

    brings_own_loss: Literal[True] = True

    def __init__(self, one: OneModel) -> None:
        """Wrap the method.

        Raises:
            PlanError: it lacks a part, has one that only methods for replicas have, or a part takes other arguments
                than it will be given.
        """
        _check_parts(one)
        self.one = one

    def __repr__(self) -> str:
        return f"PerReplica({self.one!r})"

    @property
    def declaration(self) -> Declaration:
        """The wrapped method's."""
        return self.one.declaration

    @property
    def failure_probability(self) -> float:
        """ρ of the wrapped method's bound; 0 where it names none."""
        return float(getattr(self.one, "failure_probability", 0.0))

    def check_task(self, task: Task) -> None:
        """Ask the wrapped method whether the task is for it; without `check_task` every task is.

        Raises:
            BrokenMethod: the wrapped method raised anything but PlanError.
        """
        if hasattr(self.one, "check_task"):
            self._call("check_task", task)

    def learn(self, task: Task, members: Tensor, *, streams: Streams) -> Lifted:
        """Learn each replica on its members.

        Raises:
            BrokenMethod: the wrapped method raised, or returned no finite parameters [P].
        """
        task.check_members(members)
        self.check_task(task)
        features, labels = task.features(), task.labels()
        learned = self._stacked(
            "learn",
            task,
            [
                self._call("learn", features[own], labels[own], generator)
                for own, generator in zip(members, streams.generators("learning"), strict=True)
            ],
        )
        none = torch.zeros(len(learned), dtype=torch.float64, device=learned.device)
        return Lifted(learned, task, members, streams, learned, members, none, none.bool())

    def unlearn(self, state: Lifted, request: Tensor, *, streams: Streams) -> Lifted:
        """Unlearn each replica's request.

        Raises:
            BrokenMethod: the wrapped method raised, or returned no finite parameters [P].
        """
        check_request(state, request)
        kept = state.members & ~request
        unlearned = self._forget(state.task, state.parameters, state.members, request, streams)
        called = torch.tensor([not self._is_identity(gone) for gone in request], device=request.device)
        after = replace(state, parameters=unlearned, members=kept, asked=state.asked | called)
        again = state.asked & called
        if not hasattr(self.one, "sensitivity_upper") or not bool(again.any()):
            return after
        once = self._forget(state.task, state.learned, state.began, state.began & ~kept, streams.child("at once"))
        apart = torch.linalg.vector_norm(unlearned.double() - once.double(), dim=1)
        return replace(after, detour=torch.where(again, apart, state.detour))

    def certify(self, state: Lifted, request: Tensor) -> Certificate | None:
        """Δ of all requests so far, by the wrapped method's `sensitivity_upper`; None where it has none.

        Guarantee: Δ ≥ ‖unlearned − reference‖ wherever the method's own bound holds for one request of all records
        that were removed, of none where none was: triangle inequality, see the head of this file.

        Raises:
            BrokenMethod: the method's bound raised, or is no number ≥ 0.
        """
        if not hasattr(self.one, "sensitivity_upper"):
            return None
        features, labels = state.task.features(), state.task.labels()
        uppers = []
        for learned, own, kept, detour in zip(state.learned, state.began, state.members, state.detour, strict=True):
            removed = (own & ~kept)[own]
            if self._is_identity(removed):
                uppers.append(0.0)
                continue
            at_once = self._call("sensitivity_upper", learned.clone(), features[own], labels[own], removed)
            uppers.append(self._number(at_once) + float(detour))
        theorem = (
            (inspect.getdoc(self.one.sensitivity_upper) or "bound without a docstring").splitlines()[0].rstrip(".")
        )
        return Certificate(
            f"{self.declaration.title}: {theorem}",
            tuple(uppers),
            (
                Assumption("the method's own bound holds", Status.ASSUMED, "stated by its author in sensitivity_upper"),
                Assumption(
                    "requests one after the other",
                    Status.PROVED,
                    "triangle inequality over forgetting them at once; the distance between the two is computed",
                    float(state.detour.max()),
                ),
            ),
            failure_probability=self.failure_probability,
        )

    def release(self, state: Learned, noise_scale: float, *, streams: Streams) -> Tensor:
        """Parameters + N(0, σ²I), or what the wrapped method releases.

        Raises:
            BrokenMethod: the wrapped method raised, or returned no finite parameters [P].
        """
        if not hasattr(self.one, "release"):
            return gaussian_release(state, noise_scale, streams=streams)
        check_release(state, noise_scale, streams)
        released = [
            self._call("release", parameters.clone(), noise_scale, generator)
            for parameters, generator in zip(state.parameters, streams.generators("noise"), strict=True)
        ]
        return self._stacked("release", state.task, released)

    def _forget(self, task: Task, parameters: Tensor, members: Tensor, removed: Tensor, streams: Streams) -> Tensor:
        features, labels = task.features(), task.labels()
        return self._stacked(
            "unlearn",
            task,
            [
                one.clone()
                if self._is_identity(gone)
                else self._call("unlearn", one.clone(), features[own], labels[own], gone[own], generator)
                for one, own, gone, generator in zip(
                    parameters, members, removed, streams.generators("unlearning"), strict=True
                )
            ],
            size=parameters.shape[1],
        )

    def _is_identity(self, removed: Tensor) -> bool:
        """Nothing is removed, and the reference is A(D_r) itself: U(A(D), ∅) = A(D)."""
        return self.declaration.reference is Reference.RETRAINED and not bool(removed.any())

    def _call(self, verb: str, *arguments: Any) -> Any:
        try:
            return getattr(self.one, verb)(*arguments)
        except CertunlearnError:  # PlanError is how a method refuses data that are not for it
            raise
        except (Exception, SystemExit) as error:  # a method that exits would end the run as if all were well
            raise BrokenMethod(f"{self._named(verb)} raised {told(error)}") from error

    def _named(self, verb: str) -> str:
        return f"{verb} of {type(self.one).__name__}"

    def _number(self, upper: object) -> float:
        number = as_number(upper.item() if isinstance(upper, (Tensor, np.ndarray)) and _is_one(upper) else upper)
        if not number >= 0:
            raise BrokenMethod(
                f"{self._named('sensitivity_upper')} must return a number >= 0, got {upper!r}; "
                'return float("inf") where the theorem does not apply.'
            )
        return number

    def _stacked(self, verb: str, task: Task, parameters: list[Any], size: int | None = None) -> Tensor:
        """[K, P] in the task's dtype and on its device."""
        for one in parameters:
            found = _kind(one)
            if found is None and size is not None and len(one) != size:
                found = f"shape {[len(one)]}"
            if found is not None:
                expected = f"[{'P' if size is None else size}]"
                raise BrokenMethod(
                    f"{self._named(verb)} must return finite parameters {expected}, a tensor of floating point "
                    f"numbers, got {found}."
                )
            size = len(one)
        return torch.stack([one.detach().to(task.device, task.dtype) for one in parameters])


def _kind(parameters: object) -> str | None:
    """What returned parameters are, in words; None: finite floating point numbers [P], P ≥ 1."""
    if not isinstance(parameters, Tensor):
        return f"{type(parameters).__name__}: write torch.as_tensor(…)" if parameters is not None else "None"
    if parameters.ndim != 1 or not len(parameters):
        return f"shape {list(parameters.shape)}"
    if not parameters.is_floating_point():
        return str(parameters.dtype)
    return None if bool(torch.isfinite(parameters).all()) else "NaN or infinity"


def _is_one(value: Any) -> bool:
    return bool(math.prod(value.shape) == 1)


def _check_parts(one: object) -> None:
    name = type(one).__name__
    if isinstance(one, type):
        raise PlanError(f"a method must be an object, got the class {one.__name__}; write {one.__name__}().")
    missing = [part for part in ("declaration", *_REQUIRED) if not hasattr(one, part)]
    if missing:
        raise PlanError(f"{name} must have declaration, learn and unlearn, got none of {', '.join(missing)}; add them.")
    if not isinstance(one.declaration, Declaration):  # type: ignore[attr-defined]
        raise PlanError(f"{name}.declaration must be an unlearning.Declaration; write declaration = Declaration(…).")
    for part in _FOR_REPLICAS:
        if hasattr(one, part):
            raise PlanError(
                f"{name}.{part} must be left out, for a method for one model is not asked for it, got one; leave it "
                "out, or write the method for replicas: certunlearn new-method NAME --replicas."
            )
    fails = getattr(one, "failure_probability", 0.0)
    if not 0 <= as_number(fails) < 1:
        raise PlanError(f"{name}.failure_probability must be a number in [0, 1), got {fails!r}; write 0.0 or leave it.")
    for verb, arguments in _ARGUMENTS.items():
        function = getattr(one, verb, None)
        if function is None and verb not in _REQUIRED:
            continue
        if not callable(function) or not _takes(function, len(arguments)):
            raise PlanError(
                f"{name}.{verb} must take ({', '.join(arguments)}), got ({', '.join(_names(one, verb))}); see "
                "learning.per_replica."
            )


def _takes(function: Callable[..., Any], count: int) -> bool:
    """Whether it can be called with so many arguments by position."""
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # no signature is known of it
        return True
    return True


def _names(method: object, verb: str) -> list[str]:
    """Parameters of a verb, without self."""
    try:
        names = list(inspect.signature(getattr(method, verb)).parameters)
    except (AttributeError, TypeError, ValueError):
        return []
    return names[1:] if names[:1] == ["self"] else names
