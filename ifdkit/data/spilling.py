"""Columns that grow with a dataset: a short one is in memory, a long one in a temporary file.

It is a file without a name, so that a killed run leaves nothing behind.  An entry of a
`SpillingColumn` is read when it is asked for; 8 bytes per entry stay in memory.  `NumberColumns`
keep nothing per entry, and are read as a whole.
"""

from __future__ import annotations

import os
import pickle
import sys
import tempfile
import threading
import weakref
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TypeVar, overload

import numpy as np
from numpy.typing import NDArray

BYTES_IN_MEMORY = 2**25 if hasattr(os, "pread") else sys.maxsize
"""Size from which a column is moved to a file; never on Windows."""
_BLOCK_BYTES = 2**20
_ENTRIES_PER_READ = 512
NUMBERS_IN_MEMORY = 2**15 if hasattr(os, "pread") else sys.maxsize
"""Numbers of a column that wait to be written to the file of all columns: 256 KiB."""

_T = TypeVar("_T")


class SpillingColumn(Sequence[_T], ABC):
    """Entries that are appended once and read any number of times."""

    def __init__(self, entries: Iterable[_T] = ()) -> None:
        self._entries: list[_T] = []
        self._size = 0
        self._file: int | None = None
        """Descriptor."""
        self._pending: list[bytes] = []
        self._n_pending = 0
        self._lock = threading.Lock()
        self._stops = array("q", [0])
        for entry in entries:
            self.append(entry)

    @abstractmethod
    def encode(self, entry: _T) -> bytes:
        """An entry as bytes."""

    @abstractmethod
    def decode(self, content: bytes) -> _T:
        """The entry that was encoded."""

    @abstractmethod
    def size(self, entry: _T) -> int:
        """About how many bytes an entry takes in memory."""

    def append(self, entry: _T) -> None:
        """Add one entry."""
        if self._file is not None:
            self._write(entry)
            return
        self._entries.append(entry)
        self._size += self.size(entry)
        if self._size > BYTES_IN_MEMORY:
            self._file = _unnamed_file()
            weakref.finalize(self, os.close, self._file)
            for one in self._entries:
                self._write(one)
            self._entries = []

    def _write(self, entry: _T) -> None:
        content = self.encode(entry)
        self._stops.append(self._stops[-1] + len(content))
        self._pending.append(content)
        self._n_pending += len(content)
        if self._n_pending >= _BLOCK_BYTES:
            self._flush()

    def _flush(self) -> int:
        assert self._file is not None
        if not self._pending:
            return self._file
        with self._lock:
            _write_all(self._file, b"".join(self._pending))
            self._pending, self._n_pending = [], 0
        return self._file

    def __len__(self) -> int:
        return len(self._entries) if self._file is None else len(self._stops) - 1

    @overload
    def __getitem__(self, index: int) -> _T: ...
    @overload
    def __getitem__(self, index: slice) -> list[_T]: ...
    def __getitem__(self, index: int | slice) -> _T | list[_T]:
        if isinstance(index, slice):
            begin, end, step = index.indices(len(self))
            if step == 1 and self._file is not None:
                return list(self._between(begin, end))
            return [self[i] for i in range(begin, end, step)]
        if self._file is None:
            return self._entries[index]
        i = int(index) + (len(self) if index < 0 else 0)
        if not 0 <= i < len(self):
            raise IndexError(index)
        return self.decode(_read(self._flush(), self._stops[i], self._stops[i + 1]))

    def __iter__(self) -> Iterator[_T]:
        return iter(self._entries) if self._file is None else self._between(0, len(self))

    def _between(self, begin: int, end: int) -> Iterator[_T]:
        """The entries [begin, end) of the file, read a block at a time."""
        stops, file = np.array(self._stops[begin : max(begin, end) + 1]), self._flush()
        first, n = 0, len(stops) - 1
        while first < n:
            # As many whole entries as fit into a block, and at least one.
            fits = int(np.searchsorted(stops, stops[first] + _BLOCK_BYTES, side="right")) - 1
            last = min(max(fits, first + 1), n)
            start = int(stops[first])
            block = _read(file, start, int(stops[last]))
            borders = (stops[first : last + 1] - start).tolist()
            yield from (self.decode(block[low:high]) for low, high in pairwise(borders))
            first = last


