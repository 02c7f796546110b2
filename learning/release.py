"""Output perturbation: what most certified methods do last."""

import torch
from torch import Tensor

from unlearning.protocols import State
from unlearning.streams import Streams


def gaussian_release(state: State, noise_scale: float, *, streams: Streams) -> Tensor:
    """Parameters + N(0, σ²I), [K, P]; noise drawn on the CPU in float64, one stream per replica, then moved.

    Args:
        state: K replicas.
        noise_scale: σ ≥ 0, standard deviation per coordinate.
        streams: one independent stream per replica.

    Raises:
        ValueError: the noise scale is negative, or streams and replicas differ in number.
    """
    check_release(state, noise_scale, streams)
    parameters = state.parameters
    noise = torch.from_numpy(streams.normals("noise", parameters.shape[1])).to(parameters.device)
    return (parameters.to(torch.float64) + noise_scale * noise).to(parameters.dtype)


def check_release(state: State, noise_scale: float, streams: Streams) -> None:
    """Refuse a noise scale that is negative or no number, and streams of another number of replicas.

    Raises:
        ValueError: one of these.
    """
    if not noise_scale >= 0:
        raise ValueError(f"noise_scale must be >= 0, got {noise_scale}.")
    if len(streams) != state.parameters.shape[0]:
        raise ValueError(f"streams must hold {state.parameters.shape[0]} replicas, got {len(streams)}.")
