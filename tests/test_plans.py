"""The plans that the project ships are valid, without their data; the code they name exists."""

from pathlib import Path

import pytest

from certunlearn.plan import read_plan

ROOT = Path(__file__).parent.parent
PLANS = sorted((ROOT / "plans").rglob("*.toml"))


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_plan(path: Path) -> None:
    plan = read_plan(path)
    for where, target in plan.names():
        file, _, name = target.rpartition(":")
        if file:
            code = (path.parent / file).read_text()
            assert f"def {name}(" in code or f"class {name}(" in code, f"{where}: {target}"
    assert path.read_text().startswith("# "), "a plan begins with a comment that says what it is"


def test_the_plan_of_the_documentation_is_one(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "plans.md").read_text()
    path = tmp_path / "plan.toml"
    path.write_text(text.split("```toml\n")[1].split("```")[0])
    assert len(read_plan(path).rows) == 3


def test_there_are_plans() -> None:
    assert {path.stem for path in PLANS} >= {"default", "adult", "mnist"}
