"""Rung D in a report: the game that was played, and how many names were right."""

from unlearning.record import Identification, Row

from .document import Block, Cell, Column, Paragraph, Table
from .numerals import count, exact
from .wording import plural


def named(row: Row) -> list[Block]:
    """How the game was played, and right names in unlearned models and in models that forgot nothing."""
    game = row.identification
    if game is None:
        return []
    return [Paragraph(_played(game), "Game."), Paragraph(_counted(game), "Compared with chance."), _table(game)]


def _played(game: Identification) -> str:
    drawn = (
        "every one of them is learned and forgotten, or never seen, by a fair coin"
        if game.members is None
        else f"{count(game.members)} of them, drawn at random, are learned and forgotten, the others never seen"
    )
    asked = "is a member or not" if game.members is None else "is a member"
    released = "1 model was" if game.runs == 1 else f"{count(game.runs)} models were"
    text = (
        f"{count(game.candidates)} training records are candidates: {drawn}. From the released model alone, and never "
        f"from the draw, the adversary says of {count(game.guesses)} candidates of its choice that each {asked}. It "
        f"knows all other records and {plural(game.shadows, 'run')} of the same pipeline whose draws it made itself. "
        f"{released} released, and none retrained for comparison."
    )
    if game.refused:
        why = "the budget was exceeded, or nothing was drawn"
        text += f" The reference was released in {plural(game.refused, 'run')}: {why}."
    return text


def _counted(game: Identification) -> str:
    chance = game.guesses / 2 if game.members is None else game.guesses * game.members / game.candidates
    here, nothing = exact(_median(game.right)), exact(_median(game.noop_right))
    text = f"Names given blindly are right {exact(chance)} times on average; here the median is {here}"
    text += f", and {nothing} where nothing is forgotten."
    if game.needed is not None:
        text += f" A run counts from {count(game.needed)} right names, a number fixed on shadow runs."
    elif game.least_refuting is not None:
        text += f" {count(game.least_refuting)} right names refute the claim."
    return text


def _median(values: list[int]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return float(ordered[middle]) if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _table(game: Identification) -> Table:
    marks = {game.guesses, game.needed, game.least_refuting, *game.right, *game.noop_right} - {None}
    columns = (
        Column("Right names"),
        Column("unlearned models"),
        Column("doing\u00a0nothing"),
        Column("so many or more, named blindly"),
    )
    rows = tuple(
        (
            Cell(f"{count(right)} of {count(game.guesses)}", _mark(game, right)),
            Cell(count(game.right.count(right))),
            Cell(count(game.noop_right.count(right))),
            Cell(exact(float(f"{game.null_tail[right]:.3g}"))),
        )
        for right in sorted(mark for mark in marks if mark is not None)
    )
    return Table("Models by the number of right names.", columns, rows)


def _mark(game: Identification, right: int) -> str:
    if right == game.needed:
        return "from here a run counts"
    return "from here one run refutes" if game.runs == 1 and right == game.least_refuting else ""
