"""`python -m benchmarks.comparison [--out FILE]`: the same scores in other implementations, docs/auditors-compared.md.

Needs jax-privacy and dp-accounting (`tox -e compare`); nothing else of the project does.
"""

import argparse
import importlib.metadata
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from dp_accounting.pld import privacy_loss_distribution
from jax_privacy import auditing

from audit.bounds.fixed_event import EventDesign
from audit.bounds.one_run import mahloujifar_estimate, steinke_estimate, steinke_p_value_upper
from audit.bounds.result import Event
from audit.laws import GaussianPair, SubsampledGaussian
from audit.mechanisms import TRUE, Mechanism, point_claim
from unlearning.binomial import clopper_pearson_lower
from unlearning.tradeoff import Directions

from .markdown import table
from .trials import AT_A_POINT, generator_of, tightness

PAGE = Path("docs/auditors-compared.md")
DELTA, LEVEL = 1e-5, 0.05
GATE = 1e-9
Theirs = Callable[[Any], float]


def fixed_event_difference(cases: int) -> float:
    """Largest difference of ε from Clopper–Pearson limits at a fixed threshold, over random scores."""
    rng, largest = generator_of("fixed"), 0.0
    for case in range(cases):
        sizes, level = rng.integers(5, 400, 2), float(rng.choice([0.01, 0.05, 0.2]))
        scores = [rng.normal(shift, 1, size) for shift, size in zip((rng.uniform(0, 4), 0), sizes, strict=True)]
        threshold, one_sided = float(rng.normal(1, 1)), bool(case % 2)
        theirs = auditing.CanaryScoreAuditor(*scores).epsilon_clopper_pearson(
            level, DELTA, one_sided, threshold_strategy=auditing.Explicit(threshold)
        )
        claim = point_claim(1.0, DELTA, Directions.RELEASED if one_sided else Directions.BOTH)
        x, y = (int(Event(threshold).contains(arm).sum()) for arm in scores)
        ours = EventDesign(int(sizes[0]), int(sizes[1]), level).bound(x, y, claim).epsilon_lower
        largest = max(largest, abs(float(theirs) - ours))
    return largest


