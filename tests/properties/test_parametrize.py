"""Laws as tests of someone's own suite: what is decorated, skipped, expected to fail, and refused."""

import unittest
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from methods.retrain import Retrain
from methods.sekhari2021newton import NewtonStep
from properties import (
    LAWS,
    Domain,
    LawBroken,
    LawNotApplicable,
    check_effect,
    check_order,
    checks,
    parametrize_with_checks,
)
from properties.parametrize import IN_SINGLE_PRECISION, Check, Subject
from properties.problems import Problem
from properties.profiles import PROFILES, searching
from unlearning import AnyMethod, Declaration

from .pytest_runs import run

SUITE = """
from dataclasses import dataclass, replace
from methods.retrain import Retrain
from properties import LawBroken, check_order, parametrize_with_checks

@dataclass(frozen=True)
class Lazy(Retrain):
    speed: int = 1
    declaration = replace(Retrain.declaration, exempt={"bad_release": "it never releases"})

    def unlearn(self, state, request, *, streams):
        return replace(super().unlearn(state, request, streams=streams), parameters=state.parameters)

def failures(method):
    if isinstance(method, Lazy):
        return {"effect": "it does nothing", "check_quadratic": "it does nothing"}
    return {}

@parametrize_with_checks(
    [Retrain(), Lazy(), Lazy(speed=2)], expected_failures=failures, laws=["effect", "quadratic", "order", "bad_release"]
)
def test_laws(method, check):
    check(method)
"""


@dataclass(frozen=True)
class Lazy(Retrain):
    def unlearn(self, state: Any, request: Any, *, streams: Any) -> Any:
        return replace(super().unlearn(state, request, streams=streams), parameters=state.parameters)


class OneModel:
    declaration = Declaration(title="mean", citation="none")

    def learn(self, features: Any, labels: Any, generator: Any) -> Any:
        return features.mean(0)

    def unlearn(self, parameters: Any, features: Any, labels: Any, removed: Any, generator: Any) -> Any:
        return features[~removed].mean(0)


def rows(decorator: Any) -> list[Any]:
    return list(decorator.mark.args[1])


def test_every_method_meets_every_law_under_a_readable_id() -> None:
    found = rows(parametrize_with_checks([Retrain(), NewtonStep(bound="published")]))
    assert [row.id for row in found] == [
        *(f"Retrain-{law}" for law in LAWS),
        *(f"NewtonStep[bound=published]-{law}" for law in LAWS),
    ]
    assert all(isinstance(row.values[1], Check) for row in found)


def test_both_precisions_add_the_laws_that_compare_numbers() -> None:
    both, single = list(checks(precision="both")), list(checks(precision="float32"))
    assert {check.name for check in both} == {*LAWS, *(f"{law}-float32" for law in IN_SINGLE_PRECISION)}
    assert [check.name for check in single] == [f"{law}-float32" for law in LAWS if law in IN_SINGLE_PRECISION]


