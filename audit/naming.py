"""Who was forgotten? The adversary of rung D: names members from released weights, knowing all but S and the noise.

Shadow runs of the same pipeline, with S of their own that the adversary knows, give a linear Gaussian model of the
weights y [P] before noise, with members s in {0, 1}^m and p their share:

    y = a + Bᵀ(s − p) + e,          e ~ N(0, Σ),          Σ = σ²I + scatter of the shadows around the fit.

With C the covariance of s under the game's own law, the best linear guess and its covariance are

    ŝ − p = (I + CG)⁻¹ C B Σ⁻¹ (y − a),        V = (I + CG)⁻¹ C,        G = B Σ⁻¹ Bᵀ,

and (ŝ_i − p)/V_ii is, up to the same factor for all, the log-odds of membership: an affine map y ↦ Ly + l. Coins: the r
candidates with the largest absolute value are named, as members where it is > 0. Fixed k: the r largest, as members.
None of this has to be right for the bounds to hold; it decides only how much they find.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from .bounds.identification import Game
from .bounds.runs import Array

_RIDGES = (1e-8, 1e-2, 1.0)  # penalty on B over the variance of the members: choice, not proof
_CUTS = 200
ADVERSARIES = 2 * len(_RIDGES)  # that are compared, at most


@dataclass(frozen=True, slots=True)
class Shadows:
    """Runs with known S: members [K, m], and weights [K, P] before noise after unlearning and before it."""

    members: NDArray[np.bool_]
    unlearned: Array
    original: Array

    def part(self, runs: slice) -> "Shadows":
        """Some of the runs."""
        return Shadows(self.members[runs], self.unlearned[runs], self.original[runs])


@dataclass(frozen=True, slots=True)
class Adversary:
    """Log-odds of membership as an affine map of released weights: slopes L [m, P] and intercepts l [m]."""

    game: Game
    slopes: Array
    intercepts: Array

    def log_odds(self, weights: Array) -> Array:
        """Log-odds of membership [K, m], up to a factor, from weights [K, P]."""
        return np.asarray(weights @ self.slopes.T + self.intercepts)

    def right(self, log_odds: Array, members: NDArray[np.bool_]) -> NDArray[np.int64]:
        """V of every run: right names among the r that are given, from log-odds and members [K, m]."""
        return right_names(self.game, log_odds, members)


def right_names(game: Game, log_odds: Array, members: NDArray[np.bool_]) -> NDArray[np.int64]:
    """V of every run, [K]: names are given from the log-odds alone, and then compared with the members."""
    certainty = np.abs(log_odds) if game.members is None else log_odds
    named = np.argsort(-certainty, axis=1, kind="stable")[:, : game.guesses]
    said = np.take_along_axis(log_odds, named, 1) > 0 if game.members is None else np.True_
    return np.asarray((np.take_along_axis(members, named, 1) == said).sum(1))


def choose_adversary(
    game: Game, known: Shadows, released: str, noise_scale: float, *, generator: np.random.Generator
) -> tuple[Adversary, NDArray[np.int64]]:
    """The adversary that names best on the last quarter of the shadow runs, and its V there, [G].

    Candidates differ in the penalty and in the directions B: what unlearning leaves of a record, or what training put
    there. Only choice: no bound sees these runs.

    Args:
        game: to be played.
        known: shadow runs.
        released: "unlearned" or "original": the weights that the game will release.
        noise_scale: σ of the release, 0 where the weights hold all noise.
        generator: of the noise on the last quarter.
    """
    cut = max(2, (3 * len(known.members)) // 4)
    fitting, choosing = known.part(slice(None, cut)), known.part(slice(cut, None))
    seen = getattr(choosing, released) + noise_scale * generator.standard_normal(choosing.unlearned.shape)
    tried = []
    for source in dict.fromkeys((released, "original")):
        for ridge in _RIDGES:
            one = fit(game, fitting.members, getattr(fitting, released), getattr(fitting, source), noise_scale, ridge)
            tried.append((one, one.right(one.log_odds(seen), choosing.members)))
    return max(tried, key=lambda pair: int(pair[1].sum()))  # the first of equals


def fit(
    game: Game, members: NDArray[np.bool_], weights: Array, directions: Array, noise_scale: float, ridge: float
) -> Adversary:
    """The best linear guess of the members from weights [K, P], along B regressed from `directions` [K, P]."""
    share, covariance = _prior(game)
    around = members.astype(np.float64) - share
    slopes = _regress(around, directions, ridge)
    intercept = (weights - around @ slopes).mean(0)
    left = weights - intercept - around @ slopes
    freedom = max(1, len(members) - game.candidates - 1)
    floor = noise_scale**2 + 1e-6 * float((left**2).mean()) + 1e-24 * float((slopes**2).mean())
    whitened = _solve(left / np.sqrt(freedom), floor or 1.0, slopes)
    inner = np.eye(game.candidates) + covariance @ (slopes @ whitened.T)
    posterior = np.linalg.solve(inner, covariance)
    spread = np.maximum(np.diag(posterior), 1e-12)
    linear = (posterior @ whitened) / spread[:, None]
    return Adversary(game, linear, -(linear @ intercept))


def _prior(game: Game) -> tuple[float, Array]:
    """Mean and covariance of the members under the game's own law."""
    m = game.candidates
    share = 0.5 if game.members is None else game.members / m
    if game.members is None:
        return share, np.eye(m) / 4
    return share, share * (1 - share) * m / (m - 1) * (np.eye(m) - 1 / m)


