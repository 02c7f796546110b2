"""The Hessian-free vectors as published, set against a real retraining: a method that a plan names."""

from dataclasses import replace
from typing import Any

from torch import Tensor

from methods.qiao2025hessianfree import HessianFree
from unlearning.claim import Certificate
from unlearning.protocols import Declaration
from unlearning.streams import Streams


class PublishedVectors(HessianFree):
    """Vectors of the fixed divisor, whatever divisor the retraining has; nothing is certified of that."""

    declaration: Declaration = replace(
        HessianFree().declaration,
        title="Hessian-free vectors as published",
        differs=("The vectors aim at a retraining that keeps the divisor |B_t|; a real one averages what is left.",),
        exempt={"sensitivity": "no certificate covers another retraining than the vectors aim at"},
    )

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        """Add the fixed divisor's vectors; the run that is replayed is the same while all records are members."""
        if not bool(request.any()):
            return state
        if not bool((state.members | request | state.deleted).all()):
            raise ValueError("members must be all records before the first request: the divisors differ otherwise.")
        recipe = replace(state.task.recipe, divisor="fixed")
        after = HessianFree().unlearn(replace(state, task=replace(state.task, recipe=recipe)), request, streams=streams)
        return replace(after, task=state.task, error_upper=None)

    def certify(self, state: Any, request: Tensor) -> Certificate | None:
        """None."""
        return None
