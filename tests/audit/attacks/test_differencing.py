"""MIA-U: features against loops, planted leaks, closed forms, both seed regimes, and broken twins that are caught."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy.special import ndtr, softmax
from scipy.stats import t as student
from torch import Tensor

from audit.attack_names import DIFFERENCING_FEATURES, DIFFERENCING_MODELS, MIA_U
from audit.attacks import differencing, fleet
from audit.attacks.attack import fit_attack
from audit.attacks.catalogue import ATTACKS
from audit.attacks.differencing import (
    CLASSIFIERS,
    FEATURES,
    Classical,
    Differencing,
    degradation,
    gap_to_retrained,
)
from audit.attacks.evaluation import run_attack
from audit.attacks.fleet import Game, Seeds, attack_chunk, draw_members
from audit.attacks.measures import interval, run_aucs
from audit.attacks.runs import Array, FitRuns, Mask, ScoreRuns
from audit.candidates import Forgotten
from audit.fleet import Subject, masks
from learning.task import SGD
from methods.retrain import Retrain
from unlearning.errors import BadScores
from unlearning.record_attacks import Interval
from unlearning.streams import Streams
from unlearning.tradeoff import GaussianTradeOff

from ..gates import LEVELS, caught
from ..problems import design, subject, task
from .outputs import members as who

TINY = 1e-9  # of an interval that decides a test
DIFF, CONCAT = Differencing("direct-diff", "logistic"), Differencing("direct-concat", "logistic")
ALL = [Differencing(feature, classifier) for feature in FEATURES for classifier in CLASSIFIERS]


def drawn(
    kind: type[Any],
    rng: np.random.Generator,
    runs: int,
    *,
    candidates: int = 10,
    forgotten: int = 2,
    classes: int = 3,
    leak: float = 1.0,
    left: float = 0.0,
    noise: float = 1.0,
    base: float = 2.0,
    one_label: bool = False,
) -> Any:
    """Logits with a leak on the true class of what was learned, and with what unlearning leaves of it."""
    members = who(rng, runs, candidates, forgotten)
    labels = np.zeros(candidates, dtype=np.int64) if one_label else np.arange(candidates) % classes
    own = np.eye(classes)[labels]

    def release(effect: float) -> Array:
        clean = base * own + effect * members[:, :, None] * own
        return np.asarray(clean + noise * rng.standard_normal((runs, candidates, classes)))

    effects = {"first": leak, "unlearned": left, "original": leak, "retrained": 0.0}
    logits = {model: release(effect) for model, effect in effects.items()}
    outside = {model: np.zeros((runs, 0, classes)) for model in logits}
    names = tuple(f"{kind.__name__} {run}" for run in range(runs))
    return kind(names, members, labels, logits, outside, np.zeros(0, dtype=np.int64))


def aucs(attack: Any, shadows: FitRuns, targets: ScoreRuns, model: str, seed: int = 0) -> Array:
    fitted = fit_attack(attack, shadows, model, generator=np.random.default_rng(seed))
    return run_aucs(fitted.scores(targets, model), targets.members)


def covers(found: Interval, value: float) -> bool:
    assert found.lower is not None and found.upper is not None
    return found.lower <= value <= found.upper


# features


def naive_feature(name: str, p: list[float], q: list[float]) -> list[float]:
    """One candidate at a time, one class at a time."""
    order = list(range(len(p)))
    if name.startswith("sorted"):
        order.sort(key=lambda c: -p[c])
    if name.endswith("diff"):
        return [p[c] - q[c] for c in order]
    if name.endswith("concat"):
        return [p[c] for c in order] + [q[c] for c in order]
    return [math.sqrt(sum((a - b) ** 2 for a, b in zip(p, q, strict=True)))]


def agree_with_loops(features: dict[str, Callable[[Array, Array], Array]], first_to_last: list[str]) -> bool:
    """Whether all features, made one after another from the same arrays, are those of loops over untouched ones."""
    rng = np.random.default_rng(3)
    p, q = rng.dirichlet(np.ones(4), (2, 5, 6))
    p[0, 0] = q[0, 1] = 0.25  # ties
    untouched = p.tolist(), q.tolist()
    agrees = True
    for name in first_to_last:
        found = features[name](p, q)
        oracle = [
            [naive_feature(name, a, b) for a, b in zip(*rows, strict=True)] for rows in zip(*untouched, strict=True)
        ]
        agrees &= found.shape == np.shape(oracle) and bool(np.allclose(found, oracle, rtol=0, atol=1e-15))
    return agrees


def sorts_in_place(p: Array, q: Array) -> Array:
    """Broken: the next feature is given sorted posteriors."""
    order = np.argsort(-p, -1, kind="stable")
    p[...], q[...] = np.take_along_axis(p, order, -1), np.take_along_axis(q, order, -1)
    return p - q


def sorts_apart(p: Array, q: Array) -> Array:
    """Broken: each version in its own order."""
    return np.sort(p, -1)[..., ::-1] - np.sort(q, -1)[..., ::-1]


@pytest.mark.parametrize("first_to_last", [list(FEATURES), list(FEATURES)[::-1]])
def test_features_are_those_of_loops(first_to_last: list[str]) -> None:
    assert agree_with_loops(FEATURES, first_to_last)


@pytest.mark.parametrize("twin", [sorts_in_place, sorts_apart])
def test_features_of_sorted_input_are_caught(twin: Callable[[Array, Array], Array]) -> None:
    assert not agree_with_loops({**FEATURES, "sorted-diff": twin}, list(FEATURES))


def test_of_many_pairs_some_are_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    taught: list[tuple[Array, Mask]] = []

    def remembers(rows: Array, forgotten: Mask, seed: int) -> Any:
        taught.append((rows, forgotten))
        return CLASSIFIERS["tree"](rows, forgotten, seed)

    monkeypatch.setitem(differencing.CLASSIFIERS, "logistic", remembers)
    for candidates, forgotten, learned in ((10, 3, 600), (1000, 30, 5000), (1000, 1, 5000)):
        shadows = drawn(FitRuns, np.random.default_rng(17), 60, candidates=candidates, forgotten=forgotten)
        targets = drawn(ScoreRuns, np.random.default_rng(18), 4, candidates=candidates)
        aucs(DIFF, shadows, targets, "unlearned")
        rows, seen = taught[-1]
        assert len(rows) == len(seen) == learned
        assert seen.sum() == learned * forgotten // candidates
    for seed, same in ((0, True), (1, False)):
        aucs(DIFF, shadows, targets, "unlearned", seed)
        assert np.array_equal(taught[-1][0], rows) == same


def test_features_leave_the_runs_alone() -> None:
    rng = np.random.default_rng(4)
    shadows, targets = drawn(FitRuns, rng, 12), drawn(ScoreRuns, rng, 12)
    for runs in (shadows, targets):
        for logits in runs.logits.values():
            logits.setflags(write=False)
    for attack in ALL[::4]:
        assert aucs(attack, shadows, targets, "unlearned").shape == (12,)


# attacks


def test_names_are_those_of_plans() -> None:
    assert tuple(FEATURES) == DIFFERENCING_FEATURES and tuple(CLASSIFIERS) == DIFFERENCING_MODELS
    assert {attack.key for attack in ALL} == set(MIA_U) <= set(ATTACKS)
    assert len({attack.title for attack in ALL}) == 20


def test_other_names_are_refused() -> None:
    with pytest.raises(ValueError, match="feature must be among direct-diff, .*, got 'diff'"):
        Differencing("diff", "tree")
    with pytest.raises(ValueError, match="classifier must be among logistic, .*, got 'svm'"):
        Differencing("l2", "svm")


@pytest.mark.parametrize("attack", ALL, ids=lambda attack: attack.key)
def test_planted_leak_is_found(attack: Differencing) -> None:
    rng = np.random.default_rng(5)
    options: dict[str, Any] = {"leak": 5.0, "noise": 0.5, "base": 0.0, "one_label": True}
    shadows, targets = drawn(FitRuns, rng, 40, **options), drawn(ScoreRuns, rng, 40, **options)
    found = interval(aucs(attack, shadows, targets, "unlearned"), TINY)
    assert (found.lower or found.mean) > 0.8  # all runs at 1 have no limits


@pytest.mark.parametrize("attack", ALL[:4], ids=lambda attack: attack.key)
def test_draws_come_from_the_generator_alone(attack: Differencing) -> None:
    rng = np.random.default_rng(6)
    shadows, targets = drawn(FitRuns, rng, 20), drawn(ScoreRuns, rng, 20)

    def scores(seed: int) -> Array:
        fitted = fit_attack(attack, shadows, "unlearned", generator=np.random.default_rng(seed))
        return fitted.scores(targets, "unlearned")

    np.random.default_rng(7).random()
    assert np.array_equal(scores(0), scores(0))
    if attack.classifier in {"forest", "mlp"}:
        assert not np.array_equal(scores(0), scores(1))


def alone_as_in_company(scores: Callable[[ScoreRuns], Array], targets: ScoreRuns) -> bool:
    """Whether a run has the same scores by itself as among others."""
    return bool(np.allclose(scores(targets)[:1], scores(targets.take(np.array([0]))), rtol=0, atol=1e-12))


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_a_run_is_scored_by_itself(classifier: str) -> None:
    rng = np.random.default_rng(8)
    shadows, targets = drawn(FitRuns, rng, 20), drawn(ScoreRuns, rng, 20)
    fitted = Differencing("sorted-concat", classifier).fit(shadows, "unlearned", generator=rng)
    assert alone_as_in_company(lambda runs: fitted.scores(runs, "unlearned"), targets)

    def in_units_of_the_targets(runs: ScoreRuns) -> Array:
        """Broken: standardised by the runs that are scored."""
        rows = FEATURES["sorted-concat"](softmax(runs.of("first"), -1), softmax(runs.of("unlearned"), -1))
        flat = rows.reshape(-1, rows.shape[-1])
        return replace(fitted, centre=flat.mean(0), spread=flat.std(0)).scores(runs, "unlearned")

    assert not alone_as_in_company(in_units_of_the_targets, targets)


def linear(kind: type[Any], rng: np.random.Generator, runs: int) -> Any:
    """Logits so small that p is linear in them: z₀ − z₁ is N(a, 2σ²), a = 2√2·σ, where it was learned, else a = 0."""
    options: dict[str, Any] = {"classes": 2, "base": 0.0, "leak": math.sqrt(8) * 1e-3, "noise": 1e-3}
    return drawn(kind, rng, runs, one_label=True, **options)


def test_gaussian_pairs_give_the_closed_form() -> None:
    rng = np.random.default_rng(9)
    shadows, targets = linear(FitRuns, rng, 200), linear(ScoreRuns, rng, 400)
    for attack, model, distance in (
        (DIFF, "retrained", 2.0 / math.sqrt(2)),  # the noise of both releases
        (Classical("logistic"), "first", 2.0),
        (CONCAT, "retrained", 2.0),  # a q that does not depend on S adds nothing to p
        (DIFF, "original", 0.0),  # two releases of one model differ by noise
        (CONCAT, "original", 2.0 * math.sqrt(2)),  # and their mean has half the variance
    ):
        found = interval(aucs(attack, shadows, targets, model), TINY)
        assert covers(found, float(ndtr(distance / math.sqrt(2)))), (attack, model, found)


def test_no_claim_allows_an_auc() -> None:
    rng = np.random.default_rng(10)
    shadows, targets = drawn(FitRuns, rng, 20), drawn(ScoreRuns, rng, 20)
    found = run_attack(
        Differencing("l2", "logistic"),
        shadows,
        targets,
        GaussianTradeOff(0.1),
        ["unlearned", "original"],
        seeds="fresh",
        failure_probability=0.01,
        generator=rng,
    )
    assert [result.against for result in found] == ["retrained", "unlearned", "original"]
    assert all(result.auc_allowed is None and result.family == "MIA-U" for result in found)


def test_both_versions_are_needed() -> None:
    runs = drawn(FitRuns, np.random.default_rng(11), 8)
    for part in (runs.logits, runs.population):
        del part["first"]
    with pytest.raises(BadScores, match="got 'first'"):
        Differencing("l2", "tree").fit(runs, "unlearned", generator=np.random.default_rng(0))


# DegCount and DegRate


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_degradation_is_that_of_a_loop(classifier: str) -> None:
    rng = np.random.default_rng(12)
    shadows, targets = drawn(FitRuns, rng, 20, leak=3.0), drawn(ScoreRuns, rng, 15, leak=3.0)
    attack = Differencing("sorted-diff", classifier)
    found = degradation(attack, shadows, targets, "retrained", seeds="fresh", generator=np.random.default_rng(0))
    generator = np.random.default_rng(0)
    both = attack.fit(shadows, "retrained", generator=generator).scores(targets, "retrained")
    one = Classical(classifier).fit(shadows, "first", generator=generator).scores(targets, "first")
    counts, rates = [], []
    for run in range(15):
        gains = []
        for candidate in range(10):
            u, m = both[run, candidate], one[run, candidate]
            gains.append(u - m if targets.members[run, candidate] else (1 - u) - (1 - m))
        counts.append(sum(gain > 1e-15 for gain in gains) / 10)
        rates.append(sum(gains) / 10)
    assert found.records == 150 and found.wins == round(10 * sum(counts))
    assert found.degradation_count.mean == pytest.approx(np.mean(counts))
    assert found.degradation_rate.mean == pytest.approx(np.mean(rates))
    assert found.degradation_rate.runs == 15 and found.classical == f"classical/{classifier}"
    assert ((both >= 0) & (both <= 1)).all()


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_both_confidences_are_probabilities(classifier: str) -> None:
    """On average as large as the share of the forgotten: neither attack is the bolder one by construction."""
    rng = np.random.default_rng(13)
    shadows, targets = drawn(FitRuns, rng, 60), drawn(ScoreRuns, rng, 200)
    for attack, model in ((Differencing("sorted-concat", classifier), "unlearned"), (Classical(classifier), "first")):
        fitted = fit_attack(attack, shadows, model, generator=rng)
        assert fitted.scores(targets, model).mean() == pytest.approx(0.2, abs=0.03)


def test_second_version_degrades_privacy_where_it_differs() -> None:
    rng = np.random.default_rng(14)
    shadows, targets = linear(FitRuns, rng, 100), linear(ScoreRuns, rng, 200)
    options: dict[str, Any] = {"seeds": "fresh", "generator": rng, "failure_probability": TINY}
    # the difference alone of a quiet pair is worth less than p, two releases of one model are worth more
    less = degradation(DIFF, shadows, targets, "retrained", **options)
    more = degradation(CONCAT, shadows, targets, "original", **options)
    assert less.degradation_rate.upper < 0 < more.degradation_rate.lower
    assert more.degradation_count.lower > 0.5
    assert more.degradation_rate.failure_probability == TINY


# the gap to retraining


Gap = Callable[[Differencing, FitRuns, ScoreRuns, float], Interval]


def separate_gap(attack: Differencing, shadows: FitRuns, targets: ScoreRuns, level: float) -> Interval:
    """Broken: two attacks, each taught by its own kind, whose luck no target run shows."""
    return interval(aucs(attack, shadows, targets, "unlearned") - aucs(attack, shadows, targets, "retrained"), level)


def pooled_gap(attack: Differencing, shadows: FitRuns, targets: ScoreRuns, level: float) -> Interval:
    return gap_to_retrained(
        attack, shadows, targets, "unlearned", generator=np.random.default_rng(0), failure_probability=level
    )


@cache
def gaps(gap: Gap, attack: Differencing, trials: int) -> list[Interval]:
    """The gap where unlearned models have the law of retrained ones, at level 0.05."""
    found = []
    for trial in range(trials):
        rng = np.random.default_rng([15, trial])
        shadows = drawn(FitRuns, rng, 16, candidates=6, classes=2)
        targets = drawn(ScoreRuns, rng, 64, candidates=6, classes=2)
        found.append(gap(attack, shadows, targets, 0.05))
    return found


def missed(gap: Gap, attack: Differencing, level: float, trials: int) -> int:
    """How often the interval at this level misses 0: rescaled, so that one fit serves all levels."""
    wider = student.ppf(1 - level / 2, 63) / student.ppf(0.975, 63)
    found = ((one.mean, one.upper) for one in gaps(gap, attack, trials))
    return sum(upper is not None and abs(mean) > wider * (upper - mean) for mean, upper in found)


GATED = 1200  # an interval at 0.05 that misses in a tenth is caught


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("attack", [Differencing("l2", "logistic"), Differencing("sorted-concat", "tree")])
def test_gap_covers_nothing_at_its_rate(attack: Differencing, level: float) -> None:
    assert not caught(missed(pooled_gap, attack, level, GATED), GATED, level)


def test_a_tenth_for_a_twentieth_would_be_caught() -> None:
    assert caught(GATED // 10, GATED, 0.05)


def test_gap_between_two_fits_is_caught() -> None:
    assert caught(missed(separate_gap, Differencing("l2", "logistic"), 0.05, 300), 300, 0.05)


def test_gap_has_its_closed_form_and_sign() -> None:
    rng = np.random.default_rng(16)
    shadows, targets = linear(FitRuns, rng, 100), linear(ScoreRuns, rng, 400)
    # nothing unlearned: the difference tells nothing, less than that of retraining; no merit
    found = gap_to_retrained(DIFF, shadows, targets, "original", generator=rng, failure_probability=TINY)
    assert covers(found, 0.5 - float(ndtr(1.0))) and found.upper is not None and found.upper < 0
    # unlearned models that know less of the forgotten than models that never saw them
    options: dict[str, Any] = {"leak": 1.0, "left": -2.0, "one_label": True}
    shadows, targets = drawn(FitRuns, rng, 40, **options), drawn(ScoreRuns, rng, 40, **options)
    for classifier in CLASSIFIERS:
        attack = Differencing("direct-diff", classifier)
        over = gap_to_retrained(attack, shadows, targets, "unlearned", generator=rng, failure_probability=1e-6)
        assert over.lower is not None and over.lower > 0


# real fleets

ONE_PASS = SGD(epochs=1, batch_size=5, step_size=2.0)


def player(request: tuple[int, ...], method: Any = None) -> Subject:
    return replace(subject(method or Retrain(), on=task(ONE_PASS)), request_ids=request)


def played(
    request: tuple[int, ...], candidates: int, seeds: Seeds, noise_scale: float, method: Any = None
) -> tuple[FitRuns, ScoreRuns]:
    game, own = Game(candidates, 64, 64, 10), player(request, method)
    made = design(noise_scale=noise_scale, budget=None)
    shadows, targets = (
        attack_chunk(own, made, game, role, seeds, 0, draw_members(own, game, role, seeds)).runs[1.0]
        for role in ("shadow", "target")
    )
    assert isinstance(shadows, FitRuns) and isinstance(targets, ScoreRuns)
    return shadows, targets


@pytest.mark.parametrize(("request_ids", "candidates"), [((0,), 4), ((0, 1), 6)], ids=["single", "grouped"])
def test_exact_retraining_with_one_seed_looks_terrible(request_ids: tuple[int, ...], candidates: int) -> None:
    attack = Differencing("direct-diff", "forest")

    def auc(seeds: Seeds, noise_scale: float) -> Interval:
        return interval(aucs(attack, *played(request_ids, candidates, seeds, noise_scale), "retrained"), 1e-6)

    perfect, fresh, noisy = auc("one seed", 0.0), auc("fresh", 0.0), auc("one seed", 1.0)
    assert perfect.mean > (0.99 if len(request_ids) == 1 else 0.85)
    for weaker in (fresh, noisy):
        assert weaker.upper is not None and covers(weaker, 0.5)
        assert weaker.upper < (perfect.lower or perfect.mean)  # all runs at 1 have no limits


def test_first_version_has_noise_of_its_own() -> None:
    for noise_scale, same in ((0.0, True), (0.1, False)):
        for runs in played((0,), 4, "fresh", noise_scale):
            assert np.array_equal(runs.of("first"), runs.of("original")) == same


def keeps_the_others(
    own: Subject,
    ids: tuple[int, ...],
    members: Any,
    budget: float | None,
    *,
    streams: Streams,
    draws: Streams,
    one_run: bool,
    always: bool,
) -> Forgotten:
    """Broken: the candidates that are not forgotten are retained members, in both versions."""
    forget = masks(own.task, [tuple(np.asarray(ids)[row].tolist()) for row in members])
    everyone: Tensor = own.task.everyone(len(members))
    original = own.method.learn(own.task, everyone, streams=streams)
    retrained = own.method.learn(own.task, everyone & ~forget, streams=streams)
    return Forgotten(original, retrained, retrained, np.zeros(len(members), dtype=bool), None)


def negatives_were_never_learned(runs: ScoreRuns) -> bool:
    """With one seed and no noise all retrained models are one model: none of them has seen a candidate."""
    z = runs.of("retrained")
    return bool((z == z[:1]).all())


def test_negatives_were_in_neither_version(monkeypatch: pytest.MonkeyPatch) -> None:
    _, honest = played((0,), 4, "one seed", 0.0)
    assert negatives_were_never_learned(honest)
    monkeypatch.setattr(fleet, "learn_and_forget", keeps_the_others)
    _, broken = played((0,), 4, "one seed", 0.0)
    assert not negatives_were_never_learned(broken)
