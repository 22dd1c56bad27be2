"""Tables in memory: of pandas, polars, `datasets` and pyarrow.

What is read from a table of one of these libraries can be given back as one, too: some of its rows,
or all of them with more columns.  A library is imported only if the object is one of its own.  A
new kind is one more entry of `KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ifdkit.data.plain import plain_row
from ifdkit.data.raw import MAX_DEPTH, Raw
from ifdkit.data.table_rows import batch_rows

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class _PolarsFrame(Protocol):
    def with_columns(self, *args: Any, **keywords: Any) -> Any: ...


class _ArrowTable(Protocol):
    def append_column(self, *args: Any, **keywords: Any) -> Any: ...


class _HubDataset(Protocol):
    def add_column(self, *args: Any, **keywords: Any) -> Any: ...


OtherFrame = _PolarsFrame | _ArrowTable | _HubDataset
"""A table of a library other than pandas, for type checkers."""


@dataclass(frozen=True, slots=True)
class FrameKind:
    """What can be done with the tables of a library."""

    module: str
    name: str
    """The class, or one that it inherits from."""
    rows: Callable[[Any], list[Raw]]
    take: Callable[[Any, Sequence[int]], Any]
    """The rows at these positions, in a new table."""
    add: Callable[[Any, Mapping[str, pa.Array]], Any]
    """A new table with more columns, of as many rows."""
    has_attributes: bool = False
    """Whether a table has `attrs` for what belongs to all of it."""

    def is_of(self, data: object) -> bool:
        """Whether an object is such a table."""
        return any(
            kind.__name__ == self.name and kind.__module__.split(".")[0] == self.module
            for kind in type(data).__mro__
        )


def kind_of(data: object) -> FrameKind | None:
    """The library of a table; None if it is no table of a known one."""
    return next((kind for kind in KINDS if kind.is_of(data)), None)


def raws(rows: Iterable[Any], convert: Callable[[Any], Any] = plain_row) -> list[Raw]:
    """Rows that are Python objects, as file readers return them."""
    found = []
    for number, row in enumerate(rows):
        try:
            found.append(Raw(number, convert(row)))
        except RecursionError:
            found.append(Raw(number, None, f"nested deeper than {MAX_DEPTH} levels"))
    return found


def _pandas_take(data: pd.DataFrame, positions: Sequence[int]) -> pd.DataFrame:
    return data.iloc[list(positions)].copy()


def _pandas_add(data: pd.DataFrame, columns: Mapping[str, pa.Array]) -> pd.DataFrame:
    import pandas as pd

    # Position by position: the index may have values that are not unique.
    added = {name: _pandas_column(one).set_axis(data.index) for name, one in columns.items()}
    return pd.concat([data, pd.DataFrame(added, index=data.index)], axis=1)


def _pandas_column(column: pa.Array) -> pd.Series[Any]:
    """As in a DataFrame of scores: NaN is a missing float, and integers of which some are missing
    have pandas' own type.
    """
    import pandas as pd
    import pyarrow as pa

    if pa.types.is_floating(column.type):
        return pd.Series(column.to_numpy(zero_copy_only=False))
    if pa.types.is_integer(column.type):
        return pd.Series(column.to_pylist(), dtype="Int64" if column.null_count else "int64")
    return pd.Series(column.to_pylist(), dtype=object)


def _polars_take(data: Any, positions: Sequence[int]) -> Any:
    return data[list(positions)]


def _polars_add(data: Any, columns: Mapping[str, pa.Array]) -> Any:
    import polars as pl
    import pyarrow as pa

    return data.with_columns(pl.from_arrow(pa.table(dict(columns))))


def _dataset_take(data: Any, positions: Sequence[int]) -> Any:
    return data.select(list(positions))


def _dataset_add(data: Any, columns: Mapping[str, pa.Array]) -> Any:
    import datasets
    import pyarrow as pa

    added = datasets.Dataset(pa.table(dict(columns)))
    return datasets.concatenate_datasets([data, added], axis=1)


def _arrow_take(data: Any, positions: Sequence[int]) -> Any:
    return data.take(list(positions))


def _arrow_add(data: Any, columns: Mapping[str, pa.Array]) -> Any:
    for name, column in columns.items():
        data = data.append_column(name, column)
    return data


KINDS = (
    FrameKind(
        "pandas",
        "DataFrame",
        lambda data: raws(data.to_dict("records")),
        _pandas_take,
        _pandas_add,
        has_attributes=True,
    ),
    FrameKind("polars", "DataFrame", lambda data: raws(data.to_dicts()), _polars_take, _polars_add),
    FrameKind("datasets", "Dataset", raws, _dataset_take, _dataset_add),
    FrameKind(
        "pyarrow",
        "Table",
        lambda data: list(batch_rows(data.to_batches())),
        _arrow_take,
        _arrow_add,
    ),
)
