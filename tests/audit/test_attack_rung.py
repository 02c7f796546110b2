"""Rung E from fleets to lines: a row from end to end; what decides is valid at its edge, and was chosen beforehand."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from scipy.special import ndtr

from audit.attack_lines import KEY, attack_lines, forecast_power, telling_mean
from audit.attack_rung import Attacked, play_attacks
from audit.attack_tasks import Failed, try_attack
from audit.attacks.evaluation import run_attack
from audit.attacks.measures import POWER_FAILURE_PROBABILITY, interval, run_aucs
from audit.attacks.population import LossThreshold
from audit.attacks.runs import FIRST, MODELS, FitRuns, ScoreRuns
from audit.bounds.bounded_mean import mean_lower
from audit.controls import DEFECTS, HONEST
from audit.design import AttackDesign, Design
from audit.findings import Findings
from audit.fleet import Subject
from audit.row import audit_row
from methods.qiao2025hessianfree import HessianFree
from methods.retrain import Retrain
from unlearning.attack_choice import best_on_shadows
from unlearning.auc import auc_allowed
from unlearning.record_attacks import AttackResult, Attacks, Interval
from unlearning.tradeoff import EpsilonDelta, GaussianTradeOff, TradeOff
from unlearning.verdict import Outcome, Verdict

from .attacks.overfit import overfit_subject
from .gates import LEVELS, TRIALS, caught, claim_of
from .problems import SecretNoOp, claim, design, subject, task

FEW = ("lira-online", "loss", "u-lira", "mia-u/l2/logistic")
REQUEST = tuple(range(5))


def attack_design(keys: tuple[str, ...] = FEW, **fields: Any) -> AttackDesign:
    return AttackDesign(keys, **{"candidates": 10, "shadows": 12, "targets": 10, "population": 10} | fields)


def row_design(
    asked: AttackDesign | None = None, *, rungs: str = "E", epsilon: float = 1.0, noise_scale: float = 0.01
) -> Design:
    promise = replace(claim(epsilon), request_size=len(REQUEST))
    plain = design(
        promise=promise, budget=None, noise_scale=noise_scale, rungs=rungs, controls=("no-op", "retrained"), test=8
    )
    return replace(plain, attacks=asked or attack_design())


def player(method: Any = None) -> Subject:
    return replace(subject(method or Retrain(), on=task(rows=60, columns=14)), request_ids=REQUEST)


def row(of: Subject, asked: Design, chunk: int = 8) -> Findings:
    return audit_row(of, asked, chunk=chunk, jobs=1)


def play(of: Subject, asked: Design, chunk: int = 8) -> Attacked:
    def run(phase: str, function: Callable[..., Any], tasks: list[tuple[Any, ...]]) -> list[Any]:
        return [function(*one) for one in tasks]

    return play_attacks(of, asked, run, chunk)


class TestARow:
    @pytest.mark.parametrize("rungs", ["E", "AE", "ABCE"])
    def test_beside_other_rungs(self, rungs: str) -> None:
        found = row(player(), row_design(rungs=rungs))
        lines = {line.key: line for line in found.lines if line.rung == "E"}
        assert set(lines) == {KEY, "attack-gap-mia-l", "attack-gap-mia-u"}
        assert [key for key, line in lines.items() if line.deciding] == [KEY]
        assert {line.rung for line in found.lines} == set(rungs)
        assert sum(found.shares.values()) == pytest.approx(0.01)
        assert lines[KEY].failure_probability == pytest.approx(found.shares[KEY])
        assert all(control.behaved for control in found.controls)
        assert found.attacks is not None and found.attacks.reasons == {}
        asked = [(key, model) for key in FEW for model in ("retrained", "unlearned", "original")]
        assert [(one.attack, one.against) for one in found.attacks.results] == asked

    def test_what_is_asked_is_there(self) -> None:
        asked = attack_design(
            (*FEW, "reconstruction"), seeds=("fresh", "one seed"), sweep=(0.0, 1.0, 10.0), measures=True
        )
        found = play(player(HessianFree()), replace(row_design(asked), sensitivity_budget=0.05))
        facts = found.facts
        assert facts.reasons == {}
        assert (facts.candidates, facts.forgotten, facts.shadows, facts.targets) == (10, 5, 12, 10)
        assert {one.seeds for one in facts.results} == {"fresh", "one seed"} == {one.seeds for one in facts.records}
        assert {one.attack for one in facts.records} == {"u-lira"}
        assert {(one.attack, one.against) for one in facts.differencing} == {("mia-u/l2/logistic", m) for m in MODELS}
        assert {one.noise_factor for one in facts.reconstructions} == {0.0, 1.0, 10.0}
        assert facts.measures and facts.measures[-1].key == "mia-efficacy"
        assert [point.noise_factor for point in facts.sweep] == [0.0, 1.0, 10.0]
        assert facts.sweep[0].epsilon is None
        spent = [point.epsilon for point in facts.sweep[1:]]
        assert spent[0] is not None and spent[1] is not None and spent[0] > spent[1]
        for point in facts.sweep:
            assert set(point.aucs) == {"lira-online", "u-lira"}
            assert set(point.holdout) == set(MODELS) == set(point.aucs["u-lira"])
        own = next(r for r in facts.results if (r.attack, r.against, r.seeds) == ("u-lira", "unlearned", "fresh"))
        assert facts.sweep[1].aucs["u-lira"]["unlearned"] == own.auc
        assert found.certificate is not None and len(found.certificate.sensitivity_upper) == 10
        assert set(Attacks.model_validate(facts.model_dump()).model_dump()) == set(facts.model_dump())

    def test_chunks_change_nothing(self) -> None:
        one, other = (play(player(), row_design(), chunk).facts for chunk in (12, 3))
        for mine, theirs in zip(one.results, other.results, strict=True):
            assert mine.run_aucs == pytest.approx(theirs.run_aucs)

    def test_reconstruction_alone_trains_no_shadows(self) -> None:
        found = row(player(), row_design(attack_design(("reconstruction",))))
        assert found.attacks is not None and found.attacks.results == [] and found.attacks.reconstructions
        assert found.verdict is Verdict.NOT_COMPUTABLE

    def test_what_cannot_be_run_leaves_its_reason(self) -> None:
        found = play(overfit_subject(), row_design(attack_design(("reconstruction",))))
        assert found.facts.reconstructions == [] and "linear" in found.facts.reasons["reconstruction"]


class TestDoingNothing:
    """A network that has learned random labels by heart: the original tells who was learned, the retrained does not."""

    def test_is_refuted_as_was_foretold(self) -> None:
        asked = attack_design(("lira-online", "u-lira"), shadows=24, targets=32, population=20)
        honest = row(overfit_subject(), row_design(asked, epsilon=0.0), chunk=32)
        line = honest.lines[0]
        assert line.key == KEY and line.outcome is Outcome.NOT_REFUTED
        assert line.noop_power is not None and line.noop_power > 0.95
        assert honest.verdict is Verdict.NOT_REFUTED, honest.because
        noop, retrained = honest.controls
        assert noop.verdict is Verdict.REFUTED and noop.behaved
        assert retrained.verdict is Verdict.NOT_REFUTED and retrained.behaved
        assert noop.predictions[0].predicted is None  # a forecast is no prediction
        assert retrained.predictions[0].predicted is Outcome.NOT_REFUTED

    def test_a_secret_no_op_is_refuted(self) -> None:
        asked = attack_design(("lira-online",), shadows=24, targets=32, population=20)
        found = row(overfit_subject(SecretNoOp(Retrain())), row_design(asked, epsilon=0.0), chunk=32)
        assert found.verdict is Verdict.REFUTED
        assert found.lines[0].mu_lower is not None and found.lines[0].mu_lower > 0


@dataclass(frozen=True)
class Own:
    """Somebody's attack: it says who is a member without having looked."""

    fails: bool = False
    key: str = "own"
    title: str = "own"
    family: str = "MIA-L"
    source: str = "nobody"

    def fit(self, runs: FitRuns, model: str, *, generator: np.random.Generator) -> Any:
        if self.fails:
            raise RuntimeError("the disk is on fire")
        return self

    def scores(self, runs: ScoreRuns, model: str) -> np.ndarray:
        return runs.members.astype(float)


