"""What `certunlearn scores` is asked, checked before any file is read."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any

from audit.bounds.table import BOUNDS, deciding_bounds
from unlearning.claim import Claim
from unlearning.errors import PlanError
from unlearning.record import (
    canonical,
    sha256,
)
from unlearning.tradeoff import Directions
from unlearning.verdict import Verdict

from .claim_facts import claim_of_numbers
from .score_files import ScoreFile

DEFAULT_BOUNDS = ("joint",)
DIRECTIONS = {"both": Directions.BOTH, "released": Directions.RELEASED, "reference": Directions.REFERENCE}


@dataclass(frozen=True, slots=True)
class ScorePlan:
    """What `certunlearn scores` was asked for.

    Attributes:
        released, reference, selection_released, selection_reference: files, or file:column.
        epsilon, mu, delta, directions: the claim; either ε or μ.
        bounds: that decide; the failure probability is divided equally over them. Empty: the default.
        pilot: share of the runs that choose the event, where no selection files do.
        failure_probability: of all deciding bounds together.
        seed: of the order of the runs, and so of their division into pilot and test runs.
        orientation: side that large scores speak for, for bounds that choose nothing.
        in_order: the files hold the runs in the order in which they were drawn, for the e-process.
        column, cluster, run: names of columns.
        title: of the report.
        expect: expected verdict.
    """

    released: str
    reference: str
    delta: float
    epsilon: float | None = None
    mu: float | None = None
    directions: str = "both"
    bounds: tuple[str, ...] = ()
    selection_released: str | None = None
    selection_reference: str | None = None
    pilot: float = 0.2
    failure_probability: float = 0.05
    seed: int = 0
    orientation: str = "unknown"
    in_order: bool = False
    column: str | None = None
    cluster: str | None = None
    run: str | None = None
    title: str = "Audit of scores from files"
    expect: Verdict = Verdict.NOT_REFUTED

    def __post_init__(self) -> None:
        """Check what can be checked without the files.

        Raises:
            PlanError: an option is out of range, or two options exclude each other.
        """
        claim_of_numbers(self.epsilon, self.mu, self.delta, DIRECTIONS[self.directions])
        for name, value in (("--failure-probability", self.failure_probability), ("--pilot", self.pilot)):
            if not 0 < value < 1:
                raise PlanError(f"{name} must be in (0, 1), got {value}.")
        if (self.selection_released is None) != (self.selection_reference is None):
            raise PlanError("--selection-released and --selection-reference must be given together, got one of them.")
        if self.expect not in (Verdict.REFUTED, Verdict.NOT_REFUTED, Verdict.NOT_COMPUTABLE):
            raise PlanError(
                f"--expect must be REFUTED, NOT_REFUTED or NOT_COMPUTABLE, got {self.expect}: files hold no model that "
                "did nothing."
            )
        for name in self.bounds:
            if name not in deciding_bounds():
                raise PlanError(f"--bound must be one that decides, got {name!r}, {_not_deciding(name)}")
        if len(set(self.bounds)) < len(self.bounds):
            raise PlanError(f"--bound must name every bound once, got {', '.join(self.bounds)}.")

    @property
    def deciding(self) -> tuple[str, ...]:
        """The bounds that decide."""
        return self.bounds or DEFAULT_BOUNDS

    @property
    def claim(self) -> Claim:
        """What is tested."""
        return claim_of_numbers(self.epsilon, self.mu, self.delta, DIRECTIONS[self.directions])

    def canonical(self) -> dict[str, Any]:
        """As in the record."""
        return asdict(self) | {"bounds": list(self.deciding), "expect": self.expect.value}

    def sha256(self, files: Sequence[ScoreFile | None]) -> str:
        """Hash of the question: the options, the seed and the numbers, wherever the files lie."""
        asked = self.canonical()
        for name in ("released", "reference", "selection_released", "selection_reference", "title"):
            asked.pop(name)
        asked["scores"] = [None if file is None else file.sha256 for file in files]
        return sha256(canonical(asked))


def _not_deciding(name: str) -> str:
    """What is wrong with the name of a bound, and which to use."""
    known = ", ".join(deciding_bounds())
    if name in BOUNDS:
        return f"which is shown in any case and decides nothing. Use {known}."
    near = get_close_matches(name, BOUNDS, n=1, cutoff=0.6)
    if near and near[0] not in deciding_bounds():
        return f"which is unknown; {near[0]!r} is shown in any case and decides nothing. Use {known}."
    return f"which is unknown. Use {near[0] if near else known}."
