"""Records of a CSV table: numbers as they are, words one-hot."""

import csv
import io
import math
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unlearning.errors import PlanError

from .dataset import Array, RawDataset, checked, file_origin, readable

MOST_WORDS = 100  # a column with more distinct words than this is text, or has a typing error


def from_csv(
    path: str | Path,
    *,
    label: str | int,
    header: bool = True,
    columns: Sequence[str | int] | None = None,
    missing: str | None = None,
    delimiter: str | None = None,
    name: str | None = None,
    remark: str | None = None,
) -> RawDataset:
    """Records of a CSV table; a column that is not all numbers becomes one column of 0 and 1 per word.

    The list of words, like the list of classes, is that of the whole file and counts as public; a word that no holdout
    row has is set to zero by `prepare` when it standardises.

    Args:
        path: the table, UTF-8.
        label: column of the labels: its name, or its number from 0 (−1 is the last).
        header: whether the first line holds the names of the columns.
        columns: feature columns to use, by name or number; all but the label without it.
        missing: the entry that marks a missing value, e.g. "?"; rows that hold it in a used column are left out.
        delimiter: one character; without it whichever of , ; and tab is most frequent in the first line.
        name: short name; the file's without it.
        remark: what a reader must know.

    Raises:
        PlanError: no such file or column, lines of unequal length, entries that are missing or not finite, a column of
            free text, or records that `checked` refuses.
    """
    path = Path(path)
    content = readable(path)
    names, lines, numbers = _read(path, content, header, delimiter)
    target = _column(label, names, "label", header)
    if columns is None:
        used = [column for column in range(len(names)) if column != target]
    else:
        used = [_column(column, names, f"columns[{position}]", header) for position, column in enumerate(columns)]
        if target in used or len(set(used)) != len(used):
            raise PlanError(
                f"columns must be distinct and without the label, got {list(columns)}; remove the one that is too many."
            )
    kept = [i for i, line in enumerate(lines) if missing is None or missing not in {line[j] for j in [*used, target]}]
    if not kept:
        raise PlanError(
            f"file must hold at least one whole row, got {len(lines)} rows in {path.name}, all with {missing!r}; name "
            "fewer columns."
        )
    lines, numbers = [lines[i] for i in kept], [numbers[i] for i in kept]
    blocks, worded = [], []
    for column in used:
        block, one_hot = _encode([line[column] for line in lines], numbers, names[column])
        blocks.append(block)
        if one_hot:
            worded.append(names[column])
    if not blocks:
        raise PlanError(f"columns must name at least one feature, got none in {path.name}; add a column.")
    notes = [f"columns {', '.join(worded)} one-hot"] if worded else []
    if missing is not None:
        notes.append(f"rows with {missing!r} left out")
    labels = [line[target] for line in lines]
    if "" in labels:
        at = numbers[labels.index("")]
        raise PlanError(f'label must be given in every row, got none in line {at}; missing = "" leaves such rows out.')
    return checked(
        np.hstack(blocks),
        _label_array(labels),
        name=name or path.stem,
        origin=file_origin(path, content),
        note=", ".join(notes),
        remark=remark,
    )


def _read(
    path: Path, content: bytes, header: bool, delimiter: str | None
) -> tuple[list[str], list[list[str]], list[int]]:
    """Names of the columns, the lines split and stripped, and their numbers in the file."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PlanError(
            f"file must be UTF-8 text, got byte {content[error.start]:#04x} at position {error.start} of {path.name}; "
            "convert it first."
        ) from error
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = delimiter or max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    lines, numbers = [], []
    try:
        for line in reader:
            if line and any(cell.strip() for cell in line):
                lines.append([cell.strip() for cell in line])
                numbers.append(reader.line_num)
    except csv.Error as error:
        raise PlanError(
            f"file must be a CSV table, got {error} in line {reader.line_num} of {path.name}; correct the line."
        ) from error
    names = lines[0] if header and lines else []
    if header:
        lines, numbers = lines[1:], numbers[1:]
    if not lines:
        raise PlanError(f"file must hold at least one row, got an empty table in {path.name}; give records.")
    names = names or [str(position) for position in range(len(lines[0]))]
    for number, line in zip(numbers, lines, strict=True):
        if len(line) != len(names):
            raise PlanError(
                f"file must have {len(names)} entries in every line, got {len(line)} in line {number} of {path.name}; "
                "correct the line or set delimiter."
            )
    if len(set(names)) != len(names):
        again = next(one for one in names if names.count(one) > 1)
        raise PlanError(
            f"header must hold distinct names, got {again!r} twice in {path.name}; rename one, or write header = false."
        )
    return names, lines, numbers


def _column(wanted: str | int, names: list[str], field: str, header: bool) -> int:
    if isinstance(wanted, int):
        if -len(names) <= wanted < len(names):
            return wanted % len(names)
        raise PlanError(
            f"{field} must be a column number between {-len(names)} and {len(names) - 1}, got {wanted}; columns count "
            "from 0."
        )
    if not header:
        raise PlanError(
            f"{field} must be a column number in a table without header, got {wanted!r}; columns count from 0."
        )
    if wanted not in names:
        close = get_close_matches(wanted, names, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"the table has {', '.join(names)}."
        raise PlanError(f"{field} must be a column of the table, got {wanted!r}; {hint}")
    return names.index(wanted)


def _number(cell: str) -> float | None:
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def _encode(cells: list[str], numbers: list[int], name: str) -> tuple[NDArray[np.float64], bool]:
    """One column of numbers, or one column of 0 and 1 per word; and whether it was words."""
    way_out = 'missing = "…" names the entry that marks a missing value.'
    if "" in cells:
        at = numbers[cells.index("")]
        raise PlanError(f"columns must have no empty entry, got one in {name!r}, line {at}; {way_out}")
    values = [_number(cell) for cell in cells]
    for cell, value, number in zip(cells, values, numbers, strict=True):
        if value is not None and not math.isfinite(value):
            raise PlanError(f"columns must be finite numbers, got {cell!r} in {name!r}, line {number}; {way_out}")
    if None not in values:
        return np.array(values, dtype=np.float64)[:, None], False
    words = sorted(set(cells))
    if len(words) > MOST_WORDS:
        first = values.index(None)
        raise PlanError(
            f"columns must be numbers or at most {MOST_WORDS} distinct words, got {len(words)} in {name!r}, such as "
            f"{cells[first][:40]!r} in line {numbers[first]}; leave the column out with columns, or set missing."
        )
    return (np.array(cells)[:, None] == np.array(words)[None, :]).astype(np.float64), True


def _label_array(labels: list[str]) -> Array:
    values = [_number(label) for label in labels]
    return np.array(labels) if None in values else np.array(values, dtype=np.float64)
