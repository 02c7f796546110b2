"""One certificate for all test runs, from those of their chunks."""

from collections.abc import Sequence
from dataclasses import replace

from unlearning.claim import Assumption, Certificate, Status


def merged(parts: Sequence[Certificate | None]) -> Certificate | None:
    """What holds of all chunks together: every premise with its worst status, the largest failure probability.

    None where one of the chunks has none: the runs as a whole are then not certified.
    """
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    order = list(Status)
    premises: dict[str, Assumption] = {}
    for part in known:
        for premise in part.assumptions:
            other = premises.get(premise.statement)
            if other is None or order.index(premise.status) > order.index(other.status):
                premises[premise.statement] = premise
    return replace(
        known[0],
        theorem="; ".join(dict.fromkeys(part.theorem for part in known)),
        sensitivity_upper=tuple(upper for part in known for upper in part.sensitivity_upper),
        assumptions=tuple(premises.values()),
        failure_probability=max(part.failure_probability for part in known),
    )
