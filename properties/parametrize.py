"""Laws as tests of someone's own suite.

    from properties import parametrize_with_checks

    @parametrize_with_checks([Mine(), Mine(steps=2)], expected_failures={"order": "issue 12: the last request wins"})
    def test_laws(method, check):
        check(method)

A law that the method declares not to apply, or that says nothing about it, is a skip with its reason. An expected
failure that no longer breaks fails.
"""

import dataclasses
import sys
import unittest
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from learning.per_replica import lifted

from .base import LawBroken, LawNotApplicable
from .law import Law, Precision, SearchResult
from .laws import LAWS
from .profiles import searching

Failures = Mapping[Any, object]
Precisions = Literal["float64", "float32", "both"]

# The laws that compare numbers within a stated tolerance; in float32 the others would only ask the same again.
IN_SINGLE_PRECISION = (
    "sensitivity",
    "sequential_sensitivity",
    "empty_request",
    "effect",
    "order",
    "batch_online",
    "replicas_apart",
)


class NotHeld(LawNotApplicable, unittest.SkipTest):
    """A law says nothing about this method; pytest and unittest show the message, which is the reason, as a skip."""


@dataclass(frozen=True, slots=True)
class Subject:
    """How a method is named, to people and to the loader.

    Attributes:
        name: for people.
        target: registered name, path/to/file.py:Class or package.module:Class.
        parameters: arguments of the class.
    """

    name: str
    target: str
    parameters: dict[str, Any]

    @classmethod
    def of(cls, method: object) -> "Subject":
        """Of a built method: its class, and the arguments that differ from a dataclass's defaults."""
        kind, parameters = type(method), _parameters(method)
        told = ",".join(f"{name}={value}" for name, value in parameters.items())
        place, file = kind.__module__, getattr(sys.modules.get(kind.__module__), "__file__", None)
        if "." not in place and file is not None:  # a test file, which nobody can import by name
            path = Path(file)
            place = str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
        return cls(kind.__name__ + (f"[{told}]" if told else ""), f"{place}:{kind.__qualname__}", parameters)


class Check:
    """A law in one precision, to be held against one method.

    Attributes:
        law: the law.
        precision: of the problems.
        device: where problems are computed.
        subject: the method's names; None where they are not known.
        expected: why the law is expected to break; None where it is not.
        method: of the last call, as it was given; None before.
        result: of the last call, where it found no breach.
        reason: why the law said nothing in the last call.
    """

    def __init__(self, law: Law, precision: Precision = "float64", *, device: str = "cpu") -> None:
        """Bind the law to a precision and a device."""
        self.law, self.precision, self.device = law, precision, device
        self.subject: Subject | None = None
        self.expected: str | None = None
        self.method: Any = None
        self.result: SearchResult | None = None
        self.reason: str | None = None

    @property
    def name(self) -> str:
        """Name of the law, and behind it float32 where that is the precision."""
        return self.law.name if self.precision == "float64" else f"{self.law.name}-{self.precision}"

    def __repr__(self) -> str:
        return f"<check {self.name}>"

    def __call__(self, method: Any, *, device: str | None = None) -> SearchResult:
        """Search for a breach.

        Args:
            method: whom to hold to the law: a method on all replicas, or for one model.
            device: in place of the check's own.

        Raises:
            LawBroken: a problem breaks the law; the smallest one found.
            NotHeld: the method is exempt, or the law says nothing about it; the message is the reason.
            AssertionError: in place of NotHeld, where the law was expected to break.
        """
        self.method, self.result, self.reason = method, None, None
        try:
            self.result = self._search(method, device or self.device)
        except LawNotApplicable as note:
            self.reason = str(note)
            if self.expected is not None:
                raise AssertionError(
                    f"expected_failures must name laws that break, got {self.name}, which does not apply ({note}); "
                    "delete it, or give expected_failures as a function of the method."
                ) from note
            raise NotHeld(f"{self.name}: {note}") from note
        return self.result

    def _search(self, method: Any, device: str) -> SearchResult:
        ready = lifted(method)
        reason = ready.declaration.exempt.get(self.law.name)
        if reason is not None:
            raise LawNotApplicable(f"exempt, {reason}")
        with searching(), warnings.catch_warnings():
            # torch.func warns of its own use of torch.jit, which another suite may have made an error
            warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
            return self.law(ready, device=device, precision=self.precision)


