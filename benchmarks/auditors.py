"""`python -m benchmarks.auditors [--quick] [--out FILE]`: simulates the auditors and writes docs/auditors.md.

Every number on the page is measured or computed here, from fixed seeds; only times differ from run to run. `--quick`
takes few simulations, to see that the command works.
"""

import argparse
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed

from audit.bounds.identification import Game, identification_cap
from audit.bounds.table import BOUNDS, deciding_bounds
from audit.mechanisms import BROKEN, TRUE, point_claim
from reports.drawing import on_white
from unlearning.binomial import clopper_pearson_lower
from unlearning.tradeoff import epsilon_lower_at_event

from . import trials
from .auditor_picture import Cell, picture
from .markdown import number, table, write_page
from .trials import AT_A_POINT, NAIVE, PILOT, POWER, TARGETS

PAGE = Path("docs/auditors.md")
LEVEL = 0.05
LEVELS = (0.05, 0.2)
RUNS = 200
GATE = 1e-9  # one-sided, of every gate
REMARKS = {
    "z": "Gaussian scores in units of a σ that is taken as true; it refutes Δ, not σ.",
    "student": "Gaussian scores of one unknown deviation.",
    "clopper-pearson": "Any scores, any dependence between the arms; one event, chosen on a pilot.",
    "joint": "Any scores, independent arms; one event, chosen on a pilot: the most that one event proves.",
    "band": "Any scores, no pilot: every threshold at once, and the whole curve.",
    "dkw": "Any scores, no pilot; a band of constant width, for the middle of the curve.",
    "folds": "Any scores; the event is chosen on the other folds, no run is only a pilot.",
    "e-process": "Any scores, independent arms; one may look after every pair and stop.",
    "bayesian": "Comparison: a prior, and no promise on the frequency of errors.",
    "katz-log": "Comparison: a normal approximation, which fails where counts are small.",
    "challenge": "Comparison: the best of all thresholds on the same scores, without a limit.",
    "klom": "Comparison: a distance of histograms; no ε follows from it.",
}
LAWS = (
    (AT_A_POINT, (1_000, 10_000, 100_000, 1_000_000)),
    (TRUE["laplace"], (1_000, 10_000, 100_000)),
    (TRUE["response"], (1_000, 10_000, 100_000)),
)


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is simulated.

    Attributes:
        trials: audits of a true claim; a tenth of it for slow bounds.
        stops: audits of a broken one.
        audits: for a mean, by runs a side; a fifth of it for slow bounds.
        most_needed: runs at the best event of the broken mechanisms that are shown.
    """

    trials: int
    stops: int
    audits: dict[int, int]
    most_needed: int


FULL = Effort(2_000, 200, {1_000: 200, 1_250: 200, 2_000: 200, 10_000: 50, 100_000: 10, 1_000_000: 3}, 1_000_000)
QUICK = Effort(20, 5, {1_000: 3}, 12)
SLOW = ("joint", "folds", "e-process")
SLOW_ON = ("equal", "response-tied", "laplace", "gaussian-1", "gaussian-point", "one-direction")
MOST_RUNS = {"e-process": 100_000}


def in_parallel(calls: Iterable[Any]) -> list[Any]:
    """Results of delayed calls, two at a time."""
    return list(Parallel(n_jobs=2)(calls))


# Sections -------------------------------------------------------------------------------------------------------------


def bounds_section() -> list[str]:
    """What each bound is for."""
    rows = [
        [
            f"`{name}`",
            entry.title,
            str(entry.kind),
            "decides" if name in deciding_bounds() else "never decides",
            REMARKS.get(name, ""),
            entry.source,
        ]
        for name, entry in BOUNDS.items()
    ]
    return ["## What each bound is for", *table(["bound", "", "worth", "", "for", "source"], rows, 6)]


def error_section(effort: Effort) -> list[str]:
    """Type-I errors over the true mechanisms."""
    cells = [
        (bound, mechanism.name, level)
        for bound in deciding_bounds()
        for mechanism in TRUE.values()
        for level in LEVELS
        if trials.suits(bound, mechanism) and (bound not in SLOW or mechanism.name in SLOW_ON)
    ]
    counts = {bound: effort.trials // (10 if bound in SLOW else 1) for bound in BOUNDS}
    wrong = dict(
        zip(
            cells,
            in_parallel(delayed(trials.errors)(b, TRUE[name], RUNS, level, counts[b]) for b, name, level in cells),
            strict=True,
        )
    )
    rows, exceeded = [], []
    for bound in deciding_bounds():
        shown = [f"`{bound}`", str(sum(cell[0] == bound for cell in cells) // len(LEVELS)), number(counts[bound])]
        for level in LEVELS:
            of_level = {name: wrong[b, name, at] for b, name, at in cells if (b, at) == (bound, level)}
            worst = max(of_level, key=lambda name: of_level[name])
            limit = float(clopper_pearson_lower(of_level[worst], counts[bound], GATE))
            shown += [f"{of_level[worst] / counts[bound]:.3f}", f"{limit:.3f}", f"`{worst}`"]
            if limit > level:
                exceeded.append(f"{bound} on {worst} at {level}")
        rows.append(shown)
    said = (
        f"Exceeded: {'; '.join(exceeded)}." if exceeded else "No bound is shown to be wrong more often than it may be."
    )
    at = [cell for level in LEVELS for cell in (f"α = {level:g}: share", "limit", "worst at")]
    head = ["bound", "mechanisms", "audits of each", *at]
    return [
        "## How often is a bound wrong?",
        "",
        f"Audits of claims that are true with equality, 200 runs a side: the largest share in which the bound refuted, "
        f"or "
        f"stated an ε or a μ above the true one, over the true mechanisms. Limit: what the share is at least, at "
        f"confidence 1 − 10⁻⁹; a gate fails where it exceeds α. {said}",
        *table(head, rows),
    ]


def naive_section(effort: Effort) -> list[str]:
    """Auditors that break a rule."""
    rows = []
    for name, naive in NAIVE.items():
        shares = [trials.naive_errors(name, level, effort.trials) / effort.trials for level in LEVELS]
        rows.append([name, naive.title, naive.mechanism, str(naive.runs), *(f"{share:.3f}" for share in shares)])
    return [
        "## Auditors that break a rule",
        "",
        "The same gate, shown auditors with faults that are common in the field. The claims are true.",
        *table(["fault", "what it does", "mechanism", "runs", "wrong at α = .05", "wrong at α = .2"], rows, 3),
    ]


def mechanisms_section() -> list[str]:
    """What auditors are shown."""
    rows = [
        [
            f"`{m.name}`",
            m.title,
            "true" if m.holds else "false",
            number(m.epsilon(m.claim.delta)),
            number(m.claim.epsilon),
        ]
        for m in [*TRUE.values(), *BROKEN.values()]
    ]
    return [
        "## Mechanisms",
        "",
        "`audit.mechanisms`: laws whose ε(δ) is known in closed form, checked against integration and dp-accounting. "
        "ε true and claimed: at the claim's δ, 10⁻⁵ but where said. A Gaussian claim (μ-GDP) is shown by its ε.",
        *table(["mechanism", "", "claim", "ε true", "ε claimed"], rows, 3),
    ]


def measure(effort: Effort) -> list[Cell]:
    """ε_lower over ε_true of every bound, law and number of runs."""
    cells = [
        (bound, mechanism, runs)
        for mechanism, sizes in LAWS
        for bound in deciding_bounds()
        for runs in sizes
        if trials.suits(bound, mechanism) and runs in effort.audits and runs <= MOST_RUNS.get(bound, runs)
    ]
    found = in_parallel(delayed(trials.tightness)(b, m, runs, audits_of(b, runs, effort)) for b, m, runs in cells)
    return [
        Cell(bound, mechanism.name, runs, mean / mechanism.epsilon(1e-5), milliseconds)
        for (bound, mechanism, runs), (mean, _, milliseconds) in zip(cells, found, strict=True)
    ]


def audits_of(bound: str, runs: int, effort: Effort) -> int:
    """How many audits a mean is taken of."""
    return max(2, effort.audits[runs] // (5 if bound in SLOW else 1))


def tightness_section(cells: list[Cell], effort: Effort) -> list[str]:
    """Shares of the true ε, and the targets."""
    lines = [
        "## How much of ε does a bound find?",
        "",
        f"Mean lower bound on ε at δ = 10⁻⁵ over the true ε, α = .05, N runs a side; where a bound needs a pilot, "
        f"{PILOT:.0%} of the N. Milliseconds an audit in brackets.".replace("%", " %"),
    ]
    for mechanism, sizes in LAWS:
        shown = [runs for runs in sizes if runs in effort.audits]
        rows = []
        for bound in deciding_bounds():
            found = {cell.runs: cell for cell in cells if cell.bound == bound and cell.law == mechanism.name}
            if found:
                rows.append([
                    f"`{bound}`",
                    *(f"{found[n].share:.3f} ({found[n].milliseconds:.2g})" if n in found else "—" for n in shown),
                ])
        lines += ["", f"{mechanism.title}: ε = {mechanism.epsilon(1e-5):.4g}."]
        lines += table(["bound", *(f"N = {number(n)}" for n in shown)], rows)
    lines += [
        "![Share of the true ε that each bound finds against the number of runs.](auditors-1.svg)",
        "",
        "*Gaussian, μ = 1, ε = 4.377 at δ = 10⁻⁵: the share of it that each bound finds.*",
    ]
    return [*lines, *targets(effort), *WHY]


def targets(effort: Effort) -> list[str]:
    """Targets and what was reached."""
    rows = []
    asked = [target for target in TARGETS if target.bound in BOUNDS and target.runs in effort.audits]
    count = max(effort.audits.values())
    measured = in_parallel(delayed(trials.tightness)(t.bound, t.mechanism, t.runs, count, t.share) for t in asked)
    for target, (mean, error, milliseconds) in zip(asked, measured, strict=True):
        wanted = "" if target.most_milliseconds is None else f"{target.most_milliseconds:g}"
        late = target.most_milliseconds is not None and milliseconds > target.most_milliseconds
        met = ("yes" if mean >= target.least else "no") + (", late" if late else "")
        rows.append([
            f"`{target.bound}`",
            target.mechanism.title,
            number(target.runs),
            f"{target.least:.3f}",
            f"{mean:.3f} ± {2 * error:.3f}",
            wanted,
            f"{milliseconds:.2g}",
            met,
        ])
    head = ["bound", "law", "N", "ε at least", "ε found", "ms at most", "ms", "met"]
    return ["", "Targets, over 200 audits (± two standard errors of the mean):", *table(head, rows, 2)]


WHY = [
    "",
    "Why no model-free bound comes near on the Gaussian: at an event E the counts prove no more than ln((P(E) − "
    "δ)/q_U), "
    "and with N runs the upper limit q_U of Q(E) is never below −ln(α/2)/N = 3.7/N. The event that pays is as rare as "
    "that, Q(E) ≈ 1/N, and there P(E) = Φ(μ − Φ⁻¹(1 − 1/N)) ≈ exp(μ√(2 ln N) − μ²/2)/N. So about μ√(2 ln N) − μ²/2 − "
    "1.3 "
    "can be proved: for μ = 1 some 1.6 to 1.9 at N = 1 000 and 3.5 at 10⁶, of 4.38, which is Φ's tail at δ = 10⁻⁵ and "
    "would take N far above 1/δ. A bound that knows the Gaussian extrapolates into that tail, and a claim of μ-GDP is "
    "tested at every event and does not wait for the tail: there is the power (next section).",
    "",
    "Randomised response leaves nothing to choose but the side, so that its target speaks of 1 000 tested runs a side, "
    "1 250 with the pilot. ln(p̂/q̂) has the deviation √((e⁻¹ + e)/N), and no test at 5 % can be expected to find more "
    "than 1 − 1.645·1.757/√N: .909 with 1 000 tested runs, .898 with 800.",
    "",
]


@dataclass(frozen=True, slots=True)
class Power:
    """Runs a side that a broken mechanism takes."""

    name: str
    needed: int | None
    fixed: int
    joint: int | None
    stopped: float
    quantile: float


def power_of(name: str, effort: Effort) -> Power | None:
    """Runs a side for one broken mechanism; None where it takes more than the effort allows."""
    mechanism = BROKEN[name]
    needed = trials.event_runs_needed(mechanism, LEVEL) if mechanism.laws.tails(0.0) is not None else None
    if effort is not FULL and (needed is None or needed[0] > effort.most_needed):
        return None
    fixed = trials.fixed_runs_needed(mechanism, LEVEL, effort.stops)
    joint = trials.fixed_runs_needed(mechanism, LEVEL, effort.stops, "joint") if fixed < 500 else None
    stops = trials.stopping_times(mechanism, LEVEL, effort.stops, fixed)
    quantile = float(np.quantile(stops, POWER))
    return Power(name, None if needed is None else needed[0], fixed, joint, float(stops.mean()), quantile)


def power_section(effort: Effort) -> list[str]:
    """Runs needed on the broken mechanisms."""
    found = in_parallel(delayed(power_of)(name, effort) for name in BROKEN)
    shown = [one for one in found if one is not None]
    ahead = sum(one.stopped < one.fixed for one in shown)
    ahead_of_joint = sum(one.joint is None or one.stopped < one.joint for one in shown)
    rows = [
        [
            f"`{one.name}`",
            BROKEN[one.name].title,
            "—" if one.needed is None else number(one.needed),
            number(one.fixed),
            "—" if one.joint is None else number(one.joint),
            number(one.stopped),
            number(one.quantile),
            f"{one.stopped / one.fixed:.2f}",
        ]
        for one in shown
    ]
    head = ["mechanism", "", "best event", "fixed N", "joint", "e-process, mean", ".8 quantile", "mean over fixed N"]
    return [
        "## How many runs refute a broken mechanism?",
        "",
        "Runs a side at α = .05. Best event: the N of the power calculation, exact, at power .8, for an auditor who "
        "knows "
        "the event (a test simulates it). Fixed N: the smallest at which .8 of the simulated audits refute by "
        "Clopper–Pearson, a pilot of a fifth included; joint: the same for the joint test. E-process: pairs "
        f"until it stops, no pilot; its mean is below fixed N on {ahead} of {len(rows)} mechanisms, and below that of "
        f"the joint test on {ahead_of_joint}.",
        *table(head, rows, 2),
    ]


def identification_section() -> list[str]:
    """Caps of rung D beside those of rung C."""
    claim = point_claim(8.0)
    rows = []
    for r in (10, 20, 40):
        epsilon, mu = identification_cap(Game("coin", 2 * r, r), claim, LEVEL)
        rows.append([f"{r} of {r} named right, one run", "1", number(epsilon), number(mu)])
    for n in (30, 100, 1_000, 10_000, 100_000):
        p = (LEVEL / 2) ** (1 / n)
        rows.append([
            f"{number(n)} + {number(n)} runs, told apart by every one",
            number(2 * n),
            number(epsilon_lower_at_event(p, 1 - p, claim.delta, claim.directions)),
            number(trials.mu_cap(n, LEVEL)),
        ])
    return [
        "## What can be proved at most?",
        "",
        "Naming the forgotten records of one unlearned model (rung D) against telling unlearned from retrained models "
        "apart without a model of the noise (rung C, Clopper–Pearson), both without an error, α = .05, δ = 10⁻⁵. "
        "The one grows with the records named, r·ln 2 + ln α; the other with ln N.",
        *table(["evidence", "models", "ε at most", "μ at most"], rows),
    ]


def write(page: Path, effort: Effort, say: Callable[[str], object] = print) -> None:
    """Simulate and write the page with its picture."""
    lines = [
        "# Auditors, audited",
        "",
        "An auditor is software under test. Here every bound of `audit.bounds.table` is shown mechanisms whose ε is "
        "known: "
        "true claims, which it may refute with its failure probability at most, and false ones, which it should refute "
        "at the number of runs that its power calculation names. Written by `tox -e statistics`, which first runs the "
        "gates "
        "with up to 20 000 simulations a case, fewer where a bound is slow; all seeds are fixed.",
        "",
    ]
    cells: list[Cell] = []

    def tight() -> list[str]:
        cells.extend(measure(effort))
        return tightness_section(cells, effort)

    sections: list[Callable[[], list[str]]] = [
        bounds_section,
        lambda: error_section(effort),
        lambda: naive_section(effort),
        tight,
        lambda: power_section(effort),
        identification_section,
        mechanisms_section,
    ]
    for section in sections:
        started = time.perf_counter()
        lines += [*section(), ""]
        say(f"{time.perf_counter() - started:6.1f} s")
    lines += [
        "## Other implementations",
        "",
        "[auditors-compared.md](auditors-compared.md), written by `tox -e compare`: the same scores in jax-privacy, "
        "and "
        "dp-accounting for the subsampled Gaussian.",
    ]
    write_page(page, lines)
    (page.parent / f"{page.stem}-1.svg").write_text(on_white(picture(cells)), encoding="utf-8")


def main() -> int:
    """Write docs/auditors.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.auditors")
    parser.add_argument("--quick", action="store_true", help="few simulations: to see that it works")
    parser.add_argument("--out", type=Path, default=PAGE)
    arguments = parser.parse_args()
    write(arguments.out, QUICK if arguments.quick else FULL)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
