"""`--group-by`: the groups of a dataset's rows, by one of its columns or by the input of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifdkit.data.dataset import Dataset
from ifdkit.data.where import judged_rows, suggestion
from ifdkit.errors import UsageError
from ifdkit.visible import one_line

FLAG = "--group-by"
SOURCE = "source"
"""The input of a row if there are several, else the column of that name."""
NO_GROUP = "(none)"
"""The group of rows without a value, and of rows that cannot be read."""
MAX_GROUPS = 200
_MAX_CHARACTERS = 100


@dataclass(frozen=True, eq=False)
class RowGroups:
    """The group of every row."""

    column: str
    names: Sequence[str]
    """The groups, NO_GROUP first."""
    codes: NDArray[np.int32]
    """The place among the names of the group of each row of the input, shape (rows,)."""

    def of(self, row: int) -> str:
        """The group of a row, by its 0-based position in the input."""
        return self.names[int(self.codes[row])]


def row_groups(dataset: Dataset, column: str) -> RowGroups:
    """The groups of a dataset's rows.

    Raises UsageError if no row has the column, if a value of it is a list or an object, or if there
    are more than MAX_GROUPS groups.
    """
    names: dict[str, int] = {NO_GROUP: 0}
    codes = np.zeros(dataset.n_rows_in_all, np.int32)
    if column == SOURCE and dataset.has_sources:
        for row in dataset.rows:
            codes[row] = names.setdefault(dataset.source_of(row) or "", len(names))
        return RowGroups(column, list(names), codes)
    keys: dict[str, None] = {}
    groups: set[str] = set()
    for raw in judged_rows(dataset):
        if column not in raw.value:
            if not groups and len(keys) < MAX_GROUPS:
                keys.update(dict.fromkeys(map(str, raw.value)))
            continue
        name = _name(raw.value[column], column, dataset.name)
        codes[raw.row] = names.setdefault(name, len(names))
        groups.add(name)
        if len(groups) > MAX_GROUPS:
            raise UsageError(
                f"{FLAG} {column}: {dataset.name} has more than {MAX_GROUPS} different values of"
                " it: name a column with few"
            )
    if not groups:
        raise UsageError(
            f"{FLAG}: no row of {dataset.name} has a column {column[:80]!r}"
            f" ({suggestion(column, list(keys))})"
        )
    return RowGroups(column, list(names), codes)


def _name(value: Any, column: str, dataset: str) -> str:
    """A value of the column as the name of a group. Raises UsageError."""
    if value is None or value == "":
        return NO_GROUP
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (str, int, float)):
        return one_line(str(value), _MAX_CHARACTERS)
    raise UsageError(
        f"{FLAG} {column}: {dataset} has a {type(value).__name__} there: name a column of texts or"
        " numbers"
    )
