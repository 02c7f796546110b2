"""Scores from files: .npy, .npz (`file.npz:array`), CSV (`file.csv:column`) and Parquet, one score per run.

Nothing is unpickled. Several scores of one run are one cluster: they are reduced to their mean, because runs, and not
records, are the unit of independence.
"""

import csv
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln
from scipy.stats import binom

from audit.bounds.runs import checked_scores, holds
from unlearning.errors import BadScores
from unlearning.record import sha256

Array = NDArray[np.float64]

_UNREADABLE = (ValueError, EOFError, OSError, RuntimeError, KeyError, zipfile.BadZipFile, zlib.error, SyntaxError)
_LARGEST = 1e100  # squares must stay finite
_COINCIDENCE = 1e-3  # chance below which recurring scores are taken for copies
_PARQUET = (".parquet", ".pq")


@dataclass(frozen=True, slots=True, eq=False)
class ScoreFile:
    """The scores of one side.

    Attributes:
        source: as given on the command line.
        values: [n], one number per run.
        rows: scores read, before clusters were reduced.
        runs: identifier of each run, where the file names them.
        sha256: of the numbers as used.
    """

    source: str
    values: Array
    rows: int
    runs: tuple[str, ...] | None
    sha256: str


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns, or arrays, of a file are meant.

    Attributes:
        scores: where the name of the file does not say.
        cluster: names the run of each row; rows of one run are averaged.
        run: names the run of each row; a repeated name is an error.
    """

    scores: str | None = None
    cluster: str | None = None
    run: str | None = None

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            BadScores: both cluster and run are given.
        """
        if self.cluster is not None and self.run is not None:
            raise BadScores(
                f"--cluster and --run must not both be given, got {self.cluster!r} and {self.run!r}. Use --cluster "
                "where a run may have several rows, --run where it may not."
            )


def read_scores(source: str, columns: Columns, *, option: str) -> ScoreFile:
    """The scores of one side.

    Args:
        source: path, or path:column.
        columns: further names.
        option: for messages, e.g. --released.

    Raises:
        BadScores: the file is missing or unreadable, has no such column, or holds no scores.
    """
    path, selector = _divided(source, option)
    named = selector if selector is not None else columns.scores
    identifier = columns.cluster or columns.run
    try:
        raw, names = _read(path, named, identifier, option)
    except MemoryError as error:
        raise BadScores(f"{option} must hold scores that fit into memory, got {source}.") from error
    if raw.dtype.kind in "OSUMmVc":
        raise BadScores(f"{option} must hold real numbers, got {_kind(raw)} in {source}.")
    scores = checked_scores(f"{option} {source}", raw)
    if np.abs(scores).max() > _LARGEST:
        raise BadScores(f"{option} must hold scores up to {_LARGEST:g}, got larger ones in {source}. Divide them.")
    rows = scores.size
    runs = None if names is None else _identifiers(names, rows, option, source)
    if runs is not None and columns.cluster is not None:
        runs, scores = _means(runs, scores)
    elif runs is not None:
        _refuse_repeated(runs, option, source)
    return ScoreFile(source, scores, rows, runs, sha256(np.ascontiguousarray(scores, dtype="<f8").tobytes()))


def refuse_overlap(first: ScoreFile, second: ScoreFile, *, option: str, other: str) -> None:
    """Refuse two files with runs in common, as far as their numbers show it; discrete scores recur and are let through.

    Of the values that two files hold twice in all, independent runs of whatever laws put both into one file at least as
    often as one into each. Many more of the latter are copies, in whatever order.

    Raises:
        BadScores: both name the same file and column, or hold the same numbers in the same order or too many of the
            same ones.
    """
    if _place(first.source) == _place(second.source) or _same_sequence(first.values, second.values):
        raise BadScores(
            f"{option} and {other} must be different scores, got {first.source} and {second.source} with the same "
            "numbers. Name another file."
        )
    once, twice = _recurring(first.values, second.values)
    if binom.sf(once - 1, once + twice, 0.5) < _COINCIDENCE:
        raise BadScores(
            f"{option} and {other} must hold different runs, got {once} scores that stand once in each of "
            f"{first.source} and {second.source}, and {twice} that stand twice in one: independent runs recur less "
            "often. Leave the copies out of one."
        )


def _same_sequence(first: Array, second: Array) -> bool:
    """Whether two files agree number by number, and tied numbers do not explain it."""
    if not np.array_equal(first, second):
        return False
    ties = np.unique(first, return_counts=True)[1]
    orders = gammaln(first.size + 1) - gammaln(ties + 1).sum()  # logarithm of how many the same numbers have
    return bool(orders > -np.log(_COINCIDENCE))


