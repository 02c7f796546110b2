"""The table of bounds: names as in plans, commands and reports, and one way to compute any of them.

Bounds that need an event choose it on selection runs. Those that need an orientation read large scores as evidence of
the released side (`orientation=1`), small ones (−1), or pay for not knowing (None). The others need nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Literal

from unlearning.claim import Claim
from unlearning.errors import BadScores
from unlearning.tradeoff import EpsilonDelta

from .band import band_epsilon_lower
from .clopper_pearson import clopper_pearson_epsilon_lower
from .dkw import dkw_epsilon_lower
from .e_process import e_process_epsilon_lower
from .estimates import bayesian, challenge, katz_log, klom
from .folds import folds_epsilon_lower
from .joint import joint_epsilon_lower
from .projection import z_mu_lower
from .result import Kind, LowerBound
from .runs import SelectionRuns, TestRuns, check_test_runs
from .student import student_mu_lower

Compute = Callable[[SelectionRuns | None, TestRuns, Claim, float], LowerBound]


@dataclass(frozen=True, slots=True)
class Entry:
    """One bound.

    Attributes:
        name: in plans and commands.
        title: in reports.
        kind: what its number is worth.
        needs: "selection" where selection runs choose something for it, "orientation" where somebody must say which
            side large scores speak for.
        source: paper or textbook.
        compute: (selection or None, test, claim, failure probability) → bound.
        least_runs: of each arm of the test runs.
    """

    name: str
    title: str
    kind: Kind
    needs: Literal["selection", "orientation", "nothing"]
    source: str
    compute: Compute
    least_runs: int = 1


def _on_selection(bound: Callable[[SelectionRuns, TestRuns, Claim, float], LowerBound]) -> Compute:
    def compute_it(selection: SelectionRuns | None, test: TestRuns, claim: Claim, failure: float) -> LowerBound:
        if selection is None:
            raise TypeError("selection must be SelectionRuns, got None: this bound chooses its event on them.")
        return bound(selection, test, claim, failure)

    return compute_it


def _on_test(bound: Callable[[TestRuns, Claim, float], LowerBound]) -> Compute:
    return lambda _selection, test, claim, failure: bound(test, claim, failure)


BOUNDS: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry("z", "Mean shift, σ known", Kind.CONFIDENCE, "orientation", "z-test", _on_test(z_mu_lower)),
        Entry(
            "clopper-pearson",
            "One event, two exact limits",
            Kind.CONFIDENCE,
            "selection",
            "Clopper & Pearson 1934",
            _on_selection(clopper_pearson_epsilon_lower),
        ),
        Entry(
            "joint",
            "One event, both counts jointly",
            Kind.CONFIDENCE,
            "selection",
            "Berger & Boos 1994",
            _on_selection(joint_epsilon_lower),
        ),
        Entry(
            "student",
            "Mean shift, σ unknown",
            Kind.CONFIDENCE,
            "orientation",
            "noncentral t",
            _on_test(student_mu_lower),
        ),
        Entry(
            "band",
            "Every threshold at once",
            Kind.CONFIDENCE,
            "orientation",
            "Berk & Jones 1979; Moscovich & Nadler 2017",
            _on_test(band_epsilon_lower),
        ),
        Entry(
            "dkw",
            "Every threshold at once, one width",
            Kind.CONFIDENCE,
            "orientation",
            "Massart 1990",
            _on_test(dkw_epsilon_lower),
        ),
        Entry(
            "folds",
            "Events chosen on folds",
            Kind.CONFIDENCE,
            "nothing",
            "union bound over folds",
            _on_test(folds_epsilon_lower),
            least_runs=2,
        ),
        Entry(
            "bayesian",
            "Credible limit at one event",
            Kind.CREDIBLE,
            "selection",
            "Zanella-Béguelin et al. 2023",
            _on_selection(bayesian),
        ),
        Entry(
            "katz-log",
            "Katz-log limit at one event",
            Kind.ESTIMATE,
            "selection",
            "Lu et al. 2022",
            _on_selection(katz_log),
        ),
        Entry(
            "challenge",
            "Unlearning-challenge ε",
            Kind.ESTIMATE,
            "orientation",
            "Triantafillou et al. 2024",
            _on_test(challenge),
        ),
        Entry("klom", "KL divergence of the scores", Kind.ESTIMATE, "nothing", "Georgiev et al. 2024", _on_test(klom)),
        Entry(
            "e-process",
            "Bets on pairs of runs",
            Kind.ANYTIME,
            "nothing",
            "Turner, Ly & Grünwald 2024",
            e_process_epsilon_lower,
        ),
    )
}


def deciding_bounds() -> list[str]:
    """Names of the bounds that can refute."""
    return [name for name, entry in BOUNDS.items() if entry.kind not in (Kind.CREDIBLE, Kind.ESTIMATE)]


def compute(
    name: str,
    selection: SelectionRuns | None,
    test: TestRuns,
    claim: Claim,
    *,
    failure_probability: float,
    orientation: Literal[1, -1] | None = 1,
) -> LowerBound:
    """One bound on test runs.

    Guarantee: for kinds "confidence" and "anytime confidence", at most the true ε at the claim's δ (and μ), except
    with probability ≤ failure_probability, if the runs are independent and the bound's own `assumes` hold.

    Args:
        name: in `BOUNDS`.
        selection: runs that choose; needed where the entry says so, ignored elsewhere.
        test: other runs.
        claim: what is tested; its δ is the δ of the bound.
        failure_probability: with which the bound may be wrong.
        orientation: for bounds that need one: 1 where large scores speak for the released side, −1 where small
            ones do, None where nobody knows: both are tried at half the failure probability.

    Raises:
        TypeError: runs of the wrong type: those that chose an event cannot test it.
        ValueError: there is no such bound, or δ, the failure probability or the orientation is out of range.
        BadScores: there are too few runs.
    """
    if name not in BOUNDS:
        near = get_close_matches(name, BOUNDS, n=3, cutoff=0.4) or sorted(BOUNDS)
        raise ValueError(f"bound must be one of the table, got {name!r}. Did you mean {', '.join(near)}?")
    entry = BOUNDS[name]
    _check(entry, selection, test, claim, failure_probability)
    if orientation not in (1, -1, None):
        raise ValueError(f"orientation must be 1, -1 or None, got {orientation}.")
    if entry.needs != "orientation" or orientation == 1:
        return entry.compute(selection, test, claim, failure_probability)
    if orientation == -1:
        return entry.compute(selection, test.flipped(), claim, failure_probability)
    both = [entry.compute(selection, runs, claim, failure_probability / 2) for runs in (test, test.flipped())]
    best = max(both, key=lambda bound: (bool(bound.refuted), bound.epsilon_lower, bound.mu_lower or 0.0))
    return replace(best, failure_probability=failure_probability, derivation=best.derivation | {"orientations": 2})


def _check(
    entry: Entry, selection: SelectionRuns | None, test: TestRuns, claim: Claim, failure_probability: float
) -> None:
    check_test_runs(test)
    if selection is not None and not isinstance(selection, SelectionRuns):
        raise TypeError(f"selection must be SelectionRuns or None, got {type(selection).__name__}.")
    if entry.needs == "selection" and selection is None:
        raise ValueError(f"selection must be given for {entry.name!r}, which chooses its event on it, got None.")
    if not 0 < failure_probability < 1:
        raise ValueError(f"failure_probability must be in (0, 1), got {failure_probability}.")
    if isinstance(claim.tradeoff, EpsilonDelta) and claim.tradeoff.delta_value != claim.delta:
        raise ValueError(f"delta must be the claim's, {claim.tradeoff.delta_value}, got {claim.delta}.")
    if min(test.sizes) < entry.least_runs:
        least = entry.least_runs
        raise BadScores(f"test must hold at least {least} runs a side for {entry.name!r}, got {min(test.sizes)}.")
