"""One clear line for whatever is wrong with a plan: TOML path, expectation, value, way out."""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

Location = tuple[str | int, ...]

EXAMPLES = {
    "title": 'title = "Newton on digits"',
    "seed": "seed = 0",
    "failure_probability": "failure_probability = 0.01",
    "control_failure_probability": "control_failure_probability = 0.001",
    "family": 'family = "row"',
    "datasets": '[datasets.digits] with source = "digits"',
    "tasks": '[tasks.NAME] with dataset = "digits"',
    "rows": "rows = 1000",
    "source": 'source = "digits"',
    "file": 'file = "mnist.npz"',
    "features": 'features = "train_images"',
    "labels": 'labels = "train_labels"',
    "holdout_features": 'holdout_features = "test_images"',
    "holdout_labels": 'holdout_labels = "test_labels"',
    "header": "header = true",
    "columns": 'columns = ["Age", "Height"]',
    "missing": 'missing = "?"',
    "delimiter": 'delimiter = ";"',
    "function": 'function = "mine.py:build"',
    "holdout": "holdout = 0.2",
    "standardise": "standardise = true",
    "norm": 'norm = 1.0, or "none"',
    "split_seed": "split_seed = 0",
    "remark": 'remark = "decoded from JPEG copies"',
    "canaries": "canaries = {mislabelled = 5, duplicates = 5}",
    "mislabelled": "mislabelled = 5",
    "duplicates": "duplicates = 5",
    "dataset": 'dataset = "digits"',
    "model": 'model = "softmax"',
    "hidden": "hidden = [16]",
    "activation": 'activation = "tanh"',
    "regularisation": "regularisation = 0.1",
    "dtype": 'dtype = "float64"',
    "recipe": 'recipe = {kind = "minimise"}',
    "request": 'request = {kind = "random", size = 5}',
    "kind": 'kind = "…"',
    "epochs": "epochs = 10",
    "batch_size": "batch_size = 32",
    "step_size": "step_size = 1.0",
    "decay": "decay = 1.0",
    "momentum": "momentum = 0.0",
    "divisor": 'divisor = "remaining"',
    "tolerance": "tolerance = 1e-10",
    "size": "size = 5",
    "until": 'until = "refuted"',
    "random": "random = 32",
    "seeds": "seeds = 2",
    "steps": "steps = 4",
    "swaps": "swaps = 16",
    "ids": "ids = [1, 2, 3]",
    "label": "label = 3",
    "scores": 'scores = ["forget-loss"]',
    "name": 'name = "newton on digits"',
    "task": 'task = "digits"',
    "method": 'method = "newton", or "mine.py:Class"',
    "parameters": 'parameters = {bound = "error"}',
    "claim": "claim = {epsilon = 1.0, delta = 1e-5}",
    "epsilon": "epsilon = 1.0",
    "delta": "delta = 1e-5",
    "directions": 'directions = "both"',
    "reference": 'reference = "retrained"',
    "seed_policy": 'seed_policy = "per seed"',
    "budget": 'budget = "prior"',
    "noise_scale": "noise_scale = 1e-3",
    "calibration": 'calibration = "analytic"',
    "rungs": 'rungs = ["A", "B", "C"]',
    "replicas": "replicas = {test = 500, selection = 200}",
    "test": "test = 500",
    "selection": "selection = 200",
    "release_calls": "release_calls = 4096",
    "controls": 'controls = ["no-op", "retrained"]',
    "identification": 'identification = {sampling = "coin", runs = 1}',
    "sampling": 'sampling = "coin"',
    "candidates": "candidates = 80",
    "guesses": "guesses = 20",
    "runs": "runs = 10",
    "shadows": "shadows = 100",
    "attacks": 'attacks = {names = ["lira-online", "mia-u"]}',
    "names": 'names = ["lira-online", "mia-u"]',
    "attacks.candidates": "candidates = 10",
    "attacks.shadows": "shadows = 64",
    "attacks.seeds": 'seeds = ["fresh", "one seed"]',
    "targets": "targets = 64",
    "population": "population = 200",
    "sweep": "sweep = [0.0, 0.1, 0.3, 1.0, 3.0, 10.0]",
    "measures": "measures = true",
    "expect": 'expect = "NOT_REFUTED"',
}

_KINDS = {
    "string_type": "a string",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "an array",
    "list_type": "an array",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "finite_number": "a finite number",
    "too_short": "of at least one entry",
    "string_too_short": "a string that is not empty",
}
_LIMITS = {"greater_than": (">", "gt"), "greater_than_equal": (">=", "ge"), "less_than": ("<", "lt")}
_LIMITS["less_than_equal"] = ("<=", "le")
_BEGINNING = 4  # letters that may be a mistyped beginning of a longer word