class TextColumn(SpillingColumn[str]):
    """Texts, also those with lone surrogates."""

    def encode(self, entry: str) -> bytes:
        """UTF-8."""
        return entry.encode("utf-8", "surrogatepass")

    def decode(self, content: bytes) -> str:
        """The text."""
        return content.decode("utf-8", "surrogatepass")

    def size(self, entry: str) -> int:
        """A character takes a byte or more."""
        return len(entry)


class HashColumn(SpillingColumn[NDArray[np.uint64]]):
    """Arrays of 64-bit hashes, each of its own length."""

    def encode(self, entry: NDArray[np.uint64]) -> bytes:
        """The bytes of the array."""
        return entry.tobytes()

    def decode(self, content: bytes) -> NDArray[np.uint64]:
        """The array, which cannot be written to."""
        return np.frombuffer(content, dtype=np.uint64)

    def size(self, entry: NDArray[np.uint64]) -> int:
        """The bytes of the array."""
        return entry.nbytes


class RecordColumn(SpillingColumn[_T]):
    """Records that can be pickled, such as dataclasses. Only this process reads the file."""

    def encode(self, entry: _T) -> bytes:
        """Its pickle."""
        return pickle.dumps(entry, pickle.HIGHEST_PROTOCOL)

    def decode(self, content: bytes) -> _T:
        """An equal record."""
        entry: _T = pickle.loads(content)
        return entry

    def size(self, entry: _T) -> int:
        """The bytes of its pickle."""
        return len(self.encode(entry))


class NumberColumns:
    """Named columns of float64 numbers of any length, which share one temporary file."""

    def __init__(self, names: Iterable[str]) -> None:
        self._pending = {name: array("d") for name in names}
        self._blocks: dict[str, list[tuple[int, int]]] = {name: [] for name in self._pending}
        """Where in the file the earlier numbers of a column are, as [start, stop) in bytes."""
        self._file: int | None = None
        self._end = 0

    def __iter__(self) -> Iterator[str]:
        return iter(self._pending)

    def extend(self, name: str, numbers: Iterable[float]) -> None:
        """Append numbers to a column."""
        pending = self._pending[name]
        pending.extend(numbers)
        if len(pending) < NUMBERS_IN_MEMORY:
            return
        if self._file is None:
            self._file = _unnamed_file()
            weakref.finalize(self, os.close, self._file)
        content = pending.tobytes()
        _write_all(self._file, content)
        self._blocks[name].append((self._end, self._end + len(content)))
        self._end += len(content)
        self._pending[name] = array("d")

    def numbers(self, name: str) -> NDArray[np.float64]:
        """All numbers of a column in their order, shape (n,)."""
        parts = [_read(self._file or 0, start, stop) for start, stop in self._blocks[name]]
        return np.frombuffer(b"".join([*parts, self._pending[name].tobytes()]), dtype=np.float64)


def _unnamed_file() -> int:
    """The descriptor of a file that ends with the process."""
    with tempfile.TemporaryFile(prefix="ifdkit-") as file:
        return os.dup(file.fileno())


def _write_all(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _read(descriptor: int, start: int, stop: int) -> bytes:
    """Bytes of a file, without moving the position that all its users share."""
    parts = []
    while start < stop:
        part = os.pread(descriptor, stop - start, start)
        assert part, "the file has all that was written to it"
        parts.append(part)
        start += len(part)
    return b"".join(parts)


class Chosen(Sequence[_T]):
    """The entries at some positions of a column, read when they are asked for."""

    def __init__(self, entries: Sequence[_T], positions: NDArray[np.int64]) -> None:
        self._entries, self._positions = entries, positions

    def __len__(self) -> int:
        return len(self._positions)

    @overload
    def __getitem__(self, index: int) -> _T: ...
    @overload
    def __getitem__(self, index: slice) -> Chosen[_T]: ...
    def __getitem__(self, index: int | slice) -> _T | Chosen[_T]:
        if isinstance(index, slice):
            return Chosen(self._entries, self._positions[index])
        return self._entries[int(self._positions[index])]

    def __iter__(self) -> Iterator[_T]:
        for start in range(0, len(self), _ENTRIES_PER_READ):
            block = self._positions[start : start + _ENTRIES_PER_READ]
            low, high = int(block.min()), int(block.max()) + 1
            if high - low <= 2 * len(block):  # read at once what lies together
                near = self._entries[low:high]
                yield from (near[position] for position in (block - low).tolist())
            else:
                yield from (self._entries[position] for position in block.tolist())
