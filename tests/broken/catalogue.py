"""Which law catches which broken twin, and which twins stand for the faults that the suite promises to find."""

from collections.abc import Mapping, Sequence
from dataclasses import Field, fields, is_dataclass
from functools import partial
from typing import Any

from methods.qiao2025hessianfree import HessianFree
from methods.retrain import Retrain
from methods.sekhari2021newton import NewtonStep
from methods.zhang2024certified import CertifiedUnlearning
from properties.parts import CubicSolver, Model, Solver, part_name
from unlearning.protocols import AnyMethod

from . import parts, rates, scope
from .bounds import (
    BROKEN_RECURSIONS,
    BoundPatched,
    ErrorsPatched,
    IgnoresMomentum,
    LargestNorm,
    LastRequestOnly,
    NormsPatched,
    OneNumber,
    Understated,
    WrongPower,
    contracts_too_much,
    drops_residuals,
    forgets_the_start,
)
from .conduct import (
    AnyScale,
    ForgetsNoTwice,
    GlobalNoise,
    MixesReplicas,
    MutatesRequest,
    MutatesState,
    Promotes,
    ScalesData,
    SeedsGlobally,
    Swallows,
    ZeroIsNoSeed,
)
from .releases import (
    ClippedNoise,
    DiscardedNoise,
    FrozenCalls,
    FrozenReplicas,
    Noise,
    NoiseInASubspace,
    NoiseOnTheSphere,
    NoNumber,
    RescaledClippedNoise,
    SharedNoise,
    SignedCopies,
    StudentNoise,
    UniformNoise,
)
from .twin import Twin
from .updates import (
    AllRecordsDivisor,
    Crumb,
    FixedInjection,
    ForgetsMomentum,
    FullHessian,
    MeanForgetGradient,
    NoOp,
    OntoTheSphere,
    OrderMatters,
    OwnFactor,
    ReseedsWhenEmpty,
    Restless,
    ReversedFactors,
    Scaled,
    StaleVectors,
    Swapped,
)

HF, NEWTON, RETRAIN = HessianFree(), NewtonStep(), Retrain()
POSTERIOR = HessianFree(bound="a-posteriori")

OWN: dict[str, list[AnyMethod]] = {
    "sensitivity": [
        Understated(HF, 0.5),
        Understated(HF, 0.1),
        Understated(HF, 0.95),
        Understated(NEWTON, 0.45),
        Understated(NEWTON, 0.1),
        WrongPower(NEWTON),
        NoOp(HF),
        NoOp(NEWTON),
        NoOp(RETRAIN),
        OwnFactor(HF),
        FixedInjection(HF),
        ReversedFactors(HF),
        StaleVectors(HF),
        MeanForgetGradient(HF),
        Scaled(HF),
        Swapped(HF),
        Scaled(NEWTON),
        Swapped(NEWTON),
        OntoTheSphere(CertifiedUnlearning(bound="measured")),
        Restless(RETRAIN),
        ForgetsMomentum(RETRAIN),
        IgnoresMomentum(HF),
        *(ErrorsPatched(HF, errors) for errors in BROKEN_RECURSIONS),
        *(BoundPatched(POSTERIOR, formula) for formula in (forgets_the_start, contracts_too_much, drops_residuals)),
        NormsPatched(HessianFree("all"), LargestNorm),
    ],
    "sequential_sensitivity": [
        LastRequestOnly(HF),
        LastRequestOnly(NewtonStep("published")),
        ReseedsWhenEmpty(RETRAIN),
    ],
    "certificate_form": [OneNumber(RETRAIN)],
    "empty_request": [Restless(HF), Restless(NEWTON)],
    "effect": [NoOp(HF), NoOp(NEWTON), NoOp(RETRAIN), Crumb(RETRAIN)],
    "order": [OrderMatters(HF)],
    "batch_online": [OrderMatters(HF), OrderMatters(NEWTON), MeanForgetGradient(HF)],
    "quadratic": [
        FullHessian(NEWTON),
        NoOp(NEWTON),
        Scaled(NEWTON),
        Swapped(NEWTON),
        MeanForgetGradient(NEWTON),
        AllRecordsDivisor(NEWTON),
    ],
    "release": [
        Noise(HF, 0.7),
        Noise(HF, 1.3),
        Noise(HF, 0.5),
        Noise(HF, 0.1),
        DiscardedNoise(HF),
        FrozenCalls(NEWTON),
        FrozenReplicas(NEWTON),
        SharedNoise(RETRAIN),
        UniformNoise(RETRAIN),
        ClippedNoise(RETRAIN),
        RescaledClippedNoise(RETRAIN),
        StudentNoise(RETRAIN),
        NoiseOnTheSphere(RETRAIN),
        SignedCopies(RETRAIN),
        NoiseInASubspace(RETRAIN),
        NoNumber(RETRAIN),
    ],
    "inputs_untouched": [MutatesRequest(NEWTON), MutatesState(HF), ScalesData(HF)],
    "repeatable": [
        GlobalNoise(RETRAIN),
        ZeroIsNoSeed(RETRAIN),
        ZeroIsNoSeed(HF),
        *(SeedsGlobally(NEWTON, library) for library in ("random", "numpy", "torch")),
    ],
    "dtype_kept": [Promotes(HF)],
    "replicas_apart": [MixesReplicas(RETRAIN)],
    "bad_requests": [Swallows(HF), ForgetsNoTwice(NEWTON)],
    "bad_release": [AnyScale(HF)],
}


