"""Which attack is spoken of: chosen on shadow runs, before any target run is seen, by one rule for audits and reports.

Only shipped attacks on one released model can decide. Somebody's own attack is shown beside them: what a plan names
after it has seen results must not choose what decides, and who attacks both versions is promised nothing.
"""

from collections.abc import Iterable

from .record_attacks import AttackResult

MIA_L = ("lira-online", "lira-offline", "rmia", "loss", "entropy", "svc")
U_LIRA = ("u-lira", "ruli")
DIFFERENCING = "mia-u"  # in plans: all twenty of them
DIFFERENCING_FEATURES = ("direct-diff", "sorted-diff", "direct-concat", "sorted-concat", "l2")
DIFFERENCING_MODELS = ("logistic", "tree", "forest", "mlp")
MIA_U = tuple(f"{DIFFERENCING}/{feature}/{model}" for feature in DIFFERENCING_FEATURES for model in DIFFERENCING_MODELS)


def shipped(result: AttackResult) -> bool:
    """Whether the attack is none of somebody's own."""
    return result.attack in {*MIA_L, *U_LIRA, *MIA_U}


def may_decide(result: AttackResult) -> bool:
    """Whether the deciding line may rest on it: a shipped attack on one model, fresh seeds, the row's own noise."""
    one_model = result.attack in {*MIA_L, *U_LIRA} and result.family != "MIA-U"
    return one_model and result.seeds == "fresh" and result.noise_factor == 1


def best_on_shadows(results: Iterable[AttackResult]) -> AttackResult | None:
    """The attack with the largest lower limit of its AUC on shadow runs, out of fold; it looks at nothing else.

    Shipped attacks come before somebody's own, which are chosen where there is no other. Of equal ones the first.
    """

    def foretold(result: AttackResult) -> tuple[bool, float]:
        shadow = result.shadow_auc
        if shadow is None:
            return shipped(result), 0.0
        return shipped(result), shadow.mean if shadow.lower is None else shadow.lower

    return max(results, key=foretold, default=None)


def deciding_attack(results: Iterable[AttackResult], against: str) -> AttackResult | None:
    """The attack on this kind of model that the deciding line rests on."""
    return best_on_shadows(one for one in results if one.against == against and may_decide(one))
