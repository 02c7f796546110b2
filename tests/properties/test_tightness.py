"""The search that an audit runs: it finds what is broken, repeats anywhere, and survives any method."""

import importlib.util
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from hypothesis.internal.conjecture import providers

from audit.sensitivity_rung import Measured
from learning.per_replica import lifted
from methods.qiao2025hessianfree import HessianFree
from methods.sekhari2021newton import NewtonStep
from properties.tightness import ROUNDING, _always_the_same, problem_in_words, same_everywhere, search_bound
from unlearning.claim import Certificate, SeedPolicy
from unlearning.errors import PlanError
from unlearning.protocols import Declaration


class Wrapped:
    """A method with something of it exchanged."""

    def __init__(self, method=None, *, share=1.0, certify=None, **declared):
        self.own, self.share, self._certify = method or NewtonStep("a-posteriori"), share, certify
        self.declaration = replace(self.own.declaration, **declared)

    def learn(self, task, members, *, streams):
        return self.own.learn(task, members, streams=streams)

    def unlearn(self, state, request, *, streams):
        return self.own.unlearn(state, request, streams=streams)

    def certify(self, state, request):
        found = self.own.certify(state, request)
        if self._certify is not None:
            return self._certify(found)
        return replace(found, sensitivity_upper=tuple(self.share * value for value in found.sensitivity_upper))

    def release(self, state, noise_scale, *, streams):
        return self.own.release(state, noise_scale, streams=streams)


def fail(certificate):
    raise FloatingPointError("singular")


@pytest.mark.parametrize("method", [NewtonStep("a-posteriori"), HessianFree()], ids=["newton", "hessian-free"])
def test_a_true_bound_is_approached_and_not_broken(method):
    one, two = search_bound(method, problems=10)
    for found in (one, two):
        assert found.breach is None and found.reason is None
        assert 0.95 < found.tightest <= 1 and found.tightest == max(found.ratios)
        assert 10 < len(found.ratios) <= found.problems - found.refused
        assert found.tightest_problem is not None
    assert (one.title, two.title) == ("after one request", "after two requests")


@pytest.mark.parametrize("share", [0.9, 0.5, 0.1])
def test_an_understated_bound_is_broken_with_numbers(share):
    *held, broken = search_bound(Wrapped(share=share), problems=30)
    assert broken.breach is not None and all(one.breach is None for one in held)
    measured = broken.breach.measured
    assert measured["distance"] > measured["sensitivity_upper"] > 0
    assert broken.breach.problem.rows <= 4, "a problem that a person can follow"
    assert broken.tightest is None or broken.tightest <= 1


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        (Wrapped(certify=fail), "FloatingPointError: singular"),
        (Wrapped(certify=lambda found: None), "no deterministic certificate"),
        (Wrapped(certify=lambda found: replace(found, failure_probability=0.1)), "no deterministic certificate"),
        (Wrapped(share=math.nan), "nan"),
        (Wrapped(seed_policy=SeedPolicy.MARGINAL), "marginal"),
        (
            Wrapped(exempt=dict.fromkeys(("sensitivity", "sequential_sensitivity"), "no theorem")),
            "declares: no theorem",
        ),
    ],
)
def test_what_cannot_be_said_has_a_reason(method, reason):
    for found in search_bound(method, problems=5):
        assert reason in found.reason and found.breach is None and found.tightest is None


class Ridge:
    """One model: the exact minimiser with a λ of its own, and a Newton step, which is exact: Δ = 0."""

    declaration = Declaration(title="ridge with a λ of its own", citation="none")

    def __init__(self, regularisation, *, most=None, fails=None, at_rest=None):
        self.regularisation, self.most, self.fails, self.at_rest = regularisation, most, fails, at_rest

    def learn(self, features, labels, generator):
        return torch.linalg.solve(self.hessian(features), features.T @ labels.to(features.dtype) / len(features))

    def unlearn(self, weights, features, labels, removed, generator):
        if self.most is not None and len(features) > self.most:
            return self.fails(weights)
        if self.at_rest is not None:
            return weights
        return weights + self.step(weights, features, labels, removed)

    def sensitivity_upper(self, weights, features, labels, removed):
        """0 for the Newton step; for a model left where it is, a share of the way that it should have gone."""
        if self.at_rest is None:
            return 0.0
        return self.at_rest * float(self.step(weights, features, labels, removed).norm())

    def step(self, weights, features, labels, removed):
        gone, target = features[removed], labels[removed].to(features.dtype)
        gradient = ((gone @ weights - target)[:, None] * gone + self.regularisation * weights).sum(0)
        return torch.linalg.solve(self.hessian(features[~removed]), gradient / int((~removed).sum()))

    def hessian(self, features):
        return features.T @ features / len(features) + self.regularisation * torch.eye(features.shape[1]).to(features)


@pytest.mark.parametrize("regularisation", [0.1, 1e-3, 1e-6])
def test_rounding_of_a_badly_conditioned_method_breaks_nothing(regularisation):
    """λ of its own: a law that knows the task's λ alone cannot know how much rounding is."""
    for found in search_bound(lifted(Ridge(regularisation)), problems=60):
        assert found.breach is None and found.reason is None and found.tightest == 0


def test_rounding_is_at_least_what_rung_a_allows():
    measured = Measured(np.zeros(1), np.zeros(1), None, 3.0, float(np.finfo(np.float64).eps))
    assert measured.rounding_slack <= ROUNDING * (1 + measured.norm)


