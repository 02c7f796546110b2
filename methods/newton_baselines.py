r"""Newton steps for models whose Hessian cannot be inverted: by the pseudo-inverse, and damped.

Baselines of Q. M. Bui, X. Lu, R. H. L. Sim, S.-K. Ng, B. K. H. Low, *On Newton's Method to Unlearn Neural Networks*,
arXiv 2406.14507 (ICLR 2026), for the cubic step.

    pseudo-inverse   w̃ = w − H⁺g              eigenvalues |λ_i| ≤ cutoff · max|λ| are taken for 0
    damped           w̃ = w − (H + γI)⁻¹g      γ > −λ_min

    g = ∇F_r(w), H = ∇²F_r(w)

===================  ======================  ==================================================
paper                code                    meaning
===================  ======================  ==================================================
w*                   ``state.parameters``    what training left, without noise
H⁺, H + γI           ``_inverse``            applied in the eigenbasis of H
γ                    ``damping``             must exceed −λ_min, or the step may climb
===================  ======================  ==================================================

Neither has a theorem in the paper; where the loss is λ-strongly convex and the reference the minimiser,
Δ = (‖∇F_r(w̃)‖ + τ)/λ. H⁺ moves *towards* saddles along negative eigenvalues, and by |g_i|/|λ_i| where λ_i is tiny
but above the cutoff: long steps are what the paper holds against it, and are shown, not mended.

Differs from the paper: an empty request is the identity, also where ∇F ≠ 0; the step is computed in float64.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from learning.newton import (
    Block,
    SecondOrder,
    blocks,
    check_dense,
    moved,
    refuse_damping,
)
from learning.task import Learned, Task
from unlearning.claim import Reference, SeedPolicy
from unlearning.fields import as_number, check_number
from unlearning.protocols import Declaration, Rate, Regime
from unlearning.streams import Streams

from .bui2026cure import CITATION, DIFFERS

_NEWTON = Rate.in_share(2, "Newton's error, from the minimiser of a strongly convex loss")


def _declaration(title: str) -> Declaration:
    return Declaration(
        title=title,
        citation=CITATION,
        reference=Reference.RETRAINED,
        seed_policy=SeedPolicy.PER_SEED,
        stores="the parameters and the training set (its Hessian is formed at deletion time)",
        differs=DIFFERS,
        regime=Regime.STRONGLY_CONVEX,
    )


class _EigenStep(SecondOrder, ABC):
    """One step w − f(H)g by one eigendecomposition of the retained Hessian."""

    def check_task(self, task: Task) -> None:
        """Refuse a model whose Hessian is too large to be formed.

        Raises:
            PlanError: it has too many parameters.
        """
        check_dense(task)

    def unlearn(self, state: Learned, request: Tensor, *, streams: Streams) -> Learned:
        """One step on F_r in every replica with a request; an empty request is the identity.

        Raises:
            Diverged: a gradient, Hessian or parameter is not finite; the state is unchanged.
        """
        return moved(state, request, [self._move(block) for block in blocks(state, request, dense=True)])

    def _move(self, block: Block) -> tuple[Block, Tensor, dict[str, Tensor]]:
        gradient, hessian = block.gradient(block.parameters), block.hessian(block.parameters)
        eigenvalues, vectors = torch.linalg.eigh(hessian)
        factors, shift = self._inverse(eigenvalues, block)
        turned = (vectors.mT @ gradient.unsqueeze(2)).squeeze(2)
        step = (vectors @ (-factors * turned).unsqueeze(2)).squeeze(2)
        left = (hessian @ step.unsqueeze(2)).squeeze(2) + shift * step + gradient
        parameters = block.parameters + step
        size = gradient.norm(dim=1)
        measured = {
            "step length": step.norm(dim=1),
            "λ_min": eigenvalues[:, 0],
            "λ_max": eigenvalues[:, -1],
            "‖∇F_r‖ before": size,
            "‖∇F_r‖ after": block.gradient(parameters).norm(dim=1),
            "residual of the linear system": torch.where(
                size > 0, left.norm(dim=1) / torch.where(size > 0, size, 1), 0
            ),
            "number of eigenvalues kept": (factors != 0).sum(1),
        }
        return block, parameters, measured

    @abstractmethod
    def _inverse(self, eigenvalues: Tensor, block: Block) -> tuple[Tensor, float]:
        """What divides by each eigenvalue, [B, P], and the damping in it."""


@dataclass(frozen=True, slots=True)
class PseudoInverseNewton(_EigenStep):
    """The minimum-norm Newton step, w − H⁺g.

    Attributes:
        cutoff: eigenvalues with |λ_i| ≤ cutoff · max|λ| are taken for 0; None: P · 2⁻⁵² (P · 2⁻²³ for a float32 task),
            as `torch.linalg.pinv` has it for P × P matrices.
    """

    cutoff: float | None = None

    def __post_init__(self) -> None:
        """Check the field.

        Raises:
            ValueError: the cutoff is not in [0, 1).
        """
        if self.cutoff is not None and not 0 <= as_number(self.cutoff) < 1:
            raise ValueError(f"cutoff must be in [0, 1) or left out, got {self.cutoff!r}.")

    @property
    def declaration(self) -> Declaration:
        """What the method says of itself: without a cutoff of its own, Newton's step where H has an inverse."""
        newton = self.cutoff is None
        rates = (
            _NEWTON if newton else Rate.in_share(1, "the eigenvalues cut off leave w* − w_r as it was, m/n at first")
        )
        return replace(_declaration("Pseudo-inverse Newton"), exact_on_quadratics=newton, rates=rates)

    def _inverse(self, eigenvalues: Tensor, block: Block) -> tuple[Tensor, float]:
        size = eigenvalues.abs()
        cutoff = self.cutoff
        if cutoff is None:
            cutoff = eigenvalues.shape[1] * torch.finfo(block.task.dtype).eps
        kept = size > cutoff * size.amax(1, keepdim=True)
        return torch.where(kept, 1 / torch.where(kept, eigenvalues, 1), 0), 0.0


@dataclass(frozen=True, slots=True)
class DampedNewton(_EigenStep):
    """The damped Newton step, w − (H + γI)⁻¹g.

    Attributes:
        damping: γ ≥ 0; must exceed −λ_min of every retained Hessian it meets.
    """

    damping: float = 10.0

    def __post_init__(self) -> None:
        """Check the field.

        Raises:
            ValueError: the damping is not a finite number ≥ 0.
        """
        check_number("damping", self.damping, least=0)

    @property
    def declaration(self) -> Declaration:
        """What the method says of itself: damping leaves an error of first order."""
        damped = Rate.in_share(1, "from a minimiser: γ(H + γ)⁻¹(w* − w_r), and w* − w_r is of order m/n")
        return replace(_declaration("Damped Newton"), rates=damped if self.damping else _NEWTON)

    def _inverse(self, eigenvalues: Tensor, block: Block) -> tuple[Tensor, float]:
        """1/(λ + γ).

        Raises:
            PlanError: γ ≤ −λ_min.
        """
        refuse_damping(self.damping, eigenvalues[:, 0], block.positions)
        return 1 / (eigenvalues + self.damping), self.damping