class TestOwnAttacks:
    def test_it_is_shown_and_decides_nothing(self) -> None:
        asked = attack_design(("mine.py:Own", "loss"))
        found = row(replace(player(), attacks=(("mine.py:Own", Own()),)), row_design(asked))
        assert found.attacks is not None
        assert {one.attack for one in found.attacks.results} == {"own", "loss"}
        assert found.lines[0].finding.startswith(LossThreshold().title)
        assert not attack_design(("mine.py:Own",)).decides

    def test_it_is_not_told_who_was_forgotten(self) -> None:
        found = play(replace(player(), attacks=(("mine.py:Own", Own()),)), row_design(attack_design(("mine.py:Own",))))
        assert not any(one.caught for one in found.facts.results)

    def test_its_failure_is_a_reason(self) -> None:
        asked = attack_design(("mine.py:Own", "loss"))
        found = row(replace(player(), attacks=(("mine.py:Own", Own(fails=True)),)), row_design(asked))
        assert found.attacks is not None
        assert "the disk is on fire" in found.attacks.reasons["mine.py:Own"]
        assert {one.attack for one in found.attacks.results} == {"loss"}


def synthetic(mu: float, runs: int, rng: np.random.Generator, kind: type[FitRuns] | type[ScoreRuns], name: str) -> Any:
    """A mechanism with exactly the claimed μ: one of two candidates is forgotten, and N(±μ, 1) is what one sees.

    Against N(0, 1) either is μ-GDP, and the attack that asks for the sign has mean AUC Φ(μ) = 1 − f(½).
    """
    forgotten = rng.integers(0, 2, runs)
    members = np.stack([forgotten == 0, forgotten == 1], 1)
    centre = {"unlearned": mu, "original": mu + 3, "retrained": 0.0, FIRST: 0.0}
    logits, population = {}, {}
    for model, shift in centre.items():
        seen = rng.standard_normal(runs) + shift * np.where(forgotten == 0, 1, -1)
        logits[model] = np.stack([np.stack([x, 0 * x], 1) for x in (seen, -seen)], 1)
        population[model] = np.zeros((runs, 1, 2))
    names = tuple(f"{name}{number}" for number in range(runs))
    return kind(names, members, np.zeros(2, np.int64), logits, population, np.zeros(1, np.int64))


