r"""The bounds of certified unlearning (Zhang et al., ICML 2024) as plain functions, and the premises they rest on.

Symbols as in `zhang2024certified`: R radius of the ball, C and L Lipschitz constants of Hessian and gradient, λ_d
damping, c = λ_d + λ_min, G bound on ‖∇F_r‖ at the retrained model, g = ∇F_r(w*), P parameters, ρ failure probability.
"""

import math
from dataclasses import dataclass

import torch

from learning.task import Minimise, Task
from unlearning.claim import Assumption, Status
from unlearning.errors import PlanError
from unlearning.gaussian import noise_scale_upper

from .zhang2024settings import Settings


def theorem_2_3(sensitivity: float, epsilon: float, delta: float, *, failure_probability: float = 0.0) -> float:
    """σ = (Δ/ε)√(2·ln(1.25/(δ − ρ))): Theorem 2.3, with the failure probability of Δ paid from δ.

    The paper's σ as one formula, to compute it for a certificate by hand. A plan's row gets the same σ with
    `calibration = "classical"`, its ρ paid from δ in the same way, and a smaller one by the exact calibration.

    Guarantee: at least the σ for which Δ, where it holds with probability 1 − ρ, gives (ε, δ).

    >>> round(theorem_2_3(1.0, 1.0, 1e-5), 4)
    4.8448

    Raises:
        ValueError: ε is outside (0, 1], or ρ ≥ δ.
    """
    if not 0 <= failure_probability < delta:
        raise ValueError(
            f"failure_probability must be < delta = {delta:g}, got {failure_probability:g}. Lower it or raise delta."
        )
    return noise_scale_upper(sensitivity, epsilon, delta - failure_probability, calibration="classical")


def newton_error_upper(
    distance: float, lipschitz: float, damping: float, curvature: float, residual: float = 0.0
) -> float:
    """(C·D²/2 + λ_d·D + r)/c for a damped Newton step from distance D, r the gradients that are left over.

    Guarantee: at least ‖w* − x − w_r‖ for D ≥ ‖w* − w_r‖, r ≥ ‖∇F_r(w_r)‖ + ‖(H + λ_d)x − g‖, H + λ_d ⪰ c > 0.
    """
    if curvature <= 0:
        return math.inf
    bent = 0.0 if lipschitz == 0 else lipschitz * distance**2 / 2
    return (bent + damping * distance + residual) / curvature


def theorem_3_4(radius: float, lipschitz: float, damping: float, curvature: float, residual: float = 0.0) -> float:
    """2R(C·R + λ_d)/c, plus G/c: Theorem 3.4.

    Guarantee: at least the distance of a damped Newton step with exact inverse, from any point of the ball.

    >>> theorem_3_4(radius=1.0, lipschitz=0.0, damping=1.0, curvature=4.0)
    0.5
    """
    return newton_error_upper(2 * radius, lipschitz, damping, curvature, residual)


def bias_upper(curvature: float, scale: float, depth: int) -> float:
    """(1 − c/h)^{s+1}/c.

    Guarantee: at least ‖E[v_s/h] − (H + λ_d)⁻¹g‖/‖g‖ for independent H_t with mean H and c ⪯ H + λ_d ⪯ h.
    """
    return max(1 - curvature / scale, 0.0) ** (depth + 1) / curvature


def deviation_upper(failure_probability: float, curvature: float, runs: int) -> float:
    """min(2, √(8·ln(2/ρ)/b))/c.

    Guarantee: at least ‖mean of b runs − its expectation‖/‖g‖ with probability 1 − ρ: every run lies in a ball of
    radius ‖g‖/c, so that the sum of centred runs obeys Hoeffding's inequality in Hilbert space (Pinelis 1994, Thm 3.5).
    """
    return min(2.0, math.sqrt(8 * math.log(2 / failure_probability) / runs)) / curvature


def lissa_error_upper(
    size: int, failure_probability: float, curvature: float, scale: float, depth: int | None = None
) -> float:
    """16√(ln(P/ρ))/c + max(1/16, 1/(16h)): Proposition 4.1, or LiSSA's exact bias where the depth is too small for it.

    Guarantee: at least ‖mean of v_s/h − (H + λ_d)⁻¹g‖/‖g‖. For ln(P/ρ) ≥ 1/64 the first term alone exceeds 2/c, which
    no draw exceeds.
    """
    bias = max(1 / 16, 1 / (16 * scale))
    if depth is not None:
        bias = max(bias, bias_upper(curvature, scale, depth))
    return 16 * math.sqrt(max(math.log(size / failure_probability), 1 / 64)) / curvature + bias


