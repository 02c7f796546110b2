"""Any torch.nn.Module as an objective on the replica axis, through torch.func."""

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vjp, vmap

from unlearning.errors import PlanError, ShapeMismatch

from .objectives import Constants, Point
from .smoothness import Smoothness, draws_or_keeps_statistics, smoothness

_CACHED = 2**19  # numbers of a block of vectors that stay in a core's cache


def mlp(features: int, hidden: Sequence[int], classes: int, activation: str = "tanh") -> nn.Sequential:
    """Fully connected network features → hidden … → classes.

    Raises:
        PlanError: an unknown activation or a hidden width below 1.
    """
    kinds: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "softplus": nn.Softplus, "gelu": nn.GELU, "relu": nn.ReLU}
    if activation not in kinds:
        raise PlanError(f"activation must be one of {', '.join(kinds)}, got {activation!r}.")
    if not hidden or min(hidden) < 1:
        raise PlanError(f"hidden must be a list of widths >= 1, got {list(hidden)}.")
    widths = [features, *hidden]
    layers: list[nn.Module] = []
    with torch.random.fork_rng(devices=[]):  # torch draws initial values, never used here, from its global stream
        for width, following in zip(widths, widths[1:], strict=False):
            layers += [nn.Linear(width, following), kinds[activation]()]
        return nn.Sequential(*layers, nn.Linear(widths[-1], classes))


class Network:
    """Cross-entropy of a module's logits + ½λ‖w‖² over all its trainable parameters.

    The module is a function of its parameters here: its own values are never used, except for parameters with one
    dimension that are no bias (the scale of a normalisation layer), which start where the module has them.
    """

    def __init__(self, module: nn.Module, regularisation: float) -> None:
        """Check the module.

        Raises:
            PlanError: the module draws random numbers or keeps statistics while it is evaluated, or has no parameters.
        """
        if not (math.isfinite(regularisation) and regularisation >= 0):
            raise PlanError(f"regularisation must be a finite number >= 0, got {regularisation}.")
        for name, part in module.named_modules():
            broken = draws_or_keeps_statistics(part)
            if broken is not None:
                raise PlanError(f"model layer {name!r} ({type(part).__name__}) {broken}, or leave the layer out.")
        trainable = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        if not trainable:
            raise PlanError(f"model must have trainable parameters, got {type(module).__name__} without any.")
        self.regularisation = float(regularisation)
        self._module = module
        self._names = [name for name, _ in trainable]
        self._shapes = [tuple(p.shape) for _, p in trainable]
        self._own = {name: p.detach().to(torch.float64).numpy(force=True) for name, p in trainable}
        frozen = [(name, p.detach()) for name, p in module.named_parameters() if not p.requires_grad]
        self._fixed = dict([*frozen, *module.named_buffers()])

    @property
    def size(self) -> int:
        """Number of parameters P."""
        return sum(math.prod(shape) for shape in self._shapes)

    @property
    def description(self) -> str:
        """The model in words."""
        layers = " · ".join(str(part) for part in self._module.modules() if not list(part.children()))
        return f"{type(self._module).__name__} ({layers}), {self.size} parameters"

    @cached_property
    def _smoothness(self) -> Smoothness:
        return smoothness(self._module)

    @property
    def kinks(self) -> tuple[str, ...]:
        """Layers and operations known not to be three times differentiable, as "1 (ReLU)"."""
        return self._smoothness.kinks

    @property
    def smooth(self) -> bool:
        """False where a layer is known to have a kink; True says that none is known, not that there is none."""
        return not self.kinks

    @property
    def smoothness_note(self) -> str:
        """What has a kink; or that none is known, and of which layers that is all that can be said."""
        return self._smoothness.note

    @cached_property
    def _width(self) -> int | None:
        """Inputs of the first layer where it is a linear one; None where only a forward pass can tell."""
        first: nn.Module | None = self._module
        while type(first) is nn.Sequential:
            first = next(iter(first), None)
        if isinstance(first, nn.Linear) and not first._forward_pre_hooks:
            return first.in_features
        return None

    def initial(self, generators: Sequence[np.random.Generator]) -> Tensor:
        """Weights uniform in ±1/√fan_in, biases zero; [K, P], float64."""
        return torch.from_numpy(np.stack([self._initial_of_one(generator) for generator in generators]))

    def _initial_of_one(self, generator: np.random.Generator) -> np.ndarray:
        pieces = []
        for name, shape in zip(self._names, self._shapes, strict=True):
            if len(shape) >= 2:
                bound = 1 / math.sqrt(math.prod(shape[1:]))
                pieces.append(generator.uniform(-bound, bound, math.prod(shape)))
            elif name.endswith("bias"):
                pieces.append(np.zeros(math.prod(shape)))
            else:
                pieces.append(self._own[name].ravel())
        return np.concatenate(pieces)

    def logits(self, flat: Tensor, features: Tensor) -> Tensor:
        """Logits [n, c] of one replica's parameters [P]."""
        parameters, start = {name: _as(value, flat) for name, value in self._fixed.items()}, 0
        for name, shape in zip(self._names, self._shapes, strict=True):
            stop = start + math.prod(shape)
            parameters[name] = flat[start:stop].view(shape)
            start = stop
        try:
            out = functional_call(self._module, parameters, (features,))
        except RuntimeError as error:
            if "random" not in str(error):
                raise
            raise PlanError(
                f"model {type(self._module).__name__} must draw no random numbers, or the loss is no function of the "
                "parameters, but its forward does. Leave dropout out of it, or pass training=self.training to it and "
                "call .eval() on the module."
            ) from error
        return out if isinstance(out, Tensor) else out[0]

    def record_losses(self, flat: Tensor, features: Tensor, labels: Tensor) -> Tensor:
        """Loss of each record with its regulariser, [B], for one replica."""
        loss = torch.nn.functional.cross_entropy(self.logits(flat, features), labels, reduction="none")
        return loss + 0.5 * self.regularisation * flat.square().sum()

    def at(self, parameters: Tensor, features: Tensor, labels: Tensor) -> Point:
        """The objective at parameters [K, P] on records features [K, B, …], labels [K, B].

        Raises:
            ShapeMismatch: the parameters are not [K, P], or records are not as wide as a first linear layer.
        """
        if parameters.shape[-1] != self.size:
            raise ShapeMismatch("parameters", [parameters.shape[0], self.size], list(parameters.shape))
        if self._width not in (None, features.shape[-1]):
            raise ShapeMismatch("features", [*features.shape[:-1], self._width], list(features.shape))
        return _NetworkPoint(self, parameters, features, labels)

    def predict(self, parameters: Tensor, features: Tensor) -> Tensor:
        """Predicted class, [K, n]."""
        with torch.no_grad():
            return torch.stack([self.logits(flat, features).argmax(-1) for flat in parameters])

    def constants(self, norm_upper: float | None) -> Constants | None:
        """None: no constant of a network is proved here."""
        return None


