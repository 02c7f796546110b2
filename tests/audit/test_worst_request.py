"""The search for the worst request: against naive oracles, against broken twins, and against its own seeds."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from audit.fleet import ChosenRequest, Phase, forget, masks, train_fleet
from audit.request_families import aligned, closest, influence_vectors, propose, random_requests
from audit.request_trials import OVER_BUDGET, Trial, try_requests, worst
from audit.row import audit_row
from audit.worst_request import LOCAL, Search, Searched, search_models, search_request
from learning.data import plant
from learning.task import Minimise, Task
from learning.training import train
from methods.qiao2025hessianfree import HessianFree
from methods.retrain import Retrain
from methods.sekhari2021newton import NewtonStep
from tests.broken.twin import Twin
from unlearning import Certificate, Streams
from unlearning.errors import BrokenMethod, BudgetExceeded
from unlearning.verdict import Verdict

from .problems import design, subject, task

SEARCH = Search(size=2, random=6, seeds=2, steps=4, swaps=12)
ROWS = 40


def searched(method: Any = None, *, on: Task | None = None, budget: float | None = None, **fields: Any) -> Searched:
    how = {"chunk": 100, "jobs": 1} | {name: fields.pop(name) for name in ("chunk", "jobs") if name in fields}
    return search_request(subject(method, on=on), dataclasses.replace(SEARCH, **fields), budget, **how)


def planted(**fields: int) -> Task:
    honest = task()
    data = plant(honest.dataset, **({"mislabelled": 0, "duplicates": 0} | fields), seed=0)
    return dataclasses.replace(honest, dataset=data)


@dataclass(frozen=True)
class Forgetful(Twin):
    """Retrains without the request, but for the records that it keeps or loses in silence."""

    method: Any = Retrain()
    kept: tuple[int, ...] = ()

    def trained_on(self, state: Any, request: Tensor) -> Tensor:
        request = request.clone()
        request[:, list(self.kept)] = False
        members: Tensor = state.members & ~request
        return members

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        return train(state.task, self.trained_on(state, request), streams=state.training_streams())


class LosesCopies(Forgetful):
    """Forgets whatever equals a record of the request, too."""

    def trained_on(self, state: Any, request: Tensor) -> Tensor:
        features = state.task.features()
        equal = (features.unsqueeze(0) == features.unsqueeze(1)).all(2)
        members: Tensor = state.members & ~(request.double() @ equal.double() > 0)
        return members


@dataclass(frozen=True)
class Refuses(Twin):
    """Refuses every batch of requests in which one names these records."""

    records: tuple[int, ...] = ()

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        if bool(request[:, list(self.records)].any()):
            raise BudgetExceeded("The deletion budget is spent.")
        return super().unlearn(state, request, streams=streams)


@dataclass(frozen=True)
class Bare:
    """A state of one's own: parameters, and what its method needs beside them."""

    parameters: Tensor
    inner: Any

    def take(self, positions: list[int]) -> "Bare":
        return Bare(self.parameters[positions], None)  # repeated replicas cannot unlearn


class OwnState(Twin):
    """Keeps its state in a class that knows nothing of streams."""

    def learn(self, task: Task, members: Tensor, *, streams: Streams) -> Any:
        inner = super().learn(task, members, streams=streams)
        return Bare(inner.parameters, inner)

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        inner = super().unlearn(state.inner, request, streams=streams)
        return Bare(inner.parameters, inner)

    def certify(self, state: Any, request: Tensor) -> Certificate | None:
        return super().certify(state.inner, request)


