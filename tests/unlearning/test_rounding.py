"""Numbers in sentences are rounded outwards."""

from decimal import Decimal

import numpy as np
import pytest

from unlearning.rounding import text_lower, text_upper

VALUES = [
    0.0,
    0.9996,
    0.8004,
    1e-9,
    -1e-9,
    -0.0123,
    0.1 + 0.2,
    1.0,
    *np.random.default_rng(0).normal(0, 1, 200).tolist(),
]


@pytest.mark.parametrize("places", [3, 4])
def test_limits_are_rounded_outwards(places: int) -> None:
    for value in VALUES:
        lower, upper = (Decimal(text(value, places)) for text in (text_lower, text_upper))
        assert lower <= Decimal(repr(value)) <= upper
        assert upper - lower <= Decimal(1).scaleb(-places)


def test_a_number_that_is_written_so_stays_so() -> None:
    assert text_lower(0.58) == text_upper(0.58) == "0.580"
    assert text_upper(-0.0001) == "0.000"
