"""Files that can be read to an end: no pipe that waits, and no device that never ends."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def special_kind(mode: int) -> str | None:
    """What a file of this mode is, such as `a pipe`; None for a regular file or a folder."""
    return next((kind for check, kind in _KINDS if check(mode)), None)


def open_regular(path: str | os.PathLike[str]) -> BufferedReader:
    """Open a file for reading its bytes. Raises OSError, also if it is not a regular file.

    The name of a file may come from a settings file or an archive, and reading a pipe or a device
    may not end.
    """
    _check(os.stat(path).st_mode, path)  # noqa: PTH116  also of a descriptor's path
    # Without blocking, if the file was replaced by a pipe meanwhile.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    try:
        _check(os.fstat(descriptor).st_mode, path)
        return open(descriptor, "rb")  # noqa: PTH123  the caller closes it
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: str | os.PathLike[str], max_bytes: int) -> bytes:
    """The bytes of a file. Raises OSError as `open_regular`, and if there are more."""
    with open_regular(path) as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise OSError(errno.EFBIG, f"longer than {max_bytes:,} bytes", str(path))
    return data


def _check(mode: int, path: str | os.PathLike[str]) -> None:
    if kind := special_kind(mode):
        raise OSError(errno.EINVAL, f"it is {kind}, not a file", str(path))
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder, not a file", str(Path(path)))