class TestProposals:
    def test_random_requests_meet_every_record_before_any_twice(self) -> None:
        drawn = random_requests(10, 3, 6, np.random.default_rng(0))
        assert [len(set(ids)) for ids in drawn] == [3] * 6
        assert len({record for ids in drawn[:3] for record in ids}) == 9

    def test_every_family_has_requests_of_the_size(self) -> None:
        on = planted(mislabelled=3, duplicates=4)
        model = train(on, on.everyone(1), streams=Streams(0, (0,))).parameters
        found = propose(on, model, 2, random=5, generator=np.random.default_rng(0))
        assert set(found.families) == {
            "random",
            "largest gradient",
            "largest influence",
            "aligned influence",
            "one class",
            "near duplicates",
            "mislabelled canaries",
            "planted copies",
        }
        assert sorted(found.ranking) == list(range(ROWS))
        for requests in found.families.values():
            for ids in requests:
                assert len(set(ids)) == 2 and list(ids) == sorted(ids) and 0 <= ids[0] and ids[1] < ROWS
        canaries = on.dataset.canaries
        assert canaries is not None
        assert set(found.families["mislabelled canaries"][0]) <= set(canaries.mislabelled)
        assert set(found.families["planted copies"][0]) <= set(canaries.duplicates)
        assert set(found.families["near duplicates"][0]) <= set(canaries.duplicates)

    def test_a_class_of_exactly_that_many_records_is_proposed_whole(self) -> None:
        on = task()
        own = tuple((on.labels() == 1).nonzero().flatten().tolist())
        found = propose(on, torch.zeros(1, 4, dtype=on.dtype), len(own), random=1, generator=np.random.default_rng(0))
        assert own in found.families["one class"]

    def test_planted_records_are_filled_up_where_they_are_few(self) -> None:
        on = planted(mislabelled=1)
        found = propose(on, torch.zeros(1, 4, dtype=on.dtype), 3, random=1, generator=np.random.default_rng(0))
        (ids,) = found.families["mislabelled canaries"]
        assert len(set(ids)) == 3 and set(on.dataset.canaries.mislabelled) < set(ids)  # type: ignore[union-attr]

    def test_influence_is_what_retraining_without_a_record_does(self) -> None:
        on = task(Minimise(1e-12))
        model = train(on, on.everyone(1), streams=Streams(0, (0,))).parameters
        vectors = influence_vectors(on, model, list(range(ROWS))) / (ROWS - 1)
        kept = ~torch.eye(ROWS, dtype=torch.bool)
        moved = train(on, kept, streams=Streams(0, tuple(range(ROWS)))).parameters - model
        assert float((vectors - moved).norm(dim=1).max()) < 0.1 * float(moved.norm(dim=1).max())

    def test_aligned_and_closest_against_loops(self) -> None:
        rng = np.random.default_rng(0)
        vectors, rows = torch.from_numpy(rng.standard_normal((9, 3))), torch.from_numpy(rng.standard_normal((9, 2)))
        chosen: list[int] = []
        for _ in range(3):
            rest = [i for i in range(9) if i not in chosen]
            chosen.append(max(rest, key=lambda i: float(vectors[[*chosen, i]].sum(0).norm())))
        assert aligned(vectors, 3) == chosen
        radius = {i: sorted(float((rows[i] - rows[j]).norm()) for j in range(9))[2] for i in range(9)}
        centre = min(radius, key=lambda i: radius[i])
        assert set(closest(rows, 3)) == {j for j in range(9) if (rows[centre] - rows[j]).norm() <= radius[centre]}