def test_a_law_of_ones_own_may_be_given() -> None:
    own = replace(check_order, name="order_again")
    assert [check.name for check in checks([own, "check_effect", "order"])] == ["order_again", "effect", "order"]


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"methods": []}, ValueError, "at least one method"),
        ({"methods": [Retrain]}, TypeError, r"got the class Retrain; write Retrain\(\)"),
        ({"laws": ["gravity"]}, ValueError, "laws must be among .* got 'gravity'"),
        ({"laws": ["ordre"]}, ValueError, "did you mean order"),
        ({"precision": "float16"}, ValueError, "precision must be float64, float32 or both, got 'float16'"),
        ({"expected_failures": {"gravity": "it floats"}}, ValueError, "expected_failures must name checks"),
        ({"expected_failures": {"efect": "typo"}}, ValueError, "did you mean effect"),
        ({"expected_failures": {"order-float32": "not asked for"}}, ValueError, "got 'order-float32'"),
        ({"expected_failures": {"effect": " "}}, ValueError, "must give a reason"),
        ({"expected_failures": {check_effect: None}}, ValueError, "must give a reason, got None"),
        ({"expected_failures": {"effect": "known"}, "laws": ["order"]}, ValueError, "got 'effect'"),
        ({"expected_failures": lambda method: {"order": ""}}, ValueError, "must give a reason"),
    ],
)
def test_wrong_arguments_are_refused_where_the_test_is_decorated(
    arguments: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        parametrize_with_checks(**{"methods": [Retrain()]} | arguments)


def test_a_law_cannot_be_exempt_and_expected_to_fail() -> None:
    method = Lazy()
    object.__setattr__(method, "declaration", replace(Retrain.declaration, exempt={"effect": "none"}))
    with pytest.raises(ValueError, match="from which it is exempt"):
        parametrize_with_checks([method], expected_failures={"effect": "known"})


def test_expected_failures_are_strict_and_are_breaches_only() -> None:
    [row] = rows(parametrize_with_checks([Lazy()], expected_failures={check_effect: "known"}, laws=["effect"]))
    [mark] = row.marks
    assert mark.name == "xfail" and mark.kwargs == {"reason": "known", "strict": True, "raises": LawBroken}


def test_a_law_that_does_not_apply_is_a_skip_for_every_runner() -> None:
    method = Retrain()
    exempt = Lazy()
    object.__setattr__(exempt, "declaration", replace(Retrain.declaration, exempt={"effect": "it must not move"}))
    [effect] = checks(["effect"])
    with pytest.raises(unittest.SkipTest, match="effect: exempt, it must not move") as caught:
        effect(exempt)
    assert isinstance(caught.value, LawNotApplicable) and effect.reason == "exempt, it must not move"
    assert effect(method).problems > 0 and effect.reason is None
    with pytest.raises(LawBroken):
        effect(Lazy())


def test_a_breach_that_does_not_come_again_is_a_breach() -> None:
    calls = []

    def moody(method: AnyMethod, problem: Problem, device: str) -> float:
        calls.append(problem)
        if len(calls) == 3:
            raise LawBroken("effect", "It was in a mood.", problem, {"mood": 1.0})
        return 0.0

    [effect] = checks([replace(check_effect, body=moody, domain=Domain(models=("ridge",)))])
    with pytest.raises(LawBroken, match="in a mood. Tried again, the same problem gave something else") as caught:
        effect(Retrain())
    assert caught.value.measured == {"mood": 1.0} and caught.value.problem == calls[2]


def test_an_expected_failure_that_does_not_apply_is_told() -> None:
    exempt = Lazy()
    object.__setattr__(exempt, "declaration", replace(Retrain.declaration, exempt={"effect": "it must not move"}))
    [effect] = checks(["effect"])
    effect.expected = "known"
    with pytest.raises(AssertionError, match="got effect, which does not apply"):
        effect(exempt)


def test_a_method_for_one_model_is_lifted() -> None:
    [row] = rows(parametrize_with_checks([OneModel()], laws=["inputs_untouched"]))
    method, check = row.values
    assert isinstance(method, OneModel) and row.id == "OneModel-inputs_untouched"
    assert check(method).problems > 0


def test_a_method_is_named_as_the_loader_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Subject.of(NewtonStep(bound="published")) == Subject(
        "NewtonStep[bound=published]", "methods.sekhari2021newton:NewtonStep", {"bound": "published"}
    )
    monkeypatch.setattr(OneModel, "__module__", "test_parametrize")
    monkeypatch.setitem(__import__("sys").modules, "test_parametrize", __import__("sys").modules[__name__])
    monkeypatch.chdir(Path(__file__).parent)
    assert Subject.of(OneModel()).target == "test_parametrize.py:OneModel"


def test_checks_search_as_the_environment_says_where_nobody_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    before = settings.get_current_profile_name()
    with searching():  # the suite has a profile of its own
        assert settings.get_current_profile_name() == before
    settings.load_profile("default")
    try:
        for asked, examples in (("", PROFILES["dev"]), ("nightly", PROFILES["nightly"]), ("theirs", 100)):
            monkeypatch.setenv("HYPOTHESIS_PROFILE", asked)
            with searching():
                assert settings().max_examples == examples
            assert settings.get_current_profile_name() == "default"
    finally:
        settings.load_profile(before)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_in_another_projects_suite(installed: str, tmp_path: Path, workers: str) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    (tmp_path / "test_theirs.py").write_text(SUITE)
    done = run("test_theirs.py", "-rsx", "-n", workers, folder=tmp_path, PYTHONPATH=installed)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 passed, 2 skipped, 4 xfailed" in done.stdout
    assert "bad_release: exempt, it never releases" in done.stdout
    assert "test_laws[Lazy[speed=2]-effect]" in done.stdout
    assert "  Lazy[speed=2]: effect, quadratic: it does nothing" in done.stdout
    assert not (tmp_path / "out").exists()


def test_an_expected_failure_that_is_mended_fails(installed: str, tmp_path: Path) -> None:
    mended = SUITE.replace("if isinstance(method, Lazy):", "if isinstance(method, Retrain):")
    (tmp_path / "test_theirs.py").write_text(mended)
    done = run("test_theirs.py", "-k", "Retrain", folder=tmp_path, PYTHONPATH=installed)
    assert done.returncode == 1 and "[XPASS(strict)] it does nothing" in done.stdout, done.stdout + done.stderr


def test_a_breach_that_nobody_expected_is_explained_and_kept(installed: str, tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text(SUITE.replace("expected_failures=failures, ", ""))
    done = run("test_theirs.py", "-k", "Lazy-effect", folder=tmp_path, PYTHONPATH=installed)
    assert done.returncode == 1 and "breaks the law effect" in done.stdout, done.stdout + done.stderr
    [kept] = (tmp_path / "out" / "counterexamples").iterdir()
    assert f"certunlearn replay out/counterexamples/{kept.name} --trust" in done.stdout
    assert "Traceback" not in done.stdout and "hypothesis" not in done.stdout
