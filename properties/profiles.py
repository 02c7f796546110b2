"""How many problems a law tries: Hypothesis profiles by name."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import settings

PROFILES = {"dev": 30, "ci": 100, "nightly": 2000}
VARIABLE = "HYPOTHESIS_PROFILE"


def register_profiles() -> None:
    """Make the profiles known to Hypothesis: "ci" tries the same problems every time and keeps no database."""
    for name in PROFILES:
        settings.register_profile(name, _profile(name))


def chosen_profile(asked: str | None = None) -> str:
    """The profile asked for, or that of the environment, or "dev".

    Raises:
        ValueError: no profile of that name.
    """
    name = asked or os.environ.get(VARIABLE) or "dev"
    if name not in PROFILES:
        raise ValueError(f"{VARIABLE} must be one of {', '.join(PROFILES)}, got {name!r}.")
    return name


@contextmanager
def searching() -> Iterator[None]:
    """Search by the profile that the process has loaded; by that of the environment, or "dev", where nobody chose one.

    Another project's tests keep their settings: nothing stays changed, and a name of theirs in the environment is left
    to them.
    """
    loaded, asked = settings.get_current_profile_name(), os.environ.get(VARIABLE)
    chosen = loaded not in ("default", "ci") or (
        loaded == "ci" and not asked
    )  # Hypothesis loads "ci" of its own accord
    if chosen or (asked or "dev") not in PROFILES:
        yield
        return
    settings.register_profile("certunlearn", _profile(asked or "dev"))
    settings.load_profile("certunlearn")
    try:
        yield
    finally:
        settings.load_profile(loaded)


def _profile(name: str) -> settings:
    fixed = name == "ci"
    return settings(max_examples=PROFILES[name], deadline=None, derandomize=fixed, print_blob=not fixed)