class TestTrials:
    @pytest.mark.parametrize("parts", [1, 2])
    def test_side_by_side_is_one_at_a_time(self, parts: int) -> None:
        own = dataclasses.replace(subject(HessianFree()), parts=parts)
        requests = ((0, 1), (5, 17), (3, 39))
        found = try_requests(own, None, 1, requests)
        streams = own.streams(Phase.SEARCH, (1,))
        for ids, trial in zip(requests, found, strict=True):
            original = own.method.learn(own.task, own.task.everyone(1), streams=streams)
            single = dataclasses.replace(own, request_ids=ids).requests(1)
            unlearned, certificate = forget(own.method, original, single, streams)
            kept = own.task.everyone(1) & ~masks(own.task, [ids])
            reference = own.method.learn(own.task, kept, streams=streams)
            distance = float((unlearned.parameters - reference.parameters).norm())
            assert certificate is not None
            assert trial.distance == pytest.approx(distance, rel=1e-9)
            assert trial.ratio == pytest.approx(distance / certificate.largest, rel=1e-9)

    def test_a_state_of_ones_own_is_learned_for_every_request(self) -> None:
        requests = ((0, 1), (2, 3))
        own = try_requests(subject(OwnState(HessianFree())), None, 0, requests)
        assert own == try_requests(subject(HessianFree()), None, 0, requests)

    def test_the_worst_over_seeds(self) -> None:
        assert worst([Trial(1.0, 0.5), Trial(2.0, 0.4, broken=True)]) == Trial(2.0, 0.5, broken=True)
        assert worst([Trial(1.0, 0.5), Trial(left_out="no")]).left_out == "no"

    def test_a_bound_of_zero_is_broken_by_any_distance(self) -> None:
        (broken,) = try_requests(subject(Forgetful(kept=(0,))), None, 0, ((0, 1),))
        (right,) = try_requests(subject(Retrain()), None, 0, ((0, 1),))
        assert broken.broken and broken.ratio == float("inf")
        assert not right.broken and right.ratio == 0.0

    def test_what_a_method_refuses_is_left_out_alone(self) -> None:
        found = try_requests(subject(Refuses(HessianFree(), records=(3,))), None, 0, ((0, 1), (2, 3), (4, 5), (6, 7)))
        assert [trial.left_out for trial in found] == [None, "The deletion budget is spent.", None, None]
        honest = try_requests(subject(HessianFree()), None, 0, ((0, 1), (4, 5), (6, 7)))
        kept = [trial.distance for trial in found if trial.left_out is None]
        assert kept == pytest.approx([trial.distance for trial in honest], rel=1e-9)

    def test_a_request_over_budget_is_left_out(self) -> None:
        assert [t.left_out for t in try_requests(subject(HessianFree()), 1e-9, 0, ((0, 1),))] == [OVER_BUDGET]


class TestSearch:
    def test_the_local_search_goes_farther_and_says_what_it_did(self) -> None:
        found = searched()
        assert found.chosen.phase is Phase.SEARCH and len(found.chosen.ids) == 2
        assert found.trial.distance == found.distances[-1] == max(one.distance or 0 for one in found.families)
        assert list(found.distances) == sorted(found.distances) and len(found.distances) == SEARCH.steps + 1
        assert found.distances[-1] > found.distances[0]
        assert found.tried == sum(one.tried for one in found.families) - 1  # influence and gradient agree here
        assert {one.name for one in found.families} >= {"random", "one class", LOCAL}
        assert found.seeds == 2 and found.models == 4 * found.tried
        assert found.models <= search_models(SEARCH, 2, one_model=False)

    @pytest.mark.parametrize("fields", [{"chunk": 7}, {"jobs": 2, "chunk": 13}])
    def test_chunks_and_workers_change_nothing(self, fields: dict[str, Any]) -> None:
        one, other = searched(), searched(**fields)
        assert one.chosen == other.chosen
        assert one.distances == pytest.approx(other.distances, rel=1e-9)
        assert one.ratios == pytest.approx(other.ratios, rel=1e-9)

    def test_another_seed_of_the_run_searches_elsewhere(self) -> None:
        def random(seed: int) -> float | None:
            own = dataclasses.replace(subject(), seed=seed)
            return search_request(own, SEARCH, None, chunk=100, jobs=1).families[0].distance

        assert random(0) == random(0) != random(1)

    def test_an_exact_minimiser_has_one_seed(self) -> None:
        found = searched(NewtonStep("a-posteriori"), on=task(Minimise()))
        assert found.seeds == 1 and found.models == 2 * found.tried and not found.trial.broken

    def test_without_a_certificate_the_distance_decides(self) -> None:
        class Silent(Twin):
            def certify(self, state: Any, request: Tensor) -> Certificate | None:
                return None

        found = searched(Silent(HessianFree()))
        assert found.trial.ratio is None and set(found.ratios) == {None}
        assert found.trial.distance == found.distances[-1]

    def test_nothing_to_audit_is_an_error_with_its_reason(self) -> None:
        with pytest.raises(BrokenMethod, match=r"got none among .*budget is spent.*Delete fewer records"):
            searched(Refuses(HessianFree(), records=tuple(range(ROWS))))

    def test_requests_left_out_are_counted(self) -> None:
        found = searched(budget=0.0035)
        assert found.left_out[OVER_BUDGET] == sum(found.left_out.values()) > 0
        assert found.trial.left_out is None


