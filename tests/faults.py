"""Faults of the file system, injected under the one place that writes.

`ifdkit.data.atomic` reaches the disk through `os` alone.  `failing` replaces that module there with
one whose steps can fail; nothing else in the process sees it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from ifdkit.data import atomic

STEPS = ("open", "write", "fsync", "link", "replace", "rename", "unlink", "mkdir")


@dataclass
class FaultyOs:
    """`os`, in which the step of number `fails_at` raises `error`, and with `lasts` all later ones.

    With `kills`, the process is killed before that step.  With `short`, every write takes half of
    its data.  Syncing does nothing, which is fast.
    """

    fails_at: int | None = None
    error: int = 0
    lasts: bool = False
    kills: bool = False
    short: bool = False
    steps: list[str] = field(default_factory=list)
    """The steps so far."""

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in STEPS:
            return real

        def step(*arguments: Any, **options: Any) -> Any:
            number = len(self.steps)
            self.steps.append(name)
            if self.fails_at is not None and (
                number == self.fails_at or (self.lasts and number > self.fails_at)
            ):
                if self.kills:
                    os.kill(os.getpid(), signal.SIGKILL)
                raise OSError(self.error, os.strerror(self.error))
            if name == "fsync":
                return None
            if self.short and name == "write":
                descriptor, data = arguments
                return real(descriptor, memoryview(data)[: (len(data) + 1) // 2])
            return real(*arguments, **options)

        return step


@contextmanager
def failing(faulty: FaultyOs) -> Iterator[FaultyOs]:
    """Inject the faults in the block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(atomic, "os", faulty)
        yield faulty
