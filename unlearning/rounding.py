"""Numbers in sentences, rounded so that no sentence promises more than was found."""

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal


def text_lower(value: float, places: int = 3) -> str:
    """Write a number with so many decimals.

    Guarantee: the text is at most the value.

    >>> text_lower(0.7996), text_lower(-0.0123), text_lower(0.5)
    ('0.799', '-0.013', '0.500')
    """
    return decimals(value, places, ROUND_FLOOR)


def text_upper(value: float, places: int = 3) -> str:
    """Write a number with so many decimals.

    Guarantee: the text is at least the value.

    >>> text_upper(0.7992), text_upper(-0.0123), text_upper(0.5)
    ('0.800', '-0.012', '0.500')
    """
    return decimals(value, places, ROUND_CEILING)


def decimals(value: float, places: int, rounding: str) -> str:
    """Write a finite number with so many decimals, by a rounding of `decimal`; zero has no sign."""
    found = Decimal(repr(float(value))).quantize(Decimal(1).scaleb(-places), rounding=rounding)
    return f"{abs(found) if found == 0 else found:f}"
