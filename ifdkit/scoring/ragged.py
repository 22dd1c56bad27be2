"""Arrays of different lengths in one array: the NLLs of the tokens of every response."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from ifdkit.records import NLL


class Ragged(Sequence["NLL | None"]):
    """Entry i is values[stops[i] : stops[i + 1]], or None if that is empty.

    A million lists of Python floats would need ten times the memory.
    """

    def __init__(self, values: NLL, lengths: NDArray[np.int64]) -> None:
        self._values = values
        self._stops = np.concatenate([[0], np.cumsum(lengths)])

    def __len__(self) -> int:
        return len(self._stops) - 1

    @overload
    def __getitem__(self, i: int) -> NLL | None: ...
    @overload
    def __getitem__(self, i: slice) -> list[NLL | None]: ...
    def __getitem__(self, i: int | slice) -> NLL | list[NLL | None] | None:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        if not 0 <= i < len(self):
            raise IndexError(i)
        start, stop = int(self._stops[i]), int(self._stops[i + 1])
        return self._values[start:stop] if stop > start else None

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of values of each entry, shape (entries,)."""
        return np.diff(self._stops)

    def unless_empty(self) -> Ragged | None:
        """The array; None if no entry has a value."""
        return self if self._stops[-1] else None

    def take(self, positions: NDArray[np.int64]) -> list[NLL | None]:
        """The entries at these positions; views, not copies."""
        return [self[i] for i in positions.tolist()]

    def copy_of(self, positions: NDArray[np.int64]) -> Ragged:
        """The entries at these positions alone."""
        lengths = self.lengths[positions]
        stops = np.cumsum(lengths)
        within = np.arange(lengths.sum()) - np.repeat(stops - lengths, lengths)
        return Ragged(self._values[np.repeat(self._stops[positions], lengths) + within], lengths)


class RaggedBuilder:
    """Collects entries one by one, using no more memory than their values."""

    def __init__(self) -> None:
        self._values, self._lengths = array("f"), array("q")

    def append(self, entry: NLL | None) -> None:
        """Add one entry; one with a value that is not finite is stored as None."""
        if entry is None or not np.isfinite(entry).all():
            self._lengths.append(0)
            return
        self._values.frombytes(np.ascontiguousarray(entry, dtype=np.float32).tobytes())
        self._lengths.append(len(entry))

    def finish(self) -> Ragged:
        """All entries, in order."""
        values = np.frombuffer(self._values, dtype=np.float32)
        return Ragged(values, np.frombuffer(self._lengths, dtype=np.int64))
