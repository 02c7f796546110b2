"""The adapter for code written for one model: what it adds, what it refuses, and certificates of several requests."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from learning.per_replica import PerReplica, for_one_model, lifted
from methods.retrain import Retrain
from properties import (
    LawBroken,
    LawNotApplicable,
    check_bad_release,
    check_dtype_kept,
    check_inputs_untouched,
    check_regime,
    check_release,
    check_sensitivity,
)
from properties import check_empty_request as empty_request
from properties import check_sequential_sensitivity as sequential_sensitivity
from properties.problems import Problem
from properties.strategies import accepted_kinds
from unlearning import Declaration, PlanError, Reference
from unlearning.errors import BrokenMethod
from unlearning.protocols import BringsOwnLoss, ChecksTask, HasFailureProbability, Regime

DECLARATION = Declaration(title="Means", citation="this test")
PROBLEM = Problem("ridge", rows=6, columns=2, request_size=3, replicas=2)


class Means:
    """The mean record, exactly forgotten."""

    declaration = DECLARATION

    def learn(self, features, labels, generator):
        return features.mean(0)

    def unlearn(self, parameters, features, labels, removed, generator):
        return self.learn(features[~removed], labels[~removed], generator)


@dataclass(frozen=True)
class Drifting(Means):
    """Off by `error` more after every request; its bound speaks of one request, and is all but attained."""

    error: float = 0.25

    def unlearn(self, parameters, features, labels, removed, generator):
        missed = parameters - features.mean(0)
        missed[0] += self.error
        return features[~removed].mean(0) + missed

    def sensitivity_upper(self, parameters, features, labels, removed):
        """The error of one request."""
        return self.error


def run(method, problem=PROBLEM, parts=1):
    """The lifted method, its state after the request in parts, and the last part."""
    lift, request = lifted(method), problem.request()
    state = lift.learn(problem.task(), problem.members(), streams=problem.streams)
    positions = request.cumsum(1)
    for part in range(parts):
        last = request & (positions % parts == part)
        state = lift.unlearn(state, last, streams=problem.streams.child("unlearning", part))
    return lift, state, last


def test_what_is_lifted():
    assert for_one_model(Means) and for_one_model(Means()) and not for_one_model(Retrain)
    assert isinstance(lifted(Means()), PerReplica)
    already = Retrain()
    assert lifted(already) is already and lifted(lifted(Means())).one.__class__ is Means
    assert repr(lifted(Drifting(0.5))) == "PerReplica(Drifting(error=0.5))"


def test_each_replica_is_learned_and_unlearned_on_its_own_records():
    _, state, request = run(Means())
    features = PROBLEM.task().features()
    for parameters, removed in zip(state.parameters, request, strict=True):
        torch.testing.assert_close(parameters, features[~removed].mean(0))


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_a_certificate_covers_all_requests(parts):
    lift, state, last = run(Drifting(), parts=parts)
    reference = lift.learn(PROBLEM.task(), state.members, streams=PROBLEM.streams)
    distance = (state.parameters - reference.parameters).norm(dim=1)
    torch.testing.assert_close(distance, torch.full((2,), 0.25 * parts, dtype=torch.float64))
    certificate = lift.certify(state, last)
    assert certificate.sensitivity_upper == pytest.approx((0.25 * parts,) * 2)
    assert certificate.theorem == "Means: The error of one request"
    assert lift.certify(state.take([1, 1]), last).sensitivity_upper == pytest.approx((0.25 * parts,) * 2)


def test_an_empty_request_between_others_costs_nothing():
    lift, state, last = run(Drifting())
    again = lift.unlearn(state, torch.zeros_like(last), streams=PROBLEM.streams.child("again"))
    assert torch.equal(again.parameters, state.parameters)
    assert lift.certify(again, last).sensitivity_upper == pytest.approx((0.25, 0.25))


class LastRequestOnly(PerReplica):
    """Broken: a certificate that forgets how the model came to be where it is."""

    def unlearn(self, state, request, *, streams):
        after = super().unlearn(state, request, streams=streams)
        return replace(after, detour=torch.zeros_like(after.detour))


def test_the_laws_hold_for_sums_of_errors_and_catch_a_certificate_of_the_last_request():
    sequential_sensitivity(lifted(Drifting()))
    with pytest.raises(LawBroken, match="exceeds the certified 0.25"):
        sequential_sensitivity(LastRequestOnly(Drifting()))


class Halfway(Means):
    """Learns half of the mean, and goes half of the way that is left whenever it is asked, also to forget nothing."""

    declaration = replace(DECLARATION, reference=Reference.EMPTY_REQUEST, exempt={"empty_request": "it goes on"})

    def learn(self, features, labels, generator):
        return features.mean(0) / 2

    def unlearn(self, parameters, features, labels, removed, generator):
        return (parameters + features[~removed].mean(0)) / 2

    def sensitivity_upper(self, parameters, features, labels, removed):
        """A quarter of how far the mean moves: exact, after one request."""
        return float((features.mean(0) - features[~removed].mean(0)).norm()) / 4


class CountsRecordsOnly(PerReplica):
    """Broken: takes a request for the first as long as no record is gone."""

    def unlearn(self, state, request, *, streams):
        first = replace(state, asked=(state.members != state.began).any(1))
        return super().unlearn(first, request, streams=streams)


def certified(lift, *requests):
    """Distance to U(A(D_r), ∅) and certified Δ after the requests, each [K]."""
    state = lift.learn(PROBLEM.task(), PROBLEM.members(), streams=PROBLEM.streams)
    for number, request in enumerate(requests):
        state = lift.unlearn(state, request, streams=PROBLEM.streams.child("unlearning", number))
    once = lift.learn(PROBLEM.task(), state.members, streams=PROBLEM.streams)
    reference = lift.unlearn(once, torch.zeros_like(state.members), streams=PROBLEM.streams)
    distance = (state.parameters - reference.parameters).norm(dim=1)
    return distance, torch.tensor(lift.certify(state, requests[-1]).sensitivity_upper, dtype=torch.float64)


REQUEST = PROBLEM.request()
NOTHING = torch.zeros_like(REQUEST)
ONLY_THE_SECOND = REQUEST & torch.tensor([[False], [True]])


@pytest.mark.parametrize(
    "requests",
    [(REQUEST,), (NOTHING,), (NOTHING, NOTHING), (NOTHING, REQUEST), (REQUEST, NOTHING), (ONLY_THE_SECOND, NOTHING)],
    ids=["R", "∅", "∅∅", "∅R", "R∅", "one R∅"],
)
def test_where_the_reference_is_an_empty_request_an_empty_request_counts(requests):
    distance, upper = certified(lifted(Halfway()), *requests)
    assert (distance <= upper + 1e-15).all()
    if len(requests) == 1:
        torch.testing.assert_close(distance, upper)
    broken_distance, broken_upper = certified(CountsRecordsOnly(Halfway()), *requests)
    torch.testing.assert_close(broken_distance, distance)
    blind = len(requests) == 2 and not requests[0].any(1).all()
    assert bool((broken_distance > broken_upper + 1e-4).any()) is blind


def test_the_law_on_two_requests_catches_a_certificate_that_counts_records_only():
    sequential_sensitivity(lifted(Halfway()))
    with pytest.raises(LawBroken, match="exceeds the certified"):
        sequential_sensitivity(CountsRecordsOnly(Halfway()))


def test_which_replicas_were_asked_travels_with_them():
    lift = lifted(Halfway())
    state = lift.learn(PROBLEM.task(), PROBLEM.members(), streams=PROBLEM.streams)
    assert not state.asked.any()
    assert lift.unlearn(state, NOTHING, streams=PROBLEM.streams).take([1, 0, 1]).asked.tolist() == [True] * 3
    retrained = lifted(Drifting())  # to it, forgetting nothing is doing nothing
    state = retrained.learn(PROBLEM.task(), PROBLEM.members(), streams=PROBLEM.streams)
    some = retrained.unlearn(state, ONLY_THE_SECOND, streams=PROBLEM.streams)
    assert some.asked.tolist() == [False, True] and some.take([1, 0, 1]).asked.tolist() == [True, False, True]
    after = retrained.unlearn(some, NOTHING, streams=PROBLEM.streams)
    assert after.asked.tolist() == [False, True]
    assert retrained.certify(after, NOTHING).sensitivity_upper == pytest.approx((0.0, 0.25))


def test_a_bound_that_may_fail_says_so_in_its_certificate():
    class Chance(Drifting):
        failure_probability = 1e-6

    lift, state, last = run(Chance(), parts=2)
    assert isinstance(lift, HasFailureProbability) and lift.failure_probability == 1e-6
    assert lift.certify(state, last).failure_probability == 1e-6  # the author's bound was used once
    lift, state, last = run(Drifting())
    assert lift.failure_probability == 0 and lift.certify(state, last).failure_probability == 0
    with pytest.raises(LawNotApplicable, match="no deterministic certificate"):
        check_sensitivity(lifted(Chance()))


def test_a_task_that_is_refused_is_neither_learned_nor_searched():
    class Picky(Drifting):
        def check_task(self, task):
            if task.labels().is_floating_point():
                raise PlanError("labels must be classes, got numbers: leave it.")

    class Fails(Drifting):
        def check_task(self, task):
            raise KeyError("oops")

    assert isinstance(lifted(Picky()), ChecksTask)
    with pytest.raises(PlanError, match="got numbers: leave it"):
        run(Picky())
    with pytest.raises(PlanError, match="got numbers: leave it"):
        lifted(Picky()).check_task(PROBLEM.task())
    lifted(Drifting()).check_task(PROBLEM.task())
    assert {model for model, _ in accepted_kinds(lifted(Picky()), ("ridge", "binary"))} == {"binary"}
    with pytest.raises(BrokenMethod, match=r"^check_task of Fails raised KeyError"):
        run(Fails())


@pytest.mark.parametrize(
    ("part", "value", "says"),
    [
        ("diagnostics", lambda self, state: (), "Bad.diagnostics must be left out"),
        ("prior_sensitivity_upper", lambda self, task, size: 0.0, "Bad.prior_sensitivity_upper must be left out"),
        ("failure_probability", 1.0, "Bad.failure_probability must be a number in [0, 1), got 1.0"),
        ("failure_probability", -0.1, "must be a number in [0, 1), got -0.1"),
        ("failure_probability", float("nan"), "must be a number in [0, 1), got nan"),
        ("failure_probability", "0.1", "must be a number in [0, 1), got '0.1'"),
        ("failure_probability", lambda self: 0.1, "must be a number in [0, 1), got <bound method"),
        ("check_task", lambda self: None, "Bad.check_task must take (task), got ()"),
    ],
)
def test_parts_that_would_be_dropped_are_refused(part, value, says):
    with pytest.raises(PlanError) as caught:
        lifted(type("Bad", (Means,), {part: value})())
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_the_regime_of_problems_says_nothing_of_a_loss_of_ones_own():
    class Quadratic(Drifting):  # as its loss is, whatever the problem's
        declaration = replace(DECLARATION, regime=Regime.QUADRATIC, divisors=())

    assert isinstance(lifted(Quadratic()), BringsOwnLoss) and not isinstance(Retrain(), BringsOwnLoss)
    with pytest.raises(LawNotApplicable, match="brings its own loss"):
        check_regime(lifted(Quadratic()))


def test_without_a_bound_nothing_is_certified():
    lift, state, last = run(Means())
    assert lift.certify(state, last) is None


def test_an_empty_request_reaches_methods_that_are_compared_with_one():
    class Rests(Means):
        declaration = replace(DECLARATION, reference=Reference.EMPTY_REQUEST)

        def unlearn(self, parameters, features, labels, removed, generator):
            return super().unlearn(parameters, features, labels, removed, generator) / 2

        def sensitivity_upper(self, parameters, features, labels, removed):
            """Exact."""
            return 0.0

    lift = lifted(Rests())
    state = lift.learn(PROBLEM.task(), PROBLEM.members(), streams=PROBLEM.streams)
    none = torch.zeros_like(PROBLEM.request())
    moved = lift.unlearn(state, none, streams=PROBLEM.streams)
    torch.testing.assert_close(moved.parameters, state.parameters / 2)
    with pytest.raises(LawBroken):
        empty_request(lift)
    empty_request(lifted(Means()))


class Scribbles(Means):
    """Writes into everything it is given."""

    def unlearn(self, parameters, features, labels, removed, generator):
        after = super().unlearn(parameters, features, labels, removed, generator)
        for given in (parameters, features, labels, removed):
            given.zero_()
        return after

    def sensitivity_upper(self, parameters, features, labels, removed):
        """Nothing."""
        for given in (parameters, features, labels, removed):
            given.zero_()
        return torch.tensor(0.0)

    def release(self, parameters, noise_scale, generator):
        parameters += noise_scale * torch.from_numpy(generator.standard_normal(len(parameters)))
        return parameters


@pytest.mark.parametrize("law", [check_inputs_untouched, check_dtype_kept, check_bad_release, check_release])
def test_what_an_author_changes_is_nobody_elses(law):
    law(lifted(Scribbles()))


def test_a_release_of_ones_own_is_held_to_the_law():
    class Half(Scribbles):
        def release(self, parameters, noise_scale, generator):
            return super().release(parameters, noise_scale / 2, generator)

    with pytest.raises(LawBroken, match=r"0\.5\d* times the noise scale"):
        check_release(lifted(Half()))


@pytest.mark.parametrize(
    ("verb", "returned", "says"),
    [
        ("learn", [1.0, 2.0], "learn of Bad must return finite parameters [P], a tensor"),
        ("learn", [1.0, 2.0], "got list: write torch.as_tensor"),
        ("learn", np.zeros(2), "got ndarray: write torch.as_tensor"),
        ("learn", None, "got None"),
        ("learn", torch.zeros(2, 3), "got shape [2, 3]"),
        ("learn", torch.zeros(0), "got shape [0]"),
        ("learn", torch.tensor(1.0), "got shape []"),
        ("learn", torch.zeros(2, dtype=torch.int64), "got torch.int64"),
        ("learn", torch.tensor([1.0, float("nan")]), "got NaN or infinity"),
        ("unlearn", torch.zeros(3), "unlearn of Bad must return finite parameters [2], a tensor"),
        ("unlearn", torch.zeros(3), "got shape [3]"),
        ("release", torch.zeros(3, 1), "release of Bad must return"),
        ("sensitivity_upper", -1.0, "sensitivity_upper of Bad must return a number >= 0, got -1.0"),
        ("sensitivity_upper", float("nan"), 'got nan; return float("inf") where the theorem does not apply'),
        ("sensitivity_upper", None, "got None"),
        ("sensitivity_upper", torch.zeros(2), "got tensor("),
    ],
)
def test_what_is_returned_is_checked(verb, returned, says):
    class Bad(Means): ...

    setattr(Bad, verb, lambda self, *arguments: returned)
    with pytest.raises(BrokenMethod) as caught:
        lift, state, last = run(Bad())
        lift.certify(state, last)
        lift.release(state, 1.0, streams=PROBLEM.streams)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_a_bound_may_be_infinite_or_a_tensor_and_parameters_may_have_gradients():
    class Odd(Means):
        def learn(self, features, labels, generator):
            return features.mean(0).requires_grad_()

        def sensitivity_upper(self, parameters, features, labels, removed):
            return torch.tensor([float("inf")])

    lift, state, last = run(Odd())
    assert lift.certify(state, last).sensitivity_upper == (float("inf"),) * 2
    assert not state.parameters.requires_grad
    assert lift.certify(state, last).theorem == "Means: bound without a docstring"


def test_what_is_raised_is_one_line_with_its_place():
    class Raises(Means):
        def learn(self, features, labels, generator):
            return features @ torch.zeros(99)

    class Refuses(Means):
        def learn(self, features, labels, generator):
            raise PlanError("labels must be classes, got numbers.")

    with pytest.raises(
        BrokenMethod, match=r"^learn of Raises raised RuntimeError at test_per_replica\.py:\d+: "
    ) as one:
        run(Raises())
    assert one.value.__cause__ is not None
    with pytest.raises(PlanError, match="labels must be classes"):
        run(Refuses())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"learn": lambda self, features: 0}, "Bad.learn must take (features, labels, generator), got (features)"),
        (
            {"unlearn": lambda self, w, x, y, removed: 0},
            "Bad.unlearn must take (parameters, features, labels",
        ),
        ({"unlearn": 3}, "Bad.unlearn must take"),
        ({"sensitivity_upper": lambda self, m, n: 0}, "got (m, n)"),
        (
            {"release": lambda self, w, sigma: 0},
            "Bad.release must take (parameters, noise_scale, generator), got (w",
        ),
        ({"declaration": "nothing"}, "Bad.declaration must be an unlearning.Declaration"),
    ],
)
def test_parts_that_cannot_be_called_are_named(change, says):
    with pytest.raises(PlanError) as caught:
        lifted(type("Bad", (Means,), change)())
    assert says in str(caught.value)


def test_missing_parts_and_classes_are_named():
    with pytest.raises(PlanError, match=r"learn and unlearn, got none of declaration, learn"):
        lifted(type("Empty", (), {})())
    with pytest.raises(PlanError, match=r"must be an object, got the class Means; write Means\(\)"):
        lifted(Means)


def test_other_names_and_defaults_of_arguments_are_welcome():
    class Short(Means):
        def learn(self, x, y, rng, *, steps=3):
            return x.mean(0)

        def unlearn(self, *given):
            return super().unlearn(*given)

    _, state, _ = run(Short())
    assert state.parameters.shape == (2, 2)
