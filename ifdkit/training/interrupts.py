"""Ctrl-C during training: the step ends, a checkpoint is saved, and then the run stops."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ifdkit.scoring.progress import Progress


@contextmanager
def interrupts(progress: Progress) -> Iterator[Callable[[], bool]]:
    """Inside the block, SIGINT and SIGTERM only set what the yielded function returns.

    A second signal interrupts at once; then the last checkpoint is where the run resumes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False  # only the main thread may set handlers
        return
    is_set = False
    before: dict[int, Any] = {}

    def interrupt(*_: object) -> None:
        nonlocal is_set
        if is_set:
            raise KeyboardInterrupt
        is_set = True
        progress.note("finishing the step, then saving a checkpoint; Ctrl-C again stops at once")

    for one in (signal.SIGINT, signal.SIGTERM):
        before[one] = signal.signal(one, interrupt)
    try:
        yield lambda: is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
