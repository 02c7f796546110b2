"""Behavioural measures against naive formulas, on real fleets; and the faults that public code has in them."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from scipy.stats import pearsonr, spearmanr

from audit.attacks.behaviour import (
    SAME_SEED,
    STEPS,
    Measured,
    behaviour_chunk,
    correlations,
    jensen_shannon,
    measures,
    relearning_steps,
)
from audit.attacks.fleet import Game, Seeds, attack_chunk, draw_members
from audit.attacks.runs import MODELS
from audit.figures import histograms_of
from audit.fleet import Subject
from learning.data import Dataset
from learning.networks import Network, mlp
from learning.objectives import BinaryLogistic, Objective, Softmax
from learning.per_replica import PerReplica
from learning.task import SGD, Adam, Minimise, Task
from methods.qiao2025hessianfree import HessianFree
from methods.retrain import Retrain
from tests.broken.scrub import HoldsTheTeacher, Scrub
from tests.broken.updates import NoOp
from unlearning.record import Histogram

from ..problems import design, subject, task

REQUEST = (3, 7, 8, 20)
GAME = Game(candidates=8, shadows=8, targets=6, population=10)
COLUMNS, CLASSES = 4, 3
RECIPE = SGD(epochs=5, batch_size=10, step_size=0.5)
OBJECTIVES: dict[str, Objective] = {
    "binary logistic": BinaryLogistic(COLUMNS, 0.02),
    "softmax": Softmax(COLUMNS, CLASSES, 0.02),
    "network": Network(mlp(COLUMNS, [5], CLASSES), 0.01),
}


@cache
def small(name: str, recipe: Any = RECIPE) -> Task:
    objective = OBJECTIVES[name]
    if name == "binary logistic":
        return replace(task(recipe), objective=objective)
    rng = np.random.default_rng(4)
    x = torch.from_numpy(rng.standard_normal((60, COLUMNS)) / 3)
    y = torch.from_numpy(rng.integers(0, CLASSES, 60))
    data = Dataset("drawn", "drawn", x[:40], y[:40], x[40:], y[40:], CLASSES, "none", norm_upper=3.0)
    return Task("drawn", data, objective, recipe, torch.device("cpu"), torch.float64)


def player(method: Any, on: Task) -> Subject:
    return replace(subject(method, on=on), request_ids=REQUEST)


def played(of: Subject, noise_scale: float = 0.0, seeds: Seeds = "fresh", sizes: tuple[int, ...] = (6,)) -> Any:
    """Chunks of these sizes of the game's target runs."""
    members, start, chunks = draw_members(of, GAME, "target", seeds), 0, []
    for size in sizes:
        rows = members[start : start + size]
        audited = design(budget=None, noise_scale=noise_scale)
        chunks.append(attack_chunk(of, audited, GAME, "target", seeds, start, rows, measures=True))
        start += size
    return chunks


def measured(*arguments: Any, **more: Any) -> Measured:
    """Of all runs, in one chunk."""
    found: Measured = played(*arguments, **more)[0].measured
    return found


# ---- against naive formulas -----------------------------------------------------------------------------------------


def probabilities(objective: Objective, flat: torch.Tensor, x: torch.Tensor) -> np.ndarray:
    if isinstance(objective, BinaryLogistic):
        p = torch.sigmoid(x @ flat)
        return np.array([1 - float(p), float(p)])
    z = objective.logits(flat, x[None])[0] if isinstance(objective, Network) else x @ flat.view(COLUMNS, CLASSES)
    return torch.softmax(z, -1).detach().numpy()


