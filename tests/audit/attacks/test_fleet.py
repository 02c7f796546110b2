"""Fleets of the attacks' game: the same in any chunks, seeds as stated, noise at its factor, refusals paired."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from audit.attacks.fleet import Game, attack_chunk, attacked_ids, draw_members
from audit.attacks.runs import FIRST, MODELS, FitRuns, ScoreRuns
from audit.fleet import numpy64
from audit.score_functions import class_logits
from learning.task import Minimise
from methods.retrain import Retrain
from tests.broken.twin import Twin
from unlearning import Reference

from ..problems import REQUEST, NoiseInside, Understated, design, subject, task

GAME = Game(candidates=6, shadows=12, targets=5, population=7, factors=(0.0, 1.0))


def chunk(of=None, role="target", seeds="fresh", *, game=GAME, budget=0.004, rows=slice(None), on=None):
    own = subject(of, on=on)
    who = draw_members(own, game, role, seeds)[rows]
    return attack_chunk(own, design(budget=budget), game, role, seeds, range(100)[rows].start, who)


@pytest.mark.parametrize("seeds", ["fresh", "one seed"])
def test_a_run_is_the_same_whatever_its_chunk(seeds):
    whole, part = chunk(seeds=seeds), chunk(seeds=seeds, rows=slice(2, 4))
    for factor in GAME.factors:
        assert part.runs[factor].names == whole.runs[factor].names[2:4]
        for model in (FIRST, *MODELS):
            np.testing.assert_allclose(
                part.runs[factor].of(model), whole.runs[factor].of(model)[2:4], rtol=1e-9, atol=1e-9
            )


def test_shadows_and_targets_are_types_with_draws_and_names_of_their_own():
    shadows, targets = chunk(role="shadow").runs[1.0], chunk().runs[1.0]
    assert isinstance(shadows, FitRuns) and isinstance(targets, ScoreRuns)
    assert not set(shadows.names) & set(targets.names)
    assert (shadows.members.sum(1) == len(REQUEST)).all() and (targets.members.sum(1) == len(REQUEST)).all()
    assert len(np.unique(shadows.members, axis=0)) > 3
    assert set(REQUEST) <= set(attacked_ids(subject(), GAME))
    own = subject()
    assert targets.labels.tolist() == own.task.labels()[list(attacked_ids(own, GAME))].tolist()


def test_every_set_of_the_size_is_drawn_as_often():
    own, game = subject(), Game(candidates=4, shadows=6000, targets=5)
    who = draw_members(own, game, "shadow", "fresh")
    _, counts = np.unique(who, axis=0, return_counts=True)
    assert len(counts) == 6 and abs(counts - 1000).max() < 6 * np.sqrt(1000)


def test_outputs_are_those_of_the_models_on_their_records():
    """A naive run: learn on the rest and S, forget S, one model at a time, before noise."""
    own = subject(Retrain())
    targets = chunk(Retrain()).runs[0.0]
    ids = attacked_ids(own, GAME)
    t = own.task
    for k in range(len(targets)):
        forgotten = [i for i, s in zip(ids, targets.members[k], strict=True) if s]
        rest = t.everyone(1).clone()
        rest[0, list(ids)] = False
        with_s = rest.clone()
        with_s[0, forgotten] = True
        from unlearning import Streams

        streams = Streams(own.seed, (0,)).child(t.name, "attacks", "fresh").child("target").select((k,))
        for model, members in (("original", with_s), ("unlearned", rest)):
            parameters = own.method.learn(t, members, streams=streams).parameters
            expected = numpy64(class_logits(t.objective, parameters, t.features()[list(ids)]))[0]
            np.testing.assert_allclose(targets.of(model)[k], expected, atol=1e-10)


def test_seeds():
    fresh, one = chunk(Retrain()).runs[0.0], chunk(Retrain(), seeds="one seed").runs[0.0]
    # one seed: retraining gives one model in all runs, and it is the unlearned one
    assert np.ptp(one.of("retrained"), axis=0).max() < 1e-9
    np.testing.assert_allclose(one.of("retrained"), one.of("unlearned"), atol=1e-9)
    # fresh: every run has its own, which its retrained model shares
    assert np.ptp(fresh.of("retrained")[..., 1], axis=0).min() > 1e-6
    np.testing.assert_allclose(fresh.of("retrained"), fresh.of("unlearned"), atol=1e-9)


class DrawsAnew(Twin):
    """Moves by what it draws, the same for every request: exact at equal draws."""

    @property
    def declaration(self):
        return replace(self.method.declaration, draws=True, reference=Reference.EMPTY_REQUEST)

    def unlearn(self, state, request, *, streams):
        found = super().unlearn(state, request, streams=streams)
        return replace(found, parameters=found.parameters + torch.from_numpy(streams.normals("own", 1)))


@pytest.mark.parametrize("seeds", ["fresh", "one seed"])
def test_a_runs_reference_draws_what_its_unlearning_draws(seeds):
    """Else a replica over budget would release the reference of another draw, and a sound claim be refuted."""
    found = chunk(DrawsAnew(Retrain()), seeds=seeds).runs[0.0]
    np.testing.assert_allclose(found.of("retrained"), found.of("unlearned"), atol=1e-9)
    assert np.ptp(found.of("retrained")[..., 1], axis=0).min() > 1e-6


def test_noise_is_the_rows_times_the_factor_and_both_releases_have_their_own():
    found = chunk(game=replace(GAME, factors=(0.0, 1.0, 2.0))).runs
    for model in (FIRST, *MODELS):
        shift = found[1.0].of(model) - found[0.0].of(model)
        np.testing.assert_allclose(found[2.0].of(model) - found[0.0].of(model), 2 * shift, atol=1e-12)
    np.testing.assert_allclose(found[0.0].of(FIRST), found[0.0].of("original"), atol=1e-12)
    assert np.abs(found[1.0].of(FIRST) - found[1.0].of("original")).max() > 1e-6


def test_where_the_budget_is_spent_the_reference_of_the_same_seed_is_released():
    found, honest = chunk(budget=1e-9), chunk(Retrain(), budget=None)
    assert found.refused.all()
    unlearned, retrained = found.runs[0.0].of("unlearned"), found.runs[0.0].of("retrained")
    np.testing.assert_allclose(unlearned, honest.runs[0.0].of("unlearned"), atol=1e-9)
    np.testing.assert_allclose(unlearned, retrained, atol=1e-12)
    assert not chunk(Understated(subject().method), budget=1e-3).refused.any()


def test_a_deterministic_recipe_and_noise_inside_training():
    minimised = chunk(Retrain(), on=task(Minimise())).runs[0.0]
    np.testing.assert_allclose(minimised.of("retrained"), minimised.of("unlearned"), atol=1e-8)
    inside = chunk(NoiseInside(), budget=None).runs[0.0]
    assert np.abs(inside.of("retrained") - inside.of("unlearned"))[..., 1].min() > 0


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_device_changes_nothing_but_rounding():
    on = replace(task(), device=torch.device("cuda"))
    np.testing.assert_allclose(chunk().runs[1.0].of("unlearned"), chunk(on=on).runs[1.0].of("unlearned"), atol=1e-8)
