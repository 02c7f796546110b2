"""A synthetic record with everything a report can meet: all verdicts, gaps everywhere, hostile names, many controls."""

import math
from typing import Any

import numpy as np

from unlearning.claim import Reference, Released, SeedPolicy, Status
from unlearning.gaussian import epsilon_of_delta, mu_of_epsilon_delta
from unlearning.record import (
    Accuracy,
    ArrayFile,
    BoundSearch,
    BrokenBound,
    CertificateFacts,
    Circumstances,
    ClaimFacts,
    Constant,
    Control,
    DatasetFacts,
    Distances,
    Evidence,
    Histogram,
    KindSearch,
    LawSearch,
    Line,
    Prediction,
    Quantity,
    Record,
    Row,
    SmallProblem,
    TaskFacts,
    Timing,
    TradeOffCurve,
    make_record,
)
from unlearning.tradeoff import Directions, GaussianTradeOff
from unlearning.verdict import Outcome, Verdict

DELTA = 1e-5
HOSTILE = '<script>alert("x")</script> #let x = 1 *bold* _it_ $x^2$ `raw` \\ @ref </svg> 中文 \u202etfel'
N = 512


def line(rung: str, key: str, title: str, subject: str, outcome: Outcome = Outcome.NOT_REFUTED, **more: Any) -> Line:
    computed = outcome in (Outcome.REFUTED, Outcome.NOT_REFUTED)
    values: dict[str, Any] = {
        "rung": rung,
        "key": key,
        "title": title,
        "subject": subject,
        "seeds": "paired" if rung in "AB" else "independent",
        "deciding": True,
        "outcome": outcome,
        "finding": f"The statistic was 1.93 against a threshold of 2.81 over {N} runs a side.",
        "failure_probability": 0.0125,
        "assumes": "nothing",
        "kind": "exact" if rung == "A" else "confidence",
        "runs_released": N,
        "runs_reference": N,
        "reason": None if computed else "Fewer runs than the event needs; 2048 a side would do.",
    }
    return Line(**{**values, **more})


def ladder(mu: float, noop_mu: float, claimed: float, *, refuted: bool = False) -> list[Line]:
    lower = max(0.0, mu - 0.21)
    said = Outcome.REFUTED if refuted else Outcome.NOT_REFUTED
    power = 1.0 if noop_mu > 2 * claimed else 0.06
    return [
        line("A", "sensitivity", "Distance against Δ", "bound", derivation={"distance": 2.4e-4, "sensitivity": 1.7e-3}),
        line(
            "A",
            "exact-epsilon",
            "Exact ε of the distances",
            "claim",
            said,
            epsilon_lower=epsilon_of_delta(mu, DELTA),
            mu_lower=mu,
            noop_power=power,
            finding=f"The achieved ε is {epsilon_of_delta(mu, DELTA):.4f}.",
        ),
        line(
            "B",
            "noise-scale",
            "Noise scale by χ²",
            "noise",
            statistic=65412.3,
            threshold=66102.9,
            detectable="a noise scale 2 % too small is refuted with probability .8",
        ),
        line(
            "B",
            "noise-shape",
            "Noise shape by Kolmogorov–Smirnov",
            "noise",
            deciding=False,
            statistic=0.0031,
            threshold=0.0071,
        ),
        line(
            "C",
            "projection-z",
            "Projection z-test",
            "claim",
            said,
            assumes="Gaussian noise of the stated scale",
            mu_lower=lower,
            epsilon_lower=epsilon_of_delta(lower, DELTA),
            detectable_mu=claimed + 0.22,
            detectable_epsilon=epsilon_of_delta(claimed + 0.22, DELTA),
            noop_power=power,
            statistic=mu,
            threshold=2.81,
        ),
        line(
            "C",
            "band",
            "Simultaneous band over all thresholds",
            "claim",
            event="score ≥ 1.234",
            counts_released=41,
            counts_reference=37,
            epsilon_lower=epsilon_of_delta(lower / 3, DELTA),
            mu_lower=lower / 3,
            detectable_epsilon=epsilon_of_delta(claimed + 0.61, DELTA),
            noop_power=power * 0.93,
            derivation={"p_lower": 0.0512, "q_upper": 0.1011, "eta": 0.00053},
        ),
    ]


