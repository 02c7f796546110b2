"""A method may refuse a problem that only the data can tell, and may not hide from a law by refusing."""

from dataclasses import dataclass
from typing import Any

import pytest
from torch import Tensor

from methods.retrain import Retrain
from properties import LAWS, LawBroken, LawNotApplicable
from tests.broken.twin import Twin
from tests.broken.updates import NoOp
from unlearning.errors import PlanError
from unlearning.streams import Streams


@dataclass(frozen=True)
class Picky(Twin):
    """Refuses to unlearn where the training set is smaller than this."""

    least: int = 0

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        if request.shape[1] < self.least:
            raise PlanError("too few records")
        return self.method.unlearn(state, request, streams=streams)


def test_refusing_some_problems_is_allowed_and_hides_no_breach() -> None:
    LAWS["effect"](Picky(Retrain(), 5))
    with pytest.raises(LawBroken):
        LAWS["effect"](Picky(NoOp(Retrain()), 5))


@pytest.mark.parametrize("least", [35, 10**6])
def test_refusing_most_problems_is_told(least: int) -> None:
    with pytest.raises(LawNotApplicable, match="refuses .* problems that it accepts by kind"):
        LAWS["effect"](Picky(Retrain(), least))


def test_networks_that_are_refused_are_told() -> None:
    class NoNetworks(Twin):
        """Refuses networks, but only when it unlearns."""

        def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
            if "Network" in type(state.task.objective).__name__:
                raise PlanError("no networks")
            return self.method.unlearn(state, request, streams=streams)

    found = LAWS["effect"](NoNetworks(Retrain()))
    assert found.refused > 0 and found.judged + found.refused <= found.problems
    assert found.remarks[0].startswith("networks: the method refuses") and "no networks" in found.remarks[0]
    assert any(remark == "refused, the first with: no networks" for remark in found.remarks)
