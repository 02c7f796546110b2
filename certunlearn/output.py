"""The output folder: checked before anything is run, written file by file under temporary names, then renamed."""

import os
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unlearning.errors import PlanError, RecordError
from unlearning.record import Record, read_record


def check_output(folder: Path, plan_sha256: str, *, fresh: bool) -> None:
    """Refuse a folder that cannot be written or holds another plan's record.

    Raises:
        PlanError: the folder is no folder, or not writable, or another plan's and `fresh` was not asked for.
    """
    if folder.exists() and not folder.is_dir():
        raise PlanError(f"--out must be a folder, got the file {folder}. Name another.")
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
    nearest = folder
    while not nearest.exists():
        nearest = nearest.parent
    if not os.access(nearest, os.W_OK):
        raise PlanError(f"--out must be writable, got {folder}. Name another folder.")


def write_output(folder: Path, record: Record, arrays: dict[str, NDArray[np.float64]]) -> list[Path]:
    """Write arrays.npz, record.json, report.html and report.pdf; each appears whole or not at all.

    Everything is rendered before the first file is renamed, so that a failure leaves the folder as it was.
    """
    from reports import write_reports

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=folder) as name:
        draft = Path(name)
        with (draft / "arrays.npz").open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        (draft / "record.json").write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
        write_reports(record, draft)
        names = ["arrays.npz", "record.json", "report.html", "report.pdf"]
        for name in names:
            with (draft / name).open("rb") as file:
                os.fsync(file.fileno())
        for name in names:
            os.replace(draft / name, folder / name)
    return [folder / name for name in names]