def claim(epsilon: float, *, gaussian: bool, hand: bool = False, one: bool = False) -> ClaimFacts:
    mu = mu_of_epsilon_delta(epsilon, DELTA) if gaussian else None
    return ClaimFacts(
        sentence="The released weights after forgetting these records are indistinguishable from retrained weights.",
        kind="gaussian" if gaussian else "epsilon-delta",
        epsilon=epsilon,
        delta=DELTA,
        mu=mu,
        reference=Reference.RETRAINED if gaussian else Reference.EMPTY_REQUEST,
        directions=Directions.RELEASED if one else Directions.BOTH,
        seed_policy=SeedPolicy.PER_SEED,
        request_size=10,
        released=Released.WEIGHTS,
        stated_by="hand" if hand else "certificate",
    )


def certificate(status: Status = Status.PROVED, **more: Any) -> CertificateFacts:
    premise = Constant(
        statement="The loss is 1-Lipschitz in the weights",
        value=1.0,
        status=status,
        how="Features are clipped to norm 1.",
    )
    convex = Constant(statement="Strong convexity λ", value=0.01, status=Status.PROVED, how="The regulariser ½λ‖w‖².")
    values: dict[str, Any] = {
        "theorem": "Sekhari et al. 2021, Theorem 3, with a posteriori residual",
        "sensitivity_budget": 2.0e-3,
        "sensitivity_upper_median": 1.6e-3,
        "sensitivity_upper_largest": 1.7e-3,
        "failure_probability": 0.0,
        "assumptions": [convex, premise],
        "status": status,
        "refused_replicas": 0,
        "noise_scale_required": 0.00634,
        "epsilon_implied": 0.85,
    }
    return CertificateFacts(**{**values, **more})


def distances(unlearned: float, original: float, sigma: float, upper: float | None = 1.7e-3) -> Distances:
    spread = [0.82, 0.9, 1.0, 1.11, 1.2]
    mu, noop = 1.2 * unlearned / sigma, 1.2 * original / sigma
    return Distances(
        unlearned=[unlearned * s for s in spread],
        original=[original * s for s in spread],
        sensitivity_upper=None if upper is None else [upper * s for s in (0.9, 0.93, 0.95, 0.98, 1.0)],
        slack_largest=None if not upper else 1.2 * unlearned / upper,
        achieved_epsilon=epsilon_of_delta(mu, DELTA),
        achieved_mu=mu,
        noop_epsilon=epsilon_of_delta(noop, DELTA),
        noop_mu=noop,
    )


def curve(label: str, mu: float, *, band: bool) -> TradeOffCurve:
    alpha = np.linspace(0, 1, N + 1)
    f = GaussianTradeOff(mu)
    margin = np.where((alpha > 0) & (alpha < 1), 0.09 * np.sqrt(alpha * (1 - alpha)) * 2 + 0.012, 0.012)
    low = np.clip(f(np.clip(alpha + margin, 0, 1)) - margin, 0, 1)
    high = np.clip(f(np.clip(alpha - margin, 0, 1)) + margin, 0, 1)
    points = {"band_alpha_lower": alpha, "band_beta_lower": low, "band_alpha_upper": alpha, "band_beta_upper": high}
    return TradeOffCurve(
        label=label,
        alpha=alpha.tolist(),
        beta=f(alpha).tolist(),
        **{name: values.tolist() if band else [] for name, values in points.items()},
        band_failure_probability=0.0125,
        score="projection on the whitened mean difference",
    )


def histogram(label: str, centre: float) -> Histogram:
    edges = np.linspace(-4, 8, 41)
    middle = (edges[1:] + edges[:-1]) / 2
    counts = np.round(N * 0.3 * np.exp(-((middle - centre) ** 2) / 2) / math.sqrt(2 * math.pi))
    return Histogram(label=label, edges=edges.tolist(), counts=counts.astype(int).tolist())


