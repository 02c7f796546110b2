"""Numbers as readers expect them; bounds are rounded outwards, never in their own favour."""

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

from unlearning.rounding import decimals

MISSING = "—"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_ROUNDING = {"nearest": ROUND_HALF_EVEN, "down": ROUND_FLOOR, "up": ROUND_CEILING}


def number(value: float | None, digits: int = 3, rounding: str = "nearest") -> str:
    """Write a number with so many significant digits.

    Guarantee: with `rounding` "down" the text is at most the value, with "up" at least.

    >>> [number(v) for v in (None, 0.0, 4.9e-6, 0.0123456, -1.5, 12345.6, 2.5e7)]
    ['—', '0', '4.90·10⁻⁶', '0.0123', '−1.50', '12\u202f346', '2.50·10⁷']
    >>> number(1.9999, rounding="down"), number(1.9911, rounding="up"), number(math.inf)
    ('1.99', '2.00', '∞')
    """
    if value is None or math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    mode = _ROUNDING[rounding]
    exact = Decimal(repr(float(value)))
    rounded = exact.quantize(Decimal(1).scaleb(exact.adjusted() - digits + 1), rounding=mode)
    exponent = rounded.adjusted()
    if -3 <= exponent < 6:
        places = max(0, digits - 1 - exponent)
        return _typeset(f"{exact.quantize(Decimal(1).scaleb(-places), rounding=mode):,f}")
    mantissa = rounded.scaleb(-exponent).quantize(Decimal(1).scaleb(1 - digits))
    return _typeset(f"{mantissa:f}·10") + str(exponent).translate(_SUPERSCRIPT)


def fixed(value: float | None, places: int = 3, rounding: str = "nearest") -> str:
    """Write a number with so many decimals, for columns of like numbers.

    Guarantee: with `rounding` "down" the text is at most the value, with "up" at least.

    >>> [fixed(v) for v in (None, 0.5, -0.0123, -0.0001)], fixed(0.0001, rounding="up")
    (['—', '0.500', '−0.012', '0.000'], '0.001')
    """
    if value is None or not math.isfinite(value):
        return number(value)
    return _typeset(decimals(value, places, _ROUNDING[rounding]))


def exact(value: float | None) -> str:
    """Write a number that somebody chose, as short as it was given; a computed one is rounded.

    >>> [exact(v) for v in (0.05, 1e-5, 2.5e-7, 1.0, 8.0, 1e6, 0.26805112)]
    ['0.05', '10⁻⁵', '2.5·10⁻⁷', '1', '8', '10⁶', '0.268']
    """
    if value is None or not math.isfinite(value) or value == 0:
        return number(value)
    digits = Decimal(repr(float(value))).normalize()
    if len(digits.as_tuple().digits) > 6:
        return number(value)
    exponent = digits.adjusted()
    if -4 < exponent < 6:
        return _typeset(f"{digits:,f}")
    mantissa = digits.scaleb(-exponent).normalize()
    power = "10" + str(exponent).translate(_SUPERSCRIPT)
    return power if mantissa == 1 else _typeset(f"{mantissa:f}·{power}")


def quantity(value: float | None) -> str:
    """Write a measured number; a whole one as a count.

    >>> [quantity(v) for v in (16.0, 0.153, 1130.0, None)]
    ['16', '0.153', '1130', '—']
    """
    whole = value is not None and math.isfinite(value) and value == int(value) and abs(value) < 1e6
    return exact(value) if whole else number(value)


def count(value: int | None) -> str:
    """Write a whole number.

    >>> count(65536)
    '65\u202f536'
    """
    return MISSING if value is None else _typeset(f"{value:,d}" if abs(value) >= 10_000 else str(value))


def percent(value: float | None) -> str:
    """Write a share as a percentage with one decimal.

    >>> percent(0.8754)
    '87.5'
    """
    return MISSING if value is None else f"{100 * value:.1f}"


def power(value: float | None) -> str:
    r"""Write a power, never rounded up: three decimals, and no more than can be relied on near 0 and 1.

    >>> [power(v) for v in (None, 0.0, 0.0099, 0.8127, 0.9996, 1.0)]
    ['—', '<\xa00.01', '<\xa00.01', '0.812', '>\xa00.999', '>\xa00.999']
    """
    if value is None:
        return MISSING
    if value < 0.01:
        return "<\u00a00.01"
    return ">\u00a00.999" if value > 0.999 else fixed(value, 3, "down")


def duration(seconds: float) -> str:
    """Write a time.

    >>> [duration(s) for s in (0.0042, 3.21, 75.0, 7380.0)]
    ['4.20 ms', '3.21 s', '1 min 15 s', '2 h 03 min']
    """
    if seconds < 1:
        return f"{number(1000 * seconds)} ms"
    if seconds < 60:
        return f"{number(seconds)} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def storage(size: int) -> str:
    """Write a number of bytes.

    >>> storage(3 * 2**30)
    '3.00 GiB'
    """
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= factor:
            return f"{number(size / factor)} {unit}"
    return f"{size} B"


def _typeset(text: str) -> str:
    whole, dot, rest = text.replace("-", "−").partition(".")
    digits = whole.replace(",", "")
    if len(digits.lstrip("−")) < 5:
        whole = digits
    return whole.replace(",", "\u202f") + dot + rest
