"""Rung D from models to lines: a small problem, real data, a network; and that the adversary sees no S."""

import tomllib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import ndtr

from audit.bounds.identification import Game, identification_lower
from audit.controls import HONEST, defect
from audit.design import Design, IdentificationDesign
from audit.findings import Findings
from audit.fleet import Subject
from audit.identification_rung import Identified, candidate_ids, identification_line, identify, knows_seed
from audit.naming import Adversary, Shadows, choose_adversary, right_names, success_count, success_lower
from audit.row import audit_row
from certunlearn.building import build
from certunlearn.plan import parse_plan
from learning.per_replica import PerReplica
from methods.qiao2025hessianfree import HessianFree
from methods.retrain import Retrain
from unlearning import Claim, Declaration, EpsilonDelta, Reference, SeedPolicy
from unlearning.binomial import clopper_pearson_upper
from unlearning.errors import PlanError
from unlearning.verdict import Outcome, Verdict

from .gates import agrees
from .problems import DELTA, NoiseInside, ReleasesTheOriginal, SecretNoOp, subject, task

REQUEST = tuple(range(12))
CONTROLS = ("no-op", "retrained", "half-noise")


def game_design(
    sampling: str = "coin",
    *,
    runs: int = 4,
    epsilon: float = 1.0,
    policy: SeedPolicy = SeedPolicy.PER_SEED,
    rungs: str = "D",
    noise_scale: float = 2e-4,
    shadows: int = 48,
) -> Design:
    members = 12 if sampling == "fixed" else None
    game = Game(sampling, 24 if members else 12, 9, runs, members)  # type: ignore[arg-type]
    claim = Claim(EpsilonDelta(epsilon, DELTA), DELTA, Reference.EMPTY_REQUEST, policy, len(REQUEST))
    return Design(
        claim=claim,
        noise_scale=noise_scale,
        sensitivity_budget=None,
        rungs=frozenset(rungs),
        test=8,
        selection=8,
        release_calls=64,
        failure_probability=0.05,
        control_failure_probability=1e-3,
        controls=CONTROLS,
        identification=IdentificationDesign(game, shadows),
    )


def player(method: Any = None, *, rows: int = 60, **more: Any) -> Subject:
    return replace(subject(method, on=task(rows=rows, columns=14), **more), request_ids=REQUEST)


def play(of: Subject, design: Design) -> Identified:
    def run(phase: str, function: Callable[..., Any], tasks: list[tuple[Any, ...]]) -> list[Any]:
        return [function(*one) for one in tasks]

    found = identify(of, design, [defect(name) for name in design.controls], run, 16)
    assert found is not None
    return found


def row(of: Subject, design: Design) -> Findings:
    return audit_row(of, design, chunk=16, jobs=1)


@pytest.mark.parametrize("sampling", ["coin", "fixed"])
def test_doing_nothing_is_refuted_and_unlearning_is_not(sampling: str) -> None:
    honest = row(player(Retrain()), game_design(sampling))
    assert honest.verdict is Verdict.NOT_REFUTED, honest.because
    assert all(control.behaved for control in honest.controls)
    lazy = row(player(SecretNoOp(Retrain())), game_design(sampling))
    assert lazy.verdict is Verdict.REFUTED
    assert lazy.lines[0].epsilon_lower is not None and lazy.lines[0].epsilon_lower > 1
    assert lazy.lines[0].runs_reference == 0


def test_unlearning_that_leaves_more_than_the_noise_hides_is_refuted() -> None:
    """A fifth of the records at once, and σ far below what is left of them: Hessian-free's residual names them."""
    found = row(player(HessianFree()), game_design())
    assert found.verdict is Verdict.REFUTED


def test_what_the_release_undoes_is_seen() -> None:
    """The state is honest, the release is not: shadows before noise know nothing of it, and one adversary must."""
    found = row(player(ReleasesTheOriginal(HessianFree())), game_design())
    assert found.identification is not None
    assert found.controls[0].verdict is Verdict.REFUTED