def facts_of(results: list[AttackResult]) -> Attacks:
    return Attacks(
        candidates=2,
        forgotten=1,
        candidate_ids=[0, 1],
        shadows=8,
        targets=64,
        refused=0,
        population=1,
        results=results,
    )


def results_of(mu: float, tradeoff: TradeOff, rng: np.random.Generator) -> list[AttackResult]:
    shadows, targets = synthetic(mu, 8, rng, FitRuns, "s"), synthetic(mu, 64, rng, ScoreRuns, "t")
    return run_attack(
        LossThreshold(), shadows, targets, tradeoff, MODELS, seeds="fresh", failure_probability=0.01, generator=rng
    )


def edge_design(tradeoff: EpsilonDelta | GaussianTradeOff) -> Design:
    return replace(row_design(), claim=claim_of(tradeoff))


class TestValidity:
    """At the edge of the claim, the line refutes with at most its failure probability."""

    MU = 0.5

    def _refuted(self, level: float, attacks: int, trials: int) -> int:
        """Refutations in simulated audits: of so many attacks with AUC at the edge, the best on target runs is taken.

        One attack is as good as chosen beforehand.
        """
        rng, tradeoff = np.random.default_rng(606), GaussianTradeOff(self.MU)
        asked = edge_design(tradeoff)
        template = next(one for one in results_of(self.MU, tradeoff, rng) if one.against == "unlearned")
        fitted = LossThreshold().fit(synthetic(self.MU, 8, rng, FitRuns, "s"), "unlearned", generator=rng)
        refuted = 0
        for _ in range(trials):
            runs = synthetic(self.MU, 64 * attacks, rng, ScoreRuns, "t")
            each = run_aucs(fitted.scores(runs, "unlearned"), runs.members).reshape(attacks, 64)
            aucs = each[each.mean(1).argmax()]
            found = template.model_copy(update={"run_aucs": aucs.tolist(), "auc": interval(aucs)})
            (line, *_) = attack_lines(facts_of([found]), asked, HONEST, level)
            refuted += line.outcome is Outcome.REFUTED
        return refuted

    @pytest.mark.parametrize("level", LEVELS)
    def test_of_an_attack_chosen_beforehand(self, level: float) -> None:
        assert not caught(self._refuted(level, 1, TRIALS), TRIALS, level)

    def test_one_chosen_on_target_runs_is_caught(self) -> None:
        """The broken twin takes the best of eight attacks by what target runs say."""
        assert caught(self._refuted(LEVELS[1], 8, 300), 300, LEVELS[1])

    def test_the_edge_is_the_edge(self) -> None:
        rng = np.random.default_rng(607)
        runs = synthetic(self.MU, 20_000, rng, ScoreRuns, "t")
        scores = LossThreshold().fit(synthetic(self.MU, 8, rng, FitRuns, "s"), "unlearned", generator=rng)
        found = run_aucs(scores.scores(runs, "unlearned"), runs.members).mean()
        assert found == pytest.approx(auc_allowed(GaussianTradeOff(self.MU), 1, 1), abs=0.02)

    def test_target_runs_are_not_learned_from(self) -> None:
        rng = np.random.default_rng(608)
        targets = synthetic(1.0, 8, rng, ScoreRuns, "t")
        found = try_attack(LossThreshold(), targets, targets, "fresh", rng, GaussianTradeOff(1.0), 0.01)
        assert isinstance(found, Failed) and "FitRuns" in found.reason


