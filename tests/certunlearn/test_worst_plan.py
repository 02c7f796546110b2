"""A plan that asks for the worst request: what it says and costs, what it finds, what record and report say."""

import json
import tomllib
from typing import Any

import pytest
import torch

from certunlearn.building import Built, build
from certunlearn.costs import estimate
from certunlearn.plan import check_requests, parse_plan, request_size
from certunlearn.running import run_plan
from reports import render_html
from unlearning.errors import PlanError
from unlearning.record import Record
from unlearning.verdict import Verdict

PLAN = """
title = "Worst requests"

[datasets.wine]
source = "wine"
canaries = { mislabelled = 4, duplicates = 2 }

[tasks.softmax]
dataset = "wine"
model = "softmax"
regularisation = 0.1
recipe = { kind = "minimise" }
request = { kind = "worst", size = 3, random = 6, steps = 2, swaps = 5 }

[[rows]]
name = "newton"
task = "softmax"
method = "newton"
parameters = { bound = "a-posteriori" }
claim = { epsilon = 1.0, delta = 1e-5 }
budget = 0.01
replicas = { test = 20, selection = 10 }
controls = []

[[rows]]
name = "refused"
task = "softmax"
method = "newton"
parameters = { bound = "a-posteriori" }
claim = { epsilon = 1.0, delta = 1e-5 }
budget = 1e-9
replicas = { test = 20, selection = 10 }
controls = []
expect = "ERROR"
"""
WORST = 'request = { kind = "worst", size = 3, random = 6, steps = 2, swaps = 5 }'


def built(text: str = PLAN) -> Built:
    return build(parse_plan(tomllib.loads(text)), device=torch.device("cpu"), data=None, trust=False)


@pytest.fixture(scope="module")
def record() -> Record:
    return run_plan(built(), jobs=1)[0]


def test_defaults_and_size_before_ids() -> None:
    plan = parse_plan(tomllib.loads(PLAN.replace(WORST, 'request = { kind = "worst", size = 3 }')))
    spec = plan.tasks["softmax"].request
    assert spec.kind == "worst" and (spec.random, spec.seeds, spec.steps, spec.swaps) == (32, 2, 4, 16)
    row = built().rows[0]
    assert row.subject.request_ids == () and row.design.claim.request_size == 3
    assert row.search is not None and row.search.size == 3
    assert check_requests(plan, {"wine": row.subject.task.dataset}) == {"softmax": []}
    assert request_size(spec, []) == 3


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("size = 3", "size = 0", "tasks.softmax.request.size must be >= 1, got 0; write for example size = 5."),
        ("swaps = 5", "swaps = 0", "tasks.softmax.request.swaps must be >= 1, got 0; write for example swaps = 16."),
        ("steps = 2", "stepz = 2", "tasks.softmax.request.stepz must be a key of a plan"),
        ("mislabelled = 4, duplicates = 2", "", "datasets.wine.canaries.mislabelled must be given"),
        ("mislabelled = 4", "mislabeled = 4", "datasets.wine.canaries.mislabeled must be a key of a plan"),
        ("mislabelled = 4", "mislabelled = -4", "datasets.wine.canaries.mislabelled must be >= 0, got -4"),
    ],
)
def test_messages(old: str, new: str, message: str) -> None:
    with pytest.raises(PlanError, match=message.replace(".", r"\.")):
        parse_plan(tomllib.loads(PLAN.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("size = 3", "size = 500", "request.size must be < 142, the number of training rows, got 500"),
        ("size = 3", "size = 3, parts = 4", "request.parts must be at most 3"),
        ("mislabelled = 4", "mislabelled = 400", "datasets.wine.canaries must take at most 142 training rows"),
    ],
)
def test_messages_that_need_the_data(old: str, new: str, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        built(PLAN.replace(old, new))


def test_the_cost_includes_the_search() -> None:
    with_search, without = (estimate(built(text))[0] for text in (PLAN, PLAN.replace(WORST, RANDOM)))
    assert with_search.models - without.models == 2 * (6 + 3 + 6 + 10) and with_search.seconds > without.seconds


RANDOM = 'request = { kind = "random", size = 3 }'


def test_the_record_holds_the_request_that_was_audited(record: Record) -> None:
    row, task = record.evidence.rows[0], record.evidence.tasks[0]
    assert row.verdict is Verdict.NOT_REFUTED and row.request is not None
    assert len(row.request.ids) == 3 == row.claim.request_size and task.request_ids == []
    assert task.request == "3 of 142 training records, the worst that each row's search finds"
    assert row.distances is not None  # one model per world: the search's distance is the audit's
    assert row.distances.unlearned[-1] == pytest.approx(row.request.distance, rel=1e-6)
    assert row.request.distance == max(one.distance or 0 for one in row.request.families)
    assert {one.name for one in row.request.families} >= {"random", "mislabelled canaries", "planted copies"}
    assert any(t.what == "search" and t.models == row.request.models for t in record.circumstances.timings)
    assert task.dataset.remark is not None and "got another label" in task.dataset.remark


def test_a_search_that_finds_nothing_to_audit_is_an_error_of_its_row(record: Record) -> None:
    row = record.evidence.rows[1]
    assert row.verdict is Verdict.ERROR and row.request is None
    assert "exceeds the budget" in row.because and "raise the row's budget" in row.because


def test_the_report_shows_the_search(record: Record) -> None:
    page = render_html(record)
    assert "Worst request." in page and "Random requests reached" in page and "mislabelled canaries" in page


def test_workers_change_nothing(record: Record) -> None:
    assert run_plan(built(), jobs=2)[0].evidence_sha256 == record.evidence_sha256


def test_old_records_have_no_search(record: Record) -> None:
    plain: dict[str, Any] = record.evidence.rows[0].model_dump(mode="json")
    del plain["request"]
    assert type(record.evidence.rows[0]).model_validate_json(json.dumps(plain)).request is None