def naive_run(on: Task, ids: tuple[int, ...], own: np.ndarray, models: dict[str, Any], before: dict[str, Any]) -> Any:
    """Every measure of one run, by loops over records."""
    chosen = [i for i, inside in zip(ids, own, strict=True) if inside]
    groups = {
        "forgotten": [(on.features()[i], int(on.labels()[i])) for i in chosen],
        "retained": [(on.features()[i], int(on.labels()[i])) for i in range(on.rows) if i not in ids],
        "never": [(on.features()[i], int(on.labels()[i])) for i in ids if i not in chosen],
        "holdout": list(zip(on.dataset.holdout_features, map(int, on.dataset.holdout_labels), strict=True)),
    }

    def accuracy(w: torch.Tensor, group: str) -> float:
        return float(np.mean([probabilities(on.objective, w, x).argmax() == y for x, y in groups[group]]))

    def loss(w: torch.Tensor, x: torch.Tensor, y: int) -> float:
        return -math.log(probabilities(on.objective, w, x)[y])

    found: dict[str, dict[str, float]] = {}
    for kind in MODELS:
        beside = SAME_SEED if kind == "retrained" else "retrained"
        w, r = models[kind], models[beside]
        each = {f"accuracy-{group}": accuracy(w, group) for group in groups}
        each["tug-of-war"] = math.prod(
            1 - abs(accuracy(w, group) - accuracy(r, group)) for group in ("forgotten", "retained", "holdout")
        )
        for group in ("forgotten", "holdout"):
            each[f"divergence-{group}"] = float(
                np.mean([
                    jensenshannon(probabilities(on.objective, w, x), probabilities(on.objective, r, x)) ** 2
                    for x, _ in groups[group]
                ])
            )
        records = groups["forgotten"]
        start = np.array([loss(before["original"], x, y) for x, y in records])
        predicted = np.array([loss(before[kind], x, y) for x, y in records]) - start
        actual = np.array([loss(before[SAME_SEED], x, y) for x, y in records]) - start
        varies = kind != "original"
        each["pearson"] = pearsonr(predicted, actual).statistic if varies else math.nan
        each["spearman"] = spearmanr(predicted, actual).statistic if varies else math.nan
        each["distance"] = math.sqrt(sum(float(d) ** 2 for d in before[kind] - before[SAME_SEED]))
        each["relearning"] = naive_relearning(on, records, w, float(np.mean(start)))
        for key, value in each.items():
            found.setdefault(key, {})[kind] = value
    return found


def naive_relearning(on: Task, records: list[tuple[torch.Tensor, int]], w: torch.Tensor, target: float) -> int:
    """One model, torch's own optimisers."""
    x, y = torch.stack([x for x, _ in records]), torch.tensor([y for _, y in records])
    at = w.clone().requires_grad_()
    recipe = on.recipe
    optimiser: torch.optim.Optimizer
    if isinstance(recipe, Adam):
        optimiser = torch.optim.Adam([at], recipe.step_size, (recipe.first, recipe.second), recipe.stability)
    else:
        assert isinstance(recipe, SGD)
        optimiser = torch.optim.SGD([at], recipe.step_size, recipe.momentum)
    for step in range(STEPS):
        whole = on.objective.at(at[None], x[None], y[None]).losses().mean()
        if float(whole.detach()) - on.objective.regularisation / 2 * float((at.detach() ** 2).sum()) <= target:
            return step
        optimiser.zero_grad()
        whole.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        for group in optimiser.param_groups:
            group["lr"] *= recipe.decay
    return STEPS


def differing(measure: Callable[..., Measured], name: str) -> set[str]:
    """Measures that are not, in some run, what loops over records give."""
    on, rng = small(name), np.random.default_rng(2)
    ids, runs = (31, 2, 17, 9, 4, 26, 12), 5  # in no order: labels must follow their records
    members = rng.random((runs, len(ids))).argsort(1).argsort(1) < 4
    before = {kind: torch.from_numpy(rng.standard_normal((runs, on.objective.size))) for kind in (*MODELS, SAME_SEED)}
    released = {kind: w + 0.1 * torch.from_numpy(rng.standard_normal(w.shape)) for kind, w in before.items()}
    found = measure(player(Retrain(), on), ids, members, released, before)
    wrong = set()
    for run in range(runs):
        one = naive_run(on, ids, members[run], *({k: w[run] for k, w in p.items()} for p in (released, before)))
        assert set(one) == set(found)
        for key, values in one.items():
            told = [found[key][kind][run] for kind in values]
            if not np.allclose(told, list(values.values()), rtol=1e-8, atol=1e-10, equal_nan=True):
                wrong.add(key)
    return wrong


def in_another_order(of: Any, ids: tuple[int, ...], members: Any, *models: Any) -> Measured:
    """Broken: records are looked up in ascending order, and the mask is not."""
    return behaviour_chunk(of, tuple(sorted(ids)), members, *models)


def never_learned_for_forgotten(of: Any, ids: tuple[int, ...], members: Any, *models: Any) -> Measured:
    """Broken: measures what was never learned as if it were forgotten."""
    return behaviour_chunk(of, ids, ~members, *models)


