"""All laws of methods by name. `declaration.exempt` maps a name to the reason why that law does not apply."""

from .conduct import (
    check_bad_release,
    check_bad_requests,
    check_dtype_kept,
    check_inputs_untouched,
    check_repeatable,
    check_replicas_apart,
)
from .identities import check_batch_online, check_effect, check_empty_request, check_order, check_quadratic
from .law import Law
from .noise import check_release
from .promises import check_certificate_form, check_sensitivity, check_sequential_sensitivity
from .rates import check_rate_records, check_rate_request_size, check_rate_step_size
from .scope import check_prior_sensitivity, check_regime, check_reported_bounds

LAWS: dict[str, Law] = {
    law.name: law
    for law in (
        check_sensitivity,
        check_sequential_sensitivity,
        check_certificate_form,
        check_reported_bounds,
        check_prior_sensitivity,
        check_regime,
        check_rate_request_size,
        check_rate_records,
        check_rate_step_size,
        check_empty_request,
        check_effect,
        check_order,
        check_batch_online,
        check_quadratic,
        check_release,
        check_inputs_untouched,
        check_repeatable,
        check_dtype_kept,
        check_replicas_apart,
        check_bad_requests,
        check_bad_release,
    )
}
