"""docs/properties.md is not older than the laws and the twins."""

from pathlib import Path

import pytest

from properties import LAWS
from properties.parts import PARTS
from tests.broken.catalogue import CATCHES, FAULTS, PART_CATCHES, PART_FAULTS, label
from tests.broken.constants import BOUNDS

PAGE = (Path(__file__).parents[2] / "docs" / "properties.md").read_text(encoding="utf-8")
AGAIN = "run python -m benchmarks.properties again"


@pytest.mark.parametrize("law", [*LAWS.values(), *PARTS.values()], ids=lambda law: law.name)
def test_every_law_is_on_the_page(law) -> None:
    assert f"`{law.name}`" in PAGE and law.statement in PAGE, AGAIN


@pytest.mark.parametrize("law", [*CATCHES, *PART_CATCHES])
def test_every_twin_is_on_the_page(law: str) -> None:
    twins = [*CATCHES.get(law, []), *PART_CATCHES.get(law, [])]
    assert [label(twin) for twin in twins if f"`{label(twin)}`" not in PAGE] == [], AGAIN


def test_every_fault_and_every_bound_is_on_the_page() -> None:
    assert [name for name in (*FAULTS, *PART_FAULTS, *BOUNDS) if f"| {name} |" not in PAGE] == [], AGAIN


def test_nothing_on_the_page_went_wrong() -> None:
    assert "No breach was found." in PAGE and "No twin is missed" in PAGE
    assert "**broken**" not in PAGE and "**missed**" not in PAGE
