"""Exact retraining: run A again without the deleted records.

The definition every other method is measured against (Cao & Yang, IEEE S&P 2015). Unlearned and reference model are
the same function of the same seed, so with the same noise on both sides ε = 0 and δ = 0.
"""

from dataclasses import dataclass

from torch import Tensor

from learning.release import gaussian_release
from learning.task import Learned, Task, check_request
from learning.training import train
from unlearning.claim import Assumption, Certificate, Reference, SeedPolicy, Status
from unlearning.protocols import Declaration, State
from unlearning.streams import Streams


@dataclass(frozen=True, slots=True)
class Retrain:
    """Run the learning algorithm again on what is left."""

    declaration = Declaration(
        title="Exact retraining",
        citation="Cao & Yang, Towards Making Systems Forget with Machine Unlearning, IEEE S&P 2015",
        reference=Reference.RETRAINED,
        seed_policy=SeedPolicy.PER_SEED,
        stores="the training set and the seed",
        additive=True,
        batch_equals_online=True,
        exact_on_quadratics=True,
    )

    def learn(self, task: Task, members: Tensor, *, streams: Streams) -> Learned:
        """Run the task's recipe."""
        return train(task, members, streams=streams)

    def unlearn(self, state: Learned, request: Tensor, *, streams: Streams) -> Learned:
        """Run the recipe on the members that are left, with the streams of the first training."""
        check_request(state, request)
        return train(state.task, state.members & ~request, streams=state.training_streams())

    def certify(self, state: Learned, request: Tensor) -> Certificate:
        """Δ = 0: the unlearned model is the reference."""
        same = Assumption("the same code, seed and machine train both models", Status.CHECKED, "rung A: d = 0")
        return Certificate("by definition", (0.0,) * state.parameters.shape[0], (same,))

    def release(self, state: State, noise_scale: float, *, streams: Streams) -> Tensor:
        """Parameters + N(0, σ²I)."""
        return gaussian_release(state, noise_scale, streams=streams)