def noisy_before(of: Any, ids: Any, members: Any, released: Any, before: Any) -> Measured:
    """Broken: measures before noise what must be measured with it, and the reverse."""
    return behaviour_chunk(of, ids, members, before, released)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_measure_equals_loops_over_records(name: str) -> None:
    assert not differing(behaviour_chunk, name)


def test_loops_find_what_is_mistaken_for_what() -> None:
    forgotten = {"accuracy-forgotten", "divergence-forgotten", "tug-of-war", "pearson", "spearman", "relearning"}
    for broken in (in_another_order, never_learned_for_forgotten):
        assert differing(broken, "softmax") - {"accuracy-never"} == forgotten
    assert differing(noisy_before, "softmax") >= {"distance", "pearson", "divergence-holdout", "relearning"}


@pytest.mark.parametrize(
    "recipe",
    [
        SGD(1, 40, 0.3, decay=0.97, momentum=0.9),
        Adam(1, 10, 0.02),
        Adam(1, 10, 0.05, decay=0.9, first=0.5, second=0.9),
    ],
    ids=str,
)
def test_relearning_takes_the_steps_of_the_recipe(recipe: Any) -> None:
    on, rng = small("network", recipe), np.random.default_rng(3)
    start = torch.from_numpy(rng.standard_normal((8, on.objective.size)))
    chosen = torch.from_numpy(rng.random((8, 6)).argsort(1).argsort(1) < 3)
    ids, target = [1, 2, 3, 5, 8, 13], torch.linspace(0.05, 3.0, 8).double()
    found = relearning_steps(on, ids, chosen, start, target).tolist()
    assert len(set(found)) > 3  # neither at once nor never
    for run, steps in enumerate(found):
        records = [(on.features()[i], int(on.labels()[i])) for i, own in zip(ids, chosen[run], strict=True) if own]
        assert steps == naive_relearning(on, records, start[run], float(target[run]))


def test_an_exact_minimiser_relearns_with_proved_steps_only() -> None:
    chosen, start = torch.tensor([[True, True]]), torch.zeros(1, COLUMNS).double()
    near, never = torch.tensor([0.69]).double(), torch.tensor([0.0]).double()
    on = small("binary logistic", Minimise())
    assert on.constants is not None
    slow = small("binary logistic", SGD(1, 40, 1 / on.constants.smoothness_upper))
    steps = relearning_steps(on, [0, 1], chosen, start, near)
    assert 0 < steps.item() < STEPS
    assert steps.equal(relearning_steps(slow, [0, 1], chosen, start, near))
    assert relearning_steps(on, [0, 1], chosen, start, never).item() == STEPS
    network = small("network", Minimise())
    nowhere = torch.zeros(1, network.objective.size).double()
    assert relearning_steps(network, [0, 1], chosen, nowhere, near).isnan().all()


def test_correlations_are_undefined_where_they_say_nothing() -> None:
    predicted = np.array([[1.0, 2.0, 4.0, 9.0], [1.0, 2.0, 4.0, 9.0], [1.0, 1.0, 1.0, 9.0]])
    members = np.array([[True, True, True, False], [True, True, False, False], [True, True, True, False]])
    pearson, spearman = correlations(predicted, predicted**2, members)
    assert spearman[0] == pytest.approx(1.0) and pearson[0] == pytest.approx(pearsonr([1, 2, 4], [1, 4, 16]).statistic)
    assert np.isnan([*pearson[1:], *spearman[1:]]).all()  # two records; no change differs from another


# ---- divergence, and KL in the wrong direction ----------------------------------------------------------------------


