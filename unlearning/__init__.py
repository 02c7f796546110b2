"""Vocabulary: claims, certificates, methods, seed streams, closed forms, the record. No torch at run time."""

from .claim import Assumption, Certificate, Claim, Reference, Released, SeedPolicy, Status
from .errors import PlanError
from .protocols import AnyMethod, Declaration, HasPriorSensitivity, Method, State
from .streams import Streams
from .tradeoff import Directions, EpsilonDelta, GaussianTradeOff, TradeOff
from .verdict import Outcome, Verdict

__all__ = [
    "AnyMethod",
    "Assumption",
    "Certificate",
    "Claim",
    "Declaration",
    "Directions",
    "EpsilonDelta",
    "GaussianTradeOff",
    "HasPriorSensitivity",
    "Method",
    "Outcome",
    "PlanError",
    "Reference",
    "Released",
    "SeedPolicy",
    "State",
    "Status",
    "Streams",
    "TradeOff",
    "Verdict",
]