class TestTwins:
    def test_a_record_that_is_never_forgotten_is_found_and_random_requests_miss_it(self) -> None:
        generator = subject().streams(Phase.SEARCH, (0,)).generator("requests", 0)
        requests = random_requests(ROWS, 2, SEARCH.random, generator)
        never = min(set(range(ROWS)) - {record for ids in requests for record in ids})
        twin = Forgetful(kept=(never,))
        found = searched(twin)
        drawn = found.families[0]
        assert drawn.name == "random" and drawn.ratio == 0.0
        assert found.trial.broken and never in found.chosen.ids
        tight = design(budget=None, noise_scale=1e-4, rungs="A", controls=())
        honest = dataclasses.replace(subject(twin), request_ids=requests[0])
        ready = dataclasses.replace(subject(twin), request_ids=found.chosen.ids, chosen=found.chosen)
        assert audit_row(honest, tight, chunk=24, jobs=1).verdict is not Verdict.REFUTED
        assert audit_row(ready, tight, chunk=24, jobs=1).verdict is Verdict.REFUTED

    def test_lost_copies_are_found_by_the_planted_ones(self) -> None:
        found = searched(LosesCopies(), on=planted(duplicates=5), steps=0, random=1)
        by_name = {one.name: one for one in found.families}
        assert by_name["random"].ratio == 0.0
        assert by_name["planted copies"].ratio == by_name["near duplicates"].ratio == float("inf")
        assert found.trial.broken and found.chosen.family in ("near duplicates", "planted copies")

    def test_an_understated_bound_is_broken_by_the_search(self) -> None:
        @dataclass(frozen=True)
        class Understated(Twin):
            def certify(self, state: Any, request: Tensor) -> Certificate | None:
                honest = super().certify(state, request)
                assert honest is not None
                least = tuple(0.66 * bound for bound in honest.sensitivity_upper)
                return dataclasses.replace(honest, sensitivity_upper=least)

        found = searched(Understated(HessianFree()))
        assert found.families[0].ratio is not None and found.families[0].ratio < 1
        assert found.trial.broken


class TestSeeds:
    """A request chosen on some seeds cannot be tested on the same seeds."""

    def test_no_fleet_of_the_audit_is_trained_on_the_seeds_of_the_search(self) -> None:
        with pytest.raises(TypeError, match=r"phase must be Phase.SELECTION or Phase.TEST, got .*SEARCH"):
            train_fleet(subject(), None, Phase.SEARCH, (0,))  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="phase must be Phase.SELECTION or Phase.TEST"):
            train_fleet(subject(), None, "search", (0,))  # type: ignore[arg-type]

    @pytest.mark.parametrize("phase", [Phase.SELECTION, Phase.TEST])
    def test_a_request_that_a_phase_chose_is_not_audited_on_it(self, phase: Any) -> None:
        chosen = ChosenRequest((0, 1), "peeking", phase)
        peeking = dataclasses.replace(subject(), chosen=chosen)
        with pytest.raises(TypeError, match="did not choose the request"):
            train_fleet(peeking, None, phase, (0,))

    def test_the_search_draws_from_no_stream_of_the_audit(self) -> None:
        seen: set[tuple[int, ...]] = set()

        @dataclass(frozen=True)
        class Watched(Twin):
            def learn(self, task: Task, members: Tensor, *, streams: Streams) -> Any:
                seen.add(streams.path)
                return super().learn(task, members, streams=streams)

            def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
                seen.add(streams.path)
                return super().unlearn(state, request, streams=streams)

        searched(Watched(HessianFree()), steps=1)
        own = subject().streams(Phase.SEARCH, (0,)).path
        others = [subject().streams(phase, (0,)).path for phase in (Phase.SELECTION, Phase.TEST)]
        assert seen and all(path[: len(own)] == own for path in seen)
        assert not any(path[: len(other)] == other for path in seen for other in others)