def test_predictions_are_made_and_kept() -> None:
    found = row(player(), game_design(noise_scale=2e-5))
    predicted = {c.name: c.predictions[0] for c in found.controls}
    assert predicted["no-op"].predicted is Outcome.REFUTED is predicted["no-op"].observed
    assert predicted["retrained"].predicted is Outcome.NOT_REFUTED is predicted["retrained"].observed
    assert predicted["half-noise"].predicted is None
    assert found.lines[0].noop_power is not None and found.lines[0].noop_power > 0.999


def test_rung_d_stands_beside_the_others() -> None:
    found = row(player(), game_design(rungs="ABCD", noise_scale=2e-3))
    assert {line.rung for line in found.lines} == {"A", "B", "C", "D"}
    assert found.distances is not None and found.identification is not None
    assert sum(found.shares.values()) == pytest.approx(0.05)
    assert {p.line for p in found.controls[0].predictions} >= {"identification", "projection-z"}


def test_a_game_that_cannot_refute_is_not_played() -> None:
    found = row(player(), game_design(runs=1, epsilon=8.0))
    assert found.verdict is Verdict.NOT_COMPUTABLE
    assert "16 names of coin flips would" in found.because, found.because
    assert found.identification is None


def test_the_same_plan_gives_the_same_game_whatever_the_chunks() -> None:
    first, again = (audit_row(player(), game_design(), chunk=size, jobs=1) for size in (16, 5))
    assert first.identification == again.identification
    other = row(player(seed=1), game_design())
    assert other.identification != first.identification


def test_noise_inside_training_is_no_seed_that_the_adversary_knows() -> None:
    """A correct method: with its noise known the game would be won."""
    of, design = player(NoiseInside(noise=0.05), reference=Reference.RETRAINED), game_design(runs=6)
    assert not knows_seed(of, design)
    found = play(of, design)
    assert found.noise_scale == 0 and found.seeds == "independent"
    line = identification_line(found, design, HONEST)
    assert line.outcome is Outcome.NOT_REFUTED
    assert line.noop_power is not None


def test_claims_over_seeds_meet_fresh_seeds() -> None:
    of, design = player(), game_design(policy=SeedPolicy.MARGINAL)
    found = play(of, design)
    assert found.seeds == "independent"
    assert len(np.unique(found.played.known.original, axis=0)) == 4
    assert identification_line(found, design, HONEST).outcome is Outcome.NOT_REFUTED


