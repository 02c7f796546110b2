"""One rule for which attack decides: shadow runs alone, shipped attacks on one model, fresh seeds, the row's noise."""

from typing import Any

import pytest

from unlearning.attack_choice import MIA_L, MIA_U, U_LIRA, best_on_shadows, deciding_attack, may_decide, shipped
from unlearning.record_attacks import AttackResult

from ..reports.attacks_sample import interval, result


def found(attack: str, shadow: float | None, half: float = 0.02, **more: Any) -> AttackResult:
    family = "MIA-U" if attack in MIA_U else "MIA-L"
    seen = None if shadow is None else interval(shadow, half, more.pop("shadows", 64))
    return result(attack, attack, family, more.pop("against", "unlearned"), 0.6, shadow_auc=seen, **more)


def test_the_largest_lower_limit_on_shadow_runs_is_chosen_whatever_targets_say() -> None:
    wide, narrow = found("loss", 0.61, 0.1), found("rmia", 0.58, 0.01)
    lucky = found("svc", 0.5).model_copy(update={"auc": interval(0.99), "auc_lower": 0.98})
    assert best_on_shadows([wide, lucky, narrow]) is narrow
    assert best_on_shadows([found("loss", 0.9, shadows=3), narrow]).attack == "loss", "the mean, without limits"  # type: ignore[union-attr]
    assert best_on_shadows([found("loss", None), narrow]) is narrow
    first, second = found("loss", 0.6), found("entropy", 0.6)
    assert best_on_shadows([first, second]) is first
    assert best_on_shadows([]) is None


def test_somebodys_own_attack_never_decides() -> None:
    own, weak = found("mine", 0.99), found("loss", 0.51)
    assert best_on_shadows([own, weak]) is weak
    assert best_on_shadows([own]) is own, "shown where there is no other"
    assert deciding_attack([own], "unlearned") is None
    assert deciding_attack([own, weak], "unlearned") is weak


@pytest.mark.parametrize("more", [{"seeds": "one seed"}, {"noise_factor": 3.0}, {"against": "original"}])
def test_other_games_do_not_decide(more: dict[str, Any]) -> None:
    assert deciding_attack([found("loss", 0.9, **more), found("svc", 0.6)], "unlearned").attack == "svc"  # type: ignore[union-attr]


def test_both_versions_are_promised_nothing() -> None:
    assert not any(may_decide(found(key, 0.9)) for key in MIA_U)
    assert all(may_decide(found(key, 0.9)) for key in (*MIA_L, *U_LIRA))
    assert all(shipped(found(key, 0.9)) for key in (*MIA_L, *U_LIRA, *MIA_U))
