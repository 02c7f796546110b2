"""Synthetic attacks with everything a report can meet: all kinds of attacks, both seeds, gaps, hostile names."""

import math
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from unlearning.auc import auc_allowed
from unlearning.gaussian import epsilon_of_delta
from unlearning.record import Record, Row
from unlearning.record_attacks import (
    AttackResult,
    Attacks,
    Differencing,
    Interval,
    Measure,
    OperatingPoint,
    PerRecord,
    Reconstruction,
    RecordGroup,
    SweepPoint,
)
from unlearning.tradeoff import GaussianTradeOff
from unlearning.verdict import Outcome, Verdict

from . import sample

RUNS, FORGOTTEN, CANDIDATES = 128, 10, 20
FACTORS = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)
FEATURES = ("direct-diff", "sorted-diff", "direct-concat", "sorted-concat", "l2")
MODELS = ("logistic", "tree", "forest", "mlp")
ONE_VERSION = {
    "lira-online": "LiRA, online",
    "lira-offline": "LiRA, offline",
    "rmia": "RMIA",
    "loss": "Loss threshold",
    "entropy": "Modified entropy",
    "svc": "SVC efficacy",
    "u-lira": "U-LiRA",
    "ruli": "RULI",
}


def interval(mean: float, half: float = 0.0123, runs: int = RUNS) -> Interval:
    known = runs >= 5
    return Interval(
        mean=mean,
        lower=mean - half if known else None,
        upper=mean + half if known else None,
        deviation=half * math.sqrt(runs) / 2 if known else None,
        runs=runs,
        failure_probability=0.05,
    )


def points(shift: float) -> list[OperatingPoint]:
    size = RUNS * FORGOTTEN
    hits = round(size * float(ndtr(shift - 2.3263)))
    told = OperatingPoint(
        target=0.01,
        negatives_needed=1000,
        negatives=size,
        positives=size,
        threshold=1.2345 + shift,
        false_positives=12,
        true_positives=hits,
        false_positive_rate=12 / size,
        false_positive_rate_upper=0.0164,
        true_positive_rate=hits / size,
        true_positive_rate_lower=max(0.0, hits / size - 0.011),
        true_positive_rate_upper=hits / size + 0.013,
        failure_probability=0.05,
    )
    silent = OperatingPoint(target=0.001, negatives_needed=10_000, negatives=size, positives=size)
    return [told, silent]


def result(attack: str, title: str, family: str, against: str, auc: float, **more: Any) -> AttackResult:
    shift = math.sqrt(2) * float(ndtri(auc))  # N(shift, 1) against N(0, 1)
    false = np.concatenate([[0.0], np.geomspace(1 / 1280, 1, 60)])
    true = ndtr(ndtri(false) + shift)
    values: dict[str, Any] = {
        "attack": attack,
        "title": title,
        "family": family,
        "against": against,
        "seeds": "fresh",
        "fit_runs": 64,
        "runs": RUNS,
        "positives": RUNS * FORGOTTEN,
        "negatives": RUNS * (CANDIDATES - FORGOTTEN),
        "run_aucs": [auc] * RUNS,
        "auc": interval(auc),
        "gap": None,
        "balanced_accuracy": interval(0.5 + (auc - 0.5) / 1.5, 0.0109),
        "threshold": 0.3,
        "chance_upper": 1.0 if auc < 0.52 else 10 ** (-200 * (auc - 0.5)),
        "auc_lower": auc - 0.0263,
        "auc_allowed": None if family == "MIA-U" else 0.6057,
        "failure_probability": 0.0025,
        "power": min(0.9987, max(0.0021, 3 * (auc - 0.5))),
        "shadow_auc": interval(auc - 0.004, 0.02, 64),
        "caught": auc >= 0.52,
        "points": points(shift),
        "roc_false": false.tolist(),
        "roc_true": true.tolist(),
    }
    return AttackResult(**{**values, **more})


def on_all(attack: str, title: str, family: str, aucs: dict[str, float], **more: Any) -> list[AttackResult]:
    return [
        result(attack, title, family, against, auc, gap=_gap(aucs, against), **more) for against, auc in aucs.items()
    ]


