r"""Certified unlearning for deep networks (CU): a damped Newton step inside a ball.

B. Zhang, Y. Dong, T. Wang, J. Li, *Towards Certified Unlearning for Deep Neural Networks*, ICML 2024, arXiv 2408.00920.

    w̃ = proj( w* − (H + λ_d·I)⁻¹ ∇F_r(w*) ),     H = ∇²F_r(w*),     ‖w‖ ≤ R_w for original, unlearned and retrained
    LiSSA:  v_0 = g,  v_t = g + v_{t−1} − (H_t + λ_d)·v_{t−1}/h,  inverse ≈ mean of v_s/h over b runs
    released = w̃ + N(0, σ²I)

===================  =======================  ======================================================
paper                code                     meaning
===================  =======================  ======================================================
w*, C (the ball)     ``recipe.radius``, R     training projects after every step; here ‖w‖ ≤ R
λ                    ``damping``              λ_d
λ_min                ``eigenvalue``           smallest eigenvalue of H; LiSSA's terms: of every H_t
L, M                 ``smoothness``,          Lipschitz constants of the gradient and of the Hessian;
                     ``hessian_lipschitz``    proved for linear models, else by hand
G                    ``residual``             bound on ‖∇F_r‖ at the retrained model
b, s, H (scale)      ``runs``, ``depth``,     LiSSA
                     ``scale``
ρ                    ``failure_probability``  of LiSSA's draws; paid from δ
===================  =======================  ======================================================

With c = λ_d + λ_min > 0, w_r the retrained model, D = ‖w* − w_r‖ ≤ 2R and x the computed (H + λ_d)⁻¹∇F_r(w*),

    w* − x − w_r = (H + λ_d)⁻¹[ (H − H̄)(w* − w_r) + λ_d(w* − w_r) − ∇F_r(w_r) ] + ((H + λ_d)⁻¹∇F_r(w*) − x)

and ‖H − H̄‖ ≤ C·D/2, H̄ the mean Hessian between the two. Projection moves neither model away from the other. So

* Theorem 3.4   2R(C·R + λ_d)/c, which the bound here completes by (‖(H + λ_d)x − ∇F_r(w*)‖ + G)/c: the measured
  residual of the linear system, and G where the retrained model is not stationary. Holds for any solver.
* Theorem 3.6 with Proposition 4.1: LiSSA's error by 16√(ln(P/ρ))/c + max(1/16, 1/(16h)), times ‖∇F_r(w*)‖ ≤ 2LR + G.
* ``tightened`` [ours]: LiSSA's error times the measured ‖∇F_r(w*)‖, with the bias (1 − c/h)^{s+1}/c and the deviation
  of b runs, each in a ball of radius ‖g‖/c: min(2, √(8·ln(2/ρ)/b))/c (Pinelis 1994), 0 where every H_t is H; the two
  together at most 2/c.
* ``measured`` [ours]: Theorem 3.4's derivation with D ≤ (‖∇F_r(w*)‖ + G)/λ where F_r is λ-strongly convex, and there
  also (‖∇F_r(w̃)‖ + G)/λ; the smaller one.
* ``trivial``   2R: both models lie in the ball. Every certificate is at most that.

Only ‖w*‖ ≤ R is asked of the starting point, so the same Δ serves a second request that starts at w̃ (Proposition 4.2).

Theorem 3.4 is below 2R only if C·R < λ_min. The deviation term of Theorem 3.6 exceeds 2/c, the largest error that LiSSA
can make whatever it draws, whenever ln(P/ρ) ≥ 1/64: the theorem then holds without any probability.

Differs from the paper: the inverse is a conjugate-gradient solve by default; LiSSA is damped by λ_d·v (the public code
uses the gradient of an unsquared norm), draws its batches with replacement, and has its scale checked on every batch.
Projection is onto the ball, the identity inside. Certificates are at most 2R and say what they rest on, and are 2R
where a layer has a kink, as the theorems need a Lipschitz Hessian; the residual and G are part of Theorem 3.4. In
Theorem 3.6, max(1/16, 1/(16h)) replaces the printed 1/16, which is too small for h < 1, and LiSSA's exact bias replaces
that where it is larger. Noise may be calibrated exactly instead of by Theorem 2.3 (`theorem_2_3`). The bias is
regularised with the other weights.
"""

