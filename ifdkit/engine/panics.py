"""Panics of libraries in Rust: an error of one line, without the lines that Rust prints.

A tokenizer panics where a regex of its file backtracks too often, or a table in it is damaged.
Rust then writes to the descriptor of standard error, whatever `sys.stderr` is, and raises an
exception that is not an Exception and whose class cannot be imported.
"""

from __future__ import annotations

import atexit
import logging
import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from ifdkit.errors import ModelError, brief

log = logging.getLogger(__name__)

_STDERR = 2
_PANIC = re.compile(rb"\n?thread [^\n]* panicked at ")


@contextmanager
def without_panic(*, is_quiet: bool = True) -> Iterator[None]:
    """Raise ModelError where Rust panics in the block.

    With `is_quiet` nothing is printed of it.  What others print to standard error meanwhile is
    shown at the end of the block, so it should be short.
    """
    caught: list[bool] = []
    if is_quiet:
        _CAPTURE.begin()
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        caught.append(True)
        raise ModelError(f"the tokenizer of the model fails: {brief(error)}") from error
    finally:
        if is_quiet:
            _CAPTURE.end(is_panic=bool(caught))


class _Capture:
    """Standard error in a file, while at least one thread asks for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_blocks = 0
        self._file: IO[bytes] | None = None
        self._pid = os.getpid()
        """The process that the file belongs to: one that is forked from it makes its own."""
        self._terminal = -1
        """Descriptor of the standard error that users see; -1 while nothing is captured."""

    def begin(self) -> None:
        with self._lock:
            if self._n_blocks == 0:
                self._redirect()
            self._n_blocks += 1

    def _redirect(self) -> None:
        try:
            self._terminal = os.dup(_STDERR)
        except OSError:  # it is closed
            return
        if self._file is None or self._pid != os.getpid():
            self._file = tempfile.TemporaryFile(prefix="ifdkit-", buffering=0)  # noqa: SIM115
            self._pid = os.getpid()
        os.dup2(self._file.fileno(), _STDERR)

    def end(self, *, is_panic: bool) -> None:
        with self._lock:
            self._n_blocks -= 1
            self._show(is_panic=is_panic)
            if self._n_blocks == 0:
                self._restore()

    def end_all(self) -> None:
        """Show what a thread that is still at work would show."""
        with self._lock:
            self._show(is_panic=False)
            self._restore()
            if self._file is not None:
                self._file.close()
                self._file = None

    def _show(self, *, is_panic: bool) -> None:
        if self._terminal < 0 or self._file is None:
            return
        written = self._take(self._file)
        if is_panic and (found := _PANIC.search(written)):
            log.debug("%s", written[found.start() :].decode(errors="replace"))
            written = written[: found.start()]
        _write(self._terminal, written)

    def _restore(self) -> None:
        if self._terminal >= 0:
            os.dup2(self._terminal, _STDERR)
            os.close(self._terminal)
            self._terminal = -1

    @staticmethod
    def _take(file: IO[bytes]) -> bytes:
        n_bytes = os.fstat(file.fileno()).st_size
        if not n_bytes:
            return b""
        file.seek(0)
        written = file.read(n_bytes)
        file.seek(0)
        file.truncate()
        return written


def _write(descriptor: int, data: bytes) -> None:
    """Write all of it; a standard error that is full or closed is nobody's loss."""
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except OSError as error:
        log.debug("standard error cannot be written: %s", error)


_CAPTURE = _Capture()
atexit.register(_CAPTURE.end_all)
