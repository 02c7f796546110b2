"""Laws on another device: everything a method is given lies there; on CUDA honest methods obey and twins are caught."""

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from methods.qiao2025hessianfree import HessianFree
from methods.retrain import Retrain
from methods.sekhari2021newton import NewtonStep
from properties import LAWS, LawBroken, LawNotApplicable, running
from properties.problems import Descent, Problem
from tests.broken.twin import Twin
from tests.broken.updates import NoOp
from unlearning.protocols import AnyMethod, Declaration, Diagnostic, Regime
from unlearning.streams import Streams

ELSEWHERE = "meta"  # a device that holds no numbers: what is computed before the method runs must not need them


class Seen(Exception):
    """The method was given what it needs, all of it elsewhere."""


@dataclass(frozen=True)
class Elsewhere(Twin):
    """Raises `Seen` once a request, or a release, reaches it; and fails for any tensor that lies here."""

    @property
    def declaration(self) -> Declaration:
        return replace(self.method.declaration, regime=Regime.QUADRATIC, exact_on_quadratics=True)

    def learn(self, task: Any, members: Tensor, *, streams: Streams) -> Any:
        assert task.device.type == task.features().device.type == members.device.type == ELSEWHERE
        parameters = torch.zeros(len(streams), task.objective.size, device=ELSEWHERE, dtype=task.dtype)
        return SimpleNamespace(parameters=parameters)

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        assert state.parameters.device.type == request.device.type == ELSEWHERE
        raise Seen

    def release(self, state: Any, noise_scale: float, *, streams: Streams) -> Tensor:
        raise Seen

    def diagnostics(self, state: Any) -> tuple[Diagnostic, ...]:
        return ()

    def prior_sensitivity_upper(self, task: Any, request_size: int) -> float:
        assert task.device.type == ELSEWHERE
        raise Seen


COUNT_FIRST = ("effect", "empty_request", "inputs_untouched")  # they compare numbers before they ask anything


@pytest.mark.parametrize("law", [law for law in LAWS if law not in COUNT_FIRST and not law.startswith("rate_")])
def test_a_law_gives_the_method_everything_on_the_device(law: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "_finite", lambda parameters: True)  # there are no numbers to look at
    with pytest.raises(Seen):
        LAWS[law].body(Elsewhere(Retrain()), Problem("binary", 6, 2, request_size=2, replicas=2), ELSEWHERE)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("method", [HessianFree(), NewtonStep(), Retrain()], ids=["hessian-free", "newton", "retrain"])
def test_honest_methods_obey_on_cuda(law: str, method: AnyMethod, precision: Any) -> None:
    try:
        LAWS[law](method, device="cuda", precision=precision)
    except LawNotApplicable as note:
        pytest.skip(str(note))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_twins_are_caught_on_cuda() -> None:
    class LeftBehind(Twin):
        """Returns its result on the host."""

        def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
            after = self.method.unlearn(state, request, streams=streams)
            return replace(after, parameters=after.parameters.cpu())

    problem = Problem("ridge", 6, 2, descent=Descent())
    for law, twin in (("dtype_kept", LeftBehind(Retrain())), ("effect", NoOp(Retrain()))):
        with pytest.raises(LawBroken):
            LAWS[law].on(twin, problem, device="cuda")
