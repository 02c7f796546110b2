r"""How far a gradient descent without some records lies from one with them, to first order: bounds by recursion.

Two runs share the initial point and the batches; ŵ_t has the removed records masked out, w_t has not, and a_t is the
first-order difference (`learning.propagation`). With e = ŵ − w, c records in the batch, m of them removed, b the fixed
divisor, θ = (c−m)/b, p = m/b, j the injection that a receives, and ρ(θ) = max(|1 − ηθλ|, |1 − ηθL|):

    fixed       D' = ρ(θ) D + η‖j‖                    E' = ρ(c/b) E + η[θ(C/2)D² + pLD]             j = Σ∇ℓ/b
    remaining   D' = ρ(1) D + η‖s‖/(c−m)              E' = ρ(1) E + η[(C/2)D² + p(L−λ)D + |1/(c−m) − 1/(c−1)|·‖s‖]
                s = Σ_{u removed}(∇ℓ(w; u) − ∇F_B(w)) = (c−1)j
    a whole batch removed (remaining): the retraining skips the step,
                D' = D + η‖∇F_B(w)‖                   E' = ρ(1) E + η[L·D + ‖∇F_B(w) − j‖],  j = ∇F_B if c = 1, else 0
    D ← min(D, ‖a‖ + E) after each step,               Δ = min(E_T, D_T + ‖a_T‖)

The recursion needs numbers, not vectors: a `Trace`. A replay of the run measures them for one request. `RecordNorms`
keeps them per record instead, from which the trace of *any* request follows by the triangle inequality, without a
replay: ‖j‖ ≤ Σ‖j_u‖, and ‖a‖ ≤ Σ‖a_u‖. Where the kept records of a batch are fewer, their sum is the smaller bound:
Σ_{u∈B}(∇ℓ(w; u) − ∇F_B(w)) = 0, and Σ_{u∈B}∇ℓ(w; u)/b = ∇F_B(w).
"""

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from unlearning.claim import Assumption, Status

from .objectives import Constants

Array = NDArray[np.float64]

_OUTWARD = 1 + 1e-12


@dataclass(frozen=True, slots=True)
class Trace:
    """What the recursion needs to know of K runs and their requests, float64 on the host, [K, T] or [T].

    Attributes:
        step_sizes: η_t, [T].
        batch: record ids in the batch, [T]: the fixed divisor b.
        present: c, members in the batch, [K, T].
        removed: m, [K, T].
        injection: Guarantee: at least ‖j_t‖, [K, T].
        gradient: ‖∇F_B(w_t)‖, mean over the divisor, [K, T].
        vector: Guarantee: at least ‖a_{t+1}‖, [K, T]; infinite where it was not measured, except in the last step.
    """

    step_sizes: Array
    batch: Array
    present: Array
    removed: Array
    injection: Array
    gradient: Array
    vector: Array


