"""Standard streams that cannot change the result of a command, nor the state of a terminal.

A pipe whose reader has left, a full device or a closed descriptor must not turn a failed gate into
a passed one, or an error into a failed gate: what cannot be printed is dropped and reported, and
the exit code stays that of the result.

Everything that is printed comes through here, also names of files, ids and the words of servers.
So control characters are escaped here and not by each caller; only what a console has rendered may
contain the console's own.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from ifdkit.visible import masked, visible


class SafeStream:
    """A text stream whose writes never raise; `problem` says what went wrong first."""

    def __init__(self, stream: TextIO | None, descriptor: int) -> None:
        self.problem: str | None = None
        self._descriptor = descriptor
        if stream is None:  # Python found the descriptor closed
            self.problem = "it is closed"
            stream = open(os.devnull, "w")  # noqa: PTH123, SIM115  lives as long as the process
        self._stream = stream

    @property
    def rendered(self) -> RenderedStream:
        """The stream for a console that escapes texts itself, and adds its own control codes."""
        return RenderedStream(self)

    def write(self, text: str) -> int:
        """Write with control characters escaped, or drop the text once a write has failed."""
        shown = visible(text)
        self.write_rendered(masked(shown) if self._descriptor == 2 else shown)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each of the lines."""
        for line in lines:
            self.write(line)

    def write_rendered(self, text: str) -> int:
        """Write as it is, or drop the text once a write has failed."""
        try:
            return self._stream.write(text)
        except (OSError, ValueError) as error:
            self._fail(error)
            return len(text)

    def flush(self) -> None:
        """Write what is buffered."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._fail(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _fail(self, error: OSError | ValueError) -> None:
        is_left = isinstance(error, OSError) and error.errno in (errno.EPIPE, errno.ESHUTDOWN)
        if self.problem is None and not is_left:
            self.problem = str(getattr(error, "strerror", None) or error)
        # The buffer still has the text.  Without another target for it the interpreter would fail
        # to flush it at exit, and end with code 120.
        with suppress(OSError, ValueError):
            if self._stream.fileno() == self._descriptor:
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self._descriptor)
                os.close(null)


class RenderedStream:
    """A SafeStream that does not escape what is written."""

    def __init__(self, stream: SafeStream) -> None:
        self._safe = stream
        self.write = stream.write_rendered

    def __getattr__(self, name: str) -> Any:
        return getattr(self._safe, name)


def fill_descriptors() -> None:
    """Point closed standard descriptors at the null device.

    Otherwise the next file that is opened, such as the store, gets the number 1 or 2, and what a
    library prints goes into it.
    """
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= 2:
        descriptor = os.open(os.devnull, os.O_RDWR)
    os.close(descriptor)


@contextmanager
def safe_streams() -> Iterator[None]:
    """Replace stdout and stderr inside the block; at its end a problem of stdout is reported."""
    before = sys.stdout, sys.stderr
    out, err = SafeStream(sys.stdout, 1), SafeStream(sys.stderr, 2)
    fill_descriptors()
    sys.stdout, sys.stderr = cast(TextIO, out), cast(TextIO, err)
    try:
        yield
    finally:
        out.flush()
        if out.problem is not None:
            err.write(f"ifdkit: stdout cannot be written, output is lost: {out.problem}\n")
        err.flush()
        sys.stdout, sys.stderr = before