PART_FAULTS: dict[str, list[tuple[str, Any]]] = {
    "calibrates more noise for a larger ε": [("calibration_order", parts.grows_with_epsilon)],
    "projects inner points onto the sphere": [("projection", parts.onto_the_sphere)],
}


def merged(*tables: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """Law → twins, of all tables together, each twin once."""
    found: dict[str, list[Any]] = {}
    for table in tables:
        for law, twins in table.items():
            kept = found.setdefault(law, [])
            kept += [twin for twin in twins if twin not in kept]
    return found


CATCHES = merged(OWN, scope.CATCHES, rates.CATCHES, parts.method_twins())
PART_CATCHES = parts.CATCHES

# every fault that the suite promises to find: law that must catch it, and the twin that has it
FAULTS: dict[str, list[tuple[str, Any]]] = {
    "does nothing": [("sensitivity", NoOp(HF)), ("effect", NoOp(RETRAIN)), ("quadratic", NoOp(NEWTON))],
    "understates its sensitivity": [("sensitivity", Understated(HF, 0.5)), ("sensitivity", Understated(NEWTON, 0.1))],
    "adds half the noise": [("release", Noise(HF, 0.5))],
    "adds a tenth of the noise": [("release", Noise(HF, 0.1))],
    "adds the same noise again": [("release", FrozenCalls(NEWTON)), ("release", FrozenReplicas(NEWTON))],
    "adds noise to a detached copy": [("release", DiscardedNoise(HF))],
    "moves with the wrong sign": [("sensitivity", Scaled(HF)), ("quadratic", Scaled(NEWTON))],
    "divides by the wrong number": [("quadratic", AllRecordsDivisor(NEWTON)), ("sensitivity", FixedInjection(HF))],
    "multiplies factors in the wrong order": [("sensitivity", ReversedFactors(HF))],
    "takes the mean of the forgotten gradients": [
        ("quadratic", MeanForgetGradient(NEWTON)),
        ("batch_online", MeanForgetGradient(HF)),
    ],
    "swaps retained and forgotten records": [("sensitivity", Swapped(HF)), ("quadratic", Swapped(NEWTON))],
    "seeds a global stream": [("repeatable", SeedsGlobally(NEWTON, "torch"))],
    "changes its inputs in place": [("inputs_untouched", MutatesRequest(NEWTON)), ("inputs_untouched", ScalesData(HF))],
    "takes seed 0 for no seed": [("repeatable", ZeroIsNoSeed(RETRAIN))],
    "projects onto the sphere": [("sensitivity", OntoTheSphere(CertifiedUnlearning(bound="measured")))],
    "keeps stale vectors": [("sensitivity", StaleVectors(HF))],
    "regularises by an unsquared norm": [(law, twin) for law, own in parts.method_twins().items() for twin in own],
}


def label(value: Any) -> str:
    """A twin in one line: its class, what it was made of, and what else is not as by default."""
    if isinstance(value, (str, int, float)):
        return str(value)
    if isinstance(value, tuple):
        return " and ".join(map(label, value))
    if isinstance(value, Model):
        return label(value.objective)
    if isinstance(value, Solver | CubicSolver | parts.Understated):
        return part_name(value)
    if not is_dataclass(value) or isinstance(value, type):
        named = isinstance(value, type | partial) or callable(value)
        return part_name(value).lstrip("_") if named else type(value).__name__
    said = [label(getattr(value, f.name)) for f in fields(value) if _tells(value, f)]
    name = type(value).__name__.lstrip("_")
    return f"{name}({', '.join(said)})" if said else name


def _tells(value: Any, f: Field[Any]) -> bool:
    """Whether a field tells twins of one class apart: a twin's own do, a method's where they are not as usual."""
    return isinstance(value, Twin) or getattr(value, f.name) != f.default
