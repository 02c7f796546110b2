"""One event chosen on selection runs, exact Clopper–Pearson limits of P(E) and Q(E) on test runs.

Clopper & Pearson 1934; `fixed_event` holds the mathematics. Valid whatever the dependence between the two arms.
"""

from unlearning.binomial import clopper_pearson_lower, clopper_pearson_upper
from unlearning.claim import Claim
from unlearning.tradeoff import epsilon_lower_at_event, mu_lower_at_event

from .result import Event, Kind, LowerBound
from .runs import SelectionRuns, TestRuns
from .selection import most_telling_event


def counts(test: TestRuns, event: Event) -> tuple[int, int]:
    """Runs of each arm that fall into the event."""
    released, reference = (event.contains(a) for a in (test.released, test.reference))
    return int(released.sum()), int(reference.sum())


def clopper_pearson_epsilon_lower(
    selection: SelectionRuns, test: TestRuns, claim: Claim, failure_probability: float
) -> LowerBound:
    """Lower bounds on ε and μ from one event, half the failure probability for each limit.

    Guarantee: at most the true ε and μ, except with probability ≤ failure_probability.
    """
    n, m = test.sizes
    event = most_telling_event(selection, test.sizes, claim, failure_probability)
    x, y = counts(test, event)
    p_lower = float(clopper_pearson_lower(x, n, failure_probability / 2))
    q_upper = float(clopper_pearson_upper(y, m, failure_probability / 2))
    return LowerBound(
        "clopper-pearson",
        epsilon_lower_at_event(p_lower, q_upper, claim.delta, claim.directions),
        mu_lower_at_event(p_lower, q_upper),
        bool(claim.tradeoff.refuted_at(p_lower, q_upper)),
        failure_probability,
        Kind.CONFIDENCE,
        "none",
        runs_released=n,
        runs_reference=m,
        counts_released=x,
        counts_reference=y,
        event=str(event),
        derivation={"x": x, "n": n, "y": y, "m": m, "p_lower": p_lower, "q_upper": q_upper, "share_released": 0.5},
        directions=claim.directions,
        seed_policy=claim.seed_policy,
    )
