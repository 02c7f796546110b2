"""Names of the shipped attacks, as in plans: apart, so that reading a plan imports nothing else."""

from collections.abc import Iterable

from unlearning.attack_choice import DIFFERENCING as DIFFERENCING
from unlearning.attack_choice import DIFFERENCING_FEATURES as DIFFERENCING_FEATURES
from unlearning.attack_choice import DIFFERENCING_MODELS as DIFFERENCING_MODELS
from unlearning.attack_choice import MIA_L as MIA_L
from unlearning.attack_choice import MIA_U as MIA_U
from unlearning.attack_choice import U_LIRA as U_LIRA

RECONSTRUCTION = "reconstruction"  # a game of its own: no membership is asked
DEFAULT_ATTACKS = (*MIA_L, DIFFERENCING, *U_LIRA)
SWEPT = ("lira-online", "u-lira")  # tried again at every noise scale of a sweep
WORDS = (*MIA_L, DIFFERENCING, *MIA_U, *U_LIRA, RECONSTRUCTION)


def expand(names: Iterable[str]) -> tuple[str, ...]:
    """Keys of attacks by their names in a plan, each once, in the order of the plan.

    >>> expand(["loss", "mia-u"])[:2]
    ('loss', 'mia-u/direct-diff/logistic')
    >>> len(expand(["mia-u", "mia-u/l2/tree"]))
    20
    """
    keys = (key for name in names for key in (MIA_U if name == DIFFERENCING else (name,)))
    return tuple(dict.fromkeys(keys))