from dataclasses import dataclass, replace

from torch import Tensor

from learning.newton import MEANINGS
from learning.release import gaussian_release
from learning.task import Learned, Minimise, Task, check_request
from learning.training import train
from unlearning.claim import Assumption, Certificate, Reference, SeedPolicy, Status
from unlearning.errors import PlanError
from unlearning.protocols import Declaration, Diagnostic, Rate, State
from unlearning.streams import Streams

from .zhang2024bounds import lissa_error_upper, premises, theorem_3_4
from .zhang2024settings import THEOREMS, Settings
from .zhang2024step import Report, Step, relative_tolerance

_DECLARATION = Declaration(
    title="Certified unlearning",
    citation="Zhang, Dong, Wang & Li, Towards Certified Unlearning for Deep Neural Networks, ICML 2024, "
    "arXiv 2408.00920",
    reference=Reference.EMPTY_REQUEST,
    seed_policy=SeedPolicy.PER_SEED,
    stores="the parameters and the training set (its curvature is measured at deletion time)",
    differs=(
        "The inverse is a conjugate-gradient solve by default; LiSSA is damped by λ_d·v, not by the gradient of an "
        "unsquared norm as in the public code.",
        "Projection is onto the ball (the identity inside), after every training step and after unlearning.",
        "Every certificate is the smaller of its theorem and 2R, and names what the smaller one rests on.",
        "Where a layer is known to have a kink (a rectifier, max pooling, …) no theorem is used: Δ = 2R.",
        "The residual of the linear system and the gradient left at the retrained model are part of Theorem 3.4.",
        "Theorem 3.6 is stated with max(1/16, 1/(16h)), and LiSSA's exact bias where that is larger: the printed 1/16 "
        "is too small for h < 1.",
        "LiSSA's batches are drawn with replacement, and its scale is checked on every batch.",
        "The noise may be calibrated exactly (Balle & Wang 2018) instead of by Theorem 2.3.",
        "The bias is regularised with the other weights.",
    ),
)


_NEWTON = "from a minimiser: Theorem 3.4's derivation with λ_d = 0 and G = 0, ½C‖w* − w_r‖²/c"


@dataclass(frozen=True, slots=True)
class Unlearned(Learned):
    """An unlearned state, with what was measured in each replica's last request."""

    report: Report | None = None

    def take(self, positions: list[int]) -> "Unlearned":
        """State of the replicas at these positions."""
        chosen = Learned.take(self, positions)
        return replace(chosen, report=None if self.report is None else self.report.take(positions))


