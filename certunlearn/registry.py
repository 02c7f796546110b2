"""Methods by their short names: the shipped ones and those that other installed distributions register."""

from importlib.metadata import entry_points

GROUP = "certunlearn.methods"
SHIPPED = {  # as in pyproject.toml: for a checkout that is not installed
    "retrain": "methods.retrain:Retrain",
    "newton": "methods.sekhari2021newton:NewtonStep",
    "hessian-free": "methods.qiao2025hessianfree:HessianFree",
    "certified-unlearning": "methods.zhang2024certified:CertifiedUnlearning",
    "cure-newton": "methods.bui2026cure:CureNewton",
    "scure-newton": "methods.bui2026cure:SCureNewton",
    "pseudo-inverse-newton": "methods.newton_baselines:PseudoInverseNewton",
    "damped-newton": "methods.newton_baselines:DampedNewton",
}

SHIPPED_VARIANTS = (  # that the laws are tried on beside the defaults: every bound, what is stored in other ways
    "newton[bound=published]",
    "newton[bound=a-posteriori]",
    "hessian-free[bound=published]",
    "hessian-free[vectors=all,storage=bfloat16]",
    "hessian-free[vectors=all,bound=a-posteriori]",
    "certified-unlearning[bound=measured]",
)


def registered_methods() -> dict[str, str]:
    """Names and targets of the shipped methods and of those that other installed distributions register."""
    return SHIPPED | {point.name: point.value for point in entry_points(group=GROUP)}
