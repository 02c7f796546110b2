"""A counterexample in plain text: a small problem that a person can follow."""

import json
import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unlearning.errors import BrokenMethod

from .base import LawBroken, raised
from .counterexample import Counterexample, Data, Replay, Tried

MOST_RECORDS, MOST_COLUMNS = 12, 6  # shown; the file holds all

_MODELS = {
    "ridge": "ridge regression",
    "binary": "binary logistic regression",
    "softmax": "softmax regression, three classes",
    "network": "network, three hidden units, two classes",
}
_REQUESTS = {
    "chance": "chosen by chance",
    "label": "those with the smallest labels",
    "norm": "the longest ones",
    "influence": "those with the largest gradients",
}
_NUMBERS = {"distance": "distance to the reference", "sensitivity_upper": "certified Δ"}
_INDENT = 12


def explain(
    found: Counterexample, again: Replay | None = None, *, file: str = "", tried: str = "", width: int = 100
) -> str:
    """The problem as a person can follow it: law, method, problem, records, and what was found, a block of lines each.

    Args:
        found: the counterexample.
        again: shown beside what the file says.
        file: of the counterexample, for a replay.
        tried: method of the replay; the file's without it.
        width: letters of a line; tables may be wider.
    """
    method = method_in_words(found.method)
    headline = f"{method} breaks the law {found.law}"
    if again is not None:
        broken = f"{file or 'counterexample'}: {found.law} was broken by {method}; tried again with {tried or method}"
        headline = textwrap.fill(broken, max(width, 4 * _INDENT), break_long_words=False, break_on_hyphens=False)
    blocks = (
        _heading(headline, found, width),
        _problem(found, width),
        _records(found.data),
        _findings(found, again, width),
    )
    return "\n\n".join(printable(block) for block in blocks)


def method_in_words(method: Tried) -> str:
    """Target with parameters in brackets, as `certunlearn check` takes it."""
    told = [f"{name}={_value(value)}" for name, value in method.parameters.items()]
    told += [f"{name}=…" for name in method.unwritable]
    return f"{method.target}[{','.join(told)}]" if told else method.target


def replay_command(found: Counterexample, path: Path) -> str:
    """The command that tries a counterexample again, from its file; where that cannot hold the method, with another."""
    command = f"certunlearn replay {shlex.quote(str(path))}"
    if found.method.unwritable:
        return f"{command} --method {shlex.quote(method_in_words(found.method))}"
    return f"{command} --trust" if ":" in found.method.target else command


def mistake(broken: LawBroken) -> str | None:
    """What a method did wrong whatever the law, the same for similar problems: it raised, or returned no model.

    None: it did what only this law forbids.
    """
    if raised(broken) or isinstance(broken.__cause__, BrokenMethod):
        return re.sub(r"(?<!:)\b\d+(\.\d+)?", "#", broken.finding)  # not the lines of files
    return None


def printable(text: str) -> str:
    """The text without anything that would move a terminal's cursor: files and names come from anyone."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "\N{REPLACEMENT CHARACTER}" for letter in text)


def _value(value: Any) -> str:
    bare = isinstance(value, str) and re.fullmatch(r"[A-Za-z_][\w.\-]*", value)
    return str(value) if bare else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _heading(headline: str, found: Counterexample, width: int) -> str:
    return "\n".join((
        headline,
        _line("law", found.statement, width),
        _line("source", found.source, width),
        _line("method", found.method.title, width),
    ))


def _problem(found: Counterexample, width: int) -> str:
    problem, precision = found.problem, "float32" if found.problem.single_precision else "float64"
    replicas = "one model" if problem.replicas == 1 else f"{problem.replicas} models (replicas)"
    features = "1 feature" if problem.columns == 1 else f"{problem.columns} features"
    task = f"{_MODELS[problem.model]}, λ = {problem.regularisation:.6g}"
    trained = f"{replicas}, {precision} on {found.device}"
    first = _line("model", f"{task}; {trained}", width)
    if found.own_loss:
        first = _line("offered", f"{task} (the method brings its own loss); {trained}", width)
    shape = f"{problem.rows} of {features}, {problem.geometry}, largest norm {problem.norm:g}; seed {problem.seed}"
    request = f"{problem.request_size} of {problem.rows} records, {_REQUESTS[problem.request_by]}"
    return "\n".join((
        first,
        _line("learned", found.data.recipe, width),
        _line("records", shape, width),
        _line("request", request, width),
    ))


def _line(name: str, text: str, width: int) -> str:
    """A name, and beside it the text."""
    first = f"  {name}".ljust(_INDENT)
    room = max(width, 4 * _INDENT)
    return textwrap.fill(text, room, initial_indent=first, subsequent_indent=" " * _INDENT, break_on_hyphens=False)


def _records(data: Data) -> str:
    """Table of the records and who forgets them; forgotten ones first where not all fit."""
    forgotten = {record for request in data.requests for record in request}
    rows, columns = range(len(data.features)), len(data.features[0])
    shown = sorted(sorted(rows, key=lambda row: row not in forgotten)[:MOST_RECORDS])
    more = ["…"] * (columns > MOST_COLUMNS)
    lines = [["record", *(f"x{place + 1}" for place in range(min(columns, MOST_COLUMNS))), *more, "label", "forgotten"]]
    for row in shown:
        cells = [f"{value:.5g}" for value in data.features[row][:MOST_COLUMNS]]
        lines.append([str(row), *cells, *more, f"{data.labels[row]:.5g}", _by(data, row)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = ["  ".join(cell.rjust(size) for cell, size in zip(line, widths, strict=True)) for line in _flush(lines)]
    if len(rows) > len(shown):
        table.append(f"… and {len(rows) - len(shown)} more, in the file")
    return "\n".join(f"  {line}".rstrip() for line in table)


def _flush(lines: list[list[str]]) -> Iterator[list[str]]:
    """The lines, their last column flush left."""
    width = max(len(line[-1]) for line in lines)
    for line in lines:
        yield [*line[:-1], line[-1].ljust(width)]


def _by(data: Data, record: int) -> str:
    """Replicas that forget a record."""
    replicas = [replica for replica, request in enumerate(data.requests) if record in request]
    if not replicas or len(data.requests) == 1:
        return "yes" if replicas else ""
    if len(replicas) == len(data.requests):
        return "by all"
    if len(replicas) > MOST_COLUMNS:
        return f"by {len(replicas)} of {len(data.requests)}"
    return f"by {', '.join(map(str, replicas))}"


def _findings(found: Counterexample, again: Replay | None, width: int) -> str:
    """What the file says was found, and what a replay found: of a replay, each number under the one or the other."""
    lines = [_line("found" if again is None else "file", found.finding, width)]
    if again is not None:
        lines.append(_line("now", again.finding, width))
    both = [found.measured] + ([again.measured] if again is not None and again.measured else [])
    names = [*dict.fromkeys(name for measured in both for name in measured)]
    header = [["", "file", "now"][: 1 + len(both)]] if again is not None else []
    cells = [
        [_NUMBERS.get(name, name), *(f"{one[name]:.6g}" if name in one else "–" for one in both)] for name in names
    ]
    widths = [max(map(len, column)) for column in zip(*header, *cells, strict=True)] if cells else []
    for name, *values in [*header, *cells] if cells else []:
        aligned = "  ".join(value.rjust(size) for value, size in zip(values, widths[1:], strict=True))
        lines.append(f"{' ' * _INDENT}{name.ljust(widths[0])}  {aligned}")
    return "\n".join(lines)
