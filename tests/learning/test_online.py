"""A deletion session: additions in any order, a ledger that survives, and refusals that change nothing."""

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from learning import online
from learning.checkpoint import read_arrays, write_arrays
from learning.data import embedded, prepare
from learning.objectives import Softmax
from learning.online import DeletionSession
from learning.task import SGD, Task
from methods.qiao2025hessianfree import HessianFree
from properties.base import distances
from properties.problems import Descent, Problem
from unlearning.errors import BudgetExceeded, DamagedState, Diverged, PlanError
from unlearning.ledger import Ledger
from unlearning.streams import Streams

PROBLEM = Problem("softmax", 14, 3, 0.3, 1.0, "round", 3, 1, 5, Descent(3, 5, 1.0))
FIXED = Problem("binary", 14, 3, 0.3, 1.0, "round", 3, 1, 5, Descent(3, 5, 1.0, divisor="fixed"))
NOISE = Streams(9, (0,))


def session(problem: Problem = PROBLEM, ledger: Ledger | None = None, **choices) -> DeletionSession:
    method = HessianFree("all", **choices)
    state = method.learn(problem.task(), problem.members(), streams=problem.streams)
    return method.session(state, ledger or Ledger(1.0, 1e-5, 1.0))


def retrained(problem: Problem, gone: list[int]) -> torch.Tensor:
    members = problem.members()
    members[0, gone] = False
    return HessianFree().learn(problem.task(), members, streams=problem.streams).parameters


@pytest.mark.parametrize("problem", [PROBLEM, FIXED], ids=["remaining", "fixed"])
@pytest.mark.parametrize("storage", ["float64", "float32", "bfloat16"])
def test_any_order_and_a_batch_give_one_model_within_its_bound(problem: Problem, storage: str) -> None:
    gone = [3, 8, 11]
    whole = session(problem, storage=storage)
    whole.delete(gone)
    for order in itertools.permutations(gone):
        one = session(problem, storage=storage)
        for record in order:
            one.delete([record])
        torch.testing.assert_close(one.parameters, whole.parameters, rtol=1e-13, atol=1e-14)
        assert one.sensitivity_upper() == whole.sensitivity_upper()
        assert np.array_equal(one.members, whole.members)
    apart = float(distances(whole.parameters.unsqueeze(0), retrained(problem, gone)))
    assert 0 < apart <= whole.sensitivity_upper()


def test_session_is_the_methods_own_unlearning() -> None:
    method = HessianFree("all", storage="bfloat16")
    state = method.learn(PROBLEM.task(), PROBLEM.members(), streams=PROBLEM.streams)
    online_one = session(storage="bfloat16")
    for record in (2, 9):
        request = torch.zeros_like(PROBLEM.members())
        request[0, record] = True
        state = method.unlearn(state, request, streams=PROBLEM.streams)
        online_one.delete([record])
    torch.testing.assert_close(online_one.parameters, state.parameters[0], rtol=1e-14, atol=1e-15)
    assert online_one.sensitivity_upper() == pytest.approx(state.error_upper[0], rel=1e-12)


def test_rows_are_dropped_and_the_learned_model_costs_nothing() -> None:
    own = session()
    assert own.sensitivity_upper() == 0.0
    before = own.parameters.clone()
    own.delete([])
    assert torch.equal(own.parameters, before) and not own.deleted.any()
    own.delete([4, 6])
    assert bool((own.vectors.values[0, [4, 6]] == 0).all()) and not bool((own.vectors.values[0, 5] == 0).all())
    assert own.deleted.nonzero()[0].tolist() == [4, 6]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ([1, 1], "must name each record once, got 1 repeated"),
        ([0], "got 0, already deleted"),
        ([14], "must name records from 0 to 13, got 14"),
        ([-1], "must name records from 0 to 13, got -1"),
        (["a"], "got 'a'"),
        (5, r"request must be a list of record ids, got 5\. Give \[5\]"),
        (torch.tensor([True, False]), "whole numbers, got True among them"),
        (list(range(1, 14)), "must leave at least one record, got all of them"),
    ],
)
def test_bad_requests_change_nothing(request_: list, message: str) -> None:
    own = session()
    own.delete([0])
    before, members = own.parameters.clone(), own.members.copy()
    with pytest.raises(ValueError, match=message):
        own.delete(request_)
    assert torch.equal(own.parameters, before) and np.array_equal(own.members, members)


