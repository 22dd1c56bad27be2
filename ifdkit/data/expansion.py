"""How far a file may expand while it is read: the limits of all readers.

The time and memory of a run are bounded by the size of its input.  A compressed file, or a Parquet
file, can break that: 10 KB can contain a hundred million empty rows.  Each limit is a multiple of
the size on disk and starts at a size that every machine can handle.  An uncompressed text cannot
exceed them.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ifdkit.errors import InputError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_RATIO = 50
"""Decompressed bytes per byte. JSON Lines of real datasets expand 3 to 20 times; those that repeat
a long prompt in each row, or a row, further."""
FREE_BYTES, MAX_BYTES_RATIO = 2**29, 1000
"""Bytes that it may have beyond MAX_RATIO, and per byte of its size: the larger one counts."""
FREE_MARKS, MAX_MARKS_RATIO = 2_000_000, 20
"""Line breaks, commas, quotes and brackets that it may have beyond MAX_RATIO, in all and per byte.
Each can be a row, a line or a value, which takes 1,000 times as long as a byte of a text."""
_MARKS = b'\n,"[]{}'
_BUFFER_BYTES = 2**17
MAX_TEXT_BYTES, MAX_TEXT_RATIO = 2**30, 1000
"""Bytes that the values of a Parquet or Arrow file may take, in all and per byte of the file: the
larger one counts. Its columns may refer to a few long texts."""
MAX_ROWS, MAX_ROWS_RATIO = 1_000_000, 4
"""The same of its rows. A row with a text of its own takes more than a byte."""
MAX_VALUES, MAX_VALUES_RATIO = 2**24, 100
"""The same of its cells and the values in their lists: a mask of ones takes hardly any space."""
_ADVICE = "write it as JSON Lines if that is right"


def bounded(stream: BinaryIO, path: Path, n_bytes: int) -> BinaryIO:
    """The decompressed bytes of a file of `n_bytes`.

    Reading raises InputError once they are more than the limits allow.
    """
    return io.BufferedReader(_Bounded(stream, path, n_bytes), _BUFFER_BYTES)


class _Bounded(io.RawIOBase):
    """Counts the bytes that are read, and beyond MAX_RATIO the marks."""

    def __init__(self, stream: BinaryIO, path: Path, n_bytes: int) -> None:
        super().__init__()
        self._stream, self._path = stream, path
        self._n_left = MAX_RATIO * n_bytes
        """Bytes up to MAX_RATIO; negative beyond it."""
        self._max_beyond = max(FREE_BYTES, (MAX_BYTES_RATIO - MAX_RATIO) * n_bytes)
        self._max_marks = max(FREE_MARKS, MAX_MARKS_RATIO * n_bytes)
        self._n_marks = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        data = self._stream.read(len(view))
        view[: len(data)] = data
        self._n_left -= len(data)
        if self._n_left < 0:
            self._check(data[self._n_left :] if -self._n_left < len(data) else data)
        return len(data)

    def _check(self, beyond: bytes) -> None:
        self._n_marks += len(beyond) - len(beyond.translate(None, _MARKS))
        if self._n_marks > self._max_marks:
            what = f"{self._max_marks:,} line breaks, commas, quotes and brackets"
        elif -self._n_left > self._max_beyond:
            what = f"{self._max_beyond:,} bytes"
        else:
            return
        raise InputError(
            f"{self._path}: expands to more than {MAX_RATIO} times its size and {what}:"
            " decompress it first if that is right"
        )


class ExpandedTables:
    """Checks what is found in a Parquet or Arrow file against the limits for a file of its size."""

    def __init__(self, path: Path) -> None:
        self._path, size = path, path.stat().st_size
        self._max_bytes = max(MAX_TEXT_BYTES, MAX_TEXT_RATIO * size)
        self._max_rows = max(MAX_ROWS, MAX_ROWS_RATIO * size)
        self._max_values = max(MAX_VALUES, MAX_VALUES_RATIO * size)

    def check_texts(self, n_bytes: int) -> None:
        """Raise InputError if the values take more bytes than the size of the file allows."""
        if n_bytes > self._max_bytes:
            raise InputError(
                f"{self._path}: its texts take more than {self._max_bytes:,} bytes,"
                f" {MAX_TEXT_RATIO:,} times its size: {_ADVICE}"
            )

    def check_counts(self, n_rows: int, n_values: int) -> None:
        """Raise InputError if there are more rows or values than the size of the file allows."""
        for count, what, limit, ratio in (
            (n_rows, "rows", self._max_rows, MAX_ROWS_RATIO),
            (n_values, "values", self._max_values, MAX_VALUES_RATIO),
        ):
            if count > limit:
                raise InputError(
                    f"{self._path}: has more than {limit:,} {what}, {ratio} per byte of its size:"
                    f" {_ADVICE}"
                )
