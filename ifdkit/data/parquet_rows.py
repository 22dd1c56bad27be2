"""Rows written back to Parquet: record batches of the source, with the changed cells replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ifdkit.data.atomic import valid_text
from ifdkit.data.parquet_files import text_batches
from ifdkit.data.raw import Raw
from ifdkit.data.rows_writer import Appended

if TYPE_CHECKING:
    import pyarrow as pa


def parquet_schema(source: Path) -> pa.Schema:
    """The columns of a Parquet file and their types. Equal ones may have other metadata."""
    import pyarrow.parquet as pq

    return pq.read_schema(source)


class ParquetRows:
    """The record batches of the source, with the changed cells replaced."""

    def __init__(self, file: IO[bytes], source: Path, appended: Appended) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._batch: pa.RecordBatch | None = None
        self._begin = self._end = 0  # rows of the current batch
        self._open(source, 0)
        self._positions: list[int] = []  # written rows, relative to the batch
        self._changes: dict[str, dict[int, Any]] = {}  # column → index in _positions → value
        self._cells: list[Sequence[Any]] = []  # of the appended columns, one list per position
        types = appended.arrow_types()
        self._appended = [pa.field(*one) for one in zip(appended.names, types, strict=True)]
        schema = self._file.schema_arrow
        for one in self._appended:
            schema = schema.append(one)
        self._schema = schema
        self._writer = pq.ParquetWriter(file, schema, compression=_compression(self._file))

    def write(self, raw: Raw, value: Any, cells: Sequence[Any] = ()) -> bool:
        """As `RowsWriter.write`."""
        while raw.row >= self._end:
            self._flush()
            self._batch = next(self._batches)
            self._begin, self._end = self._end, self._end + self._batch.num_rows
        if raw.error is None and value is not raw.value:
            for name in value:
                if value[name] is not raw.value[name]:
                    self._changes.setdefault(name, {})[len(self._positions)] = value[name]
        self._positions.append(raw.row - self._begin)
        self._cells.append(cells)
        return True

    def _open(self, source: Path, first_row: int) -> None:
        import pyarrow.parquet as pq

        self._file = pq.ParquetFile(source)
        self._batches = text_batches(source)
        self._batch = None
        self._begin = self._end = first_row

    def next_source(self, source: Path | None, first_row: int) -> None:
        """As `RowsWriter.next_source`."""
        assert source is not None, "check_rows_output requires it"
        self._flush()
        self._file.close()
        self._open(source, first_row)

    def _flush(self) -> None:
        import pyarrow as pa

        if self._batch is not None and self._positions:
            chosen = self._batch.take(pa.array(self._positions))
            columns = list(chosen.columns)
            for name, changed in self._changes.items():
                at = chosen.schema.get_field_index(name)
                columns[at] = _with_cells(columns[at], changed)
            for number, one in enumerate(self._appended):
                cells = [_valid(row[number]) for row in self._cells]
                columns.append(pa.array(cells, one.type))
            self._writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=self._schema))
        self._positions, self._changes, self._cells = [], {}, []

    def finish(self) -> None:
        """As `RowsWriter.finish`."""
        try:
            self._flush()
        finally:
            self._writer.close()
            self._file.close()


def _valid(cell: Any) -> Any:
    return list(map(valid_text, cell)) if isinstance(cell, list) else valid_text(cell)


def _with_cells(column: pa.Array, changed: Mapping[int, Any]) -> pa.Array:
    """A column with some of its cells replaced."""
    import pyarrow as pa

    new = pa.array(list(changed.values()), column.type)
    # Arrow arrays are immutable: append the new cells, then take every row from its place.
    places = {row: len(column) + number for number, row in enumerate(changed)}
    order = [places.get(row, row) for row in range(len(column))]
    return pa.concat_arrays([column, new]).take(pa.array(order))


def _compression(file: Any) -> str:
    metadata = file.metadata
    if not metadata.num_row_groups or not metadata.num_columns:
        return "zstd"
    return str(metadata.row_group(0).column(0).compression).lower().replace("uncompressed", "none")
