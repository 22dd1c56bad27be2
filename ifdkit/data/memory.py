"""Rows that are Python objects: lists, generators, DataFrames, Arrow tables and arrays."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ifdkit.data.frames import kind_of, raws
from ifdkit.data.objects import tables_of
from ifdkit.data.plain import plain
from ifdkit.data.raw import MAX_DEPTH, Raw
from ifdkit.errors import AmbiguousFormatError, InputError

_EXAMPLE = "[{'instruction': …, 'output': …}]"


def rows_in_memory(data: Any, given: Mapping[str, str]) -> Callable[[], Iterator[Raw]]:
    """Reads the rows of a Python object, any number of times.

    `given` are the columns that the user names. Raises InputError, or AmbiguousFormatError if it
    has several splits, with what to pass instead.
    """
    if isinstance(data, Mapping):
        rows = raws(_rows_of_mapping(data, given))
    elif (kind := kind_of(data)) is not None:
        rows = kind.rows(data)
    elif isinstance(data, np.ndarray):
        rows = raws(_rows_of_array(data))
    elif _is_column_of_pandas(data):
        rows = raws(data.tolist())
    elif hasattr(data, "column_names") and hasattr(data, "features"):  # streamed by `datasets`
        rows = raws(data)
    else:
        rows = raws(_checked(data), lambda row: plain(row, drop_nulls=False))
    return lambda: iter(rows)


def _is_column_of_pandas(data: Any) -> bool:
    pandas = sys.modules.get("pandas")  # if it is not loaded, nothing is a Series
    return pandas is not None and isinstance(data, pandas.Series)


def _rows_of_mapping(data: Mapping[Any, Any], given: Mapping[str, str]) -> Iterable[Any]:
    splits = [key for key, one in data.items() if hasattr(one, "column_names")]
    if not splits:
        try:
            tables = tables_of(plain(data, drop_nulls=False), given)
        except RecursionError as error:
            raise InputError(f"data is nested deeper than {MAX_DEPTH} levels") from error
        if len(tables) == 1:
            return next(iter(tables.values())).rows
        splits = list(tables)
    if len(splits) == 1:
        rows: Iterable[Any] = data[splits[0]]
        return rows
    if splits:
        choices = " or ".join(f"data[{key!r}]" for key in splits)
        raise AmbiguousFormatError(f"data is a dictionary of several datasets: pass {choices}")
    raise InputError("data is a single dictionary: pass a list of rows, such as [row]")


def _rows_of_array(data: np.ndarray[Any, Any]) -> Iterable[Any]:
    if data.dtype.names:
        return [dict(zip(data.dtype.names, row, strict=True)) for row in data.tolist()]
    if data.ndim == 0:
        raise InputError(f"data is an array with a single value: pass rows, such as {_EXAMPLE}")
    rows: list[Any] = data.tolist()
    return rows


def _checked(data: Any) -> Iterable[Any]:
    """The object itself. Raises InputError for what cannot contain rows, or is not one already."""
    if data is None:
        raise InputError(f"data is None: pass a path, a DataFrame or rows, such as {_EXAMPLE}")
    if hasattr(data, "read"):
        name = getattr(data, "name", None)
        instead = repr(name) if isinstance(name, str) else "its path"
        raise InputError(f"data is an open file: pass {instead}")
    if isinstance(data, (bytes, bytearray)):
        raise InputError("data is bytes: pass the path of a file, or rows")
    if not isinstance(data, Iterable):
        raise InputError(
            f"data is of type {type(data).__name__}: pass a path, a DataFrame or rows, such as"
            f" {_EXAMPLE}"
        )
    return data
