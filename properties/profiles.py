"""How many problems a law tries: Hypothesis profiles by name."""

import os

from hypothesis import settings

PROFILES = {"dev": 30, "ci": 100, "nightly": 2000}
VARIABLE = "HYPOTHESIS_PROFILE"


def register_profiles() -> None:
    """Make the profiles known to Hypothesis: "ci" tries the same problems every time and keeps no database."""
    for name, examples in PROFILES.items():
        fixed = name == "ci"
        settings.register_profile(name, max_examples=examples, deadline=None, derandomize=fixed, print_blob=not fixed)


def chosen_profile(asked: str | None = None) -> str:
    """The profile asked for, or that of the environment, or "dev".

    Raises:
        ValueError: no profile of that name.
    """
    name = asked or os.environ.get(VARIABLE) or "dev"
    if name not in PROFILES:
        raise ValueError(f"{VARIABLE} must be one of {', '.join(PROFILES)}, got {name!r}.")
    return name
