"""`certunlearn scores` from outside: files of every kind, verdicts, records, and every bad input in one line."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from certunlearn.cli import main
from unlearning.record import Record, read_record

ROOT = Path(__file__).parent.parent.parent
CLAIM = ("--epsilon", "1", "--delta", "1e-5")
Call = Callable[..., tuple[int, str]]
WITHOUT_TORCH = """
import importlib.abc, sys
class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "learning", "methods"):
            raise ImportError(f"{name} is blocked here")
sys.meta_path.insert(0, Blocked())
from certunlearn.cli import main
main()
"""


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the command in a folder of files: exit status, and what stderr says."""
    rng = np.random.default_rng(0)
    np.save(tmp_path / "a.npy", rng.normal(2, 1, 400))
    np.save(tmp_path / "b.npy", rng.standard_normal(400))
    np.save(tmp_path / "same.npy", rng.standard_normal(400))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["certunlearn", "scores", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        return int(left.value.code or 0), capsys.readouterr().err

    return run


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the reports, which take a second."""
    monkeypatch.setattr("reports.write_reports", lambda record, folder: [_touch(folder, n) for n in ("html", "pdf")])


def _touch(folder: Path, kind: str) -> Path:
    (folder / f"report.{kind}").touch()
    return folder / f"report.{kind}"


def record(folder: str = "out/scores") -> Record:
    return read_record(Path(folder) / "record.json")


def test_a_shift_is_refuted_and_leaves_record_arrays_and_both_reports(call: Call) -> None:
    status, said = call("--released", "a.npy", "--reference", "b.npy", *CLAIM)
    assert status == 1 and "REFUTED, expected NOT_REFUTED" in said
    assert sorted(os.listdir("out/scores")) == ["arrays.npz", "record.json", "report.html", "report.pdf"]
    found = record().evidence
    assert found.source == "files" and found.verdict == "REFUTED" and found.tasks == [] and found.controls == []
    row = found.rows[0]
    assert row.task is None and row.noise_scale is None and row.claim.request_size is None
    deciding = [line for line in row.lines if line.deciding]
    assert [line.key for line in deciding] == ["joint"] and deciding[0].epsilon_lower > 1
    assert sum(line.failure_probability for line in deciding) == pytest.approx(0.05)
    assert (row.replicas["selection"], row.replicas["test"]) == (80, 320)
    with np.load("out/scores/arrays.npz") as arrays:
        whole = np.concatenate([arrays["scores/test_released"], arrays["scores/selection_released"]])
    np.testing.assert_array_equal(np.sort(whole), np.sort(np.load("a.npy")))
    page = Path("out/scores/report.html").read_text(encoding="utf-8")
    for sentence in ("Seed 0 put the runs", "Only scores were seen", "certunlearn scores"):
        assert sentence in page


def test_equal_laws_are_not_refuted_and_the_power_is_stated(call: Call) -> None:
    status, said = call("--released", "same.npy", "--reference", "b.npy", *CLAIM)
    assert (status, said) == (0, "")
    row = record().evidence.rows[0]
    assert row.verdict == "NOT_REFUTED" and "would have refuted ε ≥" in row.because
    assert "no model that did nothing was there to test" in Path("out/scores/report.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("quick")
def test_expectations_decide_the_status(call: Call) -> None:
    assert call("--released", "a.npy", "--reference", "b.npy", *CLAIM, "--expect", "REFUTED") == (0, "")
    assert call("--released", "same.npy", "--reference", "b.npy", *CLAIM, "--expect", "REFUTED", "--fresh")[0] == 1
    status, said = call("--released", "a.npy", "--reference", "b.npy", *CLAIM, "--expect", "VACUOUS")
    assert status == 2 and "--expect must be" in said


@pytest.mark.usefixtures("quick")
def test_few_runs_are_not_computable_and_say_how_many_it_takes(call: Call) -> None:
    np.save("few.npy", np.arange(5.0))
    np.save("more.npy", np.arange(5.0) + 100)
    claim = ("--epsilon", "3", "--delta", "1e-5")
    status, said = call("--released", "few.npy", "--reference", "more.npy", *claim)
    assert status == 3 and "even if they were perfectly separated" in said and "takes at least" in said
    needed = int(said.split("takes at least ")[1].split()[0])
    for runs, expected in ((needed, "REFUTED"), (needed - 1, "NOT_COMPUTABLE")):
        for name, shift in (("few.npy", 1e6), ("more.npy", 0)):
            np.save(name, np.arange(float(runs)) + shift)
            np.save(f"s{name}", np.arange(round(runs / 4)) - 0.5 + shift)  # the least one is the threshold
        files = ("--released", "few.npy", "--reference", "more.npy", "--selection-released", "sfew.npy")
        call(*files, "--selection-reference", "smore.npy", *claim, "--fresh")
        assert record().evidence.verdict == expected


@pytest.mark.usefixtures("quick")
def test_swapped_files_are_divided_alike(call: Call) -> None:
    found = []
    for one, other in (("a.npy", "b.npy"), ("b.npy", "a.npy")):
        bounds = ("--bound", "z", "--bound", "clopper-pearson")
        call("--released", one, "--reference", other, *CLAIM, *bounds, "--fresh", "--pilot", "0.5")
        row = record().evidence.rows[0]
        found.append((row.verdict, [line.outcome for line in row.lines], row.lines[0].mu_lower))
    assert found[0][0] == "REFUTED" and found[0][:2] == found[1][:2]
    assert found[0][2] == pytest.approx(found[1][2])


@pytest.mark.usefixtures("quick")
def test_one_direction_says_that_the_files_may_not_be_swapped(call: Call) -> None:
    # released is never where the reference is not: nothing speaks against released ≤ e^ε reference
    np.save("inside.npy", np.full(2000, 0.5) + np.arange(2000) * 1e-9)
    np.save("wide.npy", np.where(np.arange(2000) % 2 == 0, 0.5, 5.0) + (np.arange(2000) + 0.5) * 1e-9)
    verdicts = []
    for direction in ("released", "reference"):
        files = ("--released", "inside.npy", "--reference", "wide.npy", "--directions", direction)
        call(*files, "--epsilon", "1", "--delta", "1e-5", "--fresh", "--bound", "clopper-pearson")
        row = record().evidence.rows[0]
        assert any("it matters which file is which" in remark for remark in row.remarks)
        verdicts.append(row.verdict)
    assert verdicts == ["NOT_REFUTED", "REFUTED"]


@pytest.mark.usefixtures("quick")
def test_a_gaussian_claim_is_tested_through_its_whole_curve(call: Call) -> None:
    call("--released", "a.npy", "--reference", "b.npy", "--mu", "0.5", "--delta", "1e-5")
    claim = record().evidence.rows[0].claim
    assert (claim.kind, claim.mu) == ("gaussian", 0.5) and claim.epsilon == pytest.approx(1.9931, abs=1e-4)


@pytest.mark.usefixtures("quick")
def test_files_of_every_kind_give_the_same_evidence(call: Call) -> None:
    a, b = np.load("a.npy"), np.load("b.npy")
    np.savez("both.npz", **{"Row: 1/released": a, "Row: 1/reference": b})
    for name, values in (("a.csv", a), ("b.csv", b)):
        Path(name).write_text("run;loss\n" + "\n".join(f"r{i};{v!r}" for i, v in enumerate(values.tolist())) + "\n")
    Path("bare.csv").write_text("\ufeff" + "\r\n".join(map(repr, b.tolist())), encoding="utf-8")
    hashes = set()
    for released, reference, further in (
        ("a.npy", "b.npy", ()),
        ("both.npz:Row: 1/released", "both.npz:Row: 1/reference", ()),
        ("a.csv:loss", "bare.csv", ()),
        ("a.csv", "b.csv", ("--column", "loss", "--run", "run")),
    ):
        call("--released", released, "--reference", reference, *CLAIM, *further, "--fresh")
        hashes.add(json.dumps([line.model_dump(mode="json") for line in record().evidence.rows[0].lines]))
    assert len(hashes) == 1


@pytest.mark.usefixtures("quick")
def test_several_scores_of_one_run_count_once(call: Call) -> None:
    """The broken twin takes rows for runs: then 30 models look like 3,000 and equal laws are refuted."""
    rng = np.random.default_rng(3)
    for name in ("x", "y"):
        models = np.repeat(rng.standard_normal(30), 100) + 1e-3 * rng.standard_normal(3000)
        np.savez(f"{name}.npz", score=models, model=np.repeat(np.arange(30), 100))
    files = ("--released", "x.npz", "--reference", "y.npz", "--column", "score", "--epsilon", "0", "--delta", "1e-5")
    assert call(*files, "--cluster", "model", "--bound", "clopper-pearson")[0] == 0
    row = record().evidence.rows[0]
    assert sum(row.replicas.values()) == 30
    assert any("3000 rows of 30 runs" in remark for remark in row.remarks)
    assert call(*files, "--fresh", "--bound", "clopper-pearson")[0] == 1
    status, said = call(*files, "--run", "model")
    assert status == 2 and "got run '0' again" in said and "--cluster" in said


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("kind", ["u1", "i8", "f2", "?", ">f4"])
def test_numbers_of_every_type_are_read(call: Call, kind: str) -> None:
    rng = np.random.default_rng(1)
    np.save("p.npy", (rng.random(300) < 0.9).astype(kind))
    np.save("q.npy", (rng.random(300) < 0.1).astype(kind))
    assert call("--released", "p.npy", "--reference", "q.npy", *CLAIM)[0] == 1


@pytest.mark.usefixtures("quick")
def test_constant_scores_say_nothing_and_enormous_ones_give_the_exact_limit(call: Call) -> None:
    np.save("one.npy", np.ones(300))
    np.save("also.npy", np.ones(300))
    status, said = call("--released", "one.npy", "--reference", "also.npy", *CLAIM)
    assert status == 3 and "the score separates nothing" in said
    np.save("big.npy", np.full(300, 1e308))
    assert "Divide them" in call("--released", "big.npy", "--reference", "one.npy", *CLAIM, "--fresh")[1]
    np.save("big.npy", np.full(300, 1e100))
    np.save("small.npy", np.full(300, -1e100))
    assert call("--released", "big.npy", "--reference", "small.npy", *CLAIM, "--fresh")[0] == 1
    assert 3 < record().evidence.rows[0].lines[0].epsilon_lower < 6


@pytest.mark.usefixtures("quick")
def test_selection_files_choose_and_all_other_runs_are_tested(call: Call) -> None:
    rng = np.random.default_rng(9)
    np.save("sa.npy", rng.normal(2, 1, 50))
    np.save("sb.npy", rng.standard_normal(60))
    chosen = ("--selection-released", "sa.npy", "--selection-reference", "sb.npy")
    call("--released", "a.npy", "--reference", "b.npy", *CLAIM, *chosen)
    assert record().evidence.rows[0].replicas == {"test": 400, "selection": 50}
    status, said = call("--released", "a.npy", "--reference", "b.npy", *CLAIM, *chosen[:2])
    assert status == 2 and "together" in said
    status, said = call("--released", "a.npy", "--reference", "b.npy", *CLAIM, *chosen[:3], "a.npy")
    assert status == 2 and "must be different scores" in said


@pytest.mark.usefixtures("quick")
def test_runs_that_choose_and_are_tested_are_refused(call: Call) -> None:
    rng = np.random.default_rng(2)
    for name, first in (("t", 0), ("s", 39)):
        for side in "pq":
            np.savez(f"{name}{side}.npz", v=rng.standard_normal(40), m=np.arange(first, first + 40.0))
    files = ("--released", "tp.npz", "--reference", "tq.npz", "--column", "v", *CLAIM)
    chosen = ("--selection-released", "sp.npz", "--selection-reference", "sq.npz")
    for option in ("--cluster", "--run"):
        status, said = call(*files, *chosen, option, "m")
        assert status == 2 and "got 1 in both, the first '39'" in said
    assert call(*files, "--run", "m")[0] in (0, 3)


def _write_bad(name: str) -> str:
    good = np.random.default_rng(5).standard_normal(50)
    if name == "nan":
        good[7] = np.nan
    elif name == "infinite":
        good[3] = -np.inf
    elif name == "empty":
        good = good[:0]
    elif name == "one":
        good = good[:1]
    elif name == "matrix":
        good = good.reshape(25, 2)
    elif name == "text":
        good = good.astype(str)
    elif name == "complex":
        good = good + 1j
    elif name == "pickled":
        np.save("bad.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
        return "bad.npy"
    elif name == "torn":
        np.save("whole.npy", good)
        Path("bad.npy").write_bytes(Path("whole.npy").read_bytes()[:-40])
        return "bad.npy"
    elif name == "enormous":
        header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (9000000000000000,), }"
        padded = header + b" " * (117 - len(header)) + b"\n"
        Path("bad.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded)
        return "bad.npy"
    np.save("bad.npy", good)
    return "bad.npy"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nan", ("finite", "nan at position 7")),
        ("infinite", ("finite", "-inf at position 3")),
        ("empty", ("at least one run",)),
        ("one", ("at least 2 runs",)),
        ("matrix", ("shape [25, 2]", "average them")),
        ("text", ("real numbers", "text")),
        ("complex", ("real numbers",)),
        ("pickled", ("readable .npy", "never unpickled")),
        ("torn", ("readable .npy",)),
        ("enormous", ("--released",)),
    ],
)
def test_bad_arrays_are_refused_in_one_line(call: Call, name: str, words: tuple[str, ...]) -> None:
    status, said = call("--released", _write_bad(name), "--reference", "b.npy", *CLAIM)
    assert status == 2 and len(said.splitlines()) == 1, said
    assert all(word in said for word in ("--released", "bad.npy", *words)) and "allow_pickle" not in said, said
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ("empty file",)),
        ("loss\n", ("at least one run",)),
        ("lost,run\n1,1\n2,2\n", ("Did you mean 'lost'?",)),
        ("loss,run\n1,1\nlots,2\n", ("'lots' in line 3",)),
        ("loss,run\n1,1\n,2\n", ("'' in line 3",)),
        ("loss,run\n1,1\ninf,2\n", ("'inf' in line 3",)),
        ("loss,run\n1,1\n2\n", ("2 cells", "line 3")),
        ("0.5,1\n0.25,2\n", ("names its columns", "0.5, 1", "Write a line of names")),
        ("loss\n1\n9007199254740993\n", ("9007199254740993 in line 3", "Subtract")),
    ],
)
def test_bad_tables_are_refused_in_one_line(call: Call, content: str, words: tuple[str, ...]) -> None:
    Path("bad.csv").write_text(content)
    status, said = call("--released", "bad.csv:loss", "--reference", "b.npy", *CLAIM)
    assert status == 2 and len(said.splitlines()) == 1, said
    assert all(word in said for word in words), said


def test_a_table_that_is_no_text_or_has_several_columns_is_refused(call: Call) -> None:
    Path("bad.csv").write_bytes(b"\xff\xfe\x00\x01")
    assert "UTF-8" in call("--released", "bad.csv", "--reference", "b.npy", *CLAIM)[1]
    Path("bad.csv").write_text("loss,run\n1,1\n")
    assert "must name one column" in call("--released", "bad.csv", "--reference", "b.npy", *CLAIM)[1]
    assert "a .npy file holds one array" in call("--released", "a.npy:x", "--reference", "b.npy", *CLAIM)[1]


def test_archives_without_the_array_are_refused(call: Call) -> None:
    np.savez("x.npz", released=np.arange(9.0), other=np.arange(9.0))
    status, said = call("--released", "x.npz:relased", "--reference", "b.npy", *CLAIM)
    assert status == 2 and "Did you mean 'released'?" in said
    assert "must name one array" in call("--released", "x.npz", "--reference", "b.npy", *CLAIM)[1]
    Path("torn.npz").write_bytes(Path("x.npz").read_bytes()[:60])
    assert "readable .npz" in call("--released", "torn.npz:x", "--reference", "b.npy", *CLAIM)[1]
    with zipfile.ZipFile("locked.npz", "w") as archive:
        archive.writestr("x.npy", b"no array")
    raw = bytearray(Path("locked.npz").read_bytes())
    raw[6] |= 1  # the bit of the file's header that says: encrypted
    raw[raw.rfind(b"PK\x01\x02") + 8] |= 1
    Path("locked.npz").write_bytes(bytes(raw))
    assert "encrypt" in call("--released", "locked.npz:x", "--reference", "b.npy", *CLAIM)[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--epsilon", "1", "--delta", "0"), "--delta must be in (0, 1)"),
        (("--epsilon", "1", "--delta", "1.5"), "--delta must be in (0, 1)"),
        (("--epsilon", "-1", "--delta", "1e-5"), "--epsilon must be a finite number"),
        (("--epsilon", "nan", "--delta", "1e-5"), "--epsilon must be a finite number"),
        (("--epsilon", "1", "--mu", "1", "--delta", "1e-5"), "got both"),
        (("--delta", "1e-5"), "got neither. Give one."),
        (("--mu", "1", "--directions", "released", "--delta", "1e-5"), "--directions must be both"),
        ((*CLAIM, "--bound", "bnad"), "which is unknown. Use band."),
        ((*CLAIM, "--bound", "katz"), "'katz-log' is shown in any case and decides nothing. Use z,"),
        ((*CLAIM, "--bound", "z", "--bound", "z"), "every bound once"),
        ((*CLAIM, "--pilot", "0"), "--pilot must be in (0, 1)"),
        ((*CLAIM, "--failure-probability", "1"), "--failure-probability must be in (0, 1)"),
        ((*CLAIM, "--cluster", "a", "--run", "b"), "must not both be given"),
    ],
)
def test_bad_options_are_refused_in_one_line(call: Call, arguments: tuple[str, ...], words: str) -> None:
    status, said = call("--released", "a.npy", "--reference", "b.npy", *arguments)
    assert status == 2 and len(said.splitlines()) == 1 and words in said, said


def test_one_file_for_both_sides_and_missing_files_are_refused(call: Call) -> None:
    assert "must be different scores" in call("--released", "a.npy", "--reference", "./a.npy", *CLAIM)[1]
    np.save("copy.npy", np.load("a.npy"))
    assert "must be different scores" in call("--released", "a.npy", "--reference", "copy.npy", *CLAIM)[1]
    assert "no such file" in call("--released", "c.npy", "--reference", "a.npy", *CLAIM)[1]
    assert "a folder" in call("--released", ".", "--reference", "a.npy", *CLAIM)[1]
    Path("a.mat").touch()
    assert ".npy, .npz, .csv or .parquet" in call("--released", "a.mat", "--reference", "a.npy", *CLAIM)[1]


def test_parquet_is_read_or_the_way_out_is_named(call: Call) -> None:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        Path("a.parquet").touch()
        status, said = call("--released", "a.parquet:x", "--reference", "b.npy", *CLAIM)
        assert status == 2 and "needs pyarrow" in said
        return
    parquet.write_table(pyarrow.table({"x": np.load("a.npy"), "m": [str(i) for i in range(400)]}), "a.parquet")
    assert call("--released", "a.parquet:x", "--reference", "b.npy", *CLAIM)[0] == 1
    assert "Did you mean 'x'?" in call("--released", "a.parquet:xx", "--reference", "b.npy", *CLAIM)[1]


@pytest.mark.usefixtures("quick")
def test_another_question_does_not_overwrite_a_record(call: Call) -> None:
    files = ("--released", "a.npy", "--reference", "b.npy", "--delta", "1e-5")
    call(*files, "--epsilon", "1")
    first = record()
    assert call(*files, "--epsilon", "1", "--seed", "0")[0] == 1
    assert record().evidence_sha256 == first.evidence_sha256
    status, said = call(*files, "--epsilon", "2")
    assert status == 2 and "--fresh" in said
    assert call(*files, "--epsilon", "2", "--fresh")[0] == 1
    status, said = call(*files, "--epsilon", "2", "--seed", "1")  # to try seeds until one suits is no audit
    assert status == 2 and "--fresh" in said


def test_the_seed_divides_and_zero_is_a_seed(call: Call, quick: None) -> None:
    seen = []
    for seed in ("0", "1", "0"):
        call("--released", "a.npy", "--reference", "b.npy", *CLAIM, "--seed", seed, "--fresh")
        seen.append(record().evidence.arrays[0].sha256)
    assert seen[0] == seen[2] != seen[1]


def test_both_commands_run_where_torch_is_not_installed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "a.npy", rng.normal(2, 1, 200))
    np.save(tmp_path / "b.npy", rng.standard_normal(200))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for arguments, status in (
        (("scores", "--released", "a.npy", "--reference", "b.npy", *CLAIM), 1),
        (("power", *CLAIM, "--replicas", "100", "--bound", "z", "--figure", "p.svg"), 0),
        (("report", "out/scores/record.json"), 0),
    ):
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_TORCH, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == status, done.stderr
    assert (tmp_path / "p.svg").stat().st_size > 1000