@dataclass(frozen=True, slots=True)
class Premises:
    """What the bounds may use of a task, each with its status.

    Attributes:
        radius: R. Guarantee: original, unlearned and retrained model have norm at most R, under `ball`.
        ball: why.
        strong_convexity: λ where it is proved, for every record's loss.
        smoothness: L; infinite where it is neither proved nor given.
        lipschitz: C; infinite where it is neither proved nor given.
        residual: G; infinite where it is neither known nor given.
        statements: the assumptions on L, C and G by these names.
        kinks: layers that are known not to be three times differentiable. Where there is one, C and L do not exist, and
            no theorem is used whatever was given for them.
    """

    radius: float
    ball: Assumption
    strong_convexity: float | None
    smoothness: float
    lipschitz: float
    residual: float
    statements: dict[str, Assumption]
    kinks: tuple[str, ...] = ()

    @property
    def ball_diameter_upper(self) -> float:
        """2R. Guarantee: at least the distance of any two models in the ball."""
        return 2 * self.radius

    @property
    def gradient_start_upper(self) -> float:
        """2LR + G. Guarantee: at least ‖∇F_r(w*)‖ for w* in the ball."""
        return 2 * self.smoothness * self.radius + self.residual

    def scale_proved(self, scale: float, damping: float) -> bool:
        """Whether h ≥ ‖H_t‖ + λ_d is proved for every minibatch."""
        proved = self.statements["smoothness"].status is Status.PROVED
        return proved and scale >= (self.smoothness + damping) * (1 - 1e-12)

    def violated(self, method: Settings) -> list[Assumption]:
        """The constants that were given for the method's bound although a kink says that there are none."""
        if not self.kinks or method.bound == "trivial":
            return []
        names = ("lipschitz", "smoothness") if method.bound == "theorem-3.6" else ("lipschitz",)
        return [self.statements[name] for name in names if self.statements[name].value is not None]

    def of_theorem(self, method: Settings, least: float) -> list[Assumption]:
        """The assumptions of the method's bound, `least` being the λ_min that it used."""
        found = [self.statements["lipschitz"], self.statements["residual"]]
        if self.strong_convexity is not None:
            how, status = "½λ‖w‖² in every record", Status.PROVED
        elif least == method.minimum_eigenvalue:
            how, status = "given by hand; no smaller Ritz value was met", Status.ASSUMED
        else:
            how, status = "Ritz values, from above", Status.ESTIMATED
        found.append(Assumption("the Hessian's smallest eigenvalue is at least λ_min", status, how, least))
        if method.bound == "theorem-3.6":
            found.append(self.statements["smoothness"])
        if method.bound in ("theorem-3.6", "tightened"):
            scale = method.scale_used(self.smoothness)
            status = (
                Status.PROVED if scale is not None and self.scale_proved(scale, method.damping) else Status.ESTIMATED
            )
            how = "h ≥ L + λ_d" if status is Status.PROVED else "norms and curvatures measured on every minibatch"
            found.append(Assumption("every minibatch's Hessian lies between λ_min and h − λ_d", status, how, scale))
        return found


def premises(method: Settings, task: Task) -> Premises:
    """The constants of a task: proved where the model is linear, else those given to the method."""
    constants = task.constants
    if constants is not None:
        smooth = Assumption("the loss is L-smooth", Status.PROVED, "closed form in R", constants.smoothness_upper)
        bent = Assumption(
            "the Hessian is C-Lipschitz", Status.PROVED, "closed form in R", constants.hessian_lipschitz_upper
        )
    else:
        status, how = Status.ASSUMED, f"given by hand; {task.objective.smoothness_note}"
        if task.objective.kinks:
            status = Status.VIOLATED
            how = f"{task.objective.smoothness_note}; no theorem is used, and Δ = 2R rests on the ball alone"
        smooth = Assumption("the loss is L-smooth", status, how, method.smoothness)
        bent = Assumption("the Hessian is C-Lipschitz", status, how, method.hessian_lipschitz)
    if isinstance(task.recipe, Minimise):
        residual, status, how = task.recipe.tolerance, Status.CHECKED, "gradient norm recomputed after training"
    else:
        residual, status = math.inf, Status.ASSUMED
        how = "given by hand; gradient descent stops where it stops"
        if method.residual is not None:
            residual = method.residual
    known = None if math.isinf(residual) else residual
    left = Assumption("‖∇F_r‖ ≤ G at the retrained model", status, how, known)
    radius, ball = _ball(task)
    return Premises(
        radius,
        ball,
        None if constants is None else constants.strong_convexity,
        math.inf if smooth.value is None else smooth.value,
        math.inf if bent.value is None else bent.value,
        residual,
        {"smoothness": smooth, "lipschitz": bent, "residual": left},
        task.objective.kinks,
    )


def _ball(task: Task) -> tuple[float, Assumption]:
    """R and why every model lies in the ball.

    Guarantee: a model with ‖∇F‖ ≤ τ is within τ/λ of the minimiser, whose norm is at most √(2F(0)/λ), as losses are
    ≥ 0, and at most ‖∇(loss part)‖/λ ≤ G/(2λ) for logistic and softmax regression.

    Raises:
        PlanError: gradient descent without a radius.
    """
    recipe, statement = task.recipe, "original, unlearned and retrained model lie in the ball ‖w‖ ≤ R"
    if not isinstance(recipe, Minimise):
        if recipe.radius is None:
            raise PlanError(f"recipe.radius must be given for method certified-unlearning, got none ({recipe}).")
        return recipe.radius, Assumption(statement, Status.PROVED, "projection after every step", recipe.radius)
    strong, constants = task.objective.regularisation, task.constants
    origin = torch.zeros(1, task.objective.size, dtype=torch.float64, device=task.device)
    features, labels = task.features().double(), task.labels()
    largest = float(task.objective.at(origin, features.unsqueeze(0), labels.unsqueeze(0)).losses().max())
    gradient = None if constants is None else constants.gradient_bound_upper
    norm = math.sqrt(2 * largest / strong)
    if gradient is not None:
        norm = min(norm, gradient / (2 * strong))
    radius = norm + recipe.tolerance / strong
    if gradient is None:  # targets of least squares are unbounded
        return radius, Assumption(
            statement, Status.CHECKED, "½λ‖w‖² ≤ largest loss at 0 of the records at hand", radius
        )
    how = "½λ‖w‖² ≤ F(0) = ln(classes), and λ‖w‖ ≤ norm of the loss's gradient"
    return radius, Assumption(statement, Status.PROVED, how, radius)
