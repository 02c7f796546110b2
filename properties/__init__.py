"""Laws that any unlearning method can be held to: `check_<law>(method)`, each with its own search for a breach."""

from .base import LawBroken, LawNotApplicable
from .conduct import (
    check_bad_release,
    check_bad_requests,
    check_dtype_kept,
    check_inputs_untouched,
    check_repeatable,
    check_replicas_apart,
)
from .identities import check_batch_online, check_effect, check_empty_request, check_order, check_quadratic
from .law import Domain, Law, SearchResult
from .laws import LAWS
from .noise import check_release
from .promises import check_certificate_form, check_sensitivity, check_sequential_sensitivity

__all__ = [
    "LAWS",
    "Domain",
    "Law",
    "LawBroken",
    "LawNotApplicable",
    "SearchResult",
    "check_bad_release",
    "check_bad_requests",
    "check_batch_online",
    "check_certificate_form",
    "check_dtype_kept",
    "check_effect",
    "check_empty_request",
    "check_inputs_untouched",
    "check_order",
    "check_quadratic",
    "check_release",
    "check_repeatable",
    "check_replicas_apart",
    "check_sensitivity",
    "check_sequential_sensitivity",
]
