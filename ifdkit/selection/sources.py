"""Where the rows of a dataset come from, if one of its columns says so."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SOURCE_FIELDS = ("source", "data_source", "dataset", "subset", "category", "domain", "task")
"""Columns that name the source of a row; if there are several, the first in this order counts."""
_MAX_CHARACTERS = 100
"""A column with a longer text has no names."""
_MAX_NAMES = 1_000
NO_NAME = "(none)"


@dataclass(frozen=True, eq=False)
class Labels:
    """The source of every row."""

    field: str
    names: list[str]
    """In order of first occurrence."""
    codes: NDArray[np.int64]
    """Index into `names` of each row's source, shape (rows,)."""


class SourceColumns:
    """Reads the rows one by one, and finds the column that names their sources."""

    def __init__(self, used: Collection[str]) -> None:
        """`used`: columns that contain the texts themselves."""
        self._columns = {name: _Column() for name in SOURCE_FIELDS if name not in used}

    def add(self, row: Any) -> None:
        """Read the next row."""
        for name, column in self._columns.items():
            column.add(row.get(name) if isinstance(row, Mapping) else None)

    def labels(self) -> Labels | None:
        """The first column with at least two names; None if there is none."""
        for name, column in self._columns.items():
            if column.is_names and len(column.codes) > 1:
                return Labels(name, list(column.codes), np.array(column.rows, dtype=np.int64))
        return None


class _Column:
    def __init__(self) -> None:
        self.codes: dict[str, int] = {}
        """Name → its index."""
        self.rows = array("q")
        """Index of each row's name."""
        self.is_names = True
        """Whether all values so far are short texts, and few different ones."""

    def add(self, value: Any) -> None:
        if not self.is_names:
            return
        if value is None:
            value = NO_NAME
        is_name = isinstance(value, str) and len(value) <= _MAX_CHARACTERS
        if not is_name or len(self.codes) > _MAX_NAMES:
            self.is_names = False
            return
        self.rows.append(self.codes.setdefault(value, len(self.codes)))