def _as(value: Tensor, like: Tensor) -> Tensor:
    return value.to(like.device, like.dtype if value.is_floating_point() else value.dtype)


class _NetworkPoint:
    def __init__(self, network: Network, parameters: Tensor, features: Tensor, labels: Tensor) -> None:
        self._network, self._at = network, (parameters, features, labels)

    def _weighted(self, flat: Tensor, features: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        return (self._network.record_losses(flat, features, labels) * weights).sum()

    def losses(self) -> Tensor:
        found: Tensor = vmap(self._network.record_losses)(*self._at)
        return found

    def gradient(self, weights: Tensor) -> Tensor:
        found: Tensor = vmap(grad(self._weighted))(*self._at, weights)
        return found

    def gradients(self, weights: Tensor) -> Tensor:
        found: Tensor = vmap(vmap(grad(self._weighted), in_dims=(None, None, None, 0)))(*self._at, weights)
        return found

    def hvp(self, weights: Tensor, vectors: Tensor) -> Tensor:
        # reverse over reverse: the gradient's graph is built once and serves all vectors, in blocks that fit the cache
        at, features, labels = self._at
        replicas, count, size = vectors.shape
        if count == 1:  # one product needs no batching rule
            with torch.enable_grad():
                point = at.detach().requires_grad_()
                total = (vmap(self._network.record_losses)(point, features, labels) * weights).sum()
                (along,) = torch.autograd.grad(total, point, create_graph=True)
            return torch.autograd.grad(along, point, vectors[:, 0])[0].unsqueeze(1)
        block = count if at.is_cuda else max(1, _CACHED // (replicas * size))

        def products(flat: Tensor, x: Tensor, y: Tensor, own: Tensor, columns: Tensor) -> Tensor:
            pull = vjp(lambda w: grad(self._weighted)(w, x, y, own), flat)[1]
            parts = [columns[start : start + block] for start in range(0, count, block)]
            return torch.cat([vmap(lambda column: pull(column)[0])(part) for part in parts])

        if replicas == 1:
            return products(at[0], features[0], labels[0], weights[0], vectors[0]).unsqueeze(0)
        # vmap stays outside: inside a derivative of a derivative it gives wrong numbers for layer norm (torch 2.13)
        found: Tensor = vmap(products)(at, features, labels, weights, vectors)
        return found
