"""A claim as the record tells it. Needs no torch."""

from typing import Any

from unlearning.claim import Claim, Reference, SeedPolicy
from unlearning.errors import PlanError
from unlearning.gaussian import check_delta, check_epsilon
from unlearning.record import ClaimFacts
from unlearning.tradeoff import Directions, EpsilonDelta, GaussianTradeOff

_REFERENCE = {
    Reference.RETRAINED: "a model retrained without them",
    Reference.EMPTY_REQUEST: "a model trained without them and given an empty request",
}
_POLICY = {
    SeedPolicy.PER_SEED: "for every training seed",
    SeedPolicy.MARGINAL: "over training seeds",
    SeedPolicy.DETERMINISTIC: "training having no seed",
}
_DIRECTIONS = {
    Directions.BOTH: "in both directions",
    Directions.RELEASED: "in the direction released over reference",
    Directions.REFERENCE: "in the direction reference over released",
}


def claim_of_numbers(
    epsilon: float | None, mu: float | None, delta: float, directions: Directions = Directions.BOTH
) -> Claim:
    """A claim from options; of request and seeds nothing is known, and runs are draws of all that is random.

    Raises:
        PlanError: an option is out of range, or both ε and μ are given, or neither.
    """
    if (epsilon is None) == (mu is None):
        given = "neither. Give one" if epsilon is None else "both. Leave one of them out"
        raise PlanError(f"Either --epsilon or --mu must be given, got {given}.")
    try:
        check_delta(delta, name="--delta")
        check_epsilon(0.0 if epsilon is None else epsilon, name="--epsilon")
        check_epsilon(0.0 if mu is None else mu, name="--mu")
    except ValueError as error:
        raise PlanError(str(error)) from error
    if mu is not None and directions is not Directions.BOTH:
        raise PlanError(
            f"--directions must be both with --mu, got {directions.name.lower()}: a Gaussian claim makes both. Use "
            "--epsilon."
        )
    tradeoff = EpsilonDelta(epsilon or 0.0, delta, directions) if mu is None else GaussianTradeOff(mu)
    return Claim(tradeoff, delta, Reference.RETRAINED, SeedPolicy.MARGINAL, 1)


def claim_facts(claim: Claim, rows: int) -> ClaimFacts:
    """The claim of a method, of whose training records there are `rows`, with its sentence."""
    sentence = (
        f"After {claim.request_size} of {rows} records are deleted, the released {claim.released.value} are "
        f"{_promise(claim)}, from those of {_REFERENCE[claim.reference]}, {_POLICY[claim.seed_policy]}."
    )
    return ClaimFacts(
        sentence=sentence,
        **_sizes(claim),
        reference=claim.reference,
        seed_policy=claim.seed_policy,
        request_size=claim.request_size,
        released=claim.released,
        stated_by=claim.stated_by,
    )


def claim_facts_of_scores(claim: Claim) -> ClaimFacts:
    """A claim about the models behind two files of scores: of request, reference and seeds nothing is known."""
    sentence = (
        f"The models behind the released scores are {_promise(claim)}, from the models behind the reference scores."
    )
    return ClaimFacts(
        sentence=sentence,
        **_sizes(claim),
        reference=None,
        seed_policy=None,
        request_size=None,
        released=None,
        stated_by="hand",
    )


def _promise(claim: Claim) -> str:
    what = f"({claim.epsilon:.4g}, {short(claim.delta)})-indistinguishable"
    if isinstance(claim.tradeoff, GaussianTradeOff):
        what = f"{claim.tradeoff.mu:.4g}-GDP, hence {what},"
    return f"{what} {_DIRECTIONS[claim.directions]}"


def _sizes(claim: Claim) -> dict[str, Any]:
    gaussian = isinstance(claim.tradeoff, GaussianTradeOff)
    return {
        "kind": "gaussian" if gaussian else "epsilon-delta",
        "epsilon": claim.epsilon,
        "delta": claim.delta,
        "mu": claim.tradeoff.mu if isinstance(claim.tradeoff, GaussianTradeOff) else None,
        "directions": claim.directions,
    }


def short(value: float) -> str:
    """A number as people write it: 1e-5, not 1e-05."""
    return f"{value:g}".replace("e-0", "e-").replace("e+0", "e+")
