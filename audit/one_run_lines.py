"""One-run bounds of the field beside rung D: estimates of another game, shown and never deciding."""

from unlearning.record import Line
from unlearning.verdict import Outcome

from .bounds.one_run import mahloujifar_estimate, steinke_estimate
from .design import Design
from .identification_rung import Identified, identification_design

_ESTIMATES = (
    (steinke_estimate, "One-run bound of Steinke et al. (another game)"),
    (mahloujifar_estimate, "One-run bound of Mahloujifar et al. (another game)"),
)


def one_run_lines(found: Identified, design: Design, right: int) -> list[Line]:
    """What the names of a single run of coin flips would say of differentially private training; none elsewhere."""
    game = identification_design(design).game
    if game.runs != 1 or game.members is not None:
        return []
    lines = []
    for estimate, title in _ESTIMATES:
        bound = estimate(right, game.guesses, game.candidates, design.claim, design.failure_probability)
        lines.append(
            Line(
                rung="D",
                key=bound.name,
                title=title,
                subject="claim",
                seeds=found.seeds,
                deciding=False,
                outcome=Outcome.NOT_REFUTED,
                finding=(
                    f"{right} of {game.guesses} names right: ε estimated at {bound.epsilon_lower:.4g} for private "
                    f"training at δ = {design.claim.delta:g}; it says nothing of this claim."
                ),
                failure_probability=bound.failure_probability,
                assumes="; ".join(bound.assumes),
                kind="estimate",
                runs_released=1,
                runs_reference=0,
                counts_released=right,
                event=bound.event,
                epsilon_lower=bound.epsilon_lower,
                derivation=bound.derivation,
            )
        )
    return lines
