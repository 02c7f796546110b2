"""Laws that any unlearning method can be held to: `check_<law>(method)`, each with its own search for a breach."""

from .base import TOLERANCES, LawBroken, LawNotApplicable, Tolerance
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
from .parametrize import Check, checks, parametrize_with_checks
from .promises import check_certificate_form, check_sensitivity, check_sequential_sensitivity
from .rates import Slope, check_rate_records, check_rate_request_size, check_rate_step_size, measured_slope
from .scope import check_prior_sensitivity, check_regime, check_reported_bounds

__all__ = [
    "LAWS",
    "TOLERANCES",
    "Check",
    "Domain",
    "Law",
    "LawBroken",
    "LawNotApplicable",
    "SearchResult",
    "Slope",
    "Tolerance",
    "check_bad_release",
    "check_bad_requests",
    "check_batch_online",
    "check_certificate_form",
    "check_dtype_kept",
    "check_effect",
    "check_empty_request",
    "check_inputs_untouched",
    "check_order",
    "check_prior_sensitivity",
    "check_quadratic",
    "check_rate_records",
    "check_rate_request_size",
    "check_rate_step_size",
    "check_regime",
    "check_release",
    "check_repeatable",
    "check_replicas_apart",
    "check_reported_bounds",
    "check_sensitivity",
    "check_sequential_sensitivity",
    "checks",
    "measured_slope",
    "parametrize_with_checks",
]
