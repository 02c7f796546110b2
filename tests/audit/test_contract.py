"""Methods that break their contract, and dishonest ones that once went unseen."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from audit.bounds.noise import both_sides, noise_tests
from audit.row import audit_row
from methods.qiao2025hessianfree import HessianFree
from tests.broken.twin import Twin
from unlearning import Certificate, Streams
from unlearning.errors import BrokenMethod, Diverged
from unlearning.verdict import Outcome, Verdict

from .problems import design, subject


@dataclass(frozen=True)
class TwoSided(Twin):
    """Too much noise on the unlearned side, too little on the other: the mean is right."""

    excess: float = 0.1

    def release(self, state: Any, noise_scale: float, *, streams: Streams) -> Tensor:
        sign = 1 if bool(state.deleted.any()) else -1
        return self.method.release(state, noise_scale * math.sqrt(1 + sign * self.excess), streams=streams)


def test_opposite_errors_of_the_noise_on_the_two_sides_do_not_cancel() -> None:
    findings = audit_row(subject(TwoSided(HessianFree())), design(controls=(), release_calls=64_000), chunk=24, jobs=1)
    line = next(line for line in findings.lines if line.key == "noise-scale")
    assert line.outcome is Outcome.REFUTED and findings.verdict is Verdict.REFUTED


def test_both_sides_is_a_bonferroni_over_sides() -> None:
    rng = np.random.default_rng(3)
    one, other = (noise_tests(s * rng.standard_normal((8, 4)) for _ in range(50)) for s in (1.0, 1.2))
    both = both_sides([one, other])
    assert both.p_values["scale"] == min(1.0, 2 * min(one.p_values["scale"], other.p_values["scale"]))
    assert both.relative_scale == other.relative_scale
    assert both.detectable_scale(0.01) < one.detectable_scale(0.01)


class NoNoise(Twin):
    def release(self, state: Any, noise_scale: float, *, streams: Streams) -> Tensor:
        return state.parameters


def test_rung_a_alone_does_not_vouch_for_noise_that_nobody_looked_at() -> None:
    findings = audit_row(subject(NoNoise(HessianFree())), design(rungs="A", controls=()), chunk=24, jobs=1)
    assert findings.verdict is Verdict.NOT_COMPUTABLE and "Add rung B" in findings.because


class GlobalNoise(Twin):
    def release(self, state: Any, noise_scale: float, *, streams: Streams) -> Tensor:
        return state.parameters + noise_scale * torch.randn_like(state.parameters)


class GlobalStart(Twin):
    def learn(self, task: Any, members: Tensor, *, streams: Streams) -> Any:
        state = super().learn(task, members, streams=streams)
        return replace(state, parameters=state.parameters + torch.rand_like(state.parameters))


class Shape(Twin):
    def release(self, state: Any, noise_scale: float, *, streams: Streams) -> Tensor:
        return super().release(state, noise_scale, streams=streams)[:, :-1]


class Fewer(Twin):
    def release(self, state: Any, noise_scale: float, *, streams: Streams) -> Tensor:
        return super().release(state, noise_scale, streams=streams)[:1]


class Nothing(Twin):
    def release(self, state: Any, noise_scale: float, *, streams: Streams) -> Any:
        return None


class NotANumber(Twin):
    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        found = super().unlearn(state, request, streams=streams)
        if not request.any():
            return found
        broken = found.parameters.clone()
        broken[-1] = torch.nan
        return replace(found, parameters=broken)


class OneForAll(Twin):
    def certify(self, state: Any, request: Tensor) -> Certificate:
        return Certificate("made up", (0.1,))


class JustANumber(Twin):
    def certify(self, state: Any, request: Tensor) -> Any:
        return 0.1


class NoState(Twin):
    def learn(self, task: Any, members: Tensor, *, streams: Streams) -> Any:
        return super().learn(task, members, streams=streams).parameters


class Leaves(Twin):
    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        raise SystemExit(0)


class Strange(Exception):
    """Cannot be pickled: it wants two arguments."""

    def __init__(self, what: str, where: str) -> None:
        super().__init__(f"{what} in {where}")


class RaisesStrange(Twin):
    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        raise Strange("something odd", "unlearn")


class RaisesOurs(Twin):
    def learn(self, task: Any, members: Tensor, *, streams: Streams) -> Any:
        raise Diverged("replica 3 diverged at step 5")


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(
    ("broken", "fragments"),
    [
        (GlobalNoise, ["release", "same streams"]),
        (GlobalStart, ["learn", "same streams"]),
        (Shape, ["release", "[12, 4]", "[12, 3]"]),
        (Fewer, ["release", "[12, 4]", "[1, 4]"]),
        (Nothing, ["release", "NoneType"]),
        (NotANumber, ["unlearn", "finite", "replica 11"]),
        (OneForAll, ["certify", "12", "got 1"]),
        (JustANumber, ["certify", "float"]),
        (NoState, ["learn", "state", "Tensor"]),
        (Leaves, ["SystemExit", "test_contract.py"]),
        (RaisesStrange, ["Strange", "something odd in unlearn", "test_contract.py"]),
    ],
)
def test_a_broken_contract_is_one_line_that_names_the_verb(broken: Any, fragments: list[str], jobs: int) -> None:
    with pytest.raises(BrokenMethod) as caught:
        audit_row(subject(broken(HessianFree())), design(controls=()), chunk=12, jobs=jobs)
    message = str(caught.value)
    assert all(fragment in message for fragment in fragments), message
    assert "\n" not in message


@pytest.mark.parametrize("jobs", [1, 2])
def test_our_own_errors_keep_their_kind_across_workers(jobs: int) -> None:
    with pytest.raises(Diverged, match="replica 3"):
        audit_row(subject(RaisesOurs(HessianFree())), design(controls=()), chunk=12, jobs=jobs)


def test_an_infinite_certificate_is_refused_and_retrained() -> None:
    class Infinite(Twin):
        def certify(self, state: Any, request: Tensor) -> Certificate:
            return Certificate("none", (math.inf,) * state.parameters.shape[0])

    findings = audit_row(subject(Infinite(HessianFree())), design(controls=()), chunk=24, jobs=1)
    assert findings.refused == 24 and findings.verdict is Verdict.NOT_COMPUTABLE
    assert findings.distances.sensitivity_upper is None