class ErrorRecursion:
    """(D, E) of the module's docstring, step by step, for records' losses with these constants.

    Guarantee: D bounds ‖retrained − learned‖ and E bounds ‖retrained − learned − vectors‖ after every step, in exact
    arithmetic; both grow with every number of the trace, so that upper bounds may stand in for them.
    """

    def __init__(self, constants: Constants, divisor: str) -> None:
        """Bind the constants and the divisor, "fixed" or "remaining"."""
        self.strong, self.smooth = constants.strong_convexity, constants.smoothness_upper
        self.lipschitz = constants.hessian_lipschitz_upper
        self.divisor = divisor

    def contraction_upper(self, eta: float, share: float) -> float:
        """ρ(share): norm of I − η·share·H for λI ⪯ H ⪯ LI."""
        return max(abs(1 - eta * share * self.strong), abs(1 - eta * share * self.smooth))

    def fixed(
        self, d: float, e: float, eta: float, batch: float, present: float, removed: float, injection: float
    ) -> tuple[float, float]:
        """(D, E) after a step with the fixed divisor."""
        kept, share = (present - removed) / batch, removed / batch
        error = self.contraction_upper(eta, present / batch) * e + eta * (
            kept * self.lipschitz / 2 * d * d + share * self.smooth * d
        )
        return self.contraction_upper(eta, kept) * d + eta * injection, error

    def remaining(
        self, d: float, e: float, eta: float, present: float, removed: float, injection: float, gradient: float
    ) -> tuple[float, float]:
        """(D, E) after a step with the remaining divisor."""
        if present == 0:
            return d, e
        contraction = self.contraction_upper(eta, 1.0)
        if removed == present:
            missing = gradient if present > 1 else 0.0
            return d + eta * gradient, contraction * e + eta * (self.smooth * d + missing)
        pull, kept = injection * (present - 1), present - removed
        additive = abs(1 / kept - 1 / max(present - 1, 1)) * pull
        error = contraction * e + eta * (
            self.lipschitz / 2 * d * d + removed / present * (self.smooth - self.strong) * d + additive
        )
        return contraction * d + eta * pull / kept, error

    def sensitivity_upper(self, trace: Trace) -> tuple[float, ...]:
        """Δ = min(E_T, D_T + ‖a_T‖), per replica.

        Guarantee: at least ‖unlearned − retrained‖ in exact arithmetic.
        """
        shared = trace.step_sizes.tolist(), trace.batch.tolist()
        replicas = zip(trace.present, trace.removed, trace.injection, trace.gradient, trace.vector, strict=True)
        found = (self._one(*shared, *(row.tolist() for row in rows)) for rows in replicas)
        return tuple(
            math.inf if math.isnan(upper) else upper for upper in found
        )  # 0 · ∞ of a recursion that overflowed

    def _one(
        self,
        step_sizes: list[float],
        batch: list[float],
        present: list[float],
        removed: list[float],
        injection: list[float],
        gradient: list[float],
        vector: list[float],
    ) -> float:
        # plain floats: T steps cost T microseconds, which is what makes a certificate as fast as the deletion
        d = e = 0.0
        fixed = self.divisor == "fixed"
        for t, eta in enumerate(step_sizes):
            if d == 0 and e == 0 and removed[t] == 0:
                continue
            if fixed:
                d, e = self.fixed(d, e, eta, batch[t], present[t], removed[t], injection[t])
            else:
                d, e = self.remaining(d, e, eta, present[t], removed[t], injection[t], gradient[t])
            if not math.isfinite(e):
                return math.inf
            d = min(d, vector[t] + e)
        return min(e, d + vector[-1])


@dataclass(frozen=True, slots=True)
class RecordNorms:
    """Norms per record and step that a learning run leaves behind: enough to bound any request without a replay.

    Attributes:
        step_sizes: η_t, [T].
        batch: record ids in the batch, [T].
        turns: step in which each record takes part, int32 [K, E, n]: once in every epoch.
        members: the training set of the learning run, bool [K, n].
        present: members in the batch, [K, T].
        gradient: ‖∇F_B(w_t)‖, [K, T].
        injection: ‖j_u‖ at the record's step of each epoch, [K, E, n]; not a number for records without a vector.
        marks: steps after which the vectors were measured, ascending, the last step among them, [M].
        vector: ‖a_u‖ at the marks, [K, M, n]; not a number for records without a vector.
    """

    step_sizes: Array
    batch: Array
    turns: NDArray[np.int32]
    members: NDArray[np.bool_]
    present: Array
    gradient: Array
    injection: Array
    marks: NDArray[np.int64]
    vector: Array

    def take(self, positions: list[int]) -> "RecordNorms":
        """Norms of the replicas at these positions."""
        own = {name: getattr(self, name)[positions] for name in _PER_REPLICA}
        return RecordNorms(**{f.name: getattr(self, f.name) for f in fields(self)} | own)

    def trace(self, request: NDArray[np.bool_], divisor: str) -> Trace:
        """The trace of a request, bool [K, n], by the triangle inequality.

        Guarantee: injection and vector are at least the norms of the request's sums.

        Raises:
            ValueError: the request names a record whose norms were not kept.
        """
        steps = len(self.step_sizes)
        shape = (len(request), steps)
        removed, injection = np.zeros(shape), np.zeros(shape)
        vector = np.full(shape, np.inf)
        for k, asked in enumerate(request):
            ids = np.flatnonzero(asked)
            turns = self.turns[k]
            removed[k] = np.bincount(turns[:, ids].ravel(), minlength=steps)
            own = self.injection[k][:, ids]
            if np.isnan(own).any():
                missing = int(ids[np.isnan(own).any(0)][0])
                raise ValueError(f"request must name records whose norms were kept, got record {missing}.")
            injection[k] = np.bincount(turns[:, ids].ravel(), own.ravel(), minlength=steps)
            injection[k] = self._or_complement(k, asked, divisor, injection[k]) * _OUTWARD
            vector[k, self.marks] = self.vector[k][:, ids].sum(1) * _OUTWARD
        return Trace(self.step_sizes, self.batch, self.present, removed, injection, self.gradient, vector)

    def _or_complement(self, k: int, asked: NDArray[np.bool_], divisor: str, injection: Array) -> Array:
        """The smaller of Σ‖j_u‖ over the removed and the bound through the kept records of the batch."""
        kept = np.flatnonzero(self.members[k] & ~asked)
        if len(kept) > 4 * np.count_nonzero(asked):  # few removed: their own sum is the smaller one
            return injection
        own = self.injection[k][:, kept]
        if np.isnan(own).any():
            return injection
        others = np.bincount(self.turns[k][:, kept].ravel(), own.ravel(), minlength=len(injection))
        if divisor == "fixed":
            others = others + self.gradient[k]
        else:
            others = np.where(self.present[k] > 1, others, injection)  # a lone record gets its own gradient back
        return np.minimum(injection, others)