def one_run_difference(cases: int) -> tuple[float, float, float]:
    """Largest differences over random games: Steinke's p-value, Steinke's ε, and Mahloujifar's ε."""
    rng, p_value, steinke, mahloujifar = generator_of("one run"), 0.0, 0.0, 0.0
    claim = point_claim(1.0)
    for _ in range(cases):
        m = int(rng.integers(20, 300))
        r = int(rng.integers(2, m + 1))
        v = int(rng.integers(r // 2, r + 1))
        epsilon = float(rng.uniform(0, 3))
        theirs = auditing._one_run_p_value(m, r, v, epsilon, DELTA)
        p_value = max(p_value, abs(theirs - steinke_p_value_upper(v, r, m, epsilon, DELTA)))
        s = auditing._epsilon_one_run(0, m, r, v, LEVEL, DELTA)
        g = auditing._epsilon_one_run_fdp(1e-3, m, r, v, LEVEL, DELTA)
        steinke = max(steinke, abs(s - steinke_estimate(v, r, m, claim, LEVEL).epsilon_lower))
        mahloujifar = max(mahloujifar, abs(g - mahloujifar_estimate(v, r, m, claim, LEVEL).epsilon_lower))
    return p_value, steinke, mahloujifar


def same_section(cases: int) -> list[str]:
    """Where the definitions coincide."""
    p_value, steinke, mahloujifar = one_run_difference(cases // 4)
    rows = [
        [
            "Clopper–Pearson at a fixed threshold, one direction and both",
            str(cases),
            f"{fixed_event_difference(cases):.1e}",
        ],
        ["one run, Steinke et al.: p-value", str(cases // 4), f"{p_value:.1e}"],
        ["one run, Steinke et al.: ε (ours on a grid of .01)", str(cases // 4), f"{steinke:.1e}"],
        ["one run, Mahloujifar et al.: ε (ours on a grid of .01)", str(cases // 4), f"{mahloujifar:.1e}"],
    ]
    return ["## Where the definitions coincide", *table(["quantity", "random cases", "largest difference"], rows)]


STRATEGIES: dict[str, tuple[str, Theirs]] = {
    "Bonferroni": (
        "best threshold of the convex hull, α over its vertices",
        lambda a: a.epsilon_clopper_pearson(LEVEL, DELTA, one_sided=False),
    ),
    "Split": (
        "half of the runs choose the threshold",
        lambda a: a.epsilon_clopper_pearson(LEVEL, DELTA, one_sided=False, threshold_strategy=auditing.Split(0.5, 0)),
    ),
    "MultiSplit": (
        "median of 20 splits at α/2",
        lambda a: a.epsilon_clopper_pearson(
            LEVEL, DELTA, one_sided=False, threshold_strategy=auditing.MultiSplit(20, 0.5, 0)
        ),
    ),
    "GDP": ("μ of the best threshold, Bonferroni", lambda a: a.epsilon_from_gdp(LEVEL, DELTA)),
    "raw counts": ("ln(TPR/FPR) with 50 false positives", lambda a: a.epsilon_raw_counts(50, DELTA, one_sided=False)),
}


def run_theirs(name: str, mechanism: Mechanism, runs: int, audits: int) -> np.ndarray:
    """Their ε of simulated audits."""
    generator = generator_of("theirs", name, mechanism.name, runs)
    find = STRATEGIES[name][1]
    return np.array([
        float(find(auditing.CanaryScoreAuditor(*mechanism.draw(runs, generator=generator)))) for _ in range(audits)
    ])


def different_section(audits: int) -> list[str]:
    """Where they do not."""
    rows, true = [], AT_A_POINT.epsilon(DELTA)
    for name, (title, _) in STRATEGIES.items():
        cells = []
        for key in ("equal", "laplace"):
            found = run_theirs(name, TRUE[key], 1000, audits)
            wrong = int((found > TRUE[key].epsilon(DELTA) + 1e-9).sum())
            cells += [f"{wrong / audits:.3f}", f"{float(clopper_pearson_lower(wrong, audits, GATE)):.3f}"]
        cells.append(f"{run_theirs(name, AT_A_POINT, 1000, max(10, audits // 5)).mean() / true:.3f}")
        rows.append([name, title, *cells])
    head = ["jax-privacy", "", "equal laws: wrong", "limit", "Laplace: wrong", "limit", "share of ε, Gaussian"]
    ours = [
        [f"`{bound}`", f"{tightness(bound, AT_A_POINT, 1000, max(10, audits // 5))[0] / true:.3f}"]
        for bound in ("clopper-pearson", "joint", "band")
    ]
    return [
        "## Where they do not",
        "",
        f"{audits} audits, 1 000 runs a side, α = .05, δ = 10⁻⁵, both directions. Wrong: share of the audits whose ε "
        f"is "
        "above the true one (0 for equal laws, 1 for Laplace). Limit: what the share is at least, at confidence 1 − "
        "10⁻⁹.",
        *table(head, rows, 2),
        "Ours on the same law and runs:",
        *table(["bound", "share of ε, Gaussian"], ours),
        *EXPLAINED,
    ]


EXPLAINED = [
    "* Bonferroni: α is divided by the vertices of the convex hull of the ROC curve, some ten of a thousand "
    "thresholds. "
    "Which ten was seen on the same scores, so that a union bound over ten does not follow; no law was found on which "
    "it is wrong too often. Our band covers all thresholds at once, exactly.",
    "* GDP: called an estimate there, though it takes a significance. It is the largest |Φ⁻¹(1 − FPR_U) − Φ⁻¹(FNR_U)| "
    "of "
    "upper limits. Where the difference is negative, which it is for equal laws at every threshold, its absolute value "
    "bounds nothing from below: the reverse test needs lower limits. For Laplace its Gaussian is wrong as well.",
    "* Raw counts: an estimate without a limit, at the best of all thresholds; called an estimate there too.",
    "* Split and MultiSplit keep α. Their half chooses by the limit it gives itself, our fifth by the limit that the "
    "other runs are expected to give.",
    "* One run: those games are about training on a record or not, and the numbers agree. The null of our "
    "identification (rung D) is another one: its cap is r·ln 2, theirs a few units.",
    "",
]


def accounting_section() -> list[str]:
    """Closed forms against dp-accounting."""
    rows = []
    for title, shift, rate in (("Gaussian", 1.0, 1.0), ("subsampled", 2.0, 0.1), ("subsampled", 1.0, 0.01)):
        laws = GaussianPair(shift) if rate == 1 else SubsampledGaussian(shift, rate)
        theirs = privacy_loss_distribution.from_gaussian_mechanism(1 / shift, sampling_prob=rate)
        for delta in (1e-5, 1e-2):
            found, exact = float(theirs.get_epsilon_for_delta(delta)), laws.epsilon(delta)
            rows.append([title, f"{shift:g}", f"{rate:g}", f"{delta:g}", f"{exact:.6f}", f"{found:.6f}"])
    return [
        "## dp-accounting",
        "",
        "ε(δ) in closed form, and from a privacy-loss distribution on a grid of 10⁻⁴, rounded up: never below.",
        *table(["law", "μ", "rate", "δ", "closed form", "dp-accounting"], rows),
    ]


def write(page: Path, audits: int) -> None:
    """Compare and write the page."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("jax-privacy", "dp-accounting"))
    lines = [
        "# Auditors compared",
        "",
        f"The same scores in other implementations: {versions}. Written by `tox -e compare`; all seeds are fixed.",
        "",
        *same_section(2 * audits),
        *different_section(audits),
        *accounting_section(),
    ]
    page.write_text("\n".join(lines).strip().replace("\n\n\n", "\n\n") + "\n", encoding="utf-8")


def main() -> int:
    """Write docs/auditors-compared.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.comparison")
    parser.add_argument("--audits", type=int, default=500, help="simulated audits in each cell")
    parser.add_argument("--out", type=Path, default=PAGE)
    arguments = parser.parse_args()
    started = time.perf_counter()
    write(arguments.out, arguments.audits)
    print(f"{time.perf_counter() - started:.0f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
