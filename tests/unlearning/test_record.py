"""The record: what is written is what is read, and what was changed is found."""

import json
from pathlib import Path

import pytest

from tests.reports import sample
from unlearning.errors import RecordError
from unlearning.record import canonical, make_record, read_record, sha256


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "record.json"
    path.write_text(sample.record().model_dump_json(indent=1), encoding="utf-8")
    return path


def test_round_trip(written: Path) -> None:
    assert read_record(written) == sample.record()
    assert read_record(written).evidence_sha256 == sha256(canonical(sample.evidence()))


def test_the_hash_is_of_the_evidence_alone(written: Path) -> None:
    data = json.loads(written.read_text(encoding="utf-8"))
    data["circumstances"]["host"] = "elsewhere"
    written.write_text(json.dumps(dict(reversed(data.items()))), encoding="utf-8")  # other order, blanks, escapes
    assert read_record(written).circumstances.host == "elsewhere"
    again = make_record(sample.evidence(), sample.circumstances())
    assert again.evidence_sha256 == sample.record().evidence_sha256


def test_a_record_from_before_a_field_was_added_is_read(written: Path) -> None:
    data = json.loads(written.read_text(encoding="utf-8"))
    for row in data["evidence"]["rows"]:
        row.pop("quantities")  # as an earlier version wrote it, with the hash of that time
    data["evidence_sha256"] = sha256(canonical(data["evidence"]))
    written.write_text(json.dumps(data), encoding="utf-8")
    assert read_record(written).evidence.rows[0].quantities == []


def leaves(value: object, path: tuple = ()) -> list[tuple]:
    if isinstance(value, dict):
        return [leaf for key in value for leaf in leaves(value[key], (*path, key))]
    if isinstance(value, list):
        return [leaf for index, item in enumerate(value) for leaf in leaves(item, (*path, index))]
    return [path]


def test_any_changed_leaf_of_the_evidence_is_found(written: Path) -> None:
    data = json.loads(written.read_text(encoding="utf-8"))
    places = leaves(data["evidence"])
    assert len(places) > 500
    for place in places[:: len(places) // 60]:
        changed = json.loads(written.read_text(encoding="utf-8"))
        holder = changed["evidence"]
        for key in place[:-1]:
            holder = holder[key]
        old = holder[place[-1]]
        new = {bool: lambda v: not v, int: lambda v: v + 1, float: lambda v: v * (1 + 1e-12) + 1e-300}.get(type(old))
        holder[place[-1]] = new(old) if new else "REFUTED" if old != "REFUTED" else "ERROR"
        tampered = written.with_name("tampered.json")
        tampered.write_text(json.dumps(changed), encoding="utf-8")
        with pytest.raises(RecordError):
            read_record(tampered)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d.update(schema_version=99), "schema_version must be 1, got 99"),
        (lambda d: d["evidence"].update(surprise=1), "evidence.surprise"),
        (lambda d: d["evidence"].pop("seed"), "evidence.seed"),
        (lambda d: d.update(evidence_sha256="0" * 64), "evidence was changed"),
        (lambda d: d["evidence"]["rows"].pop(), "evidence was changed"),
    ],
)
def test_damage_is_named(written: Path, change, says: str) -> None:
    data = json.loads(written.read_text(encoding="utf-8"))
    change(data)
    written.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(RecordError, match=says):
        read_record(written)


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="must be a readable file"):
        read_record(tmp_path / "none.json")
    (tmp_path / "cut.json").write_text(sample.record().model_dump_json()[:1000])
    with pytest.raises(RecordError, match="is not an audit record"):
        read_record(tmp_path / "cut.json")