def _log_parts(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    p, q = torch.log_softmax(first, -1), torch.log_softmax(second, -1)
    return p, q, torch.logaddexp(p, q) - math.log(2)


def from_the_middle(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Broken: ½KL(m ‖ p) + ½KL(m ‖ q)."""
    p, q, m = _log_parts(first, second)
    return (m.exp() * (2 * m - p - q)).sum(-1) / 2


def one_sided(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Broken: KL(p ‖ m) alone."""
    p, _, m = _log_parts(first, second)
    return (p.exp() * (p - m)).sum(-1)


def plain(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Broken: KL(q ‖ p)."""
    p, q, _ = _log_parts(first, second)
    return (q.exp() * (q - p)).sum(-1)


def is_divergence(function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], scale: float) -> bool:
    """Whether it is the Jensen–Shannon divergence on drawn logits of a size."""
    rng = np.random.default_rng(6)
    first, second = (torch.from_numpy(scale * rng.standard_normal((200, 5))) for _ in range(2))
    found = function(first, second).numpy()
    p, q = (torch.softmax(z, -1).numpy() for z in (first, second))
    oracle = np.array([jensenshannon(a, b) ** 2 for a, b in zip(p, q, strict=True)])
    inside = bool(((found >= 0) & (found <= math.log(2))).all())
    same = np.allclose(found, function(second, first).numpy(), rtol=1e-9, atol=1e-15)
    return inside and same and np.allclose(found, oracle, rtol=1e-9, atol=1e-12)


def test_the_divergence_is_symmetric_bounded_and_of_the_right_direction() -> None:
    for scale in (0.01, 1.0, 30.0, 1e4):
        assert is_divergence(jensen_shannon, scale)
        for broken in (one_sided, plain):
            assert not is_divergence(broken, scale)
        assert not is_divergence(from_the_middle, max(scale, 1.0))


def test_near_predictions_have_the_divergence_of_the_quadratic_law() -> None:
    """JS = ⅛ Σ (p − q)²/p + …: no cancellation at distances of interest."""
    z = torch.tensor([0.3, -1.0, 0.5]).double()
    shift = 1e-5 * torch.tensor([1.0, 2.0, -1.0]).double()
    p, q = torch.softmax(z, -1), torch.softmax(z + shift, -1)
    assert jensen_shannon(z, z + shift).item() == pytest.approx(float(((p - q) ** 2 / p).sum() / 8), rel=1e-3)
    assert jensen_shannon(z, z).item() == 0


# ---- a histogram that drops its last bin ----------------------------------------------------------------------------


def drops_the_last(released: np.ndarray, reference: np.ndarray) -> list[Histogram]:
    """Broken: what equals the last edge has no bin, and the last bin is not counted."""
    honest = histograms_of(released, reference)
    return [h.model_copy(update={"counts": [*h.counts[:-1], 0]}) for h in honest]


def half_open(released: np.ndarray, reference: np.ndarray) -> list[Histogram]:
    """Broken: every bin is half open, so that the largest value is in none."""
    found = []
    for honest, values in zip(histograms_of(released, reference), (released, reference), strict=True):
        below = np.searchsorted(np.sort(values), honest.edges, "left")
        found.append(honest.model_copy(update={"counts": np.diff(below).tolist()}))
    return found


def counts_everything(histograms: Callable[[np.ndarray, np.ndarray], list[Histogram]]) -> bool:
    rng = np.random.default_rng(8)
    for released, reference in (rng.standard_normal((2, 40)), rng.integers(0, 4, (2, 40)).astype(float)):
        for found, values in zip(histograms(released, reference), (released, reference), strict=True):
            if sum(found.counts) != values.size:
                return False
    return True


def test_a_histogram_counts_every_value() -> None:
    assert counts_everything(histograms_of)
    assert not counts_everything(drops_the_last)
    assert not counts_everything(half_open)


# ---- from values to intervals ---------------------------------------------------------------------------------------


def part(key: str, kind: str, values: Any) -> Measured:
    return {key: {kind: np.asarray(values, dtype=np.float64)}}


def test_undefined_and_capped_runs_are_counted() -> None:
    (found,) = measures([part("relearning", "unlearned", [3, STEPS]), part("relearning", "unlearned", [math.nan, 5])])
    assert found.models["unlearned"].runs == 3
    assert found.models["unlearned"].mean == pytest.approx((8 + STEPS) / 3)
    assert found.undefined == {"unlearned": 1} and found.capped == {"unlearned": 1}
    one_sided = {"pearson": {"unlearned": np.array([0.5, math.nan]), "original": np.full(2, math.nan)}}
    (found,) = measures([one_sided])
    assert set(found.models) == {"unlearned"} and found.undefined == {"unlearned": 1, "original": 2}
    (found,) = measures([part("spearman", "unlearned", [math.nan])])
    assert not found.models and found.undefined == {"unlearned": 1}  # told, not left out


# ---- on real fleets -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["binary logistic", "network"])
def test_numbers_do_not_depend_on_chunks(name: str) -> None:
    of = player(HessianFree(), small(name))
    whole = measures([chunk.measured for chunk in played(of, 0.01)])
    cut = measures([chunk.measured for chunk in played(of, 0.01, sizes=(3, 2, 1))])
    assert [m.key for m in whole] == [m.key for m in cut]
    for one, other in zip(whole, cut, strict=True):
        assert one.undefined == other.undefined
        for kind, told in one.models.items():
            assert other.models[kind].mean == pytest.approx(told.mean, rel=1e-6, abs=1e-12), one.key
            assert other.models[kind].runs == told.runs == 6


def test_without_noise_doing_nothing_needs_no_relearning_and_predicts_nothing() -> None:
    found = measured(player(NoOp(HessianFree()), small("softmax")))
    for kind in ("unlearned", "original"):
        assert found["relearning"][kind].tolist() == [0.0] * 6
        assert np.isnan(found["pearson"][kind]).all()
    assert does_nothing(found)


def test_retraining_with_the_same_seed_is_the_retrained_model() -> None:
    found = measured(player(Retrain(), small("network")), seeds="one seed")
    for key, nothing in (("divergence-forgotten", 0), ("divergence-holdout", 0), ("tug-of-war", 1), ("pearson", 1)):
        assert found[key]["unlearned"] == pytest.approx(nothing, abs=1e-9)
    assert found["distance"]["unlearned"] == pytest.approx(0, abs=1e-12)
    assert (found["distance"]["original"] > 1e-3).all()
    assert found["distance"]["retrained"].tolist() == [0.0] * 6  # no seed, no spread


@pytest.mark.parametrize("name", ["binary logistic", "network"])
def test_retrained_models_show_what_exact_retraining_would(name: str) -> None:
    """With fresh seeds, run for run: not the values of two equal models."""
    found = measured(player(Retrain(), small(name)))
    for key in ("divergence-forgotten", "divergence-holdout", "tug-of-war"):
        assert found[key]["unlearned"] == pytest.approx(found[key]["retrained"], rel=1e-9)
    assert (found["divergence-forgotten"]["unlearned"] > 1e-8).all()
    assert found["distance"]["unlearned"].tolist() == [0.0] * 6
    assert (found["distance"]["retrained"] > 1e-3).all()
    assert found["pearson"]["unlearned"] == pytest.approx(1)


def test_measures_are_made_only_when_asked_for() -> None:
    of = player(Retrain(), small("binary logistic"))
    members = draw_members(of, GAME, "target", "fresh")
    plain_chunk = partial(attack_chunk, of, design(budget=None, noise_scale=0.01), GAME, "target", "fresh", 0, members)
    silent, told = plain_chunk(), plain_chunk(measures=True)
    assert silent.measured is None and told.measured is not None
    for kind, z in silent.runs[1.0].logits.items():  # one more retrained model changes no other
        assert np.allclose(z, told.runs[1.0].logits[kind], rtol=1e-9)


# ---- SCRUB whose optimiser holds the teacher ------------------------------------------------------------------------


def does_nothing(found: Measured) -> bool:
    """Whether every measure is, in every run, what it is of the original model."""
    return all(np.array_equal(kinds["unlearned"], kinds["original"], equal_nan=True) for kinds in found.values())


@pytest.mark.parametrize("name", ["binary logistic", "softmax", "network"])
def test_scrub_whose_optimiser_holds_the_teacher_does_nothing(name: str) -> None:
    on = small(name)
    epochs = 20 if name == "network" else 300
    ran = {
        kind: played(player(PerReplica(kind(on.objective, epochs=epochs)), on))[0] for kind in (Scrub, HoldsTheTeacher)
    }
    for kind, same in ((HoldsTheTeacher, True), (Scrub, False)):
        assert does_nothing(ran[kind].measured) is same
        runs = ran[kind].runs[1.0]  # and every attack sees what it sees of the original
        assert np.array_equal(runs.of("unlearned"), runs.of("original")) is same
    told = ran[Scrub].measured
    assert (np.abs(told["distance"]["unlearned"] - told["distance"]["original"]) > 1e-3).all()
    assert np.mean(told["relearning"]["unlearned"]) > 0
    assert np.isfinite(told["pearson"]["unlearned"]).all()  # each record's loss moves by an amount of its own