def _recurring(first: Array, second: Array) -> tuple[int, int]:
    """How many values stand once in each file, and how many twice in one and never in the other."""
    values, place = np.unique(np.concatenate([first, second]), return_inverse=True)
    one, two = (np.bincount(part, minlength=values.size) for part in (place[: first.size], place[first.size :]))
    both = one + two == 2
    return int((both & (one == 1)).sum()), int((both & (one != 1)).sum())


def refuse_shared_runs(selection: ScoreFile, test: ScoreFile, *, option: str, other: str) -> None:
    """Refuse runs of one side that both choose and are tested.

    The two sides may number their runs alike: names are compared within a side, numbers between all files.

    Raises:
        BadScores: a run is in both files.
    """
    shared = sorted(set(selection.runs or ()) & set(test.runs or ()))
    if shared:
        raise BadScores(
            f"{option} and {other} must hold different runs, got {len(shared)} in both, the first {shared[0]!r}: runs "
            "that choose an event cannot test it. Leave them out of one."
        )


def _place(source: str) -> tuple[str, str]:
    path, selector = _divided(source, "")
    return str(path.resolve()), selector or ""


def _divided(source: str, option: str) -> tuple[Path, str | None]:
    """Path and column; a column may hold colons, and so may a path."""
    if Path(source).is_file():
        return Path(source), None
    for place in (i for i, character in enumerate(source) if character == ":"):
        if Path(source[:place]).is_file():
            return Path(source[:place]), source[place + 1 :]
    what = "a folder" if Path(source).is_dir() else "no such file"
    raise BadScores(f"{option} must be a file, or file:column, got {source}: {what}. Check the path.")


def _read(
    path: Path, named: str | None, identifier: str | None, option: str
) -> tuple[NDArray[Any], Sequence[object] | None]:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        if named is not None or identifier is not None:
            raise BadScores(
                f"{option} must be a file with columns where one is named, got {path} and {named or identifier!r}: a "
                ".npy file holds one array. Use .npz, .csv or .parquet."
            )
        return _numpy(path, option), None
    if suffix == ".npz":
        return _archive(path, named, identifier, option)
    if suffix in (".csv", ".tsv", ".txt"):
        return _table(path, named, identifier, option)
    if suffix in _PARQUET:
        return _parquet(path, named, identifier, option)
    raise BadScores(f"{option} must be a .npy, .npz, .csv or .parquet file, got {path}. Convert it.")


def _numpy(path: Path, option: str) -> NDArray[Any]:
    try:
        with path.open("rb") as file:
            return np.asarray(np.load(file, allow_pickle=False))
    except _UNREADABLE as error:
        raise BadScores(
            f"{option} must be a readable .npy file of numbers, got {path} ({_unread(error)}). Write it with numpy."
            "save, as an array of floats."
        ) from error


def _archive(
    path: Path, named: str | None, identifier: str | None, option: str
) -> tuple[NDArray[Any], Sequence[object] | None]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            known = list(archive.files)
            chosen = _chosen(known, named, option, path, "array")
            names = None if identifier is None else _chosen(known, identifier, option, path, "array")
            return np.asarray(archive[chosen]), None if names is None else list(archive[names].ravel())
    except BadScores:
        raise
    except (*_UNREADABLE, AttributeError, TypeError) as error:
        raise BadScores(
            f"{option} must be a readable .npz file of numbers, got {path} ({_unread(error)}). Write it with numpy."
            "savez, without objects and without encryption."
        ) from error