def row(name: str, verdict: Verdict, **more: Any) -> Row:
    claimed = mu_of_epsilon_delta(1.0, DELTA)
    values: dict[str, Any] = {
        "name": name,
        "task": "digits-softmax",
        "method": "newton",
        "title": f"Newton step ({name})",
        "citation": "Sekhari, Acharya, Kamath & Suresh, Remember What You Want to Forget, NeurIPS 2021",
        "parameters": {"steps": 1, "solver": "cholesky", "damping": 0.0, "clip": True, "limit": None},
        "differs": ["The Hessian is that of the retained records, not an average over subsets."],
        "stores": "the Hessian, 650 × 650 float64, and the training records",
        "claim": claim(1.0, gaussian=True),
        "noise_scale": 2.0e-3 / claimed,
        "calibration": "analytic Gaussian mechanism for Δ = 0.002, fixed before any request",
        "certificate": certificate(),
        "lines": ladder(0.12, 90.0, claimed, refuted=False),
        "distances": distances(2.4e-4, 0.164, 2.0e-3 / claimed),
        "accuracies": [
            Accuracy(model=model, forget=forget, retain=0.912, holdout=0.883)
            for model, forget in (("original", 0.95), ("retrained", 0.81), ("unlearned", 0.812), ("released", 0.809))
        ],
        "curves": [curve("unlearned", 0.12, band=True), curve("doing nothing", 3.2, band=False)],
        "histograms": [histogram("unlearned", 0.12), histogram("retrained", 0.0), histogram("doing nothing", 3.2)],
        "quantities": [
            Quantity(
                name="gradient after", meaning="‖∇F_r(w̃)‖: 0 at a minimiser", least=2e-9, median=3.1e-9, largest=4e-9
            ),
            Quantity(
                name="published bound",
                meaning="Δ as printed",
                least=40.0,
                median=41.0,
                largest=42.0,
                noise_scale_required=160.0,
                epsilon_implied=1e9,
            ),
            Quantity(name="dual gap", meaning=HOSTILE, least=0.0, median=None, largest=None),
        ],
        "failure_probability": 0.05,
        "shares": {"A": 0.0, "B": 0.0125, "C projection": 0.0125, "C band": 0.025},
        "replicas": {"test": N, "selection": 128},
        "verdict": verdict,
        "because": "No deciding line contradicts the promise, and the projection test would have caught doing nothing",
        "expected": verdict,
        "as_expected": True,
    }
    return Row(**{**values, **more})


def bound_search(*, broken: bool = False, unfinished: bool = False, columns: int = 2, records: int = 3) -> BoundSearch:
    """What small problems showed: a ratio near 1, with a law that says nothing where unfinished; or one that broke."""
    law = LawSearch(
        law="sensitivity",
        title="after one request",
        problems=41,
        refused=2,
        kinds=[
            KindSearch(kind="ridge by descent", problems=39, refused=0, judged=3),
            KindSearch(kind="softmax to the minimum", problems=2, refused=2, judged=0),
        ],
        remarks=["some problems were refused: too wide"],
        ratios=[0.25, 0.99876, 0.0],
        tightest=0.99876,
        tightest_problem=SmallProblem(words="ridge, 3 records (round), 2 columns", fields={}),
    )
    silent = LawSearch(
        law="other", title="after two", problems=7, refused=7, ratios=[], tightest=None, reason="refused"
    )
    if not broken:
        return BoundSearch(problems=30, laws=[law, silent] if unfinished else [law], remarks=["a note on the search"])
    counterexample = BrokenBound(
        law="sensitivity",
        finding=HOSTILE,
        problem=SmallProblem(words="ridge, 3 records (round), 2 columns", fields={}),
        recipe=HOSTILE,
        features=[[0.1 * record] * columns for record in range(records)],
        labels=[1.0] * records,
        replica=0,
        forgotten=[records - 1],
        measured={"distance": 0.3214, "sensitivity_upper": 0.1239, "distance of doing nothing": 0.777, "other": 1.0},
        file="sensitivity-Mine-0123abcd.json",
    )
    return BoundSearch(problems=30, laws=[law], counterexample=counterexample)


