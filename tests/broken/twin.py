"""What every broken twin is made of: an honest method, forwarded, and modules with other names for a moment."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from torch import Tensor

from unlearning.claim import Certificate
from unlearning.protocols import AnyMethod, Declaration, Diagnostic
from unlearning.streams import Streams


@dataclass(frozen=True)
class Twin:
    """An honest method, forwarded."""

    method: AnyMethod

    @property
    def declaration(self) -> Declaration:
        return self.method.declaration

    def check_task(self, task: Any) -> None:
        if hasattr(self.method, "check_task"):
            self.method.check_task(task)

    def learn(self, task: Any, members: Tensor, *, streams: Streams) -> Any:
        return self.method.learn(task, members, streams=streams)

    def unlearn(self, state: Any, request: Tensor, *, streams: Streams) -> Any:
        return self.method.unlearn(state, request, streams=streams)

    def certify(self, state: Any, request: Tensor) -> Certificate | None:
        return self.method.certify(state, request)

    def release(self, state: Any, noise_scale: float, *, streams: Streams) -> Tensor:
        return self.method.release(state, noise_scale, streams=streams)

    def diagnostics(self, state: Any) -> tuple[Diagnostic, ...]:
        return self.method.diagnostics(state) if hasattr(self.method, "diagnostics") else ()


@contextmanager
def patched(owner: ModuleType | type, **names: Any) -> Iterator[None]:
    """A module or class with other values under these names."""
    kept = {name: getattr(owner, name) for name in names}
    for name, value in names.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name, value in kept.items():
            setattr(owner, name, value)
