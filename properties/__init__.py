"""Laws that any unlearning method can be held to: `check_<law>(method)`, each with its own search for a breach."""

from .base import LawBroken, LawNotApplicable
from .laws import LAWS

__all__ = ["LAWS", "LawBroken", "LawNotApplicable"]