@pytest.mark.parametrize("regularisation", [0.1, 1e-3, 1e-6])
def test_two_per_cent_break_a_bound_whatever_the_conditioning(regularisation):
    found = search_bound(lifted(Ridge(regularisation, at_rest=1 / 1.02)), problems=5)[-1]
    measured = found.breach.measured
    assert measured["distance"] == pytest.approx(1.02 * measured["sensitivity_upper"], rel=1e-6)


class Exploding(Wrapped):
    """Infinite where more than eight records lose some."""

    def unlearn(self, state, request, *, streams):
        found = super().unlearn(state, request, streams=streams)
        large = request.shape[1] > 8 and bool(request.any())
        return replace(found, parameters=found.parameters * math.inf) if large else found


def test_infinite_parameters_break_a_finite_bound():
    (found,) = search_bound(Exploding(), problems=30)
    assert "not finite" in found.breach.finding and math.isfinite(found.breach.measured["sensitivity_upper"])
    assert "distance" not in found.breach.measured and found.breach.problem.rows == 9 and found.reason is None


def test_infinite_parameters_break_no_infinite_bound():
    class Candid(Exploding):
        def certify(self, state, request):
            count, large = state.parameters.shape[0], request.shape[1] > 8
            return Certificate("∞ beyond eight records", (math.inf if large else 1e3,) * count)

    for found in search_bound(Candid(), problems=30):
        assert found.breach is None and "finite" in found.reason


@pytest.mark.parametrize("worse", [math.inf, math.nan])
def test_a_method_for_one_model_that_explodes_releases_nothing(worse):
    """It is stopped before there is a state: no distance, and nothing that holds either."""
    for found in search_bound(lifted(Ridge(0.1, most=8, fails=lambda w: w * worse)), problems=5):
        assert found.breach is None and "finite" in found.reason and found.ratios


def test_one_bound_for_several_models_breaks():
    certify = lambda found: replace(found, sensitivity_upper=found.sensitivity_upper * 2)  # noqa: E731
    (found,) = search_bound(Wrapped(certify=certify), problems=5)
    assert "sensitivities" in found.breach.finding and found.breach.measured == {}


def refuse(weights):
    raise PlanError("no more than three")


def fall_over(weights):
    raise RuntimeError("no more than three")


@pytest.mark.parametrize("fails", [refuse, fall_over])
def test_a_method_that_hides_from_larger_problems_has_a_reason(fails):
    """What it shows on the others is kept, and is not the last word."""
    for found in search_bound(lifted(Ridge(0.1, most=3, fails=fails)), problems=30):
        assert "no more than three" in found.reason and found.breach is None and found.ratios
        assert (found.refused > 0) is (fails is refuse)


def test_what_is_tried_is_counted_by_kind():
    for found in search_bound(HessianFree(), problems=30):
        assert {kind.kind.split()[0] for kind in found.kinds} >= {"ridge", "binary", "softmax"}
        assert found.problems == sum(kind.problems for kind in found.kinds)
        assert found.judged == sum(kind.judged for kind in found.kinds) == len(found.ratios)


def test_an_interrupt_is_not_swallowed():
    def interrupt(certificate):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search_bound(Wrapped(certify=interrupt), problems=5)


@pytest.mark.parametrize("gone", ["_get_local_constants", "CONSTANTS_CACHE"])
def test_a_version_of_hypothesis_without_these_parts_searches_all_the_same(monkeypatch, gone):
    monkeypatch.delattr(providers, gone)
    with pytest.raises(RuntimeError), _always_the_same(7):  # a search itself needs them, in this version
        assert settings().max_examples == 7
        raise RuntimeError
    assert same_everywhere() is (gone == "CONSTANTS_CACHE")


def test_an_exit_in_a_method_is_a_reason():
    def leave(certificate):
        raise SystemExit(3)

    assert "SystemExit" in search_bound(Wrapped(certify=leave), problems=5)[0].reason
    assert all(found.breach is None for found in search_bound(Wrapped(certify=leave), problems=5))


def test_numbers_in_modules_that_happen_to_be_loaded_change_nothing(tmp_path: Path):
    """Hypothesis tries them where nothing keeps it from it: an audit in another process would find other ratios."""
    before = search_bound(NewtonStep("a-posteriori"), problems=20)
    path = tmp_path / "somebodys.py"
    path.write_text(f"NUMBERS = {[round(-2.9 + 0.03 * k, 3) for k in range(120)]}\nWHOLE = {list(range(2, 41))}\n")
    spec = importlib.util.spec_from_file_location("somebodys", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules["somebodys"] = module
    try:
        providers._get_local_constants()
        assert 0.1 in providers._local_constants.floats  # the pool that the search must not see is not empty
        assert search_bound(NewtonStep("a-posteriori"), problems=20) == before
    finally:
        del sys.modules["somebodys"]


def test_the_profile_of_the_process_is_left_alone():
    name, own = settings.get_current_profile_name(), providers._get_local_constants
    with pytest.raises(RuntimeError), _always_the_same(7):
        assert settings().max_examples == 7 and settings().derandomize
        raise RuntimeError
    assert settings.get_current_profile_name() == name and providers._get_local_constants is own


def test_problems_in_words():
    found = search_bound(HessianFree(), problems=5)[0]
    assert problem_in_words(found.tightest_problem).startswith(found.tightest_problem.model)