def test_a_record_without_a_vector() -> None:
    with pytest.raises(ValueError, match="whose vectors were kept, got record 5; 2 records have one"):
        session(rows=(1, 2)).delete([5])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("gone", [[7], [6, 7]])
def test_a_damaged_vector_never_touches_the_weights(value: float, gone: list[int]) -> None:
    own = session()
    own.vectors.values[0, 7, 1] = value
    before = own.parameters.clone()
    with pytest.raises(DamagedState, match="vector of record 7 is not finite; the weights were left as they were"):
        own.delete(gone)
    assert torch.equal(own.parameters, before) and bool(own.members.all())
    own.delete([6])
    assert not torch.equal(own.parameters, before)


def test_releases_are_charged_and_refused() -> None:
    own = session()
    own.delete([1])
    scale = own.sensitivity_upper() / (0.6 * Ledger(1.0, 1e-5, 1.0).mu_budget)
    own = session(ledger=Ledger(1.0, 1e-5, scale))
    own.release(streams=NOISE)  # the learned model is its own reference
    own.delete([1])
    first, second = own.release(streams=NOISE), own.release(streams=NOISE)
    assert not torch.equal(first, second)  # fresh noise
    assert own.ledger.mu_total == pytest.approx(0.6 * 2**0.5 * own.ledger.mu_budget, rel=1e-9)
    with pytest.raises(BudgetExceeded, match="Retrain"):
        own.release(streams=NOISE)
    assert len(own.ledger.releases) == 3
    with pytest.raises(ValueError, match="streams must hold 1 replica, got 2"):
        own.release(streams=Streams(0, (0, 1)))


def test_noise_has_the_ledgers_scale() -> None:
    # 300 releases of 300 seeds, 9 parameters: a relative standard error of 1.4 % of the deviation
    own = session(ledger=Ledger(1.0, 1e-5, 0.7))
    noise = torch.stack([own.release(streams=Streams(s, (0,))) - own.parameters for s in range(300)])
    assert float(noise.square().mean().sqrt()) == pytest.approx(0.7, rel=0.09)


def test_saved_and_loaded(tmp_path: Path) -> None:
    for storage, folder in (("float64", None), ("bfloat16", str(tmp_path / "own"))):
        home = tmp_path / storage
        own = session(storage=storage, folder=folder)
        own.delete([3])
        own.save(home)
        released = own.release(streams=NOISE)
        own.close()
        again = DeletionSession.load(home)
        assert torch.equal(again.parameters, own.parameters) and again.ledger == own.ledger
        assert again.sensitivity_upper() == own.sensitivity_upper() > 0
        assert np.array_equal(again.deleted, own.deleted)
        assert not torch.equal(again.release(streams=NOISE), released)  # noise goes on, it does not start again
        memory = session(storage=storage)
        memory.delete([3])
        for one in (memory, again):
            one.delete([8, 2])
        assert torch.equal(again.parameters, memory.parameters)
        with pytest.raises(ValueError, match="already deleted"):
            again.delete([3])
        again.save(home)
        again.close()
        third = DeletionSession.load(home)
        assert torch.equal(third.parameters, memory.parameters) and len(third.ledger.releases) == 2
        rows = third.vectors.values[0]
        assert bool((rows[[2, 3, 8]] == 0).all()) and torch.equal(rows[[0, 13]], memory.vectors.values[0][[0, 13]])


