"""Right answers per record, their upward bias and the company of retrained models, vulnerable and protected records."""

from typing import Any

import numpy as np
import pytest

from audit.attacks.per_record import (
    per_record,
    right_answers,
    run_per_record,
    separations,
    shares_right_quantiles,
    vulnerable_and_protected,
)
from audit.attacks.runs import FitRuns, ScoreRuns
from audit.attacks.u_lira import ULiRA
from unlearning.record_attacks import PerRecord

from .outputs import drawn_runs

MODELS = ("unlearned", "original")
LEAKS = np.array([3.0, 3.0, 2.0, 2.0, 1.0, 1.0, 0.5, 0.5, 0.0, 0.0])  # of each candidate


def answered(seed: int, runs: int, *, leak: Any = 0.0, shadows: int = 64, candidates: int = 10) -> dict[str, PerRecord]:
    size = {"candidates": candidates, "forgotten": candidates // 2, "leak": leak, "original": leak}
    found = run_per_record(
        ULiRA(),
        drawn_runs(FitRuns, 2 * seed, shadows, **size),
        drawn_runs(ScoreRuns, 2 * seed + 1, runs, **size),
        MODELS,
        seeds="fresh",
        candidate_ids=range(100, 100 + candidates),
        generator=np.random.default_rng(seed),
    )
    return {one.against: one for one in found}


def test_counts_against_loops() -> None:
    rng = np.random.default_rng(1)
    scores, members = rng.standard_normal((9, 6)).round(1), rng.random((9, 6)) < 0.5
    thresholds = rng.standard_normal(6).round(1)
    for threshold in (0.0, thresholds):
        cuts = np.broadcast_to(threshold, 6)
        naive = [
            sum(
                (scores[k, z] > cuts[z] and members[k, z]) or (scores[k, z] <= cuts[z] and not members[k, z])
                for k in range(9)
            )
            for z in range(6)
        ]
        found = per_record(
            scores,
            members,
            attack="u-lira",
            against="unlearned",
            seeds="fresh",
            candidate_ids=range(6),
            groups={"some": np.arange(6) < 2},
            threshold=threshold,
        )
        assert found.right == naive and found.answers == [9] * 6
        assert found.guessing == max(members.mean(), 1 - members.mean())
        (some,) = found.groups
        assert (some.records, some.right, some.answers) == (2, sum(naive[:2]), 18)
        assert some.mean.runs == 9 and some.mean.mean == pytest.approx(sum(naive[:2]) / 18)
        # an interval over the nine runs, not over the eighteen answers
        each = right_answers(scores, members, threshold)[:, :2].mean(1)
        assert some.mean.deviation == pytest.approx(each.std(ddof=1))


def test_every_quantile_is_the_share_of_a_record() -> None:
    right = np.arange(100)
    found = shares_right_quantiles(np.random.default_rng(2).permutation(right), 100)
    assert found == {"0.5": 0.49, "0.9": 0.89, "0.95": 0.94, "0.99": 0.98, "max": 0.99}


def test_retrained_models_stand_first_and_leaks_show() -> None:
    found = answered(3, 200, leak=LEAKS)
    assert list(found) == ["retrained", "unlearned", "original"]
    assert found["unlearned"].candidate_ids == list(range(100, 110))
    assert found["unlearned"].quantiles["max"] > 0.85 > 0.65 > found["retrained"].quantiles["max"]
    groups = {group.name: group for group in found["unlearned"].groups}
    assert groups["vulnerable"].mean.lower > 0.8 and groups["protected"].mean.upper < 0.7
    beside = {group.name: group.mean for group in found["retrained"].groups}
    assert all(mean.lower < 0.5 < mean.upper for mean in beside.values())


class TestBias:
    """Quantiles of few answers lie above what is true, and as far above it where nothing can be found."""

    AUDITS, RUNS = 200, 16

    def largest(self) -> tuple[np.ndarray, np.ndarray]:
        """The best share of right answers about models that leak nothing: unlearned, and retrained."""
        audits = [answered(seed, self.RUNS, candidates=20, shadows=20) for seed in range(self.AUDITS)]
        one, other = (np.array([audit[m].quantiles["max"] for audit in audits]) for m in ("unlearned", "retrained"))
        return one, other

    def test_both_have_it(self) -> None:
        unlearned, retrained = self.largest()
        slack = 6 * np.sqrt((unlearned.var() + retrained.var()) / self.AUDITS)
        assert abs(unlearned.mean() - retrained.mean()) < slack  # the company is fair
        assert min(unlearned.mean(), retrained.mean()) > 0.5 + 0.15  # alone it would be taken for a leak
        about = 0.5 + np.sqrt(np.log(20) / (2 * self.RUNS))
        assert retrained.mean() == pytest.approx(about, abs=0.1)

    def test_more_runs_shrink_it(self) -> None:
        many = answered(5, 2000, candidates=20)["retrained"].quantiles["max"]
        assert many < 0.5 + 0.06


class TestGroups:
    """Who is vulnerable is settled by original models of shadow runs."""

    def test_by_the_separation_of_original_models(self) -> None:
        shadows = drawn_runs(FitRuns, 6, 400, original=LEAKS, leak=LEAKS[::-1].copy())
        found = vulnerable_and_protected(shadows)
        assert separations(shadows) == pytest.approx(LEAKS, abs=0.7)
        assert found["vulnerable"].sum() == found["protected"].sum() == 3
        assert found["vulnerable"][:2].all() and not found["vulnerable"][4:].any()
        assert found["protected"][6:].sum() == 3

    def test_target_runs_are_refused(self) -> None:
        with pytest.raises(TypeError, match="must be chosen on FitRuns"):
            vulnerable_and_protected(drawn_runs(ScoreRuns, 7, 10))

    def test_one_candidate_each_at_least(self) -> None:
        found = vulnerable_and_protected(drawn_runs(FitRuns, 8, 10, candidates=2, forgotten=1))
        assert [int(own.sum()) for own in found.values()] == [1, 1]

    def test_groups_chosen_on_the_answers_themselves_find_leaks_where_none_are(self) -> None:
        """The broken twin: the records about which the attack was right most often, in the very runs it is shown on."""
        honest, peeking = [], []
        for seed in range(60):
            shadows, targets = drawn_runs(FitRuns, 2 * seed, 20), drawn_runs(ScoreRuns, 2 * seed + 1, 20)
            scores = ULiRA().fit(shadows, "retrained", generator=np.random.default_rng(0)).scores(targets, "retrained")
            right = right_answers(scores, targets.members)
            best = right.sum(0).argsort()[-3:]
            honest.append(right[:, vulnerable_and_protected(shadows)["vulnerable"]].mean())
            peeking.append(right[:, best].mean())
        error = np.std(honest) / np.sqrt(60)
        assert abs(np.mean(honest) - 0.5) < 6 * error
        assert np.mean(peeking) - 0.5 > 10 * error
