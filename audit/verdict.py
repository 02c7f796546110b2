"""From lines to a verdict. Nothing defaults to a good word: missing evidence is NOT_COMPUTABLE."""

from unlearning.claim import Claim
from unlearning.record import Control, Distances, Line
from unlearning.verdict import Outcome, Verdict

from .design import POWER


def decide(
    lines: list[Line],
    claim: Claim,
    distances: Distances | None,
    controls: list[Control],
    *,
    refused: int = 0,
    runs: int = 1,
) -> tuple[Verdict, str]:
    """The verdict of a row and one sentence why.

    ERROR if any line or control is in error; else REFUTED if any deciding line refutes; else NOT_COMPUTABLE if a
    required line is; else VACUOUS if doing nothing keeps the claim; else NOT_REFUTED if some line would have refuted
    doing nothing; else NOT_COMPUTABLE. A line that takes the noise as claimed would have refuted nothing unless rung B
    looked at the noise; and where every run was refused for its budget and retrained instead (`refused` of `runs`),
    nothing of the method was tested.
    """
    strange = [control for control in controls if not control.behaved]
    if strange:
        names = ", ".join(control.name for control in strange)
        return Verdict.ERROR, f"The audit contradicts its own controls ({names}): do not rely on this row."
    deciding = [line for line in lines if line.deciding]
    broken = [line for line in deciding if line.outcome is Outcome.ERROR]
    if broken:
        return Verdict.ERROR, f"{broken[0].title}: {broken[0].reason or broken[0].finding}"
    refuting = [line for line in deciding if line.outcome is Outcome.REFUTED]
    if refuting:
        against = {"claim": "the claim", "bound": "the certified bound", "noise": "the noise"}
        what = " and ".join(dict.fromkeys(against[line.subject] for line in refuting))
        return Verdict.REFUTED, f"Evidence against {what} (rung {refuting[0].rung}): {refuting[0].finding}"
    missing = [line for line in deciding if line.outcome is Outcome.NOT_COMPUTABLE]
    if missing:
        return Verdict.NOT_COMPUTABLE, f"{missing[0].title}: {missing[0].reason}"
    if not deciding:
        return Verdict.NOT_COMPUTABLE, "No line of evidence was asked for."
    if refused >= runs:
        return (
            Verdict.NOT_COMPUTABLE,
            f"The certified Δ exceeded the budget in all {runs} runs, and all were retrained instead: nothing of the "
            "method was tested. Raise the budget, or delete fewer records.",
        )
    also = f" In {refused} of {runs} runs Δ exceeded the budget, and retraining took the method's place." * (
        refused > 0
    )
    if distances is not None and distances.noop_mu is not None and claim.allows_gaussian(distances.noop_mu):
        return (
            Verdict.VACUOUS,
            f"Doing nothing would keep this promise too: its exact ε is {distances.noop_epsilon:.3g}, "
            f"claimed {claim.epsilon:.4g}.{also}",
        )
    able = [line for line in deciding if line.noop_power is not None and line.noop_power >= POWER]
    looked_at_noise = any(line.rung == "B" for line in deciding)
    sensitive = [line for line in able if looked_at_noise or "rung B" not in line.assumes]
    if sensitive:
        best = ", ".join(f"{line.title[:1].lower()}{line.title[1:]} (rung {line.rung})" for line in sensitive[:2])
        return Verdict.NOT_REFUTED, f"No line refutes it, and doing nothing would have been refuted by {best}.{also}"
    if able:
        return (
            Verdict.NOT_COMPUTABLE,
            "What would have refuted doing nothing takes the noise as claimed, and nobody looked at the noise. "
            "Add rung B.",
        )
    return Verdict.NOT_COMPUTABLE, "No line would have refuted doing nothing at this number of runs."
