"""Every method at hand × every law; `--method package.module:Class` puts someone's own in place of the shipped ones."""

import pytest

from unlearning.protocols import AnyMethod

from .base import LawNotApplicable
from .laws import LAWS


@pytest.mark.parametrize("law", LAWS)
def test_law(method: AnyMethod, law: str, device: str) -> None:
    """The law holds, or the method says why it does not apply."""
    reason = method.declaration.exempt.get(law)
    if reason is not None:
        pytest.skip(f"{law}: exempt, {reason}")
    try:
        LAWS[law](method, device=device)
    except LawNotApplicable as note:
        pytest.skip(f"{law}: {note}")


def test_exemptions_name_laws(method: AnyMethod) -> None:
    """A method is exempt from laws that exist, each with a reason."""
    for law, reason in method.declaration.exempt.items():
        if law not in LAWS:
            pytest.fail(f"declaration.exempt must name laws ({', '.join(LAWS)}), got {law!r}.")
        if not reason.strip():
            pytest.fail(f"declaration.exempt[{law!r}] must give a reason, got {reason!r}.")