def rows() -> list[Row]:
    claimed = mu_of_epsilon_delta(1.0, DELTA)
    sigma = 2.0e-3 / claimed
    exact_zero = distances(1e-9, 0.164, sigma, 0.0).model_copy(
        update={"unlearned": [0.0] * 5, "achieved_epsilon": 0.0, "achieved_mu": 0.0, "sensitivity_upper": [0.0] * 5}
    )
    gaps = [
        line(r, k, k, s, Outcome.NOT_COMPUTABLE) for r, k, s in (("A", "sensitivity", "bound"), ("C", "band", "claim"))
    ]
    return [
        row("newton", Verdict.NOT_REFUTED, bound_search=bound_search()),
        row(
            "retrain",
            Verdict.NOT_REFUTED,
            method="retrain",
            title="Exact retraining",
            distances=exact_zero,
            lines=ladder(0.0, 90.0, claimed),
            certificate=certificate(
                sensitivity_budget=0.0, sensitivity_upper_median=0.0, sensitivity_upper_largest=0.0, assumptions=[]
            ),
        ),
        row(
            "hessian-free",
            Verdict.VACUOUS,
            method="hessian-free",
            title="Hessian-free, loose a-priori bound",
            because="Doing nothing has exact ε = 0.012, far below the claimed 1",
            noise_scale=60.0,
            certificate=certificate(Status.ESTIMATED, sensitivity_budget=16.0, sensitivity_upper_largest=15.2),
            distances=distances(7.5e-4, 0.164, 60.0, 15.2),
            lines=ladder(1e-5, 0.003, claimed),
        ),
        row(
            "half-noise",
            Verdict.REFUTED,
            title="Newton step with a wrong noise scale",
            expected=Verdict.NOT_REFUTED,
            as_expected=False,
            because="The projection test gives μ ≥ 0.512, the promise is μ = 0.268",
            bound_search=bound_search(broken=True),
            lines=ladder(0.72, 90.0, claimed, refuted=True),
            distances=distances(2.2e-3, 0.164, sigma, 1.7e-3),
            certificate=certificate(Status.ASSUMED, refused_replicas=3),
            claim=claim(1.0, gaussian=True),
        ),
        row(
            "too-few-runs",
            Verdict.NOT_COMPUTABLE,
            title="Newton step, eight runs",
            expected=Verdict.NOT_COMPUTABLE,
            because="No line would have refuted doing nothing; 240 runs a side would do",
            lines=gaps,
            curves=[],
            claim=claim(8.0, gaussian=False),
            histograms=[],
        ),
        row(
            "crashed",
            Verdict.ERROR,
            title="A method that raised",
            expected=Verdict.NOT_REFUTED,
            as_expected=False,
            because="The method raised FloatingPointError in unlearn",
            distances=None,
            curves=[],
            histograms=[],
            accuracies=[],
            certificate=certificate(Status.VIOLATED),
            replicas={},
            shares={},
            lines=[line("C", "band", "Simultaneous band", "claim", Outcome.ERROR)],
        ),
        row(
            HOSTILE,
            Verdict.NOT_REFUTED,
            method=HOSTILE,
            title=HOSTILE,
            citation=HOSTILE,
            stores=HOSTILE,
            because=HOSTILE,
            calibration=HOSTILE,
            differs=[HOSTILE],
            parameters={HOSTILE: HOSTILE},
            certificate=None,
            claim=claim(1.0, gaussian=False, hand=True, one=True),
            curves=[curve(HOSTILE, 0.3, band=True)],
            histograms=[histogram(HOSTILE, 0.0)],
            accuracies=[Accuracy(model=HOSTILE, forget=0.5, retain=0.5, holdout=0.5)],
        ),
        bare(),
    ]


def bare() -> Row:
    """A row in which everything that may be missing is missing."""
    return row(
        "bare",
        Verdict.NOT_COMPUTABLE,
        title="Nothing beyond the claim",
        certificate=None,
        lines=[],
        distances=None,
        accuracies=[],
        curves=[],
        histograms=[],
        shares={},
        replicas={},
        parameters={},
        differs=[],
        noise_scale=0.0,
        claim=claim(1.0, gaussian=False, hand=True),
        because="No line of evidence was asked for",
    )


