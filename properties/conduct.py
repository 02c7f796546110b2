"""Laws on how a method behaves as a function: pure, repeatable, of its replicas only, and clear about bad input."""

import dataclasses
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unlearning.errors import ShapeMismatch
from unlearning.protocols import AnyMethod

from .base import TOLERANCES, LawBroken, check_visible, distances, rounding_slack
from .law import Domain, Law
from .problems import Descent, Problem
from .strategies import LINEAR, in_single_precision

_SHARE = 0.5  # of the examples of a profile: these laws break everywhere or nowhere


def snapshot(value: Any) -> Any:
    """Deep copy of the tensors and plain values that a state, task or request holds."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: snapshot(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [snapshot(item) for item in value]
    if isinstance(value, dict):
        return {key: snapshot(item) for key, item in value.items()}
    return value


def differences(before: Any, after: Any, place: str = "") -> list[str]:
    """Names of what differs between two snapshots; objects of unknown types are compared by identity."""
    if isinstance(before, Tensor):
        same = isinstance(after, Tensor) and before.dtype == after.dtype and torch.equal(before, after)
        return [] if same else [place]
    if isinstance(before, dict) and isinstance(after, dict) and before.keys() == after.keys():
        return [found for key in before for found in differences(before[key], after[key], f"{place}.{key}")]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [found for index, (b, a) in pairs for found in differences(b, a, f"{place}[{index}]")]
    plain = (int, float, str, bool, type(None), torch.dtype, torch.device)
    return [] if before is after or (isinstance(before, plain) and before == after) else [place]


def _inputs_untouched(method: AnyMethod, problem: Problem, device: str) -> float | None:
    given: dict[str, Any] = {
        "task": problem.task(device),
        "members": problem.members(device),
        "request": problem.request(device),
    }

    def call(name: str, function: Callable[[], Any]) -> Any:
        before = snapshot(given)
        result = function()
        changed = differences(before, snapshot(given))
        if changed:
            raise LawBroken("inputs_untouched", f"{name} changed {', '.join(c[1:] for c in changed)}.", problem)
        return result

    task, members, request, streams = given["task"], given["members"], given["request"], problem.streams
    state = given["state"] = call("learn", lambda: method.learn(task, members, streams=streams))
    unlearning = streams.child("unlearning")
    after = given["unlearned"] = call("unlearn", lambda: method.unlearn(state, request, streams=unlearning))
    call("certify", lambda: method.certify(after, request))
    call("release", lambda: method.release(after, 1.0, streams=streams.child("noise")))
    return 0.0


def _repeatable(method: AnyMethod, problem: Problem, device: str) -> float | None:
    kept = random.getstate(), np.random.get_state(), torch.random.get_rng_state()  # noqa: NPY002
    try:
        results = []
        for fill in (0, 1):
            # advance, never seed: a run that reads a global stream gives another result the second time
            _ = [(random.random(), np.random.random_sample(), torch.rand(1)) for _ in range(fill)]  # noqa: NPY002
            before = _global_streams()
            results.append(_run(method, problem, device))
            if differences(before, _global_streams()):
                raise LawBroken("repeatable", "A call drew from or seeded a global random stream.", problem)
        changed = differences(results[0], results[1])
        if changed:
            raise LawBroken("repeatable", f"Two runs with the same streams differ in {changed[0][1:]}.", problem)
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])  # noqa: NPY002
        torch.random.set_rng_state(kept[2])
    return 0.0


def _global_streams() -> dict[str, Any]:
    keys: Any = np.random.get_state(legacy=False)  # noqa: NPY002
    return {
        "random": repr(random.getstate()),
        "numpy": repr((keys["state"]["pos"], keys["state"]["key"].tobytes())),
        "torch": torch.random.get_rng_state(),
    }


def _run(method: AnyMethod, problem: Problem, device: str) -> dict[str, Any]:
    streams, request = problem.streams, problem.request(device)
    state: Any = method.learn(problem.task(device), problem.members(device), streams=streams)
    unlearned = method.unlearn(state, request, streams=streams.child("unlearning"))
    certificate = method.certify(unlearned, request)
    return {
        "learn": state.parameters,
        "unlearn": unlearned.parameters,
        "certify": list(certificate.sensitivity_upper) if certificate is not None else [],
        "release": method.release(unlearned, 0.5, streams=streams.child("noise")),
    }


def _dtype_kept(method: AnyMethod, problem: Problem, device: str) -> float | None:
    for asked in (problem, in_single_precision(problem)):
        task = asked.task(device)
        for name, value in _run(method, asked, device).items():
            if isinstance(value, Tensor) and (value.dtype, value.device.type) != (task.dtype, task.device.type):
                found = f"{name} gives {value.dtype} on {value.device} for a task of {task.dtype} on {task.device}."
                raise LawBroken("dtype_kept", found, asked)
    return 0.0


def _replicas_apart(method: AnyMethod, problem: Problem, device: str) -> float | None:
    problem = dataclasses.replace(problem, replicas=3)
    task, members, request, streams = (
        problem.task(device),
        problem.members(device),
        problem.request(device),
        problem.streams,
    )
    together: Any = method.learn(task, members, streams=streams)
    unlearned: Any = method.unlearn(together, request, streams=streams.child("unlearning"))
    released = method.release(unlearned, 0.5, streams=streams.child("noise"))
    upper = method.certify(unlearned, request)
    for places in ([1], [2, 0]):
        own = streams.select([streams.replicas[place] for place in places])
        apart: Any = method.learn(task, members[places], streams=own)
        after: Any = method.unlearn(apart, request[places], streams=own.child("unlearning"))
        taken: Any = method.unlearn(together.take(places), request[places], streams=own.child("unlearning"))
        pairs = {
            "learn": (apart.parameters, together.parameters),
            "unlearn": (after.parameters, unlearned.parameters),
            "take, then unlearn": (taken.parameters, unlearned.parameters),
            "unlearn, then take": (unlearned.take(places).parameters[:, :], unlearned.parameters),
            "release": (method.release(after, 0.5, streams=own.child("noise")), released),
        }
        slack = rounding_slack(problem, together.parameters, unlearned.parameters, released, method=method)
        for name, (alone, all_three) in pairs.items():
            moved = float(distances(alone, all_three[places]).max())
            if not moved <= slack:
                raise LawBroken("replicas_apart", f"{name}: replicas {places} alone differ by {moved:.3g}.", problem)
        single = method.certify(after, request[places])
        if (single is None) != (upper is None):
            raise LawBroken("replicas_apart", f"certify: replicas {places} alone have another certificate.", problem)
        if single is not None and upper is not None:
            for place, bound in zip(places, single.sensitivity_upper, strict=True):
                expected = upper.sensitivity_upper[place]
                share = TOLERANCES["agreement"].of(problem)
                if not (bound == expected or abs(bound - expected) <= share * abs(expected) + slack):
                    found = f"certify: replica {place} has Δ = {bound:.6g} alone, {expected:.6g} among others."
                    raise LawBroken("replicas_apart", found, problem)
    check_visible(problem, slack, distances(released, together.parameters))
    return 0.0


def _bad_requests(method: AnyMethod, problem: Problem, device: str) -> float | None:
    streams, request = problem.streams, problem.request(device)
    learned: Any = method.learn(problem.task(device), problem.members(device), streams=streams)
    unlearned: Any = method.unlearn(learned, request, streams=streams.child("unlearning"))
    everyone = problem.members(device)
    cases: list[tuple[str, Any, Tensor, type[Exception]]] = [
        ("a record twice", unlearned, request, ValueError),
        ("all records", learned, everyone, ValueError),
        ("all records that are left", unlearned, ~request, ValueError),
        ("a mask with too few columns", learned, request[:, 1:], ShapeMismatch),
        ("a mask with too many rows", learned, torch.cat([request, request]), ShapeMismatch),
        ("a mask without replicas", learned, request[0], ShapeMismatch),
        ("numbers in place of a mask", learned, request.to(torch.int64), TypeError),
    ]
    for what, state, asked, expected in cases:
        before = snapshot(state)
        try:
            method.unlearn(state, asked, streams=streams.child("again"))
        except expected:
            pass
        except Exception as error:  # any other error is the finding
            found = f"{what} raised {type(error).__name__} ({error}), not {expected.__name__}."
            raise LawBroken("bad_requests", found, problem) from error
        else:
            raise LawBroken("bad_requests", f"{what} was accepted, where {expected.__name__} is due.", problem)
        if differences(before, snapshot(state)):
            raise LawBroken("bad_requests", f"{what} was refused, but the state changed.", problem)
    return 0.0


def _bad_release(method: AnyMethod, problem: Problem, device: str) -> float | None:
    streams = problem.streams
    learned: Any = method.learn(problem.task(device), problem.members(device), streams=streams)
    for what, scale, own in (
        ("noise_scale = -1", -1.0, streams),
        ("noise_scale = NaN", float("nan"), streams),
        ("streams of one replica more", 1.0, streams.select(range(problem.replicas + 1))),
    ):
        try:
            method.release(learned, scale, streams=own.child("noise"))
        except ValueError:
            continue
        raise LawBroken("bad_release", f"{what} was accepted, where ValueError is due.", problem)
    return 0.0


check_inputs_untouched = Law(
    name="inputs_untouched",
    statement="No call changes what it is given: data, training sets, states, requests.",
    fails_for="in-place updates, noise written into the state",
    source="an audit calls every verb many times on the same inputs",
    body=_inputs_untouched,
    domain=Domain(momentum=True, share=_SHARE),
)

check_repeatable = Law(
    name="repeatable",
    statement="Same inputs and streams, same result to the last bit, whatever the state of the global random streams.",
    fails_for="global seeding, noise from global streams, seed 0 taken for no seed",
    source="an audit must be repeatable by whoever doubts it",
    body=_repeatable,
    domain=Domain(momentum=True, share=_SHARE, examples=tuple(Problem(m, seed=0, descent=Descent()) for m in LINEAR)),
)

check_dtype_kept = Law(
    name="dtype_kept",
    statement="Parameters keep the task's dtype and device, in float32 and float64.",
    fails_for="silent promotion to float64, results left on the CPU",
    source="the protocol of the four verbs",
    body=_dtype_kept,
    domain=Domain(models=LINEAR, share=_SHARE),
)

check_replicas_apart = Law(
    name="replicas_apart",
    statement="A replica's results are its own: the same alone, in any order and among any others, to rounding.",
    fails_for="statistics over the replica axis, streams shared between replicas",
    source="replicas are the independent runs of every test of the audit",
    body=_replicas_apart,
    domain=Domain(momentum=True, share=_SHARE),
)

check_bad_requests = Law(
    name="bad_requests",
    statement="A request that cannot be met raises ValueError or TypeError and leaves the state as it was.",
    fails_for="requests met twice, masks broadcast",
    source="the protocol of `unlearn`",
    body=_bad_requests,
    domain=Domain(models=LINEAR, share=_SHARE),
)

check_bad_release = Law(
    name="bad_release",
    statement="A negative or NaN noise scale, or streams for another number of replicas, raise ValueError.",
    fails_for="noise scales taken by their absolute value",
    source="the protocol of `release`",
    body=_bad_release,
    domain=Domain(models=LINEAR, share=0.1),
)
