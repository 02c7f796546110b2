"""What a run leaves: the record first, so that no report can cost it."""

from pathlib import Path

import numpy as np
import pytest

import reports
from certunlearn.output import NAMES, write_output
from tests.reports import sample
from unlearning.errors import RecordError
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
    assert sorted(path.name for path in tmp_path.iterdir()) == ["arrays.npz", "record.json"]
    assert read_record(tmp_path / "record.json") == sample.record()


def test_all_files(tmp_path: Path) -> None:
    written = write_output(tmp_path, sample.record(), {"x": np.zeros(3)})
    assert [path.name for path in written] == list(NAMES) and all(path.stat().st_size for path in written)
