"""The search that an audit runs: it finds what is broken, repeats anywhere, and survives any method."""

import importlib.util
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.internal.conjecture import providers

from methods.qiao2025hessianfree import HessianFree
from methods.sekhari2021newton import NewtonStep
from properties.tightness import _always_the_same, problem_in_words, search_bound
from unlearning.claim import SeedPolicy


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
        (Wrapped(certify=lambda found: replace(found, sensitivity_upper=found.sensitivity_upper * 2)), "sensitivities"),
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


def test_an_exit_in_a_method_is_a_reason():
    def leave(certificate):
        raise SystemExit(3)

    assert "SystemExit" in search_bound(Wrapped(certify=leave), problems=5)[0].reason


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
