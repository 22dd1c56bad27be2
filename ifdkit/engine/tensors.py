"""Between numpy arrays and tensors on a device."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ifdkit.records import NLL


def to_device(array: NDArray[Any], device: torch.device) -> torch.Tensor:
    """A copy of an array on a device; on the CPU, a view of it."""
    # A blocking copy would wait for all that the GPU has queued, three times in every layer.
    # CUDA reads pageable memory before the call returns; MPS does not, and the array may be freed.
    return torch.from_numpy(array).to(device, non_blocking=device.type == "cuda")


def to_numpy(nats: torch.Tensor) -> NLL:
    """NLLs in nats as a float32 array in main memory."""
    return nats.cpu().numpy().astype(np.float32)


def entry_device(model: Any) -> torch.device:
    """Where a model takes its input.

    That of its first weight, unless accelerate keeps it on disk: then accelerate moves the input.
    """
    device: torch.device = model.device
    return torch.device("cpu") if device.type == "meta" else device