def _table(
    path: Path, named: str | None, identifier: str | None, option: str
) -> tuple[NDArray[Any], Sequence[object] | None]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            sample = file.read(4096)
            file.seek(0)
            delimiter = max(",;\t", key=sample.partition("\n")[0].count)
            lines = [(number, row) for number, row in enumerate(csv.reader(file, delimiter=delimiter), 1) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadScores(f"{option} must be a CSV file in UTF-8, got {path} ({_first(error)}).") from error
    if not lines:
        raise BadScores(f"{option} must hold at least one run, got the empty file {path}.")
    first = [cell.strip() for cell in lines[0][1]]
    if named is None and identifier is None and len(first) == 1 and _is_number(first[0]):
        return _parsed([(number, row[0]) for number, row in lines], option, path), None
    if all(_is_number(cell) for cell in first):
        raise BadScores(
            f"{option} must have a first line that names its columns, got the numbers {', '.join(first[:4])} in "
            f"{path}. Write a line of names above them."
        )
    chosen = first.index(_chosen(first, named, option, path, "column"))
    body = lines[1:]
    for number, row in body:
        if len(row) != len(first):
            raise BadScores(
                f"{option} must have {len(first)} cells in every line, got {len(row)} in line {number} of {path}."
            )
    names = None if identifier is None else first.index(_chosen(first, identifier, option, path, "column"))
    scores = _parsed([(number, row[chosen]) for number, row in body], option, path)
    return scores, None if names is None else [row[names].strip() for _, row in body]


def _parsed(cells: list[tuple[int, str]], option: str, path: Path) -> Array:
    values = []
    for number, cell in cells:
        if not _is_number(cell) or not np.isfinite(float(cell)):
            raise BadScores(f"{option} must hold finite numbers, got {cell.strip()!r} in line {number} of {path}.")
        if _is_whole(cell) and not holds(int(cell)):
            raise BadScores(
                f"{option} must hold integers that float64 holds exactly, got {cell.strip()} in line {number} of "
                f"{path}. Subtract one number from all scores."
            )
        values.append(float(cell))
    return np.asarray(values, dtype=np.float64)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _is_whole(cell: str) -> bool:
    return cell.strip().lstrip("+-").isdecimal()


def _parquet(
    path: Path, named: str | None, identifier: str | None, option: str
) -> tuple[NDArray[Any], Sequence[object] | None]:
    if find_spec("pyarrow") is None:
        raise BadScores(
            f"{option} must be a format that this machine reads, got {path}: Parquet needs pyarrow. Install it, or "
            "write the scores as .npy or .csv."
        )
    arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")

    try:
        known = list(parquet.read_schema(path).names)
        chosen = _chosen(known, named, option, path, "column")
        names = None if identifier is None else _chosen(known, identifier, option, path, "column")
        table = parquet.read_table(path, columns=list(dict.fromkeys([chosen, *([names] if names else [])])))
        if table[chosen].null_count:
            raise BadScores(f"{option} must hold finite numbers, got {table[chosen].null_count} empty cells in {path}.")
        return table[chosen].to_numpy(), None if names is None else table[names].to_pylist()
    except (arrow.ArrowException, OSError) as error:
        raise BadScores(f"{option} must be a readable Parquet file, got {path} ({_first(error)}).") from error


def _chosen(known: list[str], named: str | None, option: str, path: Path, what: str) -> str:
    listed = ", ".join(repr(name) for name in known[:8]) + (", …" if len(known) > 8 else "")
    if named is None:
        if len(known) == 1:
            return known[0]
        raise BadScores(
            f"{option} must name one {what} of {path}, got none of {listed or 'none'}. Write {path}:{what.upper()}."
        )
    if named in known:
        return named
    near = get_close_matches(named, known, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise BadScores(f"{option} must name {what}s of {path}, which are {listed or 'none'}, got {named!r}.{hint}")


def _identifiers(names: Sequence[object], rows: int, option: str, source: str) -> tuple[str, ...]:
    if len(names) != rows:
        raise BadScores(f"{option} must name the run of each of {rows} rows, got {len(names)} names in {source}.")
    found = tuple(_identifier(name) for name in names)
    if "" in found:
        raise BadScores(f"{option} must name the run of every row, got an empty name in row {found.index('') + 1}.")
    return found


def _identifier(name: object) -> str:
    if name is None or name != name:  # NaN
        return ""
    whole = isinstance(name, float | np.floating) and float(name).is_integer()
    return str(int(name)) if whole else str(name)  # type: ignore[call-overload]


def _means(runs: tuple[str, ...], scores: Array) -> tuple[tuple[str, ...], Array]:
    """One number per run, the mean of its scores, in the order in which the runs appear."""
    place = {run: position for position, run in enumerate(dict.fromkeys(runs))}
    members = np.asarray([place[run] for run in runs])
    sizes = np.bincount(members)
    shares = scores / sizes[members]  # each before it is added: sums of large scores may overflow
    return tuple(place), np.bincount(members, weights=shares).astype(np.float64)


def _refuse_repeated(runs: tuple[str, ...], option: str, source: str) -> None:
    if len(set(runs)) < len(runs):
        seen: set[str] = set()
        again = next(run for run in runs if run in seen or seen.add(run))  # type: ignore[func-returns-value]
        raise BadScores(
            f"{option} must hold every run once, got run {again!r} again in {source}: rows of one run are not "
            "independent. Name the column with --cluster to average them."
        )


def _kind(raw: NDArray[Any]) -> str:
    names = {"O": "objects", "S": "text", "U": "text", "M": "dates", "m": "durations", "V": "records", "c": "complex"}
    return names[raw.dtype.kind]


def _unread(error: Exception) -> str:
    """Why numpy read nothing, without its advice to unpickle."""
    text = _first(error)
    return "it holds Python objects, which are never unpickled" if "allow_pickle" in text else text


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
