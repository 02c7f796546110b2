"""The words of a finding. An audit refutes or fails to refute; nothing ever passes."""

from enum import StrEnum


class Outcome(StrEnum):
    """What one line of evidence says."""

    REFUTED = "REFUTED"
    NOT_REFUTED = "NOT_REFUTED"
    NOT_COMPUTABLE = "NOT_COMPUTABLE"
    ERROR = "ERROR"


class Verdict(StrEnum):
    """What all deciding lines of a row say together, worst first."""

    ERROR = "ERROR"
    REFUTED = "REFUTED"
    NOT_COMPUTABLE = "NOT_COMPUTABLE"
    VACUOUS = "VACUOUS"
    NOT_REFUTED = "NOT_REFUTED"


MEANING = {
    Verdict.ERROR: "The audit itself failed or contradicted its own controls; it says nothing about the method.",
    Verdict.REFUTED: "At least one line of evidence contradicts what was promised.",
    Verdict.NOT_COMPUTABLE: "This audit could not have found a breach; it says nothing about the method.",
    Verdict.VACUOUS: "Doing nothing would keep this promise too.",
    Verdict.NOT_REFUTED: "No evidence against the promise, from an audit that would have caught doing nothing.",
}


def worst(verdicts: list[Verdict]) -> Verdict:
    """Return the worst of several verdicts.

    Raises:
        ValueError: the list is empty; missing evidence is never a default.
    """
    if not verdicts:
        raise ValueError("verdicts must not be empty: an audit without rows has no verdict.")
    order = list(Verdict)
    return min(verdicts, key=order.index)
