from collections.abc import Iterator
from pathlib import Path

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


@pytest.fixture
def installed(tmp_path: Path) -> str:
    """A folder on the path whose metadata register the plugin, as an installation of the project would."""
    info = tmp_path / "site" / "certunlearn-0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: certunlearn\nVersion: 0\n")
    (info / "entry_points.txt").write_text("[pytest11]\ncertunlearn = certunlearn.pytest_plugin\n")
    return str(info.parent)
