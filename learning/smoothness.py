"""Which layers of a module bend smoothly: on the list, known to have a kink, or not known.

A certificate that speaks of a Lipschitz Hessian needs a loss that is three times differentiable in the parameters. No
program can prove that of a module, so three answers are kept apart: a layer on the list of smooth ones, a layer known
to have a kink, and everything else, which is *unknown* and never counted as smooth.

A module with a `forward` of its own is traced by `torch.fx`, and the operations met are looked up in the same way. One
that cannot be traced is unknown.
"""

import operator
from collections.abc import Iterator
from dataclasses import dataclass

from torch import fx, nn
from torch.nn.modules import dropout, instancenorm

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_NORMALISATIONS = (
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm, nn.GroupNorm, nn.LocalResponseNorm),
    *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
)
_POOLS = (
    *(nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
)
_ACTIVATIONS = (
    *(nn.Tanh, nn.Sigmoid, nn.Softplus, nn.GELU, nn.SiLU, nn.Mish, nn.LogSigmoid, nn.Tanhshrink, nn.GLU),
    *(nn.Softmax, nn.Softmax2d, nn.Softmin, nn.LogSoftmax),
)
_PLUMBING = (
    *(nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict, nn.Identity),
    *(nn.Flatten, nn.Unflatten, nn.Fold, nn.Unfold, nn.PixelShuffle, nn.PixelUnshuffle, nn.Upsample),
    *(nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d, nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d),
    *(nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout),  # in eval
)
_SMOOTH = (
    *(nn.Linear, nn.Bilinear, nn.Embedding, nn.RNN, nn.LSTM, nn.GRU, nn.RNNCell, nn.LSTMCell, nn.GRUCell),
    *(nn.MultiheadAttention, *_CONVOLUTIONS, *_NORMALISATIONS, *_POOLS, *_ACTIVATIONS, *_PLUMBING),
)
# a jump in the first derivative, or in the second (ELU with α = 1, CELU, Softsign): no Lipschitz Hessian
_KINKED = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU, nn.Threshold, nn.Softsign),
    *(nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Hardshrink, nn.Softshrink),
    *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.MaxUnpool1d, nn.MaxUnpool2d, nn.MaxUnpool3d),
    *(nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d),
    *(nn.FractionalMaxPool2d, nn.FractionalMaxPool3d, nn.LPPool1d, nn.LPPool2d, nn.LPPool3d),
)
_WHOLE_SOFTPLUS = 20.0  # torch's softplus is the identity beyond; below that threshold the jump is no rounding

_KINKED_OPERATIONS = frozenset(
    "relu relu6 leaky_relu prelu rrelu elu celu selu threshold softsign hardtanh hardswish hardsigmoid hardshrink "
    "softshrink abs absolute max min amax amin maximum minimum fmax fmin clamp clamp_min clamp_max clip max_pool1d "
    "max_pool2d max_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d fractional_max_pool2d "
    "fractional_max_pool3d lp_pool1d lp_pool2d lp_pool3d sort topk kthvalue median sign round floor ceil trunc fmod "
    "remainder heaviside".split()
)
_SMOOTH_OPERATIONS = frozenset(
    "add iadd radd sub isub rsub mul imul rmul neg pos matmul mm bmm mv addmm baddbmm dot einsum linear bilinear "
    "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d tanh sigmoid softplus gelu silu mish "
    "logsigmoid softmax log_softmax softmin logsumexp layer_norm group_norm exp sin cos erf square sum mean view "
    "reshape view_as reshape_as flatten unflatten ravel permute transpose swapaxes movedim t contiguous clone "
    "unsqueeze squeeze expand expand_as repeat cat concat stack chunk split unbind narrow select index_select getitem "
    "getattr size dim numel avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d "
    "adaptive_avg_pool3d embedding scaled_dot_product_attention float double".split()
)
_BY_A_NUMBER = frozenset("div truediv itruediv true_divide".split())  # smooth where the divisor is a number


@dataclass(frozen=True, slots=True)
class Smoothness:
    """What is known of a module.

    Attributes:
        kinks: layers and operations that are known not to be three times differentiable, as "1 (ReLU)".
        unknown: layers and operations on neither list.
    """

    kinks: tuple[str, ...]
    unknown: tuple[str, ...]

    @property
    def note(self) -> str:
        """One line for people: what has a kink, or that none is known, and what is not known."""
        if self.kinks:
            return f"not three times differentiable: {_listing('layer', self.kinks)}"
        if self.unknown:
            return f"no known kink; whether there is one is unknown of {_listing('layer', self.unknown)}"
        return "no known kink: every layer is on the list of smooth ones"


