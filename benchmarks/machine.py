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
