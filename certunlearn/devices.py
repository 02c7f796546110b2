"""Which device a command computes on."""

from typing import TYPE_CHECKING

from unlearning.errors import PlanError

if TYPE_CHECKING:
    import torch


def chosen_device(name: str) -> "torch.device":
    """The device that `--device` asks for; auto: the GPU where there is one.

    Raises:
        PlanError: no such device.
    """
    import torch

    torch.set_num_threads(1)  # replicas are the parallel axis; threads inside an operation only get in each other's way
    if name not in ("auto", "cpu", "cuda"):
        raise PlanError(f"--device must be auto, cpu or cuda, got {name}.")
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise PlanError("--device must be one this machine has, got cuda; write --device cpu.")
    return torch.device("cuda" if available and name != "cpu" else "cpu")
