"""Every method at hand × every law; `--method package.module:Class` puts someone's own in place of the shipped ones."""

import pytest

from unlearning.protocols import AnyMethod

from .laws import LAWS
from .parametrize import Check


def test_law(method: AnyMethod, check: Check) -> None:
    """The law holds, or the method says why it does not apply."""
    check(method)


def test_exemptions_name_laws(method: AnyMethod) -> None:
    """A method is exempt from laws that exist, each with a reason."""
    for law, reason in method.declaration.exempt.items():
        if law not in LAWS:
            pytest.fail(f"declaration.exempt must name laws ({', '.join(LAWS)}), got {law!r}.")
        if not reason.strip():
            pytest.fail(f"declaration.exempt[{law!r}] must give a reason, got {reason!r}.")