def refuse(expectation: str, way_out: str | None = None, *, at: Sequence[str | int] = (), got: Any = ...) -> NoReturn:
    """Stop a validator with what was expected.

    Args:
        expectation: completes "must be" (or begins with "must").
        way_out: what to write instead; the field's example without it.
        at: where below the validated value.
        got: the offending value, where it is not the validated one.

    Raises:
        PydanticCustomError: always.
    """
    context: dict[str, Any] = {"expectation": expectation, "way_out": way_out, "at": tuple(at)}
    if got is not ...:
        context["got"] = got
    raise PydanticCustomError("plan", "plan", context)


def closest(word: str, words: Iterable[str]) -> str:
    """Say which known word was probably meant, else all of them."""
    known = sorted(words)
    near = get_close_matches(word, known, 1, cutoff=0.6)
    if len(word) >= _BEGINNING:
        beginnings = {one[: len(word)]: one for one in known}
        nearer = get_close_matches(word, [*beginnings, *near], 1, cutoff=0.75)
        near = [beginnings.get(one, one) for one in nearer] or near
    return f"did you mean {near[0]}" if near else f"known: {', '.join(known) or 'none'}"


def spell(location: Iterable[str | int]) -> str:
    """A place in a plan as TOML writes it: tasks."my task".recipe, rows[2].claim."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            bare = re.fullmatch(r"[A-Za-z0-9_-]+", part)
            text += ("." if text else "") + (part if bare else json.dumps(part, ensure_ascii=False))
    return text or "plan"


def show(value: Any) -> str:
    """A value as TOML writes it, shortened."""
    if isinstance(value, dict):
        return "a table"
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError):
        text = repr(value)
    text = {"NaN": "nan", "Infinity": "inf", "-Infinity": "-inf", "null": "nothing"}.get(text, text)
    return text if len(text) <= 60 else f"{text[:57]}…"


def one_line(error: ValidationError, keys: Callable[[Location], Iterable[str]]) -> str:
    """The first thing wrong, unknown keys before all: a misspelt key also makes another one missing.

    Args:
        error: what pydantic found.
        keys: known keys of the table at a place.
    """
    found = error.errors(include_url=False)
    first = next((one for one in found if one["type"] == "extra_forbidden"), found[0])
    location, context = tuple(first["loc"]), first.get("ctx", {})
    if first["type"] == "extra_forbidden":
        key = str(location[-1])
        return (
            f"{spell(_public(location))} must be a key of a plan, got {show(key)}; {closest(key, keys(location[:-1]))}."
        )
    place = (*_public(location), *context.get("at", ()))
    if first["type"].startswith("union_tag"):
        place = (*place, str(context["discriminator"]).strip("'"))
    if place and place[-1] == "[key]":
        place = place[:-1]
    expectation = _expectation(first)
    got = context["got"] if "got" in context else _got(first)
    must = expectation if expectation.startswith("must") else f"must be {expectation}"
    return f"{spell(place)} {must}, got {show(got)}; {_way_out(first, place)}."


def _public(location: Location) -> Location:
    """A pydantic place without the tags of unions."""
    parts = list(location)
    if len(parts) > 2 and parts[0] == "datasets" and parts[2] != "[key]":
        del parts[2]
    if len(parts) > 3 and parts[0] == "tasks" and parts[2] in {"recipe", "request"}:
        del parts[3]
    return tuple(parts)


def _got(error: ErrorDetails) -> Any:
    if error["type"] in {"missing", "union_tag_not_found"}:
        return None
    return error["ctx"]["tag"] if error["type"] == "union_tag_invalid" else error["input"]


def _expectation(error: ErrorDetails) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "plan":
        return str(context["expectation"])
    if kind in _LIMITS:
        sign, key = _LIMITS[kind]
        return f"{sign} {context[key]}"
    if kind in {"literal_error", "enum"}:
        return str(context["expected"]).replace("'", '"')
    if kind == "union_tag_invalid":
        return f"one of {str(context['expected_tags']).replace(chr(39), chr(34))}"
    if kind in {"missing", "union_tag_not_found"}:
        return "given"
    return _KINDS.get(kind, error["msg"][:1].lower() + error["msg"][1:])


def _way_out(error: ErrorDetails, place: Location) -> str:
    context = error.get("ctx", {})
    if context.get("way_out"):
        return str(context["way_out"])
    word = _got(error)
    if isinstance(word, str):
        words = re.findall(r"'([^']*)'", str(context.get("expected") or context.get("expected_tags")))
        near = get_close_matches(word, words, 1, cutoff=0.4)
        if near:
            return f'did you mean "{near[0]}"'
    if place == ("rows",):
        return "write for example [[rows]] with name, task, method, claim and budget"
    named = [part for part in place if isinstance(part, str)]
    if len(place) == 2 and place[0] in {"datasets", "tasks"}:
        named = [str(place[0])]
    example = (EXAMPLES.get(".".join(named[-2:])) or EXAMPLES.get(named[-1])) if named else None
    return f"write for example {example}" if example else "change the value"