def _gap(aucs: dict[str, float], against: str) -> Interval | None:
    return None if against == "retrained" else interval(aucs[against] - aucs["retrained"], 0.0171)


def results() -> list[AttackResult]:
    found: list[AttackResult] = []
    for place, (key, title) in enumerate(ONE_VERSION.items()):
        family = "U-LiRA" if key in ("u-lira", "ruli") else "MIA-L"
        aucs = {
            "retrained": 0.5031 - 0.0007 * place,
            "unlearned": 0.5312 - 0.0041 * place,
            "original": 0.8127 - 0.031 * place,
        }
        found += on_all(key, title, family, aucs)
        if place in (0, 6):
            found += on_all(key, title, family, {m: min(0.999, a + 0.05) for m, a in aucs.items()}, seeds="one seed")
    for place, (feature, model) in enumerate((f, m) for f in FEATURES for m in MODELS):
        aucs = {
            "retrained": 0.7013 - 0.007 * place,
            "unlearned": 0.7331 - 0.0083 * place,
            "original": 0.4991 + 0.0003 * place,
        }
        found += on_all(f"mia-u/{feature}/{model}", f"MIA-U, {feature}, {model}", "MIA-U", aucs)
    return found


def per_record() -> list[PerRecord]:
    found = []
    for attack in ("u-lira", "ruli"):
        for against, share in (("unlearned", 0.6), ("original", 0.9), ("retrained", 0.5)):
            right = [round(RUNS * min(1.0, share + 0.01 * (place % 7))) for place in range(CANDIDATES)]
            groups = [
                RecordGroup(
                    name=name,
                    records=7,
                    right=7 * round(RUNS * (share + lift)),
                    answers=7 * RUNS,
                    mean=interval(share + lift, 0.0211),
                )
                for name, lift in (("vulnerable", 0.0371), ("protected", -0.0129))
            ]
            found.append(
                PerRecord(
                    attack=attack,
                    against=against,
                    seeds="fresh",
                    candidate_ids=list(range(CANDIDATES)),
                    right=right,
                    answers=[RUNS] * CANDIDATES,
                    quantiles={"0.5": share + 0.0312, "0.9": share + 0.0562, "max": share + 0.0625},
                    groups=groups,
                )
            )
    return found


def differencing() -> list[Differencing]:
    return [
        Differencing(
            attack=f"mia-u/{feature}/{model}",
            against=against,
            seeds="fresh",
            classical="loss",
            wins=800 + place,
            records=1280,
            degradation_count=interval(0.625 + place / 1280, 0.0187),
            degradation_rate=interval(0.1171 + 0.001 * place, 0.0093),
        )
        for place, (feature, model) in enumerate((f, m) for f in FEATURES for m in MODELS)
        for against in ("unlearned", "retrained")
    ]


def reconstructions() -> list[Reconstruction]:
    return [
        Reconstruction(
            attack="reconstruction",
            against=against,
            noise_factor=factor,
            noise_scale=0.0075 * factor,
            cosine=interval((0.961 if against == "retrained" else 0.953) / (1 + 8 * factor) + 0.0213, 0.0212, 32),
            average=interval(0.4127, 0.0312, 32),
            difference=interval(0.3319, 0.0423, 32),
            cosines=[0.5] * 32,
            above_average=round(31 / (1 + 8 * factor)),
            gap=interval(0.51 / (1 + 8 * factor), 0.0331, 32),
            gap_allowed=1.0 if factor == 0 else min(1.0, 0.2134 / factor),
            refused=1 if factor == 3 else 0,
        )
        for against in ("unlearned", "retrained")
        for factor in FACTORS
    ]


def measures() -> list[Measure]:
    return [
        Measure(
            key="js",
            title="Jensen–Shannon divergence to retrained",
            meaning="Mean over forgotten records of the divergence of both predictions; 0 to ln 2.",
            unit="nats",
            nothing=0.0,
            models={"unlearned": interval(0.00213, 0.0004), "original": interval(0.0871, 0.0061)},
        ),
        Measure(
            key="relearning",
            title="Relearning time",
            meaning=sample.HOSTILE,
            unit="epochs",
            models={
                "unlearned": interval(7.31, 0.53),
                "original": interval(1.12, 0.21),
                "retrained": interval(7.42, 0.4),
            },
            undefined={"retrained": 3},
            capped={"unlearned": 2},
        ),
    ]


