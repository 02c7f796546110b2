"""Any torch.nn.Module as an objective on the replica axis, through torch.func."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vjp, vmap

from unlearning.errors import PlanError

from .objectives import Constants, Point

_NOT_SMOOTH = (nn.ReLU, nn.LeakyReLU, nn.ReLU6, nn.Hardtanh, nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
_CACHED = 2**19  # numbers of a block of vectors that stay in a core's cache
_STATEFUL = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm)


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
            if isinstance(part, _STATEFUL) and part.training:
                raise PlanError(
                    f"model layer {name!r} ({type(part).__name__}) is in training mode, so the loss is no function of "
                    "the parameters. Call .eval() on the module, or leave the layer out."
                )
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

    @property
    def smooth(self) -> bool:
        """False where a layer is known to have a kink (rectifiers, max pooling)."""
        return not any(isinstance(part, _NOT_SMOOTH) for part in self._module.modules())

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
        out = functional_call(self._module, parameters, (features,))
        return out if isinstance(out, Tensor) else out[0]

    def record_losses(self, flat: Tensor, features: Tensor, labels: Tensor) -> Tensor:
        """Loss of each record with its regulariser, [B], for one replica."""
        loss = torch.nn.functional.cross_entropy(self.logits(flat, features), labels, reduction="none")
        return loss + 0.5 * self.regularisation * flat.square().sum()

    def at(self, parameters: Tensor, features: Tensor, labels: Tensor) -> Point:
        """The objective at parameters [K, P] on records features [K, B, …], labels [K, B]."""
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
