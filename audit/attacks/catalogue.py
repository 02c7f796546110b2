"""The shipped membership attacks by their names in plans."""

from ..attack_names import DIFFERENCING_FEATURES, DIFFERENCING_MODELS
from .attack import Attack
from .differencing import Differencing
from .lira import LiRA
from .population import LossThreshold, ModifiedEntropy, SVCEfficacy
from .rmia import RMIA
from .u_lira import ULiRA

_SHIPPED: tuple[Attack, ...] = (
    # MIA-L
    LiRA(),
    LiRA(online=False),
    RMIA(),
    LossThreshold(),
    ModifiedEntropy(),
    SVCEfficacy(),
    # MIA-U
    *(Differencing(feature, model) for feature in DIFFERENCING_FEATURES for model in DIFFERENCING_MODELS),
    # U-LiRA
    ULiRA(),
    ULiRA(kernel=True),
)

ATTACKS: dict[str, Attack] = {attack.key: attack for attack in _SHIPPED}
