"""The machine that a figure was measured on, in words."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def machine() -> str:
    """Processor, number of cores, versions of Python and torch, GPU if there is one."""
    import torch

    names = [
        line.split(":", 1)[1].strip() for line in _cpu_lines() if line.startswith("model name")
    ]
    processor = names[0] if names else platform.processor() or platform.machine()
    parts = [processor, f"{os.cpu_count()} cores", f"Python {platform.python_version()}",
             f"torch {torch.__version__}"]  # fmt: skip
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join(parts)


def _cpu_lines() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def load() -> float:
    """Load average over the last minute: processes that run or wait for a core; 0 if unknown."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def governor() -> str:
    """The frequency governor of the first core, in words."""
    file = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    try:
        return f"governor {file.read_text(encoding='utf-8').strip()}"
    except OSError:
        return "governor not visible"
