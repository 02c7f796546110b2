"""The output folder: checked before anything is run, written file by file under temporary names, then renamed."""

import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unlearning.errors import PlanError, RecordError
from unlearning.record import Record, read_record

NAMES = ("arrays.npz", "record.json", "report.html", "report.pdf")
COUNTEREXAMPLES = "counterexamples"
_DRAFT = ".writing-"


def check_output(folder: Path, plan_sha256: str, *, fresh: bool) -> None:
    """Refuse a folder that cannot be written or holds another plan's record.

    Raises:
        PlanError: the folder is no folder, or not writable, or another plan's and `fresh` was not asked for.
    """
    nearest = folder
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    if not nearest.is_dir():
        raise PlanError(f"--out must be a folder, got {folder}, where {nearest} is a file. Name another.")
    if not os.access(nearest, os.W_OK):
        raise PlanError(f"--out must be writable, got {folder}. Name another folder.")
    for name in NAMES:
        if (folder / name).is_dir():
            raise PlanError(f"--out must have room for the file {name}, got {folder}, where it is a folder. Remove it.")
    if (folder / COUNTEREXAMPLES).is_file():
        raise PlanError(
            f"--out must have room for the folder {COUNTEREXAMPLES}, got {folder}, where it is a file. Remove it."
        )
    record = folder / "record.json"
    if record.exists() and not fresh:
        try:
            other = read_record(record).evidence.plan_sha256
        except RecordError as error:
            raise PlanError(
                f"--out must be empty or hold this plan's record, got {folder}, whose record cannot be read ({error}) "
                "Name another folder, or add --fresh to replace it."
            ) from error
        if other != plan_sha256:
            raise PlanError(
                f"--out must be empty or hold this plan's record, got {folder} with the record of another plan "
                f"({other[:12]}…). Name another folder, or add --fresh to replace it."
            )


def write_output(folder: Path, record: Record, arrays: dict[str, NDArray[np.float64]]) -> list[Path]:
    """Write arrays.npz and record.json, counterexamples, then both reports; each appears whole or not at all.

    Hours of training are in the record: should a report fail, `certunlearn report` makes it again.

    Raises:
        RecordError: the record was written, and its reports could not be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _clear_stale(folder)
    with tempfile.TemporaryDirectory(prefix=_DRAFT, dir=folder) as name:
        draft = Path(name)
        with (draft / "arrays.npz").open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        (draft / "record.json").write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
        for old in NAMES[2:]:
            (folder / old).unlink(missing_ok=True)  # of an earlier record
        _publish(draft, folder, NAMES[:2])
        counterexamples = _write_counterexamples(record, folder)
        try:
            from reports import write_reports

            write_reports(record, draft)
        except Exception as error:
            raise RecordError(
                f"The reports could not be written ({type(error).__name__}: {error}); the record was. Run: certunlearn "
                f"report {folder / 'record.json'}"
            ) from error
        _publish(draft, folder, NAMES[2:])
    return [*(folder / name for name in NAMES), *counterexamples]


def _write_counterexamples(record: Record, folder: Path) -> list[Path]:
    """Files of the small problems that broke a bound; a record without any needs no torch."""
    rows = [row for row in record.evidence.rows if row.bound_search and row.bound_search.counterexample]
    if not rows:
        return []
    from .bound_search import write_counterexamples

    return write_counterexamples(rows, folder / COUNTEREXAMPLES, record.circumstances.replays)


def _publish(draft: Path, folder: Path, names: Sequence[str]) -> None:
    for name in names:
        with (draft / name).open("rb") as file:
            os.fsync(file.fileno())
    for name in names:
        os.replace(draft / name, folder / name)


def _clear_stale(folder: Path) -> None:
    """Remove what a run that was killed while writing left behind, once it is an hour old."""
    for path in folder.glob(f"{_DRAFT}*"):
        if time.time() - path.stat().st_mtime > 3600:
            shutil.rmtree(path, ignore_errors=True)
