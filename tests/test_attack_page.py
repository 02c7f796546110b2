"""docs/attacks.md is a function of records: every AUC with its interval, every rate with its counts."""

from pathlib import Path

import pytest

from benchmarks.attack_page import write
from reports.attack_readings import both_versions, contests, strongest
from reports.numerals import fixed
from unlearning.record import Record
from unlearning.record_attacks import Attacks, Interval

from .reports import attacks_sample


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "attacks.md"
    write({"task": record()}, {"task": "Words of the plan."}, path)
    assert path.with_name("attacks-task.svg").read_text(encoding="utf-8").startswith("<svg")
    return path.read_text(encoding="utf-8")


def record() -> Record:
    return attacks_sample.record()


def found() -> Attacks:
    return attacks_sample.attacks()


def written(interval: Interval) -> str:
    return f"{fixed(interval.mean)} [{fixed(interval.lower, 3, 'down')}, {fixed(interval.upper, 3, 'up')}]"


def test_every_attack_on_one_model_has_its_numbers(page: str) -> None:
    results = [result for result in found().results if result.family != "MIA-U"]
    assert results
    for result in results:
        assert written(result.auc) in page
        assert result.gap is None or result.against != "unlearned" or written(result.gap) in page


def test_of_attacks_on_both_versions_the_one_that_shadow_runs_chose_is_shown(page: str) -> None:
    choice = strongest(both_versions(contests(found(), "fresh")))
    assert choice is not None and choice.beforehand
    assert f"{choice.contest.title} (of 20, by shadow runs)" in page
    others = {contest.title for contest in both_versions(contests(found(), "fresh"))} - {choice.contest.title}
    assert not any(f"{title} (of 20" in page for title in others)


def test_rates_carry_their_counts_or_say_that_they_cannot_be_resolved(page: str) -> None:
    for result in found().results:
        told = result.points[0]
        if result.family != "MIA-U" and result.against == "unlearned":
            assert f"{told.true_positives} of {told.positives}, FP {told.false_positives} of {told.negatives}" in page
    assert "not resolvable: needs 1000 negatives, has 30" in page


def test_few_runs_have_no_interval(page: str) -> None:
    assert "0.610 (no interval)" in page


def test_measures_and_sweep_are_there(page: str) -> None:
    for measure in found().measures:
        assert measure.title in page
    assert "undefined in 3" in page and "at the limit in 2" in page
    for point in found().sweep:
        for interval in point.aucs["lira-online"].values():
            assert written(interval) in page


def test_a_row_without_attacks_says_why(page: str) -> None:
    rows = [row for row in record().evidence.rows if row.attacks is None]
    assert rows and all(f"**{row.name}** was not attacked: {row.because}" in page for row in rows)


def test_no_result_is_typed_into_the_page(tmp_path: Path) -> None:
    """Without numbers in the record the page has none of their sentences."""
    one, nothing = record(), {"results": [], "sweep": [], "measures": [], "records": [], "differencing": []}
    rows = [
        row if row.attacks is None else row.model_copy(update={"attacks": row.attacks.model_copy(update=nothing)})
        for row in one.evidence.rows
    ]
    empty = one.model_copy(update={"evidence": one.evidence.model_copy(update={"rows": rows})})
    write({"task": empty}, {"task": ""}, tmp_path / "attacks.md")
    text = (tmp_path / "attacks.md").read_text(encoding="utf-8")
    assert not any(words in text for words in ("caught at level", "has mean AUC", "called a leak", "<details>"))
