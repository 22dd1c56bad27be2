"""The device and dtype of a run, without torch where they are known: importing it takes seconds."""

from __future__ import annotations

import sys
from pathlib import Path

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
    from ifdkit.engine.huggingface import resolve_device, resolve_dtype

    found = resolve_device(device)
    return found, resolve_dtype(dtype, found)


def _may_have_accelerator() -> bool:
    """False only if torch cannot find a device other than the CPU."""
    return sys.platform != "linux" or any(Path("/dev", name).exists() for name in _DEVICE_FILES)
