"""Tables and numbers of the pages under docs/."""

import math
from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Lines of a Markdown table whose first `left` columns are words."""
    rule = [":---" if column < left else "---:" for column in range(len(head))]
    return ["", *("| " + " | ".join(cells) + " |" for cells in (head, rule, *rows)), ""]


def number(value: float) -> str:
    """Three digits, or ∞."""
    if math.isinf(value):
        return "∞"
    return f"{value:,.0f}".replace(",", " ") if abs(value) >= 1000 else f"{value:.3g}"