def smoothness(module: nn.Module) -> Smoothness:
    """Look every layer up, and trace what has a forward of its own."""
    kinks: list[str] = []
    unknown: list[str] = []
    own: list[str] = []
    for name, part in module.named_modules():
        label = f"{name} ({type(part).__name__})" if name else type(part).__name__
        if _has_kink(part):
            kinks.append(label)
        elif _has_hooks(part):
            unknown.append(label)
        elif not _is_listed(part):
            (unknown if type(part).__module__.startswith("torch.") else own).append(label)
    if own:
        operations = _operations(module)
        if operations is None:
            unknown += own
        else:
            found = list(dict.fromkeys(operations))
            kinks += [where for where, smooth in found if smooth is False]
            unknown += [where for where, smooth in found if smooth is None]
    return Smoothness(tuple(kinks), tuple(unknown))


def _listing(noun: str, names: tuple[str, ...], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{noun}{'s' if len(names) > 1 else ''} {', '.join(names[:most])}{more}"


def _has_kink(part: nn.Module) -> bool:
    if isinstance(part, (nn.RNNBase, nn.RNNCell)):
        return getattr(part, "mode", getattr(part, "nonlinearity", "")) in ("RNN_RELU", "relu")
    if isinstance(part, (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)):
        return getattr(part.activation, "__name__", "") in _KINKED_OPERATIONS
    if isinstance(part, nn.Softplus):
        return part.threshold < _WHOLE_SOFTPLUS
    if isinstance(part, nn.Embedding):
        return part.max_norm is not None
    return isinstance(part, _KINKED)


def _has_hooks(part: nn.Module) -> bool:
    """Whether something else than the class's forward runs too: a hook may compute anything."""
    return bool(part._forward_hooks or part._forward_pre_hooks or "forward" in vars(part))


def _is_listed(part: nn.Module) -> bool:
    """Whether the layer is a smooth one, or inherits from it and keeps its forward."""
    return any(isinstance(part, kind) and type(part).forward is kind.forward for kind in _SMOOTH)


def _operations(module: nn.Module) -> list[tuple[str, bool | None]] | None:
    """Operations outside layers with whether they are smooth (None: not known), or None where tracing fails."""
    try:
        return list(_traced(module))
    except Exception:  # noqa: BLE001  anyone's forward runs here, on symbols; that it cannot is an answer
        return None


def _traced(module: nn.Module) -> Iterator[tuple[str, bool | None]]:
    for node in fx.Tracer().trace(module).nodes:
        if node.op not in ("call_function", "call_method"):
            continue
        name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
        plain, where = name.rstrip("_"), f"{name} in {_inside(node, module)}"
        if plain == "softplus" and _given(node, 2, "threshold", _WHOLE_SOFTPLUS) < _WHOLE_SOFTPLUS:
            yield where, False
        elif plain in _KINKED_OPERATIONS or node.target in (operator.floordiv, operator.mod):
            yield where, False
        elif plain in _BY_A_NUMBER:
            yield where, True if isinstance(node.args[-1], (int, float)) else None
        elif plain == "pow":
            power = node.args[-1]
            yield where, True if isinstance(power, int) and power >= 0 else None
        else:
            yield where, True if plain in _SMOOTH_OPERATIONS else None


def _inside(node: fx.Node, module: nn.Module) -> str:
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    name, kind = stack[-1] if stack else ("", type(module))
    kind_name = getattr(kind, "__name__", str(kind))
    return f"{name} ({kind_name})" if name else kind_name


def _given(node: fx.Node, place: int, name: str, default: float) -> float:
    value = node.kwargs.get(name, node.args[place] if len(node.args) > place else default)
    return float(value) if isinstance(value, (int, float)) else 0.0


def draws_or_keeps_statistics(part: nn.Module) -> str | None:
    """Why the loss of a record at given parameters is no function of them alone; None where it is."""
    training = "is in training mode, so the loss is no function of the parameters. Call .eval() on the module"
    if isinstance(part, (nn.FractionalMaxPool2d, nn.FractionalMaxPool3d)):
        return "draws random numbers, so the loss is no function of the parameters. Pool by averages"
    if isinstance(part, nn.modules.batchnorm._BatchNorm) and not part.training and part.running_mean is None:
        return "takes the statistics of the batch, so that a record's loss depends on the others. Use a group norm"
    draws = isinstance(part, (dropout._DropoutNd, nn.RReLU))
    draws = draws or (isinstance(part, (nn.RNNBase, nn.MultiheadAttention)) and part.dropout > 0)
    keeps = isinstance(part, nn.modules.batchnorm._BatchNorm)
    keeps = keeps or (isinstance(part, instancenorm._InstanceNorm) and part.track_running_stats)
    return training if part.training and (draws or keeps) else None
