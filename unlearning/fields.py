"""Checks of a method's fields: of the right type, finite, and in range; the message names field, expectation, value."""

import math
from numbers import Integral, Real


def check_count(name: str, value: object, *, least: int = 1) -> None:
    """Refuse what is no whole number >= `least`; true and false are none.

    >>> check_count("runs", 1.5)
    Traceback (most recent call last):
    ValueError: runs must be a whole number >= 1, got 1.5.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise ValueError(f"{name} must be a whole number >= {least}, got {value!r}.")


def check_number(name: str, value: object, *, above: float | None = None, least: float | None = None) -> None:
    """Refuse what is no finite number in range.

    >>> check_number("damping", "a", least=0)
    Traceback (most recent call last):
    ValueError: damping must be a finite number >= 0, got 'a'.

    Args:
        name: of the field.
        value: in it.
        above: the number must be larger.
        least: the number must not be smaller.

    Raises:
        ValueError: it is none.
    """
    number = as_number(value)
    low = above is not None and not number > above
    if not math.isfinite(number) or low or (least is not None and not number >= least):
        limit = f" > {above:g}" if above is not None else f" >= {least:g}" if least is not None else ""
        raise ValueError(f"{name} must be a finite number{limit}, got {value!r}.")


def check_flag(name: str, value: object) -> None:
    """Refuse what is neither true nor false.

    Raises:
        ValueError: it is neither.
    """
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, got {value!r}.")


def as_number(value: object) -> float:
    """The number, or NaN for what is none (a text, nothing, true or false), which no range holds."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return math.nan
    return float(value)