@dataclass(frozen=True, slots=True)
class CertifiedUnlearning(Settings):
    """A damped Newton step on the objective of the retained records, from any point of the ball.

    The ball is the recipe's: `recipe.radius` of gradient descent and Adam; a minimiser's is derived from λ. The fields
    are those of `Settings`.
    """

    @property
    def declaration(self) -> Declaration:
        """What the method says of itself: without damping Newton's step, exact on quadratic losses; LiSSA draws."""
        exact = self.damping == 0 and self.solver == "conjugate-gradient"
        draws = self.solver == "lissa" and self.batch is not None
        first = "from a minimiser: λ_d/c and LiSSA's error times w* − w_r, which is of order m/n"
        rates = Rate.in_share(2, _NEWTON) if exact else Rate.in_share(1, first)
        return replace(_DECLARATION, exact_on_quadratics=exact, draws=draws, rates=rates)

    def check_task(self, task: Task) -> None:
        """Refuse a recipe without a ball.

        Raises:
            PlanError: gradient descent without recipe.radius.
        """
        if not isinstance(task.recipe, Minimise) and task.recipe.radius is None:
            raise PlanError(
                f"recipe.radius must be given for method certified-unlearning, got none ({task.recipe}). Its theorems "
                "need every model in a ball: write radius = 20, or what training stays in."
            )

    def learn(self, task: Task, members: Tensor, *, streams: Streams) -> Learned:
        """Run the recipe, which projects onto the ball.

        Raises:
            PlanError: the recipe has no ball.
        """
        self.check_task(task)
        return train(task, members, streams=streams)

    def unlearn(self, state: Learned, request: Tensor, *, streams: Streams) -> Learned:
        """One damped Newton step from the un-noised parameters, projected; an empty request is the identity.

        Raises:
            Diverged: parameters, gradient or step are not finite; nothing was changed.
            PlanError: the damping does not exceed −λ_min, or LiSSA's scale is below a measured norm.
            NotConverged: the solver did not reach its tolerance, or met a matrix that is not positive definite.
        """
        check_request(state, request)
        positions = request.any(1).nonzero().flatten().tolist()
        if not positions:
            return state
        task, kept = state.task, state.members & ~request
        step = Step(self, task, state.parameters[positions], kept[positions], streams, positions)
        found, own = step.take()
        parameters = state.parameters.clone()
        parameters[positions] = found
        earlier = state.report if isinstance(state, Unlearned) else None
        report = (earlier or Report.before(len(parameters))).put(positions, own)
        return Unlearned(parameters, task, kept, state.streams, report=report)

    def certify(self, state: Learned, request: Tensor) -> Certificate | None:
        """Δ by the chosen bound, at most 2R; the assumptions are those of the bound that is the smaller one.

        Where a layer is known to have a kink, no theorem is used: Δ = 2R rests on the ball alone, and constants that
        were given for the chosen bound stand beside it as violated, since it is what was asked for.
        """
        report = state.report if isinstance(state, Unlearned) else None
        report = report or Report.before(len(state.parameters))
        known = premises(self, state.task)
        assumptions = [known.ball]
        resting = report.sensitivity_upper < known.ball_diameter_upper
        fails, theorem = 0.0, THEOREMS[self.bound]
        if known.kinks:
            theorem = THEOREMS["trivial"]
            assumptions += known.violated(self) if bool((report.sensitivity_upper > 0).any()) else []
        elif bool((resting & report.eigenvalue.isfinite()).any()):
            least = float(report.eigenvalue[resting & report.eigenvalue.isfinite()].min())
            assumptions += known.of_theorem(self, least)
            fails = self.failure_probability
        assumptions.append(
            Assumption("exact arithmetic", Status.ASSUMED, f"{state.task.dtype} throughout; rounding is not in Δ")
        )
        upper = tuple(report.sensitivity_upper.tolist())
        return Certificate(theorem, upper, tuple(assumptions), failure_probability=fails)

    def release(self, state: State, noise_scale: float, *, streams: Streams) -> Tensor:
        """Parameters + N(0, σ²I); the noise is on the released copy only, and the state stays in the ball."""
        return gaussian_release(state, noise_scale, streams=streams)

    def prior_sensitivity_upper(self, task: Task, request_size: int) -> float:
        """Δ before any data is seen: the smaller of 2R and the theorem, where its constants are proved or given.

        Raises:
            PlanError: the recipe has no ball, or its radius is known from the data only.
        """
        self.check_task(task)
        known = premises(self, task)
        if known.ball.status is not Status.PROVED:
            raise PlanError(
                f'budget = "prior" needs a radius known before the data, and {task.objective.description} without '
                "recipe.radius has none. Give a number."
            )
        least = known.strong_convexity or self.minimum_eigenvalue
        if known.kinks or least is None or self.damping + least <= 0 or self.bound == "trivial":
            return known.ball_diameter_upper
        curvature, start = self.damping + least, known.gradient_start_upper
        theorem = theorem_3_4(known.radius, known.lipschitz, self.damping, curvature, known.residual)
        if self.bound == "theorem-3.6":
            scale = self.scale_used(known.smoothness) or 1.0  # the error of smoothness = ∞ is ∞ whatever the scale
            depth = self.depth_used(scale, curvature)
            error = lissa_error_upper(task.objective.size, self.failure_probability, curvature, scale, depth)
        elif self.solver == "lissa":
            error = 2 / curvature  # whatever it draws; the residual of that is larger by ‖H + λ_d‖ at most
            error *= 1.0 if self.bound == "tightened" else max(1.0, (known.smoothness + self.damping) / curvature)
        else:
            error = relative_tolerance(self.tolerance, task.dtype) / curvature
        return min(theorem + error * start, known.ball_diameter_upper)

    def diagnostics(self, state: Learned) -> tuple[Diagnostic, ...]:
        """Raw theorems beside the trivial bound, extreme eigenvalues, gradients, and the inverse's residual."""
        report = state.report if isinstance(state, Unlearned) else None
        if report is None:
            return ()
        shown = {name: meaning for name, meaning in _SHOWN.items() if bool(getattr(report, name).isfinite().any())}
        broken = self._unmet(state.task)
        found = [
            Diagnostic(
                title,
                text + broken if name in _OF_A_SMOOTH_LOSS else text,
                tuple(getattr(report, name).tolist()),
                is_sensitivity=name == "trivial" or (name in _OF_A_SMOOTH_LOSS and not broken),
                failure_probability=self.failure_probability if name == "theorem_36" else 0.0,
            )
            for name, (title, text) in shown.items()
        ]
        if "theorem_34" in shown:
            ratio = tuple((report.theorem_34 / report.trivial).tolist())
            text = "at least 1 exactly if C·R ≥ λ_min: the theorem then promises less than the ball alone" + broken
            found.insert(1, Diagnostic("Theorem 3.4 over 2R", text, ratio))
        return tuple(found)

    def _unmet(self, task: Task) -> str:
        """Which premise of the published theorems fails, as the end of a sentence; empty where none is known to."""
        if task.objective.kinks:
            return f"; violated and not used: {task.objective.smoothness_note}"
        if not isinstance(task.recipe, Minimise) and self.residual is None:
            return "; violated and not used: gradient descent need not end where ∇F_r = 0, and no residual is given"
        return ""


