"""What a run leaves: the record first, so that no report can cost it."""

from pathlib import Path

import numpy as np
import pytest

import reports
from certunlearn.output import NAMES, check_output, write_output
from tests.reports import sample
from unlearning.errors import PlanError, RecordError
from unlearning.record import read_record


def test_a_report_that_fails_leaves_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "report.html").write_text("of an earlier record")

    def broken(*_: object) -> None:
        raise AttributeError("no such field")

    monkeypatch.setattr(reports, "write_reports", broken)
    with pytest.raises(
        RecordError, match=r"reports could not be written .*no such field.*certunlearn report .*record.json"
    ):
        write_output(tmp_path, sample.record(), {"x": np.zeros(3)})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["arrays.npz", "counterexamples", "record.json"]
    assert read_record(tmp_path / "record.json") == sample.record()


def test_all_files(tmp_path: Path) -> None:
    written = write_output(tmp_path, sample.record(), {"x": np.zeros(3)})
    *files, counterexample = written
    assert [path.name for path in files] == list(NAMES) and all(path.stat().st_size for path in written)
    assert counterexample.parent == tmp_path / "counterexamples"  # of the row whose bound a small problem breaks


def test_a_file_in_place_of_the_folder_of_counterexamples_is_told_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "counterexamples").write_text("mine")
    with pytest.raises(PlanError, match=r"room for the folder counterexamples.*Remove it"):
        check_output(tmp_path, "0", fresh=False)