class TestTheLine:
    def test_it_is_chosen_by_shadow_runs_alone(self) -> None:
        results = results_of(0.5, GaussianTradeOff(0.5), np.random.default_rng(609))
        one = next(r for r in results if r.against == "unlearned")
        wide = Interval(mean=0.9, lower=0.4, upper=1.0, deviation=0.1, runs=8, failure_probability=0.05)
        narrow = Interval(mean=0.7, lower=0.6, upper=0.8, deviation=0.1, runs=8, failure_probability=0.05)
        lucky = one.model_copy(update={"attack": "lira-online", "shadow_auc": wide, "run_aucs": [1.0] * 64})
        chosen = one.model_copy(
            update={"attack": "rmia", "title": "RMIA", "shadow_auc": narrow, "run_aucs": [0.5] * 64}
        )
        assert best_on_shadows([lucky, chosen]) is chosen
        (line, *_) = attack_lines(facts_of([lucky, chosen]), edge_design(GaussianTradeOff(0.5)), HONEST)
        assert line.finding.startswith("RMIA") and line.outcome is Outcome.NOT_REFUTED

    @pytest.mark.parametrize(
        "changed", [{"seeds": "one seed"}, {"noise_factor": 0.1}, {"attack": "mia-u/l2/tree", "family": "MIA-U"}]
    )
    def test_no_theorem_speaks_of_others(self, changed: dict[str, Any]) -> None:
        results = [
            r.model_copy(update=changed) for r in results_of(3.0, GaussianTradeOff(0.1), np.random.default_rng(1))
        ]
        (line, *_) = attack_lines(facts_of(results), edge_design(GaussianTradeOff(0.1)), HONEST)
        assert line.outcome is Outcome.NOT_COMPUTABLE

    def test_each_subject_has_its_own_models(self) -> None:
        found = facts_of(results_of(0.0, GaussianTradeOff(0.1), np.random.default_rng(610)))
        asked = edge_design(GaussianTradeOff(0.1))
        outcomes = {
            name: [line.outcome for line in attack_lines(found, asked, DEFECTS[name], 1e-4)] for name in DEFECTS
        }
        assert outcomes["no-op"] == [Outcome.REFUTED]
        assert outcomes["retrained"] == [Outcome.NOT_REFUTED]
        assert outcomes["tenth-noise"] == outcomes["half-noise"] == outcomes["frozen-noise"] == []

    @pytest.mark.parametrize("seed", range(20))
    def test_its_words_are_rounded_outwards(self, seed: int) -> None:
        mu = 0.2 + 0.1 * seed
        found = facts_of(results_of(mu, GaussianTradeOff(mu), np.random.default_rng(seed)))
        (line, *_) = attack_lines(found, edge_design(GaussianTradeOff(mu)), HONEST, 0.01)
        said = re.search(r"at least ([0-9.]+), .* the claim allows ([0-9.]+)\.( |$)", line.finding)
        assert said is not None and line.statistic is not None and line.threshold is not None
        assert float(said[1]) <= line.statistic < float(said[1]) + 1e-3
        assert float(said[2]) >= line.threshold > float(said[2]) - 1e-3

    def test_the_words_of_a_gap_are_those_of_the_table(self) -> None:
        found = results_of(0.5, GaussianTradeOff(0.5), np.random.default_rng(613))
        wide = Interval(mean=0.0121, lower=-0.01234, upper=0.03456, deviation=0.1, runs=64, failure_probability=0.05)
        facts = facts_of([one.model_copy(update={"gap": wide}) for one in found])
        lines = attack_lines(facts, edge_design(GaussianTradeOff(0.5)), HONEST, 0.01)
        gap = next(line for line in lines if line.key == "attack-gap-mia-l")
        assert "difference of AUCs 0.012, between -0.013 and 0.035 with" in gap.finding

    def test_its_limits_are_those_of_the_claims_that_allow_it(self) -> None:
        tradeoff = EpsilonDelta(0.1, 1e-5)
        found = facts_of(results_of(3.0, tradeoff, np.random.default_rng(611)))
        (line, *_) = attack_lines(found, edge_design(tradeoff), HONEST, 0.01)
        assert line.outcome is Outcome.REFUTED
        assert line.statistic is not None and line.threshold is not None and line.statistic > line.threshold
        assert line.epsilon_lower is not None and line.epsilon_lower > 0.1
        assert auc_allowed(EpsilonDelta(line.epsilon_lower + 1e-9, 1e-5), 1, 1) >= line.statistic


