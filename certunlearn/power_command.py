"""`certunlearn power`: what an audit will be able to find and what it costs, before anything is run. Needs no torch."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from unlearning.errors import PlanError

if TYPE_CHECKING:
    from audit.power import Found, Setting, Way

_BAR = 24
_MEANING = {
    "best event": "Best event: as if it were known; with the event of a pilot of N/5 runs the smallest ε was 5 to 15 % "
    "larger, and twice as large next to the largest claim that N runs can refute.",
    "at most": "ε at most: the probability is a lower bound, so that smaller ε may be refuted too.",
    "approximation": "Approximation: it may err to either side; for the e-process by 15 % of μ, and by 40 % upward "
    "next to the largest claim that N runs can refute.",
    "equal traces": "Equal traces: if all candidates leave traces of the same length, at right angles.",
}


def power(
    delta: Annotated[float, typer.Option("--delta", help="δ of the claim.")],
    epsilon: Annotated[float | None, typer.Option("--epsilon", help="Claimed ε, for an (ε, δ) claim.")] = None,
    mu: Annotated[float | None, typer.Option("--mu", help="Claimed μ, for a Gaussian claim.")] = None,
    replicas: Annotated[
        list[int] | None, typer.Option("--replicas", min=1, help="Test runs a side N; may be repeated.")
    ] = None,
    bound: Annotated[list[str] | None, typer.Option("--bound", help="Only these designs; may be repeated.")] = None,
    rung: Annotated[list[str] | None, typer.Option("--rung", help="Only these rungs, A to D; may be repeated.")] = None,
    wanted: Annotated[
        float | None,
        typer.Option("--wanted", help="ε that must be found; default: twice the claimed one, 1 where that is 0."),
    ] = None,
    failure_probability: Annotated[
        float, typer.Option("--failure-probability", help="Of refuting a true claim, for each design alone.")
    ] = 0.05,
    chance: Annotated[float, typer.Option("--power", help="Probability of finding it.")] = 0.8,
    pilot: Annotated[
        float, typer.Option("--pilot", min=0.0, help="Further runs that choose an event, as a share of N; at most 10.")
    ] = 0.2,
    coordinates: Annotated[int, typer.Option("--coordinates", min=1, help="Weights of the model, for rung B.")] = 1000,
    candidates: Annotated[int, typer.Option("--candidates", min=1, help="Records in the pool of rung D.")] = 40,
    guesses: Annotated[int, typer.Option("--guesses", min=1, help="Records named in rung D.")] = 20,
    figure: Annotated[
        Path | None, typer.Option("--figure", help="Draw ε against N into this .svg or .png file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Show the smallest ε and μ that each design would refute, its cost in models, and the cheapest for a wanted ε.

    The alternative is a Gaussian pair at distance μ. Each design stands alone, with the whole failure probability.

    Raises:
        PlanError: an option is out of range.
    """
    from audit.power import MOST_RUNS, RUNS, WAYS, Setting, cheapest, found_table
    from unlearning.gaussian import mu_of_epsilon_delta

    from .claim_facts import claim_of_numbers

    claim = claim_of_numbers(epsilon, mu, delta)
    wanted_epsilon = (2 * claim.epsilon or 1.0) if wanted is None else wanted
    if not claim.epsilon < wanted_epsilon < 700:
        raise PlanError(
            f"--wanted must be above the claimed ε = {claim.epsilon:.4g} and below 700, got {wanted_epsilon:g}. Write "
            f"--wanted {2 * claim.epsilon + 1:.3g}."
        )
    for name in bound or ():
        if name not in WAYS:
            raise PlanError(f"--bound must be a design, got {name!r}. Use {', '.join(WAYS)}.")
    for letter in rung or ():
        if letter not in "ABCD" or len(letter) != 1:
            raise PlanError(f"--rung must be A, B, C or D, got {letter!r}.")
    if figure is not None and figure.suffix not in (".svg", ".png"):
        raise PlanError(f"--figure must be a .svg or .png file, got {figure}.")
    if figure is not None and not figure.parent.is_dir():
        raise PlanError(f"--figure must be in a folder that exists, got {figure}. Make {figure.parent} first.")
    if max(replicas or RUNS) > MOST_RUNS:
        raise PlanError(f"--replicas must be at most {MOST_RUNS}, got {max(replicas or RUNS)}.")
    ways = [way for way in WAYS.values() if (not bound or way.key in bound) and (not rung or way.rung in rung)]
    if not ways:
        raise PlanError(
            f"--bound and --rung must leave a design, got {', '.join(bound or ())} in {', '.join(rung or ())}."
        )
    try:
        setting = Setting(claim, failure_probability, chance, pilot, coordinates, candidates, guesses)
    except ValueError as error:
        raise PlanError("--" + str(error).replace("_", "-")) from error
    sizes = tuple(sorted(set(replicas or RUNS)))
    found = found_table(ways, setting, sizes)
    wanted_mu = mu_of_epsilon_delta(wanted_epsilon, delta)
    costs = cheapest(ways, setting, wanted_mu)
    if figure is not None:
        from .power_figure import draw

        draw(figure, setting, sizes, found, wanted_epsilon)
    if as_json:
        typer.echo(json.dumps(_plain(setting, sizes, found, costs, wanted_epsilon, wanted_mu)))
        return
    _show(setting, sizes, found, costs, wanted_epsilon, wanted_mu)
    if figure is not None:
        typer.echo(figure)