def _regress(around: Array, weights: Array, ridge: float) -> Array:
    """B [m, P]: least squares with a penalty, the mean taken out."""
    centred = around - around.mean(0)
    gram = centred.T @ centred
    penalty = ridge * float(np.trace(gram)) / len(gram)
    return np.asarray(np.linalg.solve(gram + penalty * np.eye(len(gram)), centred.T @ (weights - weights.mean(0))))


def _solve(factor: Array, floor: float, vectors: Array) -> Array:
    """Vectors [m, P] times (floor·I + factorᵀfactor)⁻¹, by Woodbury."""
    inner = factor @ factor.T + floor * np.eye(len(factor))
    return np.asarray((vectors - np.linalg.solve(inner, factor @ vectors.T).T @ factor) / floor)


def success_lower(
    adversary: Adversary, weights: Array, members: NDArray[np.bool_], noise_scale: float, needed: int
) -> float:
    """Probability over the noise that a release of weights [P] with these members [m] gives V ≥ needed.

    Guarantee: at most the true probability, for N(0, σ²I) on these weights.

    Call a name right at level c where the log-odds point the right way by c or more, and wrong where they point the
    wrong way by c or more. With at least v right ones and at most r − v wrong ones, whichever r are named, V ≥ v:
    all beyond c are named before any other, and if they are more than r, at most r − v of the named are wrong. Of s
    candidates fewer than v are right with probability at most Σ P(not right)/(s − v + 1), and more than r − v wrong
    ones have probability at most Σ P(wrong)/(r − v + 1) (Markov); the best s and c are taken.
    """
    game = adversary.game
    centre = adversary.log_odds(weights[None])[0]
    spread = noise_scale * np.linalg.norm(adversary.slopes, axis=1)
    spread = np.maximum(spread, 1e-300)
    member = np.asarray(members)
    towards = np.where(member, 1.0, -1.0) * centre
    fixed = game.members is not None
    extent = float(np.abs(centre).max() + spread.max())
    best = 0.0
    for cut in np.linspace(-extent if fixed else 0.0, extent, _CUTS):
        if fixed:
            missed = ndtr((cut - centre[member]) / spread[member])
            wrong = ndtr((centre[~member] - cut) / spread[~member])
        else:
            missed = ndtr((cut - towards) / spread)
            wrong = ndtr((-towards - cut) / spread)
        if missed.size < needed:
            return 0.0
        sums = np.cumsum(np.sort(missed))[needed - 1 :]
        few = float((sums / np.arange(1, sums.size + 1)).min())
        many = float(wrong.sum()) / (game.guesses - needed + 1)
        best = max(best, 1 - few - many)
    return best


def success_count(
    adversary: Adversary,
    weights: Array,
    members: NDArray[np.bool_],
    noise_scale: float,
    needed: int,
    normals: Array,
) -> int:
    """In how many of so many draws of the noise, normals [draws, m], V ≥ needed."""
    covariance = noise_scale**2 * (adversary.slopes @ adversary.slopes.T)
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0))
    log_odds = adversary.log_odds(weights[None]) + normals @ root.T
    return int((adversary.right(log_odds, np.broadcast_to(members, log_odds.shape)) >= needed).sum())
