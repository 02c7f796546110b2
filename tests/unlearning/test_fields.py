"""What a field refuses, and how it says so."""

import math
import re

import numpy as np
import pytest

from unlearning.fields import as_number, check_count, check_flag, check_number


def test_what_is_accepted() -> None:
    for count in (1, 10**9, np.int64(3)):
        check_count("runs", count)
    check_count("depth", 0, least=0)
    for number in (0, 0.0, 1, 1e-300, np.float32(2)):
        check_number("damping", number, least=0)
    check_number("shift", -3.5)
    check_flag("compare", False)
    assert as_number(np.float64(0.5)) == 0.5 and math.isnan(as_number(True)) and math.isnan(as_number(None))


@pytest.mark.parametrize("value", [0, -1, 1.5, 2.0, True, "3", None, math.nan, [1]], ids=repr)
def test_what_is_no_count(value: object) -> None:
    with pytest.raises(ValueError, match=re.escape(f"runs must be a whole number >= 1, got {value!r}.")):
        check_count("runs", value)


@pytest.mark.parametrize("value", [0, -1.0, math.inf, math.nan, "a", None, True, 1j, [1.0]], ids=repr)
def test_what_is_no_positive_number(value: object) -> None:
    with pytest.raises(ValueError, match=re.escape(f"weight must be a finite number > 0, got {value!r}.")):
        check_number("weight", value, above=0)


@pytest.mark.parametrize("value", [0, 1, "yes", None], ids=repr)
def test_what_is_no_flag(value: object) -> None:
    with pytest.raises(ValueError, match=re.escape(f"compare must be true or false, got {value!r}.")):
        check_flag("compare", value)