Forecast = Callable[[Interval, int, float, float], float]
# law of a run's AUC, shadow runs, target runs, mean AUC that the claim allows
FORECAST_LAWS: dict[str, tuple[Callable[[np.random.Generator, int], np.ndarray], int, int, float]] = {
    "coin": (lambda rng, runs: (rng.random(runs) < 0.93).astype(float), 16, 16, 0.6),
    "nearly certain": (lambda rng, runs: (rng.random(runs) < 0.98).astype(float), 64, 32, 0.8),
    "normal": (lambda rng, runs: rng.normal(0.73, 0.1, runs).clip(0, 1), 16, 32, 0.6),
    "known well": (lambda rng, runs: rng.normal(0.73, 0.1, runs).clip(0, 1), 3000, 32, 0.6),
}


def plug_in_forecast(foretold: Interval, runs: int, allowed: float, level: float) -> float:
    """Broken: the shadow runs' mean and deviation for those of the law."""
    deviation = foretold.deviation or 0.0
    least = telling_mean(deviation, runs, allowed, level)
    if least is None or not deviation:
        return float(least is not None and foretold.mean >= least)
    return float(ndtr((foretold.mean - least) / deviation * np.sqrt(runs)))


BROKEN_FORECASTS: dict[str, Forecast] = {
    "plug-in": plug_in_forecast,
    "threefold": lambda *of: min(1.0, 3 * forecast_power(*of)),
}


def overpromised(forecast: Forecast, law: str, draws: int) -> int:
    """How often shadow runs promise more than 0.05 over what target runs refute at level 0.01."""
    draw, shadows, targets, allowed = FORECAST_LAWS[law]
    rng = np.random.default_rng(612)
    achieved = np.mean([mean_lower(draw(rng, targets), 0.01) > allowed for _ in range(1500)])
    assert 0.1 < achieved < 0.9  # where both errors can be seen
    return sum(forecast(interval(draw(rng, shadows)), targets, allowed, 0.01) > achieved + 0.05 for _ in range(draws))


class TestForecast:
    def test_the_telling_mean_tells(self) -> None:
        least = telling_mean(0.1, 64, 0.6, 0.01)
        assert least is not None and 0.6 < least < 0.75
        assert mean_lower(np.full(64, 0.95), 0.01) > 0.6
        assert telling_mean(0.1, 64, 0.999, 0.01) is None
        assert telling_mean(0.0, 64, 0.6, 0.01) is not None

    @pytest.mark.parametrize("law", FORECAST_LAWS)
    def test_it_promises_no_more_than_comes(self, law: str) -> None:
        assert not caught(overpromised(forecast_power, law, 200), 200, POWER_FAILURE_PROBABILITY)

    @pytest.mark.parametrize(("twin", "law"), [("plug-in", "coin"), ("plug-in", "normal"), ("threefold", "known well")])
    def test_broken_forecasts_are_caught(self, twin: str, law: str) -> None:
        assert caught(overpromised(BROKEN_FORECASTS[twin], law, 200), 200, POWER_FAILURE_PROBABILITY)

    def test_the_telling_mean_is_that_of_runs_in_their_range(self) -> None:
        """Runs whose quantiles are cut to [0, 1] have the mean of what is left."""
        least = telling_mean(0.3, 64, 0.8, 0.01)
        assert least is not None and 0.85 < least < 0.97

    def test_few_shadows_promise_nothing(self) -> None:
        assert forecast_power(interval(np.ones(3)), 64, 0.5, 0.01) == 0.0
