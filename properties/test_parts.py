"""Every law on parts × the parts of this project; left out where `--method` names someone's own method."""

from typing import Any

import pytest

from .parts import PARTS, SHIPPED_PARTS, part_name


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every law with each of its parts."""
    own = metafunc.config.getoption("certunlearn_method", default=None)
    pairs = [] if own else [(law, part) for law, parts in SHIPPED_PARTS.items() for part in parts]
    metafunc.parametrize(("law", "part"), pairs, ids=[f"{law}-{part_name(part)}" for law, part in pairs])


def test_part(law: str, part: Any) -> None:
    """The law holds."""
    PARTS[law](part)
