from collections.abc import Iterator

import pytest
from hypothesis import Phase, settings


@pytest.fixture(autouse=True)
def fixed_search() -> Iterator[None]:
    """Few problems, the same every time, and no shrinking: that a twin breaks is enough."""
    before = settings.get_current_profile_name()
    settings.register_profile(
        "fixed",
        max_examples=20,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
    )
    settings.load_profile("fixed")
    yield
    settings.load_profile(before)