def test_the_ledger_is_on_disk_before_the_weights_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = session()
    own.delete([3])
    own.save(tmp_path)

    def fails(path: Path, arrays: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as broken:
        broken.setattr(online, "write_arrays", fails)
        with pytest.raises(OSError, match="disk full"):
            own.release(streams=NOISE)
    assert own.ledger.releases == ()
    own.release(streams=NOISE)
    own.close()
    assert len(DeletionSession.load(tmp_path).ledger.releases) == 1


def test_a_stop_before_rows_were_erased_is_finished_on_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = session()
    own.save(tmp_path)
    own.delete([3])
    with monkeypatch.context() as stopped:
        stopped.setattr(DeletionSession, "_erase", lambda self, rows: None)
        own.save(tmp_path)
    own.close()
    raw = np.fromfile(tmp_path / "vectors.bin").reshape(14, -1)
    assert raw[3].any()
    DeletionSession.load(tmp_path)
    raw = np.fromfile(tmp_path / "vectors.bin").reshape(14, -1)
    assert not raw[3].any() and raw[4].any()


@pytest.mark.parametrize("file", ["session", "vectors.bin", "journal"])
@pytest.mark.parametrize("how", ["flipped", "cut", "gone"])
def test_a_corrupted_file_is_refused_by_name(file: str, how: str, tmp_path: Path) -> None:
    own = session()
    own.delete([3])
    own.save(tmp_path)
    own.delete([5])
    own.delete([6])
    own.close()
    path = tmp_path / file
    data = bytearray(path.read_bytes())
    if file == "journal" and how == "cut":
        return  # a torn last line has a test of its own
    if how == "flipped":
        data[len(data) // 2] ^= 4
        path.write_bytes(data)
    elif how == "cut":
        path.write_bytes(data[:-8])
    else:
        path.unlink()
    with pytest.raises(DamagedState, match=str(path)):
        DeletionSession.load(tmp_path)


def test_a_forged_ledger_without_its_checksum_is_refused(tmp_path: Path) -> None:
    own = session()
    own.save(tmp_path)
    own.close()
    arrays = read_arrays(tmp_path / "session")
    said = json.loads(str(arrays["said"]))
    data = (tmp_path / "session").read_bytes()
    (tmp_path / "session").write_bytes(data.replace(b"releases", b"RELEASES", 1))
    if (tmp_path / "session").read_bytes() != data:
        with pytest.raises(DamagedState):
            DeletionSession.load(tmp_path)
    said["ledger"] = "nonsense"
    write_arrays(tmp_path / "session", arrays | {"said": np.array(json.dumps(said))})
    with pytest.raises(DamagedState, match="ledger cannot be read"):
        DeletionSession.load(tmp_path)


def test_two_sessions_do_not_share_a_folder(tmp_path: Path) -> None:
    own = session()
    own.save(tmp_path)
    with pytest.raises(PlanError, match=f"open in one session at a time, and another one holds {tmp_path}"):
        session().save(tmp_path)
    own.close()
    with pytest.raises(PlanError, match="must hold no other session"):
        session().save(tmp_path)
    own = DeletionSession.load(tmp_path)
    with pytest.raises(PlanError, match="two copies would spend one budget twice"):
        own.save(tmp_path / "copy")
    with pytest.raises(PlanError, match="open in one session at a time"):
        DeletionSession.load(tmp_path)
    own.close()
    for call in (lambda: own.delete([1]), lambda: own.release(streams=NOISE), lambda: own.save(tmp_path)):
        with pytest.raises(ValueError, match="is closed. Load it from there again"):
            call()
    assert own.ledger.releases == () and bool(own.members.all())
    with pytest.raises(DamagedState, match="got nothing"):
        DeletionSession.load(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_what_cannot_be_taken_into_service() -> None:
    method = HessianFree()
    state = method.learn(PROBLEM.task(), PROBLEM.members(), streams=PROBLEM.streams)
    with pytest.raises(ValueError, match='learned with vectors="all"'):
        method.session(state, Ledger(1.0, 1e-5, 1.0))
    with pytest.raises(PlanError, match="proved constants"):
        session(Problem("network", 5, 2, 0.1, descent=Descent()))
    own = session()
    with pytest.raises(PlanError, match="deletes through unlearn"):
        session(Problem("network", 5, 2, 0.1, descent=Descent()))
    broken = own.parameters * float("nan")
    with pytest.raises(Diverged, match="parameters must be finite in service"):
        DeletionSession(broken, own.vectors, own.members, own.ledger, own.certificate)
    with pytest.raises(ValueError, match="vectors must belong to one replica with 3 parameters"):
        DeletionSession(torch.zeros(3), own.vectors, own.members, own.ledger, own.certificate)


KILLED = """
import os, signal, sys
sys.path.insert(0, {root!r})
from learning.online import DeletionSession
own = DeletionSession.load({folder!r})
own.delete([3])
own.delete([5, 6])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_deletions_and_the_lock_after_a_kill(tmp_path: Path) -> None:
    own, memory = session(), session()
    own.save(tmp_path)
    own.close()
    root = str(Path(__file__).parents[2])
    code = KILLED.format(root=root, folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    memory.delete([3])
    memory.delete([5, 6])
    raw = np.fromfile(tmp_path / "vectors.bin").reshape(14, -1)
    assert raw[3].any()
    again = DeletionSession.load(tmp_path)  # the dead process holds no lock
    assert np.array_equal(again.members, memory.members) and torch.equal(again.parameters, memory.parameters)
    assert (tmp_path / "journal").read_bytes() == b""  # folded in
    raw = np.fromfile(tmp_path / "vectors.bin").reshape(14, -1)
    assert not raw[[3, 5, 6]].any() and raw[[0, 4, 13]].any(1).all()


@pytest.mark.parametrize("cut", [1, 9, 40])
def test_a_torn_last_line_never_happened(cut: int, tmp_path: Path) -> None:
    own = session()
    own.save(tmp_path)
    own.delete([3])
    own.delete([5])
    own.close()
    journal = tmp_path / "journal"
    journal.write_bytes(journal.read_bytes()[:-cut])
    again = DeletionSession.load(tmp_path)
    assert np.flatnonzero(again.deleted).tolist() == [3]
    again.delete([6])
    again.close()
    assert np.flatnonzero(DeletionSession.load(tmp_path).deleted).tolist() == [3, 6]


def test_a_deletion_that_cannot_be_written_did_not_happen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = session()
    own.save(tmp_path)
    own.delete([3])
    before, members, kept = own.parameters.clone(), own.members.copy(), (tmp_path / "journal").read_bytes()

    def fails(descriptor: int) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", fails)
        with pytest.raises(OSError, match="disk full"):
            own.delete([4])
    assert torch.equal(own.parameters, before) and np.array_equal(own.members, members)
    assert (tmp_path / "journal").read_bytes() == kept
    own.delete([4])
    own.close()
    assert np.flatnonzero(DeletionSession.load(tmp_path).deleted).tolist() == [3, 4]


def test_a_refused_release_keeps_deletions(tmp_path: Path) -> None:
    own = session(ledger=Ledger(1.0, 1e-5, 1e-9))
    own.save(tmp_path)
    own.delete([3])
    with pytest.raises(BudgetExceeded):
        own.release(streams=NOISE)
    own.close()
    assert np.flatnonzero(DeletionSession.load(tmp_path).deleted).tolist() == [3]


@pytest.mark.parametrize("file", ["session", "journal"])
def test_a_stop_between_the_sessions_file_and_its_journal(file: str, tmp_path: Path) -> None:
    own = session()
    own.save(tmp_path)
    old = (tmp_path / "session").read_bytes()
    own.delete([3])
    line = (tmp_path / "journal").read_bytes()
    own.save(tmp_path)
    own.delete([4])
    own.close()
    if file == "journal":  # emptying it did not happen: what the file holds is not deleted twice
        with (tmp_path / "journal").open("r+b") as journal:
            rest = journal.read()
            journal.seek(0)
            journal.write(line + rest)
        assert np.flatnonzero(DeletionSession.load(tmp_path).deleted).tolist() == [3, 4]
    else:  # an older file beside a newer journal
        (tmp_path / "session").write_bytes(old)
        with pytest.raises(DamagedState, match="its session file is number 1, and its journal follows number 2"):
            DeletionSession.load(tmp_path)


def test_another_file_under_a_live_session_is_refused(tmp_path: Path) -> None:
    own = session()
    own.save(tmp_path)
    old = (tmp_path / "session").read_bytes()
    own.delete([3])
    own.release(streams=NOISE)
    (tmp_path / "session").write_bytes(old)
    with pytest.raises(DamagedState, match="must be number 2, as this session left it, got number 1"):
        own.release(streams=NOISE)
    assert len(own.ledger.releases) == 1
    (tmp_path / "session").unlink()
    with pytest.raises(DamagedState, match="damaged or gone"):
        own.save(tmp_path)


def test_an_older_copy_never_repeats_noise(tmp_path: Path) -> None:
    # two sessions from one folder: different deletions, and different noise, so that their difference hides the weights
    own = session()
    own.save(tmp_path / "one")
    own.close()
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    noises = []
    for folder, gone in (("one", 5), ("two", 6)):
        copy = DeletionSession.load(tmp_path / folder)
        copy.delete([gone])
        noises.append(copy.release(streams=NOISE) - copy.parameters)
    assert float((noises[0] - noises[1]).abs().min()) > 1e-6
    scales = []  # one model, two promises: the ratio of the noises would give the weights away
    for scale in (1.0, 2.0):
        other = session(ledger=Ledger(1.0, 1e-5, scale))
        scales.append((other.release(streams=NOISE) - other.parameters) / scale)
    assert float((scales[0] - scales[1]).abs().min()) > 1e-6
    first, second = session(), session()
    assert torch.equal(first.release(streams=NOISE), second.release(streams=NOISE))  # the same release, once more


@pytest.mark.parametrize("how", ["saved", "deleted"])
def test_damage_is_not_blessed_by_saving(how: str, tmp_path: Path) -> None:
    own = session()
    own.save(tmp_path)
    own.close()
    own = DeletionSession.load(tmp_path)
    raw = np.memmap(tmp_path / "vectors.bin", dtype=np.float64, mode="r+").reshape(14, -1)
    raw[7, 1] += 1e-9  # finite, and wrong
    raw.flush()
    before = own.parameters.clone()
    if how == "saved":
        own.save(tmp_path)
        own.release(streams=NOISE)
    else:
        for gone in ([7], [6, 7]):
            with pytest.raises(
                DamagedState, match="checksum of record 7's vector does not match; the weights were left"
            ):
                own.delete(gone)
        assert torch.equal(own.parameters, before) and bool(own.members.all())
        assert (tmp_path / "journal").read_bytes() == b""
    own.close()
    with pytest.raises(DamagedState, match="checksum of record 7"):
        DeletionSession.load(tmp_path)


def test_damage_before_the_first_save_is_refused(tmp_path: Path) -> None:
    own = session(folder=tmp_path / "learned")
    (path,) = (tmp_path / "learned").glob("*/vectors.bin")
    raw = np.memmap(path, dtype=np.float64, mode="r+").reshape(14, -1)
    raw[7, 1] += 1e-9
    raw.flush()
    with pytest.raises(DamagedState, match="checksum of record 7"):
        own.save(tmp_path / "home")
    with pytest.raises(DamagedState, match="got nothing"):
        DeletionSession.load(tmp_path / "home")


def test_vectors_leave_the_learning_runs_folder(tmp_path: Path) -> None:
    learn = tmp_path / "learned"
    method = HessianFree("all", folder=learn)
    state = method.learn(PROBLEM.task(), PROBLEM.members(), streams=PROBLEM.streams)
    method.learn(PROBLEM.task(), PROBLEM.members(), streams=PROBLEM.streams)  # as often as one likes, before
    own = method.session(state, Ledger(1.0, 1e-5, 1.0))
    own.delete([3])
    (path,) = learn.glob("*/vectors.bin")
    assert not np.fromfile(path).reshape(14, -1)[3].any()
    with pytest.raises(PlanError, match="took into service. Go on with that session, or learn in another folder"):
        method.learn(PROBLEM.task(), PROBLEM.members(), streams=PROBLEM.streams)
    request = torch.zeros_like(PROBLEM.members())
    request[0, 3] = True
    with pytest.raises(DamagedState, match="record 3 is gone"):
        method.unlearn(state, request, streams=PROBLEM.streams)
    own.save(tmp_path / "home")
    assert not path.exists()
    own.delete([5])
    own.close()
    again = DeletionSession.load(tmp_path / "home")
    again.delete([6])
    again.save(tmp_path / "home")
    raw = np.fromfile(tmp_path / "home" / "vectors.bin").reshape(14, -1)
    assert not raw[[3, 5, 6]].any() and raw[[0, 4]].any(1).all()
    assert not list(tmp_path.glob("learned/**/vectors.bin"))


def test_the_readmes_lines_on_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text()
    (code,) = (part for part in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "DeletionSession" in part)
    task = Task("digits", prepare(embedded("digits")), Softmax(65, 10, 0.02), SGD(4, 64, 1.0), torch.device("cpu"))
    method = HessianFree(vectors="all", rows=(3, 17), storage="bfloat16")
    state = method.learn(task, task.everyone(1), streams=Streams(0, (0,)))
    monkeypatch.chdir(tmp_path)
    found = {"method": method, "state": state, "seed": 1}
    exec(code, found)
    own = found["session"]
    assert np.flatnonzero(own.deleted).tolist() == [17] and len(own.ledger.releases) == 1
    assert found["weights"].shape == own.parameters.shape and not torch.equal(found["weights"], own.parameters)
    own.close()
    again = DeletionSession.load("in-service")
    assert again.ledger == own.ledger and torch.equal(again.parameters, own.parameters)
