"""The device and dtype of a run, without torch where they are known: importing it takes seconds."""

from __future__ import annotations

import sys
from pathlib import Path

from ifdkit.errors import UsageError

CPU_DTYPE = "float32"
"""What `auto` is on a CPU."""
_DEVICE_FILES = ("nvidiactl", "nvidia0", "nvmap", "nvhost-ctrl", "kfd", "dxg")
"""In /dev on Linux, if a driver that torch can use is loaded: NVIDIA's, AMD's, or that of WSL."""


def resolve_device_and_dtype(device: str, dtype: str) -> tuple[str, str]:
    """What `--device` and `--dtype` stand for on this machine.

    Raises UsageError for a device that this machine does not have.
    """
    if device == "cpu" or (device == "auto" and not _may_have_accelerator()):
        return "cpu", CPU_DTYPE if dtype == "auto" else dtype
    found = resolve_device(device)
    return found, resolve_dtype(dtype, found)


def resolve_device(device: str) -> str:
    """The device to use: `auto` becomes cuda, else mps, else cpu.

    Raises UsageError for a device that this machine does not have.
    """
    import torch

    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    kind, colon, index = device.partition(":")
    number = int(index) if index.isdecimal() else 0
    available = {
        "cpu": not colon,
        "cuda": torch.cuda.is_available()
        and number < torch.cuda.device_count()
        and (not colon or index.isdecimal()),
        "mps": torch.backends.mps.is_available() and not colon,
    }
    if not available.get(kind):
        raise UsageError(
            f"--device {device} is not available; this machine has {resolve_device('auto')}"
        )
    return device


def resolve_dtype(dtype: str, device: str) -> str:
    """The dtype to use: `auto` becomes float32, or a 16-bit dtype on CUDA.

    On CUDA, 16 bits are several times faster; on a CPU at most twice, which is not worth their
    rounding error.  bfloat16 has the range of float32; devices that only emulate it get float16.
    """
    if dtype != "auto":
        return dtype
    if not device.startswith("cuda"):
        return CPU_DTYPE
    import torch

    return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"


def _may_have_accelerator() -> bool:
    """False only if torch cannot find a device other than the CPU."""
    return sys.platform != "linux" or any(Path("/dev", name).exists() for name in _DEVICE_FILES)