_PER_REPLICA = ("turns", "members", "present", "gradient", "injection", "vector")


@dataclass(frozen=True, slots=True)
class GradientBounds:
    """What the published series needs: contraction of every step, and bounds on gradients along both runs.

    Attributes:
        contraction: ρ_t ≥ ‖I − η_t H_t‖, [K, T].
        gradient: G_t ≥ ‖∇ℓ(w; u)‖ along both runs up to step t, [K, T].
        spread: bound on ‖∇ℓ(w; u) − ∇ℓ(w; v)‖ for two records, [K, T].
    """

    contraction: Array
    gradient: Array
    spread: Array


def proved_gradient_bounds(constants: Constants, trace: Trace, start: Array, *, fixed: bool) -> GradientBounds | None:
    """Bounds from λ, L and R alone, for runs that start at norm `start`, [K]; None without a bound on the loss part.

    A loss whose gradient has norm at most g (its part without the regulariser) keeps ‖w_{t+1}‖ ≤ max(‖w_t‖,
    |1 − ηλ|‖w_t‖ + ηg), the two ends of a convex function of the share of records present, and G_t = g + λ‖w_t‖.

    Guarantee: hold for the run itself and for every run with fewer members.
    """
    if constants.gradient_bound_upper is None:
        return None
    loss = constants.gradient_bound_upper / 2  # G doubles it: at an optimum the regulariser's part is no larger
    recursion = ErrorRecursion(constants, "fixed")
    contraction, gradient = np.ones_like(trace.present), np.empty_like(trace.present)
    norm = np.array(start, dtype=np.float64)
    shares = trace.present / trace.batch if fixed else (trace.present > 0).astype(np.float64)
    for t, eta in enumerate(trace.step_sizes.tolist()):
        gradient[:, t] = loss + constants.strong_convexity * norm
        contraction[:, t] = [recursion.contraction_upper(eta, share) for share in shares[:, t].tolist()]
        norm = np.maximum(norm, abs(1 - eta * constants.strong_convexity) * norm + eta * loss)
    return GradientBounds(contraction, gradient * _OUTWARD, np.full_like(gradient, 2 * loss))


