"""A plan as TOML, for the reader; the record keeps the plan itself."""

import json
import re
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def toml(plan: dict[str, Any]) -> str:
    """Write a plan as TOML; what is None in it becomes a comment.

    >>> print(toml({"seed": 0, "rows": [{"name": "a", "on": True}]}))
    seed = 0
    <BLANKLINE>
    [[rows]]
    name = "a"
    on = true
    """
    return "\n".join(_table(plan, "")).strip("\n")


def _table(table: dict[str, Any], path: str) -> list[str]:
    lines = []
    nested = []
    for key, value in table.items():
        name = key if _BARE.fullmatch(key) else _string(key)
        if isinstance(value, dict) and value:
            nested += ["", f"[{path}{name}]", *_table(value, f"{path}{name}.")]
        elif isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
            for part in value:
                nested += ["", f"[[{path}{name}]]", *_table(part, f"{path}{name}.")]
        elif value is None:
            lines.append(f"# {name} is not set".replace("\n", " "))
        else:
            lines.append(f"{name} = {_value(value)}")
    return lines + nested


def _value(value: Any) -> str:
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, list):
        return "[" + ", ".join(_value(part) for part in value if part is not None) + "]"
    if isinstance(value, dict):
        parts = (f"{k if _BARE.fullmatch(k) else _string(k)} = {_value(v)}" for k, v in value.items() if v is not None)
        return "{ " + ", ".join(parts) + " }" if value else "{}"
    return json.dumps(value)


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
