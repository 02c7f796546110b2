"""The floors of the house: imports point down, and floor 3 are strangers to each other."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOOR = {
    "unlearning": 1,
    "learning": 2,
    "methods": 3,
    "audit": 3,
    "properties": 3,
    "reports": 3,
    "certunlearn": 4,
}
NOT_OF = {"reports": {"learning", "torch"}, "unlearning": {"torch"}}


def violations(root: Path) -> list[str]:
    """Imports that point up or sideways, and imports that a package may not have, in words."""
    found = []
    for package, floor in FLOOR.items():
        for path in sorted((root / package).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            typing_only = {id(child) for node in ast.walk(tree) if _type_checking(node) for child in ast.walk(node)}
            for node in ast.walk(tree):
                for name in _imported(node):
                    top = name.split(".")[0]
                    where = f"{path.relative_to(root)}:{getattr(node, 'lineno', 0)} imports {name}"
                    if top in FLOOR and top != package and FLOOR[top] >= floor:
                        found.append(where)
                    elif top in NOT_OF.get(package, ()) and not (top == "torch" and id(node) in typing_only):
                        found.append(where)
    return found


def _type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        return [node.module]
    return []


def test_imports_point_down() -> None:
    assert violations(ROOT) == []


def test_every_package_is_on_a_floor_and_typed() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/py.typed")}
    assert packages == set(FLOOR)


@pytest.mark.parametrize(
    ("package", "line"),
    [
        ("unlearning", "import learning.task"),
        ("unlearning", "import torch"),
        ("learning", "from methods import retrain"),
        ("audit", "from methods.retrain import Retrain"),
        ("audit", "import properties"),
        ("methods", "import audit.row"),
        ("properties", "import reports"),
        ("reports", "import torch.nn"),
        ("reports", "from learning import task"),
        ("learning", "import certunlearn.plan"),
        ("methods", "def f():\n    import audit"),
        ("reports", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from learning import task"),
    ],
)
def test_a_planted_violation_is_found(tmp_path: Path, package: str, line: str) -> None:
    for name in FLOOR:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("import math\n")
    assert violations(tmp_path) == []
    (tmp_path / package / "planted.py").write_text(line + "\n")
    assert len(violations(tmp_path)) == 1


def test_types_may_be_named_where_torch_may_not_be_run(tmp_path: Path) -> None:
    for name in FLOOR:
        (tmp_path / name).mkdir()
    (tmp_path / "unlearning" / "p.py").write_text("if TYPE_CHECKING:\n    from torch import Tensor\n")
    assert violations(tmp_path) == []
