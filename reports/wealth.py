"""What a row says that may stop once it refutes: how far it went, and why it might stop."""

from unlearning.record import Wealth

from . import figures
from .document import Block, Figure, Paragraph
from .numerals import count, exact, number
from .wording import plural

_NAMES = {
    "projection": "the shift along one direction, training seed known",
    "paired-event": "an event on that shift",
    "independent-event": "an event on the weights, training seed unknown",
}


def stopping(wealth: Wealth, salt: str) -> list[Block]:
    """How many runs were drawn of how many allowed, why that is valid, and the path of the wealth."""
    drawn = f"{count(wealth.drawn)} of at most {plural(wealth.allowed, 'pair')} of runs were drawn"
    if wealth.refuted_after is None:
        told = f"{drawn}: the wealth never refuted the claim."
        if wealth.drawn < wealth.allowed:
            told = f"{drawn}: rung A, which is exact, refuted, and the round ended."
    else:
        told = (
            f"{drawn}: the wealth refuted the claim after {plural(wealth.refuted_after, 'pair')}, and the round ended."
        )
    shares = "; ".join(f"{_NAMES.get(name, name)} {exact(float(f'{w:.4g}'))}" for name, w in wealth.weights.items())
    why = (
        "Each pair of runs, one unlearned and one retrained, is a bet against the claim, fixed before the pair is "
        "drawn. Where the claim is true no such bet gains on average, so that the wealth, 1 at the start, ever reaches "
        "1/α with probability at most α, however long one goes on (Ville’s inequality). So the row may look after "
        "every round and stop once the wealth refutes. The other tests of this rung hold at a number of runs fixed "
        f"beforehand only, and are left out. Staked on: {shares}."
    )
    needed = number(10**wealth.log10_needed, rounding="up")
    caption = (
        f"Wealth after each pair, on a logarithmic axis; {needed} refutes the claim. What leaves the frame is cut."
    )
    described = "Paths of the wealth against the method and against doing nothing, and the wealth that refutes."
    return [
        Paragraph(told, "Runs drawn."),
        Paragraph(why, "Why it may stop."),
        Figure(figures.wealth(wealth, salt), caption, described),
    ]
