"""Power where a pilot chooses the event: averaged over pilots, because a pilot finds a worse event than the best."""

import numpy as np

from .bounds.runs import SelectionRuns
from .bounds.selection import most_telling_event
from .chances import Array
from .power import Setting, Way, least_mu

_PILOTS = 60
_DRAWN = 2_000_000  # scores, at most
_ACCURACY = 0.005  # of μ


def smallest_mu_with_pilot(
    way: Way, setting: Setting, runs: tuple[int, int], pilot: tuple[int, int], generator: np.random.Generator
) -> float | None:
    """Smallest μ of a Gaussian pair that is refuted with the setting's power; None where no μ is.

    The chance at a μ is the mean, over drawn pilots, of the way's chance at the event that each pilot chooses; the same
    pilots, shifted, serve every μ. It is an approximation: of few pilots, and as good as the way's own chance.

    Args:
        way: that seeks an event.
        setting: claim, failure probability, power.
        runs: test runs (n, m).
        pilot: selection runs a side.
        generator: of the pilots.
    """
    pilots = max(8, min(_PILOTS, _DRAWN // sum(pilot)))
    released, reference = (generator.standard_normal((pilots, size)) for size in pilot)

    def enough(mu: float) -> bool:
        chances = [
            _chance(way, setting, runs, mu, own + mu, other) for own, other in zip(released, reference, strict=True)
        ]
        return float(np.mean(chances)) >= setting.power

    return least_mu(enough, setting.limit, setting.limit, _ACCURACY)


def _chance(way: Way, setting: Setting, runs: tuple[int, int], mu: float, released: Array, reference: Array) -> float:
    selection = SelectionRuns(released, reference)
    event = most_telling_event(selection, runs, setting.claim, setting.failure_probability)
    if event.orientation < 0:  # the event of the wrong side: it is not refuted where released scores are the larger
        return 0.0
    return way.chance(setting, runs, mu, event.threshold)