def sweep(strength: float = 0.35, sigma: float = 0.0075) -> list[SweepPoint]:
    found = []
    for factor in FACTORS:
        left = strength / (1 + 5 * factor)
        found.append(
            SweepPoint(
                noise_factor=factor,
                noise_scale=sigma * factor,
                epsilon=epsilon_of_delta(0.268 / factor, sample.DELTA) if factor else None,
                auc_allowed=auc_allowed(GaussianTradeOff(0.268 / factor), 5, 5) if factor else 1.0,
                aucs={
                    "lira-online": {
                        "unlearned": interval(0.5 + left / 3),
                        "original": interval(0.5 + left + 0.1 / (1 + factor)),
                        "retrained": interval(0.5013),
                    },
                    "u-lira": {"unlearned": interval(0.5 + left / 4), "original": interval(0.5 + left)},
                },
                holdout={
                    "unlearned": interval(0.883 - 0.02 * factor**1.2, 0.004),
                    "retrained": interval(0.885 - 0.02 * factor**1.2, 0.004),
                },
            )
        )
    return found


def attacks(**more: Any) -> Attacks:
    values: dict[str, Any] = {
        "candidates": CANDIDATES,
        "forgotten": FORGOTTEN,
        "candidate_ids": list(range(CANDIDATES)),
        "shadows": 64,
        "targets": RUNS,
        "refused": 2,
        "population": 200,
        "results": results(),
        "records": per_record(),
        "differencing": differencing(),
        "reconstructions": reconstructions(),
        "measures": measures(),
        "sweep": sweep(),
        "reasons": {"mine.py:Attack": f"raised ValueError: {sample.HOSTILE}"},
    }
    return Attacks(**{**values, **more})


def few() -> Attacks:
    """Three runs, one hostile attack, no interval, and nothing else."""
    title = sample.HOSTILE
    short = {
        "gap": None,
        "balanced_accuracy": None,
        "shadow_auc": None,
        "power": None,
        "auc_allowed": None,
        "points": [OperatingPoint(target=0.01, negatives_needed=1000, negatives=30, positives=30)],
        "positives": 30,
        "negatives": 30,
        "caught": False,
        "chance_upper": 0.31,
    }
    found = result(title, title, "MIA-L", "unlearned", 0.61, **short)
    return Attacks(
        candidates=CANDIDATES,
        forgotten=FORGOTTEN,
        candidate_ids=list(range(CANDIDATES)),
        shadows=8,
        targets=3,
        refused=0,
        population=0,
        results=[found.model_copy(update={"auc": interval(0.61, runs=3)})],
        reasons={title: title},
    )


def lines() -> list[Any]:
    told = {"seeds": "independent", "finding": "The mean AUC of LiRA, online is at least .505; allowed are .606."}
    return [
        sample.line(
            "E",
            "attack",
            "Attack chosen on shadow runs",
            "claim",
            **{**told, "statistic": 0.5049, "threshold": 0.6057, "failure_probability": 0.00125, "noop_power": 0.004},
            epsilon_lower=0.0171,
            mu_lower=0.0127,
        ),
        sample.line(
            "E", "attack-gap", "Gap to retrained", "attack", Outcome.NOT_REFUTED, kind="estimate", deciding=False
        ),
    ]


def rows() -> list[Row]:
    attacked = sample.row("attacked", Verdict.NOT_REFUTED, attacks=attacks())
    return [
        attacked.model_copy(update={"lines": [*attacked.lines, *lines()]}),
        sample.row("other-method", Verdict.NOT_REFUTED, attacks=attacks(sweep=sweep(0.1, 0.02))),
        sample.row("few-runs", Verdict.NOT_REFUTED, attacks=few()),
        sample.row("not-attacked", Verdict.NOT_REFUTED),
    ]


def record() -> Record:
    return sample.record(rows=rows(), controls=[], verdict=Verdict.NOT_REFUTED)
