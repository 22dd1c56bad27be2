"""The groups of `--per`: each contributes its share of the rows that are kept.

`source` is the input of a row if there are several, else its column of that name; `cluster` is a
cluster of the embeddings; anything else is a column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifdkit.data.dataset import Dataset
from ifdkit.errors import UsageError
from ifdkit.selection.ranking import Column, Places, best_within
from ifdkit.selection.rows import Rows
from ifdkit.topics.model import fit
from ifdkit.topics.titles import titles

CLUSTER = "cluster"
SOURCE = "source"
MAX_GROUPS = 1_000
_MAX_CHARACTERS = 200
NO_VALUE = "(none)"
"""The group of rows without a value, or without an embedding."""


@dataclass(frozen=True, eq=False)
class Groups:
    """The group of every row."""

    names: Sequence[str]
    codes: Places
    """Index into `names`, shape (rows,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupShare:
    """One group, and how many of its rows are kept."""

    name: str
    rows: int
    candidates: int
    """Rows that can be ranked."""
    taken: int


def column_groups(dataset: Dataset, rows: Rows, field: str) -> Groups:
    """The groups by a column, in order of first occurrence.

    Raises UsageError if no row has the column, if a value is no short text or number, or if there
    are more than MAX_GROUPS.
    """
    wanted = set(rows.positions.tolist())
    is_input = field == SOURCE and dataset.has_sources
    names: dict[str, int] = {}
    codes, others, is_there = [], dict[str, None](), is_input
    for raw in dataset.raw_rows():
        if raw.row not in wanted:
            continue
        if is_input:
            value: Any = dataset.source_of(raw.row)
        else:
            is_object = isinstance(raw.value, Mapping)
            is_there = is_there or (is_object and field in raw.value)
            value = raw.value.get(field) if is_object else None
            if not is_there and is_object:
                others.update(dict.fromkeys(map(str, raw.value)))
        codes.append(names.setdefault(_name(value, field, raw.row), len(names)))
        if len(names) > MAX_GROUPS:
            raise UsageError(
                f"--per {field}: {dataset.name} has more than {MAX_GROUPS:,} different values of"
                " it: name a column with few, or `cluster`"
            )
    if not is_there:
        raise UsageError(f"--per {field}: {_no_column(dataset.name, field, list(others))}")
    return Groups(list(names), np.array(codes, dtype=np.int64))


def cluster_groups(texts: Sequence[str], vectors: NDArray[np.float32], seed: int) -> Groups:
    """The groups by cluster, named by their words; rows without an embedding are a group.

    Raises UsageError if there are too few different rows to form clusters.
    """
    model = fit(vectors, seed=seed)
    if model is None:
        raise UsageError("--per cluster: there are too few different rows for clusters")
    labels = model.labels(vectors)
    n = len(model.centres)
    found = titles(texts, labels, n)
    return Groups([*found, NO_VALUE], np.where(labels < 0, n, labels).astype(np.int64))


def best_of_groups(
    ranks: Column, groups: Groups, n: int, *, equal: bool
) -> tuple[Places, tuple[GroupShare, ...]]:
    """The `n` largest `ranks`, of which each group contributes its share; NaN is never kept.

    Shares are in proportion to the rows of a group, or `equal`; what a group lacks the others
    contribute.
    """
    chosen, counts = best_within(ranks, groups.codes, n, equal=equal)
    shares = tuple(
        GroupShare(name=name, rows=rows, candidates=candidates, taken=taken)
        for name, (rows, candidates, taken) in zip(groups.names, counts, strict=False)
        if rows
    )
    return chosen, shares


def _name(value: Any, field: str, row: int) -> str:
    if value is None or value == "":
        return NO_VALUE
    if not isinstance(value, (str, int, float)) or len(str(value)) > _MAX_CHARACTERS:
        raise UsageError(
            f"--per {field}: row {row} (counted from 0) has {str(value)[:40]!r}, which names no"
            " group: name a column of short texts or numbers"
        )
    return str(value)


def _no_column(dataset: str, field: str, columns: Sequence[str]) -> str:
    close = get_close_matches(field, columns, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(columns[:12])}"
    return f"no row of {dataset} has it ({hint}); `cluster` groups by embeddings"
