"""How benchmarks are measured: ratios of two things that are run in turn in one process."""

import time
from collections.abc import Callable
from statistics import median

ROUNDS = 3


def ratio(slow: Callable[[], float], fast: Callable[[], float]) -> tuple[float, float, float]:
    """Median seconds per model of both, run in turn, and the median of the paired ratios."""
    pairs = [(slow(), fast()) for _ in range(ROUNDS)]
    return median(a for a, _ in pairs), median(b for _, b in pairs), median(a / b for a, b in pairs)


def timed(run: Callable[[], object], models: int) -> float:
    """Seconds per model."""
    started = time.perf_counter()
    run()
    return (time.perf_counter() - started) / models


def milliseconds(seconds: float) -> str:
    """Seconds in words.

    >>> milliseconds(0.0123)
    '12.3 ms'
    """
    return f"{1e3 * seconds:.1f} ms"
