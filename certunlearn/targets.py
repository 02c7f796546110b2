"""Methods named on a command line, with their parameters: newton[bound=published], path/to/mine.py:Mine[steps=2]."""

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from unlearning.errors import PlanError
from unlearning.protocols import AnyMethod

from .loader import load_method, make_method
from .registry import registered_methods

_BRACKETS = re.compile(r"((?:.*:)?[\w.\-]+)\[(.*)\]", re.DOTALL)  # the name before them has no bracket; a path may
_ITEM = re.compile(r"""(?:"[^"]*"|'[^']*'|\[[^\[\]]*\]|[^,"'\[\]])+""")
_WORD = re.compile(r"[A-Za-z_][\w.\-]*")


@dataclass(frozen=True, slots=True)
class Target:
    """A method as a user names it, and the method itself.

    Attributes:
        name: as written.
        target: registered name, path/to/file.py:Class or package.module:Class.
        parameters: what is in the brackets.
        method: built with them.
    """

    name: str
    target: str
    parameters: dict[str, Any]
    method: AnyMethod


def parse_target(text: str, where: str = "target") -> tuple[str, dict[str, Any]]:
    """Split a method's name from its parameters, which are values of TOML; words need no quotes.

    >>> parse_target("newton[bound=published,x=0.5]")
    ('newton', {'bound': 'published', 'x': 0.5})
    >>> parse_target("path/to/mine.py:Mine")
    ('path/to/mine.py:Mine', {})

    Args:
        text: a name, and in brackets behind it parameters NAME=VALUE with commas between.
        where: who asks, for messages.

    Raises:
        PlanError: what is in the brackets is not of that form, or gives a parameter twice.
    """
    match = _BRACKETS.fullmatch(text.strip())
    if match is None:
        return text.strip(), {}
    target, inside = match.groups()
    parameters: dict[str, Any] = {}
    items = _ITEM.findall(inside)
    if ",".join(items) != inside:
        raise PlanError(f'{where} must be NAME[PARAMETER=VALUE,…], got "{text}"; close quotes and brackets.')
    for item in items:
        name, equals, value = (part.strip() for part in item.partition("="))
        if not (equals and name.isidentifier()):
            raise PlanError(f'{where} must be NAME[PARAMETER=VALUE,…], got "{item}" in "{text}"; write steps=2.')
        if name in parameters:
            raise PlanError(f'{where} must give a parameter once, got {name} twice in "{text}"; keep one.')
        parameters[name] = _value(value, text, where)
    return target, parameters


def load_targets(texts: Iterable[str], where: str = "target") -> list[Target]:
    """Load and build the methods that these texts name, in their order; relative paths start at the current folder.

    Raises:
        PlanError: a text is not of the form of `parse_target`, or names no method, or parameters that it refuses.
        HiddenPackage: a foreign package hides one of ours.
    """
    found = []
    for text in texts:
        target, parameters = parse_target(text, where)
        if ":" not in target and target not in registered_methods():
            raise PlanError(
                f'{where} must be a registered method, path/to/mine.py:Class or package.module:Class, got "{target}"; '
                f"{_hint(target)}."
            )
        method = make_method(load_method(target, where=where), parameters, where=where, target=target)
        found.append(Target(text.strip(), target, parameters, method))
    return found


def _hint(target: str) -> str:
    """What may have been meant."""
    if target.endswith(".py"):
        return f"name its class too: {target}:Class"
    close = get_close_matches(target, registered_methods(), 1)
    return f"did you mean {close[0]}" if close else f"registered are {', '.join(sorted(registered_methods()))}"


def _value(text: str, whole: str, where: str) -> Any:
    try:
        read = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        read = {"value": text} if _WORD.fullmatch(text) else {}
    value = read.get("value")
    if len(read) != 1 or not isinstance(value, (bool, int, float, str, list)):
        raise PlanError(
            f'{where} must give numbers, true, false, words or lists as values, got "{text}" in "{whole}"; put other '
            "texts in quotes."
        )
    return value