class Lazy:
    """One model at a time: what it learned is what it releases."""

    declaration = Declaration(title="lazy", citation="none", reference=Reference.RETRAINED)

    def learn(self, features: torch.Tensor, labels: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
        signs = 2.0 * labels - 1
        return features.T @ signs.to(features.dtype) / len(features)

    def unlearn(
        self,
        parameters: torch.Tensor,
        features: torch.Tensor,
        labels: torch.Tensor,
        removed: torch.Tensor,
        generator: np.random.Generator,
    ) -> torch.Tensor:
        return parameters


def test_anyone_s_method_for_one_model_plays() -> None:
    of = player(PerReplica(Lazy()), reference=Reference.RETRAINED)
    found = row(of, game_design())
    assert found.verdict is Verdict.REFUTED
    assert found.identification is not None and found.identification.right == found.identification.noop_right == [9] * 4


def test_runs_in_which_nothing_is_forgotten_release_the_reference() -> None:
    few = replace(player(), request_ids=(0, 1))
    design = replace(game_design(), identification=IdentificationDesign(Game("coin", 2, 2, 60), 48))
    found = play(few, design)
    nothing = ~found.played.known.members.any(1)
    assert 5 < nothing.sum() < 30
    assert (found.played.refused == nothing).all()


def test_a_spent_budget_releases_the_reference() -> None:
    found = row(player(), replace(game_design(), sensitivity_budget=1e-12))
    assert found.refused == 4
    assert found.verdict is Verdict.NOT_COMPUTABLE
    assert "all were retrained" in found.because
    assert found.identification is not None and found.identification.refused == 4


def test_candidates_hold_the_request() -> None:
    ids = candidate_ids(player(), Game("fixed", 24, 9, 1, 12))
    assert len(set(ids)) == 24 and set(REQUEST) < set(ids) and max(ids) < 60
    assert candidate_ids(player(), Game("coin", 12, 9)) == REQUEST


def test_against_another_draw_the_names_are_blind() -> None:
    """The names come from the weights alone, so that members drawn anew make V a draw from the null."""
    of, design = player(SecretNoOp(HessianFree())), game_design(runs=40)
    found, rng = play(of, design), np.random.default_rng(0)
    adversary, played = found.strategy(HONEST).adversary, found.played
    assert (found.right(HONEST) == 9).mean() > 0.9
    other = Game("coin", 12, 9).draw(40, rng)
    right = adversary.right(adversary.log_odds(played.released[""]), other)
    assert right.mean() == pytest.approx(4.5, abs=1.0)


# ---- the adversary --------------------------------------------------------------------------------------------------


def _gaussian_world(game: Game, sizes: np.ndarray, noise: float, rng: np.random.Generator) -> tuple[Adversary, Shadows]:
    directions = np.linalg.qr(rng.standard_normal((30, game.candidates)))[0].T * sizes[:, None]
    members = game.draw(120, rng)
    weights = members @ directions + 3.0
    known = Shadows(members, weights, weights)
    return choose_adversary(game, known, "unlearned", noise, generator=rng)[0], known


@pytest.mark.parametrize("sampling", ["coin", "fixed"])
@pytest.mark.parametrize("noise", [0.05, 0.15, 0.3])
def test_the_union_bound_is_below_the_truth(sampling: str, noise: float) -> None:
    game = Game(sampling, 10, 6, 1, 5 if sampling == "fixed" else None)  # type: ignore[arg-type]
    rng = np.random.default_rng(3)
    adversary, known = _gaussian_world(game, np.linspace(0.5, 1.5, 10), noise, rng)
    normals = rng.standard_normal((4000, 10))
    for needed in (3, 4, 5):
        for weights, members in zip(known.unlearned[:5], known.members[:5], strict=True):
            low = success_lower(adversary, weights, members, noise, needed)
            hits = success_count(adversary, weights, members, noise, needed, normals)
            assert low <= clopper_pearson_upper(hits, 4000, 1e-9)
    if noise == 0.05:
        assert low > 0.99


def test_names_are_the_most_certain_ones() -> None:
    log_odds = np.array([[3.0, -2.0, 0.5, -0.1]])
    members = np.array([[True, True, True, True]])
    assert right_names(Game("coin", 4, 2), log_odds, members).tolist() == [1]  # "member", "not": one is right
    assert right_names(Game("fixed", 4, 2, 1, 2), log_odds, members).tolist() == [2]  # candidates 0 and 2


def test_the_adversary_finds_what_a_likelihood_would() -> None:
    """Orthogonal directions of length 1: the best test names a candidate with probability Φ(1/2σ)."""
    game, rng, noise = Game("coin", 10, 10), np.random.default_rng(4), 0.6
    adversary, known = _gaussian_world(game, np.ones(10), noise, rng)
    chosen = rng.integers(0, 120, 500)
    released = known.unlearned[chosen] + noise * rng.standard_normal((500, 30))
    right = adversary.right(adversary.log_odds(released), known.members[chosen])
    assert agrees(int(right.sum()), 5000, float(ndtr(1 / (2 * noise))))


# ---- real data ------------------------------------------------------------------------------------------------------

PLAN = """
title = "identification"
[datasets.digits]
source = "digits"
rows = 840
{bias}
[tasks.digits]
dataset = "digits"
model = {model}
regularisation = 0.01
recipe = {{ kind = "sgd", epochs = 10, batch_size = 84, step_size = {step} }}
request = {{ kind = "random", size = 40 }}
[[rows]]
name = "row"
task = "digits"
method = "hessian-free"
claim = {{ epsilon = 8.0, delta = 1e-5, kind = "epsilon-delta" }}
noise_scale = 3e-3
rungs = ["D"]
identification = {game}
"""


def _built(game: str, *, network: bool = False) -> tuple[Subject, Design]:
    model, step = ('"mlp"\nhidden = [16]', 0.5) if network else ('"softmax"', 1.0)
    text = PLAN.format(model=model, step=step, game=game, bias="bias = false" if network else "")
    built = build(parse_plan(tomllib.loads(text)), device=torch.device("cpu"), data=None, trust=False).rows[0]
    return built.subject, built.design


@pytest.mark.parametrize("game", ["{ runs = 1 }", '{ sampling = "fixed", candidates = 60, runs = 1 }'])
def test_one_unlearned_model_of_real_data_refutes_doing_nothing(game: str) -> None:
    """Softmax on 800 digits and 40 candidates, (8, 1e-5) at failure probability .01."""
    of, design = _built(game)
    honest = audit_row(of, design, chunk=100, jobs=1)
    assert honest.verdict is Verdict.NOT_REFUTED
    assert honest.lines[0].noop_power is not None and honest.lines[0].noop_power > 0.9
    found = honest.identification
    assert found is not None and found.noop_right == [30]
    nothing = identification_lower(
        identification_of(design), found.noop_right, design.claim, design.failure_probability
    )
    assert nothing.refuted and nothing.epsilon_lower > 8


def identification_of(design: Design) -> Game:
    assert design.identification is not None
    return design.identification.game


def test_records_of_a_network_can_be_named() -> None:
    of, design = _built("{ runs = 3, shadows = 60 }", network=True)
    found = audit_row(of, design, chunk=100, jobs=1)
    assert found.identification is not None and min(found.identification.noop_right) >= 28
    assert found.verdict is Verdict.NOT_REFUTED
    assert all(control.behaved for control in found.controls)


@pytest.mark.slow
def test_a_newton_step_of_real_data_is_not_refuted() -> None:
    """σ for ε = 8 at the a-posteriori Δ: doing nothing is named throughout, in a single release."""
    text = PLAN.format(model='"softmax"', step=1.0, game="{ runs = 1, guesses = 20, shadows = 60 }", bias="")
    text = text.replace(text[text.index("recipe") : text.index("request")], 'recipe = { kind = "minimise" }\n')
    text = text.replace('"hessian-free"', '"newton"\nparameters = { bound = "a-posteriori" }')
    built = build(parse_plan(tomllib.loads(text)), device=torch.device("cpu"), data=None, trust=False).rows[0]
    found = audit_row(built.subject, built.design, chunk=1, jobs=1)
    assert found.identification is not None and found.identification.noop_right == [20]
    assert found.verdict is Verdict.NOT_REFUTED


@pytest.mark.parametrize(
    ("game", "message"),
    [
        ("{ guesses = 41 }", "guesses must be at most 40 candidates, got 41"),
        ('{ sampling = "fixed", candidates = 40 }', "candidates must be between 41"),
        ('{ sampling = "fixed", candidates = 1000 }', "between 41 .* and 839"),
        ("{ shadows = 20 }", "shadows must be at least 44"),
        ("{ candidates = 50 }", "left out for coin flips"),
    ],
)
def test_games_that_do_not_fit_are_refused(game: str, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        _built(game)


def test_a_game_without_its_rung_is_refused() -> None:
    text = PLAN.format(model='"softmax"', step=1.0, game="{ runs = 1 }", bias="").replace('["D"]', '["A"]')
    with pytest.raises(PlanError, match="identification must be left out for rungs without D"):
        parse_plan(tomllib.loads(text))
