"""Tables and numbers of the pages under docs/, and the pages themselves."""

import math
from collections.abc import Sequence
from pathlib import Path


def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Lines of a Markdown table whose first `left` columns are words."""
    rule = [":---" if column < left else "---:" for column in range(len(head))]
    return ["", *("| " + " | ".join(cells) + " |" for cells in (head, rule, *rows)), ""]


def number(value: float) -> str:
    """Three digits, or ∞."""
    if math.isinf(value):
        return "∞"
    return f"{value:,.0f}".replace(",", " ") if abs(value) >= 1000 else f"{value:.3g}"


def write_page(page: Path, lines: Sequence[str]) -> None:
    """Write the lines, with one empty line at most between two paragraphs."""
    text = "\n".join(lines).strip() + "\n"
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text, encoding="utf-8")