def _plain(
    setting: "Setting",
    sizes: tuple[int, ...],
    found: "dict[str, list[Found]]",
    costs: "list[tuple[Way, int | None, int | None]]",
    wanted_epsilon: float,
    wanted_mu: float,
) -> dict[str, Any]:
    from audit.power import WAYS

    claim = setting.claim
    return {
        "claim": {"epsilon": claim.epsilon, "delta": claim.delta, "mu_largest": setting.limit},
        "power": setting.power,
        "failure_probability": setting.failure_probability,
        "replicas": list(sizes),
        "designs": [
            {
                "key": key,
                "rung": WAYS[key].rung,
                "title": WAYS[key].title,
                "worth": WAYS[key].worth,
                "numbers_are": WAYS[key].numbers_are,
                "needs": WAYS[key].needs,
                "smallest": [{"runs": f.runs, "mu": f.mu, "epsilon": f.epsilon, "models": f.models} for f in row],
            }
            for key, row in found.items()
        ],
        "wanted": {"epsilon": wanted_epsilon, "mu": wanted_mu},
        "cost": [{"key": way.key, "runs": runs, "models": models} for way, runs, models in costs],
    }


def _show(
    setting: "Setting",
    sizes: tuple[int, ...],
    found: "dict[str, list[Found]]",
    costs: "list[tuple[Way, int | None, int | None]]",
    wanted_epsilon: float,
    wanted_mu: float,
) -> None:
    from audit.power import WAYS

    from .summary import wide_console

    console, claim = wide_console(), setting.claim
    kind = "" if claim.epsilon == 0 else f", which a Gaussian pair keeps up to μ = {setting.limit:.4g}"
    console.print(
        f"Claim: ε = {claim.epsilon:.4g} at δ = {claim.delta:g}{kind}. Smallest ε (μ) of a Gaussian pair "
        f"refuted with probability {setting.power:g}, each design alone at failure probability "
        f"{setting.failure_probability:g}.",
        highlight=False,
    )
    table = Table()
    table.add_column("rung")
    table.add_column("design")
    for size in sizes:
        table.add_column(f"N = {size:,}".replace(",", " "), justify="right")
    table.add_column("numbers are")
    for key, row in found.items():
        cells = ("none" if f.mu is None else f"{f.epsilon:.3g} ({f.mu:.3g})" for f in row)
        table.add_row(WAYS[key].rung, WAYS[key].title, *cells, WAYS[key].numbers_are)
    console.print(table)
    console.print(_caption([WAYS[key] for key in found]), highlight=False)
    console.print(
        f"To refute ε = {wanted_epsilon:.4g} (μ = {wanted_mu:.4g}) with probability {setting.power:g}:", highlight=False
    )
    table = Table()
    for name, justify in (("design", "left"), ("N", "right"), ("models", "right"), ("", "left"), ("needs", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for way, runs, models in costs:
        told = ("never", "–", "") if runs is None or models is None else (str(runs), str(models), _bar(models, costs))
        table.add_row(f"{way.rung} {way.title}", *told, way.needs)
    console.print(table)
    console.print(_advice(costs), highlight=False)


def _caption(ways: "list[Way]") -> str:
    """What the words in the column "numbers are" mean, as far as they occur."""
    told = {way.numbers_are for way in ways}
    return " ".join(text for word, text in _MEANING.items() if any(word in label for label in told))


def _bar(models: int, costs: "list[tuple[Way, int | None, int | None]]") -> str:
    """A bar whose length is the logarithm of the cost."""
    import math

    largest = max(cost for _, _, cost in costs if cost is not None)
    return "█" * max(1, round(_BAR * math.log(models + 1) / math.log(largest + 1)))


def _advice(costs: "list[tuple[Way, int | None, int | None]]") -> str:
    able = [(way, models) for way, _, models in costs if models is not None]
    if not able:
        return "No design refutes it."
    words = [
        f"Cheapest: {able[0][0].title} (rung {able[0][0].rung}), {able[0][1]} models; it needs {able[0][0].needs}."
    ]
    blind = [(way, models) for way, models in able if way.rung == "C" and way.needs == "released models only"]
    if blind and blind[0][0] is not able[0][0]:
        words.append(f"From released models alone: {blind[0][0].title}, {blind[0][1]} models.")
    return " ".join(words)
