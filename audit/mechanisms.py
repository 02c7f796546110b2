"""Mechanisms that auditors are tested on: true claims that hold with equality, and claims that are false.

A bound may refute a claim of `TRUE` with its failure probability at most, whatever the number of runs. It should refute
one of `BROKEN` at the number of runs that its power calculation names. Users can try an auditor of their own on both:

>>> scores = TRUE["laplace"].draw(1000, generator=np.random.default_rng(0))
>>> [round(TRUE["laplace"].epsilon(1e-5), 5), round(BROKEN["noise-0.5"].epsilon(1e-5), 4)]
[0.99998, 9.9973]
"""

from dataclasses import dataclass

import numpy as np

from unlearning.claim import Claim, Reference, SeedPolicy
from unlearning.tradeoff import Directions, EpsilonDelta, GaussianTradeOff

from .laws import Array, Finite, GaussianPair, Geometric, LaplaceShift, Laws, SubsampledGaussian, randomised_response
from .release_laws import Clustered, Pipeline

DELTA = 1e-5
GAUSSIAN_SHIFTS = (0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0)
NO_OP_SHIFT = 6.0  # of the original's weights, in units of σ, where the claim is μ = 1
LEAK = 1e-3


@dataclass(frozen=True, slots=True)
class Mechanism:
    """Two laws and what is claimed of them.

    Attributes:
        name: as in tables and tests.
        title: for people.
        laws: what is true.
        claim: what is claimed.
        holds: whether the claim is true.
    """

    name: str
    title: str
    laws: Laws
    claim: Claim
    holds: bool

    def draw(self, runs: int, *, generator: np.random.Generator) -> tuple[Array, Array]:
        """Scores of independent runs, released [runs] and reference [runs]."""
        return self.laws.draw(runs, generator=generator)

    def epsilon(self, delta: float) -> float:
        """Exact ε at δ in the claim's directions; infinite where no ε is true."""
        return self.laws.epsilon(delta, self.claim.directions)


def gaussian_claim(mu: float) -> Claim:
    """The claim of μ-GDP, for every seed."""
    return Claim(GaussianTradeOff(mu), DELTA, Reference.RETRAINED, SeedPolicy.PER_SEED, 1)


def point_claim(epsilon: float, delta: float = DELTA, directions: Directions = Directions.BOTH) -> Claim:
    """The claim (ε, δ), for every seed."""
    return Claim(EpsilonDelta(epsilon, delta, directions), delta, Reference.RETRAINED, SeedPolicy.PER_SEED, 1)


def boundary_claim(laws: Laws, delta: float = DELTA, directions: Directions = Directions.BOTH) -> Claim:
    """The strongest true claim (ε, delta) in these directions; `laws` must keep one."""
    return point_claim(laws.epsilon(delta, directions), delta, directions)


def _true(name: str, title: str, laws: Laws, claim: Claim | None = None) -> Mechanism:
    return Mechanism(name, title, laws, boundary_claim(laws) if claim is None else claim, True)


def _broken(name: str, title: str, laws: Laws, claim: Claim | None = None) -> Mechanism:
    return Mechanism(name, title, laws, gaussian_claim(1.0) if claim is None else claim, False)


def _by_name(*mechanisms: Mechanism) -> dict[str, Mechanism]:
    return {mechanism.name: mechanism for mechanism in mechanisms}


_TIES = (0.25, 0.5, 0.25)
_HALVED = Finite((0.0, 1.0), (0.0, 1.0), (0.5, 0.5))  # P ≤ 2Q, and no reverse
_DOUBLED = Finite((0.0, 1.0), (0.5, 0.5), (0.0, 1.0))  # Q ≤ 2P, and no reverse

TRUE: dict[str, Mechanism] = _by_name(
    _true("equal", "the same Gaussian twice", GaussianPair(0.0)),
    _true("equal-tied", "the same three values twice", Finite((0.0, 1.0, 2.0), _TIES, _TIES)),
    _true("equal-constant", "one constant", Finite((0.0,), (1.0,), (1.0,))),
    _true("equal-clustered", "the same law twice, 20 records scored in every run", Clustered()),
    _true("response", "randomised response, ε = 1", randomised_response(1.0)),
    _true("response-tied", "randomised response, ε = 1, often silent", randomised_response(1.0, 0.2)),
    _true("laplace", "Laplace, ε = 1", LaplaceShift(1.0)),
    _true("geometric", "two-sided geometric, ε = 1", Geometric(1.0)),
    *(
        _true(f"gaussian-{mu:g}", f"Gaussian, μ = {mu:g}", GaussianPair(mu), gaussian_claim(mu))
        for mu in GAUSSIAN_SHIFTS
    ),
    _true("gaussian-point", "Gaussian, μ = 1, at δ = .1", GaussianPair(1.0), boundary_claim(GaussianPair(1.0), 0.1)),
    _true(
        "equal-releases", "equal in 10 coordinates, direction learned", Pipeline(0.0, learned=True), gaussian_claim(0.0)
    ),
    _true("learned-direction", "Gaussian, μ = 1, direction learned", Pipeline(1.0, learned=True), gaussian_claim(1.0)),
    _true("unequal", "Gaussians, deviations .8 and 1", GaussianPair(0.0, 0.8)),
    _true("subsampled", "subsampled Gaussian, μ = 2, rate .1", SubsampledGaussian(2.0, 0.1)),
    _true(
        "one-direction",
        "P ≤ 2Q, claimed in this direction only",
        _HALVED,
        boundary_claim(_HALVED, directions=Directions.RELEASED),
    ),
)

BROKEN: dict[str, Mechanism] = _by_name(
    _broken("noise-0.9", "σ · .9", Pipeline(1.0, noise=0.9)),
    _broken("noise-0.5", "σ · .5", Pipeline(1.0, noise=0.5)),
    _broken("noise-0.1", "σ · .1", Pipeline(1.0, noise=0.1)),
    _broken("noise-0", "no noise", Pipeline(1.0, noise=0.0)),
    _broken("variance", "variance taken for deviation, σ = .3", Pipeline(1.0, noise=0.3)),
    _broken("wrong-tensors", "noise where nothing moved", Pipeline(1.0, noisy=5, moved=5)),
    _broken("half-tensors", "noise on half of the tensors", Pipeline(1.0, noisy=5)),
    _broken("reused-seed", "the same noise in every run", Pipeline(1.0, frozen=True)),
    _broken("original", "noise added to the original", Pipeline(NO_OP_SHIFT)),
    _broken("noise-from-data", "σ fixed by each side's data, halved on one", GaussianPair(1.0, 0.5)),
    _broken("one-record", "calibrated for one record, four removed", Pipeline(4.0)),
    _broken("half-request", "half of the request forgotten", Pipeline(NO_OP_SHIFT / 2)),
    _broken("no-empty-unlearning", "reference retrained, claimed against U(A(D_r), ∅)", Pipeline(2.0)),
    _broken("float16", "noise drawn in float16", Pipeline(1.0, half_precision=True)),
    _broken(
        "wrong-orientation",
        "small scores for the released, Q ≤ 2P claimed as P ≤ 2Q",
        _DOUBLED,
        point_claim(float(np.log(2)), directions=Directions.RELEASED),
    ),
    _broken("learned-direction", "four times the distance, direction learned", Pipeline(4.0, learned=True)),
    _broken(
        "rare-leak",
        f"one run in {1 / LEAK:.0f} gives all away",
        Finite((0.0, 1.0), (1 - LEAK, LEAK), (1.0, 0.0)),
        point_claim(1.0),
    ),
)
