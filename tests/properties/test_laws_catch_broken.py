"""Each law fails on its broken twins, and holds on the honest method that each was made from."""

import pytest

from methods.qiao2025hessianfree import HessianFree
from methods.retrain import Retrain
from methods.sekhari2021newton import NewtonStep
from methods.zhang2024certified import CertifiedUnlearning
from properties import LAWS, LawBroken, LawNotApplicable, problems
from tests.broken import twins
from unlearning.protocols import AnyMethod

HF, NEWTON, RETRAIN = HessianFree(), NewtonStep(), Retrain()

CATCHES: dict[str, list[AnyMethod]] = {
    "sensitivity": [
        twins.Understated(HF),
        twins.Understated(HF, 0.95),
        twins.Understated(NEWTON),
        twins.Understated(NEWTON, 0.45),
        twins.WrongPower(NEWTON),
        twins.NoOp(HF),
        twins.NoOp(NEWTON),
        twins.NoOp(RETRAIN),
        twins.OwnFactor(HF),
        twins.FixedInjection(HF),
        twins.Restless(RETRAIN),
        *(twins.ErrorsPatched(HF, errors) for errors in twins.BROKEN_RECURSIONS),
    ],
    "sequential_sensitivity": [twins.LastRequestOnly(HF), twins.LastRequestOnly(NewtonStep("published"))],
    "certificate_form": [twins.OneNumber(RETRAIN)],
    "empty_request": [twins.Restless(HF), twins.Restless(NEWTON)],
    "effect": [twins.NoOp(HF), twins.NoOp(NEWTON), twins.NoOp(RETRAIN)],
    "order": [twins.OrderMatters(HF)],
    "batch_online": [twins.OrderMatters(HF), twins.OrderMatters(NEWTON)],
    "quadratic": [twins.FullHessian(NEWTON), twins.NoOp(NEWTON)],
    "release": [
        twins.Noise(HF, 0.7),
        twins.Noise(HF, 1.3),
        twins.Noise(HF, 0.5),
        twins.Noise(HF, 0.1),
        twins.FrozenCalls(NEWTON),
        twins.FrozenReplicas(NEWTON),
        twins.SharedNoise(RETRAIN),
        twins.UniformNoise(RETRAIN),
    ],
    "inputs_untouched": [twins.MutatesRequest(NEWTON), twins.MutatesState(HF)],
    "repeatable": [twins.GlobalNoise(RETRAIN), twins.SeedsGlobally(NEWTON)],
    "dtype_kept": [twins.Promotes(HF)],
    "replicas_apart": [twins.MixesReplicas(RETRAIN)],
    "bad_requests": [twins.Swallows(HF), twins.ForgetsNoTwice(NEWTON)],
    "bad_release": [twins.AnyScale(HF)],
}


def name(method: AnyMethod) -> str:
    return repr(method).replace("<class 'tests.broken.twins.", "").replace("'>", "")


@pytest.mark.parametrize(("law", "twin"), [(law, t) for law, all_of in CATCHES.items() for t in all_of], ids=name)
def test_law_catches(law: str, twin: AnyMethod) -> None:
    with pytest.raises(LawBroken, match=rf"Law broken: {law}\. .*[\s\S]*Problem\(") as caught:
        LAWS[law](twin)
    # the message carries the problem, and its repr builds it
    problem = eval(str(caught.value).partition("Problem that broke it: ")[2], vars(problems))
    assert isinstance(problem, problems.Problem)


def test_every_law_has_a_twin() -> None:
    assert set(CATCHES) == set(LAWS)


VARIANTS = [
    HF,
    HessianFree("all"),
    HessianFree("all", storage="bfloat16"),
    HessianFree(bound="published"),
    HessianFree("all", "a-posteriori"),
    NEWTON,
    NewtonStep("published"),
    NewtonStep("a-posteriori"),
    CertifiedUnlearning(bound="measured"),
    RETRAIN,
]


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("method", VARIANTS, ids=name)
def test_law_holds_on_the_honest_method(law: str, method: AnyMethod) -> None:
    try:
        LAWS[law](method)
    except LawNotApplicable as note:
        assert law == "quadratic" and isinstance(method, HessianFree), note


def test_a_law_that_says_nothing_says_why() -> None:
    class Uncertified(twins.Twin):
        def certify(self, state, request):
            return None

    with pytest.raises(LawNotApplicable, match="no deterministic certificate"):
        LAWS["sensitivity"](Uncertified(NEWTON))


def test_ratio_near_one_is_reached() -> None:
    hessian_free, newton = LAWS["sensitivity"](HF).tightest, LAWS["sensitivity"](NEWTON).tightest
    assert hessian_free is not None and 0.99 < hessian_free <= 1 + 1e-9
    assert newton is not None and 0.45 < newton < 0.55
