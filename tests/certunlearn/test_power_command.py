"""`certunlearn power` from outside: tables, JSON, figures, and every bad option in one line."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from certunlearn.cli import main

CLAIM = ("--epsilon", "1", "--delta", "1e-5")
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the command: exit status, what it prints, what stderr says."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["certunlearn", "power", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        return int(left.value.code or 0), said.out, said.err

    return run


def test_tables_name_every_design_and_the_cheapest(call: Call) -> None:
    status, out, err = call(*CLAIM, "--replicas", "300", "--replicas", "100", "--wanted", "8")
    assert (status, err) == (0, "")
    assert out.index("N = 100") < out.index("N = 300")
    for words in ("Exact distance", "Projection z-test", "Band over all events", "Naming records", "μ = 0.2681"):
        assert words in out
    assert "Cheapest: Exact distance (rung A), 2 models" in out and "From released models alone:" in out


def test_json_holds_the_numbers_of_the_table(call: Call) -> None:
    status, out, _ = call(
        "--mu", "0.5", "--delta", "1e-5", "--replicas", "1000", "--rung", "C", "--bound", "z", "--json"
    )
    found = json.loads(out)
    assert status == 0 and [design["key"] for design in found["designs"]] == ["z"]
    [smallest] = found["designs"][0]["smallest"]
    assert smallest["mu"] == pytest.approx(0.5 + (1.6449 + 0.8416) * (2 / 1000) ** 0.5, abs=1e-3)
    assert smallest["models"] == 2400
    assert found["wanted"]["epsilon"] == pytest.approx(2 * found["claim"]["epsilon"])
    assert found["cost"][0]["key"] == "z" and found["cost"][0]["runs"] > 0


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_the_figure_is_written(call: Call, kind: str) -> None:
    few = ("--replicas", "100", "--replicas", "1000", "--bound", "z", "--bound", "dkw", "--bound", "identification")
    status, out, _ = call(*CLAIM, *few, "--figure", f"p.{kind}")
    assert status == 0 and out.strip().endswith(f"p.{kind}")
    data = Path(f"p.{kind}").read_bytes()
    assert data.startswith(b"<svg" if kind == "svg" else b"\x89PNG") and len(data) > 5000


def test_a_claim_of_nothing_is_asked_about_one(call: Call) -> None:
    status, out, err = call("--epsilon", "0", "--delta", "1e-5", "--bound", "z", "--replicas", "100")
    assert (status, err) == (0, "") and "To refute ε = 1 " in out and "Cheapest" in out


def test_the_caption_explains_the_words_of_the_table(call: Call) -> None:
    for bound, words in (
        ("band", "ε at most:"),
        ("clopper-pearson", "Best event:"),
        ("e-process", "Approximation:"),
        ("identification-fixed", "Equal traces:"),
    ):
        _, out, _ = call(*CLAIM, "--bound", bound, "--replicas", "100", "--wanted", "8")
        assert words in out
    _, out, _ = call(*CLAIM, "--bound", "z", "--replicas", "100")
    assert "Best event:" not in out and "Approximation:" not in out


def test_nothing_is_refutable_by_the_e_process_where_separated_runs_would_not_do(call: Call) -> None:
    few = ("--bound", "e-process", "--bound", "joint", "--replicas", "100", "--json")
    _, out, _ = call("--epsilon", "50", "--delta", "1e-5", *few)
    assert all(design["smallest"][0]["mu"] is None for design in json.loads(out)["designs"])


def test_a_design_that_can_never_find_it_says_never(call: Call) -> None:
    only = ("--bound", "identification", "--replicas", "100", "--guesses", "4", "--candidates", "8")
    status, out, _ = call("--epsilon", "8", "--delta", "1e-5", *only)
    assert status == 0 and "never" in out and "none" in out and "No design refutes it." in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((*CLAIM, "--bound", "bnad"), "--bound must be a design"),
        ((*CLAIM, "--rung", "E"), "--rung must be A, B, C or D"),
        ((*CLAIM, "--rung", "A", "--bound", "z"), "must leave a design"),
        ((*CLAIM, "--wanted", "0.5"), "--wanted must be above"),
        ((*CLAIM, "--wanted", "nan"), "--wanted must be above"),
        ((*CLAIM, "--power", "1"), "--power must be in (0, 1)"),
        ((*CLAIM, "--failure-probability", "0"), "--failure-probability must be in (0, 1)"),
        ((*CLAIM, "--guesses", "41"), "--guesses must be between"),
        ((*CLAIM, "--pilot", "inf"), "--pilot must be a number from 0 to 10"),
        ((*CLAIM, "--pilot", "1e9"), "--pilot must be a number from 0 to 10"),
        ((*CLAIM, "--figure", "p.pdf"), "--figure must be"),
        ((*CLAIM, "--figure", "nowhere/p.png"), "a folder that exists"),
        ((*CLAIM, "--replicas", "10000000000"), "--replicas must be at most"),
        (("--epsilon", "1", "--mu", "1", "--delta", "1e-5"), "got both"),
        (("--epsilon", "1", "--delta", "1"), "--delta must be in (0, 1)"),
    ],
)
def test_bad_options_are_refused_in_one_line(call: Call, arguments: tuple[str, ...], words: str) -> None:
    status, out, err = call(*arguments)
    assert status == 2 and out == "" and len(err.splitlines()) == 1 and words in err, err
