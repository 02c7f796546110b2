"""Methods named on a command line, with their parameters."""

from pathlib import Path
from typing import Any

import pytest

from certunlearn.registry import SHIPPED_VARIANTS, registered_methods
from certunlearn.targets import load_targets, parse_target
from unlearning.errors import PlanError

MINE = """
from dataclasses import dataclass
from methods.retrain import Retrain

@dataclass(frozen=True)
class Mine(Retrain):
    steps: int = 1
    word: str = ""
"""


@pytest.mark.parametrize(
    ("text", "target", "parameters"),
    [
        ("newton", "newton", {}),
        ("newton[]", "newton", {}),
        (" newton[bound = a-posteriori , x = 0.5] ", "newton", {"bound": "a-posteriori", "x": 0.5}),
        ("m:C[a=1,b=1.5,c=true,d=-2,e=1e-3,f=inf]", "m:C", dict(a=1, b=1.5, c=True, d=-2, e=1e-3, f=float("inf"))),
        ("m:C[a='1',b=\"p,q=[r]\",c=]", None, {}),
        ("m:C[a='1',b=\"p,q=[r]\"]", "m:C", {"a": "1", "b": "p,q=[r]"}),
        ("scure-newton[batch_sizes=[12, 6],steps=3]", "scure-newton", {"batch_sizes": [12, 6], "steps": 3}),
        ("/a:b[1]/mine.py:Mine", "/a:b[1]/mine.py:Mine", {}),
        ("/a:b[1]/mine.py:Mine[steps=2]", "/a:b[1]/mine.py:Mine", {"steps": 2}),
        ("package.module:Class[steps=2]", "package.module:Class", {"steps": 2}),
    ],
)
def test_parameters_are_read(text: str, target: str | None, parameters: dict[str, Any]) -> None:
    if target is None:
        with pytest.raises(PlanError):
            parse_target(text)
    else:
        assert parse_target(text) == (target, parameters)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("newton[bound]", 'got "bound" in'),
        ("newton[=2]", "write steps=2"),
        ("newton[a b=2]", "write steps=2"),
        ("newton[a=1,a=2]", "must give a parameter once, got a twice"),
        ("newton[a=1,]", "close quotes and brackets"),
        ('newton[a="1]', "close quotes and brackets"),
        ("newton[a=[1]", "close quotes and brackets"),
        ("newton[a=1970-01-01]", "must give numbers, true, false, words or lists"),
        ("newton[a=1\nb=2]", "must give numbers, true, false, words or lists"),
        ("newton[a=two words]", "put other texts in quotes"),
    ],
)
def test_other_brackets_are_refused_in_one_line(text: str, says: str) -> None:
    with pytest.raises(PlanError, match="^--method must") as caught:
        parse_target(text, "--method")
    assert says in str(caught.value)


def test_methods_are_built_in_order(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    own = f"{tmp_path / 'mine.py'}:Mine[steps=2,word=so]"
    newton, mine = load_targets(["newton[bound=published]", own])
    assert (newton.target, newton.parameters, newton.name) == (
        "newton",
        {"bound": "published"},
        "newton[bound=published]",
    )
    assert (mine.name, mine.method.steps, mine.method.word) == (own, 2, "so")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("newten", 'got "newten"; did you mean newton'),
        ("gravity", "registered are certified-unlearning, "),
        ("newton[bond=published]", "did you mean bound"),
        ("newton[bound=tight]", "got bound = 'tight'"),
        ("nothing.here:Method", "must name an installed module"),
        ("here.py:Method", "must name an existing file"),
    ],
)
def test_what_cannot_be_built_is_told_in_one_line(text: str, says: str) -> None:
    with pytest.raises(PlanError) as caught:
        load_targets([text], "--method")
    assert says in str(caught.value) and str(caught.value).startswith("--method") and "\n" not in str(caught.value)


def test_the_variants_that_laws_are_tried_on_can_be_built() -> None:
    for target in load_targets(SHIPPED_VARIANTS):
        assert target.target in registered_methods() and target.parameters
