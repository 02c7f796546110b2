"""The search for the worst request: which records does the method forget least well?

A claim holds for every request of its size, and the ones people draw at random are the easy ones. The search measures
d, the distance to the claim's reference before noise, and d/Δ, over the certified bound: first for requests of several
families, then for requests that differ in one record from the worst so far, by turns in d/Δ and in d.

Audited is a request with d > Δ where one was found: it breaks the bound. Else the one with the largest d: σ is the same
for all requests, so that d/σ is what the other rungs can see, while the largest d/Δ often belongs to a request that is
forgotten almost exactly and bounded tightly.

Why a request may be chosen by its distance: rung A is exact, so that a request with d > Δ is a counterexample however
it was found. The other rungs are statistics, and the largest of many noisy numbers is no fair draw; so the search has
training seeds of its own, and those that chose a request never test it (`Phase`). Where nothing in training is random
there is one model per world, on which the distance is a number and no draw; what is random there is the noise of
releases, and that is drawn anew.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from learning.workers import run_chunks
from unlearning.errors import BrokenMethod

from .contract import check_state
from .fleet import ChosenRequest, Phase, Subject
from .request_families import Proposals, Request, propose
from .request_trials import Trial, try_requests, worst

LOCAL = "local search"

_GAIN = 1 + 1e-6  # what is larger by less is rounding, and chunks of another size round otherwise

Progress = Callable[[str, int, int], None]
Objective = Callable[[Trial], float | None]


@dataclass(frozen=True, slots=True)
class Search:
    """How the worst request is searched for.

    Attributes:
        size: records in a request.
        random: random requests tried.
        seeds: training seeds on which every request is tried; one where training has none.
        steps: rounds of the local search.
        swaps: requests tried in each of them.
    """

    size: int
    random: int
    seeds: int
    steps: int
    swaps: int


@dataclass(frozen=True, slots=True)
class Family:
    """What a family of requests came to.

    Attributes:
        name: of the family.
        tried: its requests.
        left_out: those of them that the method refused or failed on.
        ratio: the largest d/Δ among the others, None without one.
        distance: the largest d among them, None without one.
    """

    name: str
    tried: int
    left_out: int
    ratio: float | None
    distance: float | None


@dataclass(frozen=True, slots=True)
class Searched:
    """The request that was found, and all that the search tried.

    Attributes:
        chosen: the request to audit.
        trial: what it did, the worst over the search's seeds.
        families: what each came to, in the order they were tried.
        ratios: largest d/Δ before the local search and after each of its steps, None without one.
        distances: largest d before the local search and after each of its steps.
        tried: different requests.
        left_out: how many of them could not be audited, by reason.
        records: different records among those of all requests.
        seeds: training seeds that were used.
        models: unlearned and reference models that the search trained.
    """

    chosen: ChosenRequest
    trial: Trial
    families: tuple[Family, ...]
    ratios: tuple[float | None, ...]
    distances: tuple[float, ...]
    tried: int
    left_out: dict[str, int]
    records: int
    seeds: int
    models: int


def search_models(search: Search, classes: int, *, one_model: bool) -> int:
    """Models that a search trains at most: an unlearned one and its reference for every request and seed."""
    requests = search.random + classes + 6 + search.steps * search.swaps
    return 2 * requests * (1 if one_model else search.seeds)


def search_request(
    subject: Subject,
    search: Search,
    budget: float | None,
    *,
    chunk: int,
    jobs: int,
    progress: Progress = lambda phase, done, total: None,
) -> Searched:
    """Search for the worst request; the subject's own plays no part.

    Args:
        subject: method and task.
        search: what is tried.
        budget: Δ that σ was fixed for; a request beyond it would be retrained, and is left out.
        chunk: requests tried at once; it changes no number beyond rounding.
        jobs: local worker processes; it changes no number.
        progress: told after every round.

    Raises:
        BrokenMethod: the method can forget none of the requests, or breaks its contract.
    """
    subject = replace(subject, shared=None)  # nobody else trains on these requests
    found = _Found(subject, search, budget, chunk, jobs)
    streams = subject.streams(Phase.SEARCH, (0,))
    generator = streams.generator("requests", 0)
    rounds, told = search.steps + 1, "searching for the worst request"
    progress(told, 0, rounds)
    original = subject.method.learn(subject.task, subject.task.everyone(1), streams=streams)
    check_state(original, 1, subject.task.objective.size, verb="learn")
    proposals = propose(subject.task, original.parameters, search.size, random=search.random, generator=generator)
    found.measure(proposals.families)
    progress(told, 1, rounds)
    for step in range(search.steps):
        start = found.best(_distance if step % 2 else _ratio)
        found.measure({LOCAL: _swaps(found, start, proposals, generator)})
        progress(told, step + 2, rounds)
    return found.result()


def _distance(trial: Trial) -> float | None:
    return trial.distance


def _ratio(trial: Trial) -> float | None:
    return trial.ratio


@dataclass(slots=True)
class _Found:
    """Everything measured so far, in the order of measurement."""

    subject: Subject
    search: Search
    budget: float | None
    chunk: int
    jobs: int
    trials: dict[Request, Trial] = field(default_factory=dict)
    tried: dict[str, list[Request]] = field(default_factory=dict)
    ratios: list[float | None] = field(default_factory=list)
    distances: list[float] = field(default_factory=list)

    @property
    def seeds(self) -> int:
        return 1 if self.subject.one_model else self.search.seeds

    def measure(self, families: Mapping[str, Sequence[Request]]) -> None:
        """Try requests; those that were tried before are not tried again."""
        for name, requests in families.items():
            self.tried.setdefault(name, []).extend(requests)
        wanted = dict.fromkeys(ids for requests in families.values() for ids in requests)
        new = [ids for ids in wanted if ids not in self.trials]
        parts = [tuple(new[start : start + self.chunk]) for start in range(0, len(new), self.chunk)]
        tasks = [(self.subject, self.budget, seed, part) for seed in range(self.seeds) for part in parts]
        flat = [trial for done in (run_chunks(try_requests, tasks, jobs=self.jobs) if tasks else []) for trial in done]
        by_seed = [flat[seed * len(new) : (seed + 1) * len(new)] for seed in range(self.seeds)]
        self.trials |= {ids: worst(own) for ids, *own in zip(new, *by_seed, strict=True)}
        self.ratios.append(self.trials[self.best(_ratio)].ratio)
        self.distances.append(self.trials[self.best(_distance)].distance)

    def best(self, objective: Objective) -> Request:
        """The request of the largest objective, the first of those that differ by rounding; without any, of d.

        Raises:
            BrokenMethod: every request was left out.
        """
        values = {ids: objective(trial) for ids, trial in self.trials.items() if trial.left_out is None}
        if not values:
            reason = next(iter(self.trials.values())).left_out
            raise BrokenMethod(
                f"request must be one of {self.search.size} records that the method can forget, got none among "
                f"{len(self.trials)}: {reason} Delete fewer records, or raise the row's budget."
            )
        known = [(ids, value) for ids, value in values.items() if value is not None]
        if not known:
            return self.best(_distance)
        best, largest = known[0]
        for ids, value in known[1:]:
            if value > largest * _GAIN:
                best, largest = ids, value
        return best

    def result(self) -> Searched:
        """The request to audit: one that breaks the bound, else the one of the largest distance."""
        broken = any(trial.broken for trial in self.trials.values() if trial.left_out is None)
        chosen = self.best(lambda trial: trial.ratio if trial.broken else None) if broken else self.best(_distance)
        family = next(name for name, requests in self.tried.items() if chosen in requests)
        reasons = [trial.left_out for trial in self.trials.values() if trial.left_out is not None]
        return Searched(
            ChosenRequest(chosen, family, Phase.SEARCH),
            self.trials[chosen],
            tuple(self._family(name, requests) for name, requests in self.tried.items()),
            tuple(self.ratios),
            tuple(self.distances),
            len(self.trials),
            {reason: reasons.count(reason) for reason in dict.fromkeys(reasons)},
            len({record for ids in self.trials for record in ids}),
            self.seeds,
            2 * self.seeds * len(self.trials),
        )

    def _family(self, name: str, requests: Sequence[Request]) -> Family:
        kept = [self.trials[ids] for ids in requests if self.trials[ids].left_out is None]
        ratio = max((trial.ratio for trial in kept if trial.ratio is not None), default=None)
        distance = max((trial.distance for trial in kept), default=None)
        return Family(name, len(requests), len(requests) - len(kept), ratio, distance)


def _swaps(found: _Found, start: Request, proposals: Proposals, generator: np.random.Generator) -> list[Request]:
    """Requests that differ from `start` in one record: by turns the next in rank, and one that no request had yet."""
    met = {record for ids in found.trials for record in ids}
    order = [int(record) for record in generator.permutation(len(proposals.ranking))]
    fresh = [record for record in order if record not in met] + [record for record in order if record in met]
    swapped: list[Request] = []
    for record in _by_turns(proposals.ranking, fresh):
        if len(swapped) == found.search.swaps:
            break
        out = start[int(generator.integers(len(start)))]
        ids = tuple(sorted([*(kept for kept in start if kept != out), record]))
        if record not in start and ids not in found.trials and ids not in swapped:
            swapped.append(ids)
    return swapped


def _by_turns(one: Sequence[int], other: Sequence[int]) -> Iterable[int]:
    for pair in zip(one, other, strict=True):
        yield from pair