def control(place: int) -> Control:
    names = ("retrained in disguise", "no-op", "tenth of the noise", "half of the noise", "frozen noise")
    outcomes = (Outcome.NOT_REFUTED, Outcome.REFUTED, Outcome.REFUTED, Outcome.REFUTED, None)
    kind = place % len(names)
    predictions = [
        Prediction(
            line=key,
            title=title,
            predicted=outcomes[kind],
            refutation_probability_lower=None if outcomes[kind] is None else (0.0 if kind == 0 else 0.9999),
            refutation_probability_upper=None if outcomes[kind] is None else (1e-6 if kind == 0 else 1.0),
            observed=outcomes[kind] or Outcome.NOT_REFUTED,
            contradicted=False,
            failure_probability=1e-5,
        )
        for key, title in (
            ("noise-scale", "Noise scale by χ²"),
            ("projection-z", "Projection z-test"),
            ("band", "Simultaneous band"),
        )
    ]
    return Control(
        row=("newton", "retrain", "hessian-free", "half-noise", HOSTILE, "too-few-runs")[place // len(names)],
        name=names[kind].replace(" ", "-"),
        title=names[kind],
        meaning="The released side gets this defect; the reference side is untouched.",
        exact_epsilon=None if kind == 4 else 12.5 * kind,
        predictions=predictions,
        verdict=Verdict.NOT_REFUTED if kind in (0, 4) else Verdict.REFUTED,
        behaved=True,
    )


def task(name: str) -> TaskFacts:
    return TaskFacts(
        name=name,
        dataset=DatasetFacts(
            name="digits",
            origin="scikit-learn, UCI optical recognition of handwritten digits",
            sha256="0f" * 32,
            rows=800,
            features=64,
            classes=10,
            holdout_rows=297,
            preprocessing="divided by 16, norm clipped to 1",
            remark="small and clean; results need not carry over to larger data",
        ),
        model="softmax regression",
        parameters=650,
        recipe="exact minimiser by Newton’s method, gradient norm at most 1e-12",
        regularisation=0.01,
        request="drawn uniformly, before training",
        request_size=10,
        request_ids=list(range(3, 800, 80)),
        constants=[
            Constant(
                statement="Lipschitz constant of the Hessian",
                value=0.0962,
                status=Status.PROVED,
                how="closed form for softmax",
            ),
            Constant(
                statement="Stopping error ‖∇F‖/λ", value=4.9e-11, status=Status.CHECKED, how="measured on every replica"
            ),
            Constant(
                statement="Bound on the features", value=1.0, status=Status.CHECKED, how="largest norm in the data"
            ),
            Constant(statement="Data are independent draws", status=Status.ASSUMED, how="nobody can check this"),
        ],
    )


def evidence(**more: Any) -> Evidence:
    values: dict[str, Any] = {
        "title": "Which of these methods forget what they certify to forget?",
        "plan": {
            "title": "Which of these methods forget what they certify to forget?",
            "seed": None,
            "failure_probability": 0.05,
            "task": {"name": "digits-softmax", "regularisation": 0.01},
            "rows": [{"name": "newton", "method": "newton", "epsilon": 1.0, "steps": [1, 2]}, {"name": HOSTILE}],
        },
        "plan_sha256": "ab" * 32,
        "seed": 0,
        "device": "cpu",
        "verdict": Verdict.ERROR,
        "family": "row",
        "failure_probability": 0.05,
        "control_failure_probability": 0.001,
        "tasks": [task("digits-softmax"), task(HOSTILE)],
        "rows": rows(),
        "controls": [control(place) for place in range(30)],
        "arrays": [
            ArrayFile(name="scores.npz", shape=[8, 512], dtype="float64", sha256="cd" * 32, meaning="scores by row")
        ],
    }
    return Evidence(**{**values, **more})


def circumstances(**more: Any) -> Circumstances:
    values: dict[str, Any] = {
        "date": "2026-03-14T09:26:53+00:00",
        "host": "laptop",
        "command": "python -m certunlearn audit plans/digits.toml --seed 0",
        "commit": "06bc29dcafe06bc29dcafe06bc29dcafe06bc29d",
        "versions": {"certunlearn": "0.1.0", "torch": "2.9.0", "numpy": "2.4.6", "python": "3.11.7"},
        "device": "cpu, 2 cores",
        "jobs": 2,
        "seconds": 187.3,
        "peak_memory_bytes": 812_345_678,
        "timings": [
            Timing(what="train originals", seconds=12.2, models=640),
            Timing(what="retrain", row="newton", seconds=11.9, models=640),
            Timing(what="unlearn", row="newton", seconds=0.31, models=640),
            Timing(what="bounds", row="newton", seconds=0.0042),
        ],
    }
    return Circumstances(**{**values, **more})


def record(**more: Any) -> Record:
    return make_record(evidence(**more), circumstances())


def without_evidence() -> Record:
    """The same audit with every optional piece of evidence deleted."""
    return make_record(
        evidence(rows=[bare()], controls=[], arrays=[], verdict=Verdict.NOT_COMPUTABLE),
        circumstances(commit=None, timings=[], date="no date"),
    )