def published_upper(trace: Trace, bounds: GradientBounds, divisor: str) -> tuple[float, ...]:
    r"""The published series with its sums carried out: Δ = ‖ŵ − w‖ + ‖a‖ ≤ 2ηGζ, per replica.

    For the fixed divisor ζ = Σ_t q^t (m_t/|B|) Π_{s>t} ρ_s: without contraction and with one record in every batch it
    is (1 − q^T)/(1 − q), which the public code prints with 1 − q in the numerator's place. Both halves obey
    x' = ρx + η(m/b)G: for ŵ − w expand at ŵ, whose removed gradients are at most G.

    The remaining divisor is ours: the two means differ by (m/c)(mean removed − mean kept), j by m(c−m)/(c(c−1)) of
    the same, and a batch that is removed whole moves w alone, by at most ηG.

    Guarantee: at least ‖unlearned − retrained‖ wherever `bounds` hold.
    """
    apart, vector = np.zeros(len(trace.present)), np.zeros(len(trace.present))
    for t, eta in enumerate(trace.step_sizes.tolist()):
        c, m = trace.present[:, t], trace.removed[:, t]
        rho, big, spread = bounds.contraction[:, t], bounds.gradient[:, t], bounds.spread[:, t]
        if divisor == "fixed":
            pull = eta * m / trace.batch[t] * big
            apart, vector = rho * apart + pull, rho * vector + pull
            continue
        safe = np.maximum(c, 1)
        whole = (m == c) & (c > 0)
        vector = rho * vector + eta * np.where(
            c > 1, m * (c - m) / (safe * np.maximum(c - 1, 1)) * spread, np.where(whole, big, 0.0)
        )
        apart = np.where(whole, apart + eta * big, rho * apart + eta * m / safe * spread)
    return tuple(((apart + vector) * _OUTWARD).tolist())


def a_posteriori_upper(
    constants: Constants, trace: Trace, start: Array, residual: Array, *, fixed: bool
) -> tuple[float, ...]:
    """Distance of any point w̃ to the end of the run ŵ without the removed records, per replica.

    ŵ_{t+1} − w̃ = (ŵ_t − w̃) − η(∇F(ŵ_t) − ∇F(w̃)) − η∇F(w̃), F the mean over the batch's kept records, so that
    e' = ρ e + η‖∇F(w̃)‖: every number is known at w̃, and no retraining is needed.

    Args:
        constants: of a record's loss.
        trace: batches and what is removed from them.
        start: ‖w_0 − w̃‖, [K].
        residual: ‖∇F_t(w̃)‖ over the kept records of batch t, over the divisor, [K, T].
        fixed: whether the divisor is fixed.

    Guarantee: at least ‖ŵ_T − w̃‖, whatever w̃ is, in exact arithmetic.
    """
    recursion = ErrorRecursion(constants, "fixed")
    found = []
    for k, distance in enumerate(start.tolist()):
        kept = (trace.present[k] - trace.removed[k]).tolist()
        for t, eta in enumerate(trace.step_sizes.tolist()):
            if kept[t] == 0:
                continue  # an empty batch moves nothing
            share = kept[t] / float(trace.batch[t]) if fixed else 1.0
            distance = recursion.contraction_upper(eta, share) * distance + eta * float(residual[k, t])
        found.append(distance)
    return tuple(found)


def constants_assumptions(constants: Constants, *, hessian: bool) -> tuple[Assumption, ...]:
    """What the bounds above take from the constants of a record's loss; C only where they expand the Hessian."""
    inputs, convex, smooth = "inputs have norm at most R", "the loss is λ-strongly convex", "the loss is L-smooth"
    found = (
        Assumption(inputs, Status.PROVED, "rows are clipped to R", constants.norm_upper),
        Assumption(convex, Status.PROVED, "½λ‖w‖² in every record", constants.strong_convexity),
        Assumption(smooth, Status.PROVED, "closed form in R", constants.smoothness_upper),
    )
    what, upper = "the Hessian is C-Lipschitz", constants.hessian_lipschitz_upper
    return (*found, Assumption(what, Status.PROVED, "closed form in R", upper)) if hessian else found


def gradients_assumption(constants: Constants) -> Assumption:
    """What the published series takes from them: G, which unbounded targets do not have."""
    what = "gradients have norm at most G along both runs"
    if constants.gradient_bound_upper is None:
        return Assumption(what, Status.VIOLATED, "targets are unbounded: no G is")
    return Assumption(what, Status.PROVED, "loss part in closed form in R, λ‖w‖ from the recipe")