def _as_named(name: str) -> tuple[str, str]:
    """A quantity that other second-order methods measure too: one name, one meaning."""
    return name, MEANINGS[name]


_OF_A_SMOOTH_LOSS = ("theorem_34", "theorem_36")
_SHOWN = {  # field of the report → name and meaning
    "theorem_34": ("Theorem 3.4, as published", "bound on the distance to the retrained model, before the minimum"),
    "theorem_36": ("Theorem 3.6, as published", "the same for LiSSA, with probability 1 − ρ"),
    "trivial": ("2R", "largest distance of two models in the ball: what doing nothing certifies"),
    "eigenvalue": (
        "λ_min used",
        "eigenvalue that the last request's bounds use: proved, given, or the smallest estimate",
    ),
    "eigenvalue_batches": ("λ_min of minibatches", "the same over LiSSA's minibatches, as far as it met them"),
    "ritz_least": _as_named("λ_min, Lanczos"),
    "ritz_largest": _as_named("λ_max, Lanczos"),
    "gradient_before": _as_named("‖∇F_r‖ before"),
    "gradient_after": _as_named("‖∇F_r‖ after"),
    "step_length": _as_named("step length"),
    "residual": _as_named("residual of the linear system"),
    "difference": ("LiSSA against conjugate gradients", "‖difference‖ / ‖conjugate gradients‖ of the two steps"),
}