def checks(
    laws: Iterable[Law | str] | None = None, *, device: str = "cpu", precision: Precisions = "float64"
) -> Iterator[Check]:
    """Checks for a runner of one's own: each is called with a method.

    Args:
        laws: names of laws, or laws; all without it.
        device: torch device on which problems are computed.
        precision: "both" adds, for the laws in `IN_SINGLE_PRECISION`, a check in float32; "float32" has only those.

    Raises:
        ValueError: there is no such law or precision.
    """
    if precision not in ("float64", "float32", "both"):
        raise ValueError(f"precision must be float64, float32 or both, got {precision!r}; choose one.")
    for law in [_law(named) for named in (LAWS.values() if laws is None else laws)]:
        if precision != "float32":
            yield Check(law, "float64", device=device)
        if precision != "float64" and law.name in IN_SINGLE_PRECISION:
            yield Check(law, "float32", device=device)


def parametrize_with_checks(
    methods: Sequence[Any],
    *,
    expected_failures: Failures | Callable[[Any], Failures] | None = None,
    laws: Iterable[Law | str] | None = None,
    device: str = "cpu",
    precision: Precisions = "float64",
) -> Callable[[Any], Any]:
    """Decorate a pytest test with the arguments `method` and `check`: every method × every check.

    Args:
        methods: built methods, on all replicas or for one model.
        expected_failures: reasons by check, or a function from a method to them. A check is named as in the test's id
            ("sensitivity", "sensitivity-float32") or given as the law (`check_sensitivity`).
        laws: as for `checks`.
        device: as for `checks`.
        precision: as for `checks`.

    Raises:
        ValueError: no methods; a law, or an expected failure, that is unknown or has no reason; an expected failure of
            a law that the method is exempt from.
        TypeError: a class in place of a method.
        PlanError: a method is for one model, and lacks a part.
    """
    import pytest

    if not methods:
        raise ValueError("methods must have at least one method, got none; write [Mine()].")
    chosen = list(laws) if laws is not None else None
    rows = []
    for method in methods:
        if isinstance(method, type):
            raise TypeError(f"methods must be built, got the class {method.__name__}; write {method.__name__}().")
        own, subject = list(checks(chosen, device=device, precision=precision)), Subject.of(method)
        expected = expected_failures(method) if callable(expected_failures) else expected_failures or {}
        reasons = _reasons(expected, own, lifted(method).declaration.exempt)
        for check in own:
            check.subject, check.expected = subject, reasons.get(check.name)
            broken = pytest.mark.xfail(reason=check.expected or "", strict=True, raises=LawBroken)
            marks = [broken] if check.expected else []
            rows.append(pytest.param(method, check, marks=marks, id=f"{subject.name}-{check.name}"))
    return pytest.mark.parametrize(("method", "check"), rows)


def _parameters(method: object) -> dict[str, Any]:
    """Arguments of a dataclass that differ from their defaults; none for other classes."""
    if not dataclasses.is_dataclass(method):
        return {}
    told = {}
    for field in dataclasses.fields(method):
        made = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        value = getattr(method, field.name)
        if field.init and field.name != "declaration" and value is not made and value != made:
            told[field.name] = value
    return told


def _law(named: Law | str) -> Law:
    if isinstance(named, Law):
        return named
    name = named.removeprefix("check_")
    if name not in LAWS:
        raise ValueError(f"laws must be among {', '.join(LAWS)}, got {named!r}; {_hint(name, LAWS)}.")
    return LAWS[name]


def _reasons(expected: Failures, own: Sequence[Check], exempt: Mapping[str, str]) -> dict[str, str]:
    """Reasons by the checks' names."""
    laws = {check.name: check.law.name for check in own}
    reasons = {}
    for key, reason in expected.items():
        name = key.name if isinstance(key, Law) else str(key).removeprefix("check_")
        if name not in laws:
            listed = ", ".join(laws)
            raise ValueError(f"expected_failures must name checks ({listed}), got {name!r}; {_hint(name, laws)}.")
        if not isinstance(reason, str) or not reason.strip():
            raise ValueError(f"expected_failures[{name!r}] must give a reason, got {reason!r}; say why it breaks.")
        if laws[name] in exempt:
            raise ValueError(
                f"expected_failures must name laws that the method is held to, got {name!r}, from which it is exempt; "
                "delete it, or give expected_failures as a function of the method."
            )
        reasons[name] = reason
    return reasons


def _hint(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, known, 1)
    return f"did you mean {close[0]}" if close else "choose one of them"
