"""One run per output: a lock file beside the output while it is being written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ifdkit.errors import OutputError

_RETRY_S = 0.1
"""A run that ends removes its lock file; who opened it just before must open the new one."""


@contextmanager
def output_lock(output: Path, *, timeout_s: float = _RETRY_S) -> Iterator[None]:
    """Lock an output, a file or a folder, against every other run inside the block.

    The operating system drops the lock of a killed process.  Raises OutputError if another run has
    not unlocked it after `timeout_s`, or if there can be no lock file in the folder.
    """
    from filelock import FileLock, Timeout

    path = output.parent / f".{output.name}.lock"
    lock = FileLock(path, poll_interval=0.01)
    try:
        lock.acquire(timeout=timeout_s)
    except Timeout:
        raise OutputError(
            f"{output} is being written by another run{_owner(path)}: wait for that run to end, or"
            " choose another output"
        ) from None
    except (OSError, NotImplementedError) as error:
        what = getattr(error, "strerror", None) or error
        raise OutputError(f"cannot write {output}: {what}") from error
    try:
        with suppress(OSError):
            path.write_text(str(os.getpid()))
        yield
    finally:
        # Removed while it is locked.  A run that has opened it but not locked it finds out that it
        # has no name any more, and opens another one.  Windows removes it on release.
        with suppress(OSError):
            path.unlink()
        lock.release()


def _owner(path: Path) -> str:
    """` (process 123)`; empty if the lock file does not say it, as on Windows."""
    with suppress(OSError, ValueError):
        return f" (process {int(path.read_text())})"
    return ""
