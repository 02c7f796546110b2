"""Broken twins of the laws on where a method's numbers hold."""

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from methods.qiao2025hessianfree import HessianFree
from methods.sekhari2021newton import NewtonStep
from methods.zhang2024certified import CertifiedUnlearning
from unlearning.claim import Certificate
from unlearning.protocols import AnyMethod, Declaration, Diagnostic, Regime

from .twin import Twin


@dataclass(frozen=True)
class ReportsLess(Twin):
    """Reports a share of every bound beside the certificate."""

    share: float = 0.5

    def diagnostics(self, state: Any) -> tuple[Diagnostic, ...]:
        found = self.method.diagnostics(state)  # type: ignore[attr-defined]
        return tuple(
            replace(one, values=tuple(self.share * value for value in one.values)) if one.is_sensitivity else one
            for one in found
        )


class ReportsOne(Twin):
    """Reports one number for all replicas."""

    def diagnostics(self, state: Any) -> tuple[Diagnostic, ...]:
        found = self.method.diagnostics(state)  # type: ignore[attr-defined]
        return tuple(replace(one, values=(max(one.values),)) for one in found)


class ReportsItsStep(Twin):
    """Reports how far it moved as a bound on how far it is from where it should be."""

    def diagnostics(self, state: Any) -> tuple[Diagnostic, ...]:
        found = self.method.diagnostics(state)  # type: ignore[attr-defined]
        return tuple(replace(one, is_sensitivity=True) for one in found if one.name.startswith("norm of"))


class CertifiesNetworks(Twin):
    """Certifies the distance to the start where its theorem is silent."""

    def certify(self, state: Any, request: Tensor) -> Certificate | None:
        honest = self.method.certify(state, request)
        if honest is not None:
            return honest
        return Certificate("none", tuple(state.parameters.double().norm(dim=1).tolist()))


@dataclass(frozen=True)
class Narrow(Twin):
    """Declares less than it certifies."""

    regime: Regime = Regime.QUADRATIC
    divisors: tuple[str, ...] = ("fixed", "remaining")

    @property
    def declaration(self) -> Declaration:
        return replace(self.method.declaration, regime=self.regime, divisors=self.divisors)


class HasPrior(Twin):
    """Forwards the prior bound."""

    def prior_sensitivity_upper(self, task: Any, request_size: int) -> float:
        return float(self.method.prior_sensitivity_upper(task, request_size))  # type: ignore[attr-defined]


class SmallPrior(HasPrior):
    """A fortieth of the prior bound."""

    def prior_sensitivity_upper(self, task: Any, request_size: int) -> float:
        return super().prior_sensitivity_upper(task, request_size) / 40


class OneRecord(HasPrior):
    """The prior bound of one record, shared out over the request."""

    def prior_sensitivity_upper(self, task: Any, request_size: int) -> float:
        return super().prior_sensitivity_upper(task, 1) / request_size


class PeeksAtTheData(HasPrior):
    """Scales the prior bound by the norm of the first record."""

    def prior_sensitivity_upper(self, task: Any, request_size: int) -> float:
        share = float(task.features()[0].norm() / task.dataset.norm_upper)
        return super().prior_sensitivity_upper(task, request_size) * (1 + share)


class NoNumber(HasPrior):
    """A prior bound that is no number."""

    def prior_sensitivity_upper(self, task: Any, request_size: int) -> float:
        return super().prior_sensitivity_upper(task, request_size) * float("nan")


HF, NEWTON, TRIVIAL = HessianFree(), NewtonStep(), CertifiedUnlearning(bound="trivial")

CATCHES: dict[str, list[AnyMethod]] = {
    "reported_bounds": [
        ReportsLess(NewtonStep("published"), 0.9),
        ReportsLess(NEWTON, 0.4),
        ReportsLess(TRIVIAL, 0.02),
        ReportsOne(NEWTON),
        ReportsItsStep(HF),
    ],
    "regime": [
        CertifiesNetworks(HF),
        Narrow(HF),
        Narrow(NEWTON),
        Narrow(HF, Regime.NON_CONVEX, ("fixed",)),
        Narrow(HF, Regime.NON_CONVEX, ("remaining",)),
    ],
    "prior_sensitivity": [SmallPrior(NEWTON), OneRecord(NEWTON), PeeksAtTheData(NEWTON), NoNumber(NEWTON)],
}
