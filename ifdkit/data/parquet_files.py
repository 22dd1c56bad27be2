"""The batches of a Parquet file, in bounded memory: the one place that reads them.

A file of 1 KB can contain one text of 20 MB, compressed, and refer to it from every row.  Such a
text is read as a reference, and a file that expands further than any data does is refused.  What
the footer says of rows and sizes is not believed: the headers of the pages are read first.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ifdkit.data.expansion import ExpandedTables
from ifdkit.data.parquet_pages import ParquetContent
from ifdkit.data.raw import MAX_ROW_BYTES
from ifdkit.errors import InputError, brief
from ifdkit.regular import open_regular

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

MAX_BATCH_BYTES = 2 * MAX_ROW_BYTES
"""Texts of a batch that are in memory at once."""
_ROWS_PER_BATCH = 4096
_MAX_VALUES_PER_GROUP = 2**26
"""Values in the lists of a row group, which may all be in one row. Each takes a few bytes."""
_MAX_GROUP_BYTES = 4 * MAX_BATCH_BYTES
"""A batch may have any number of rows of a smaller row group."""
_LONG_ROW_BYTES = 2**17
_ROWS_OF_LARGE_GROUP = 8
"""Rows of a batch from a larger one; a single row, if they are longer than _LONG_ROW_BYTES each."""


def parquet_batches(
    source: Path | BinaryIO,
    path: Path,
    *,
    columns: Sequence[str] | None = None,
    n_rows: int = _ROWS_PER_BATCH,
) -> Iterator[pa.RecordBatch]:
    """The batches of up to `n_rows` rows; `source` is the file at `path`, or a copy of it.

    A column of long texts may have references to them, which `as_texts` replaces.  Raises
    InputError if it cannot be read or expands too far.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        references, n_rows = _plan(source, path, n_rows)
        with pq.ParquetFile(source, read_dictionary=references) as file:
            batches = file.iter_batches(batch_size=n_rows, columns=columns)
            yield from _whole(file.metadata, until_expanded(batches, path), path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a readable Parquet file: {brief(error)}") from error


def text_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """The batches with the types that the file names.

    The texts of each take at most MAX_BATCH_BYTES, or it has a single row.
    """
    import pyarrow.parquet as pq

    schema = pq.read_schema(path)
    for batch in parquet_batches(path, path):
        for part in _bounded(batch):
            yield part.cast(schema)


def parquet_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A file as a table. Raises InputError as `parquet_batches`, KeyError for a missing column."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pq.read_schema(path)
    if columns is not None:
        schema = pa.schema([schema.field(name) for name in columns], schema.metadata)
    batches = parquet_batches(path, path, columns=schema.names)
    return pa.Table.from_batches(
        [batch.select(schema.names).cast(schema) for batch in batches], schema=schema
    )


def row_groups(path: Path) -> Generator[pa.Table]:
    """Each row group as a table, in order, where how rows are grouped matters.

    Raises InputError as `parquet_batches`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        references, _ = _plan(path, path, sys.maxsize)
        with pq.ParquetFile(path, read_dictionary=references) as file:
            groups = (file.read_row_group(i).combine_chunks() for i in range(file.num_row_groups))
            batches = (batch for table in groups for batch in table.to_batches())
            for batch in _whole(file.metadata, until_expanded(batches, path), path):
                yield pa.Table.from_batches([batch])
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a readable Parquet file: {brief(error)}") from error


def until_expanded(batches: Iterable[pa.RecordBatch], path: Path) -> Iterator[pa.RecordBatch]:
    """The batches. Raises InputError once they are far more than the file can contain."""
    limits, n_bytes, n_rows, n_cells = ExpandedTables(path), 0, 0, 0
    for batch in batches:
        n_bytes += n_text_bytes(batch)
        n_rows += batch.num_rows
        n_cells += n_values(batch)
        limits.check_texts(n_bytes)
        limits.check_counts(n_rows, n_cells)
        yield batch


def _whole(
    metadata: pq.FileMetaData, batches: Iterable[pa.RecordBatch], path: Path
) -> Iterator[pa.RecordBatch]:
    """The batches. Raises InputError if they end before the rows that the file names."""
    n_rows = 0
    for batch in batches:
        n_rows += batch.num_rows
        yield batch
    if n_rows != metadata.num_rows:
        raise InputError(
            f"{path}: not a readable Parquet file: it has {n_rows:,} rows and names"
            f" {metadata.num_rows:,}"
        )


def _plan(source: Path | BinaryIO, path: Path, n_rows: int) -> tuple[list[str], int]:
    """How a file is read in bounded memory, from what it says about its columns.

    The first are columns whose values are few but may be long, and are read as references to them:
    read as texts, a batch of `n_rows` could take gigabytes.  The second is how many rows, at most
    `n_rows`, a batch may have.  Raises InputError if a single row could take gigabytes too.
    """
    import pyarrow.parquet as pq

    references: dict[str, None] = {}
    limits, n_expanded, n_cells = ExpandedTables(path), 0, 0
    with open_regular(source) if isinstance(source, Path) else nullcontext(source) as file:
        pq.read_metadata(file)  # its errors are the better ones
        content = ParquetContent(file, path)
        limits.check_counts(content.n_rows, 0)
        for group in content.groups():
            n_bytes = sum(one.n_bytes for one in group.chunks)
            n_expanded += n_bytes
            n_cells += sum(one.n_values for one in group.chunks)
            for one in group.chunks:
                if one.has_dictionary:
                    # Values of a fixed length are not read as references.
                    is_long = one.n_bytes * min(one.n_values, n_rows) > MAX_BATCH_BYTES
                    n_rows = min(n_rows, _n_fitting(one.fixed_length))
                    if not one.fixed_length and is_long:
                        references[one.path] = None
                elif one.repeats:
                    n_rows = min(n_rows, _n_fitting(one.n_bytes))
            if sum(one.n_values for one in group.chunks if one.is_nested) > _MAX_VALUES_PER_GROUP:
                raise InputError(
                    f"{path}: a row group has more than {_MAX_VALUES_PER_GROUP:,} values in lists:"
                    " write it with smaller row groups"
                )
            if n_bytes > _MAX_GROUP_BYTES:
                # The rows may differ in size.
                are_long = n_bytes > _LONG_ROW_BYTES * group.n_rows
                n_rows = min(n_rows, 1 if are_long else _ROWS_OF_LARGE_GROUP)
    limits.check_texts(n_expanded)
    limits.check_counts(content.n_rows, n_cells)
    return list(references), n_rows


def _n_fitting(n_bytes: int) -> int:
    """How many rows with a value of this size a batch may have."""
    return max(1, MAX_BATCH_BYTES // max(n_bytes, 1))


def _bounded(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    if batch.num_rows < 2 or n_text_bytes(batch) <= MAX_BATCH_BYTES:
        yield batch
        return
    middle = batch.num_rows // 2
    yield from _bounded(batch.slice(0, middle))
    yield from _bounded(batch.slice(middle))


def n_text_bytes(batch: pa.RecordBatch) -> int:
    """Bytes of the values as Python would have them, each reference counted."""
    return sum(map(_n_bytes, batch.columns))


def _n_bytes(array: pa.Array) -> int:
    import pyarrow.compute as pc
    import pyarrow.types as pt

    kind = array.type
    if pt.is_dictionary(kind):
        if not _is_text(kind.value_type):
            return int(array.nbytes)
        lengths = pc.binary_length(array.dictionary).take(array.indices)
        return pc.sum(lengths.cast("int64")).as_py() or 0
    if _is_text(kind):
        return pc.sum(pc.binary_length(array).cast("int64")).as_py() or 0
    if pt.is_list(kind) or pt.is_large_list(kind):
        return _n_bytes(array.flatten())
    if pt.is_struct(kind):
        return sum(map(_n_bytes, array.flatten()))
    return int(array.nbytes)


def n_values(batch: pa.RecordBatch) -> int:
    """Values that Python would have: cells, and what is in their lists and structs."""
    return sum(map(_n_values, batch.columns))


def _n_values(array: pa.Array) -> int:
    import pyarrow.types as pt

    kind = array.type
    if pt.is_struct(kind):
        return len(array) + sum(map(_n_values, array.flatten()))
    if pt.is_map(kind):
        begin, end = (int(array.offsets[i].as_py()) for i in (0, -1))
        parts = (one.slice(begin, end - begin) for one in (array.keys, array.items))
        return len(array) + end - begin + sum(map(_n_values, parts))
    if pt.is_nested(kind) and not pt.is_union(kind):  # lists of all kinds
        return len(array) + _n_values(array.flatten())
    return len(array)


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow.types as pt

    checks = (pt.is_string, pt.is_large_string, pt.is_binary, pt.is_large_binary)
    return any(check(kind) for check in checks)


def as_texts(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with texts in place of references."""
    import pyarrow as pa

    fields = [one.with_type(_without_references(one.type)) for one in batch.schema]
    return batch.cast(pa.schema(fields, batch.schema.metadata))


def _without_references(kind: pa.DataType) -> pa.DataType:
    """The type of the same values as texts."""
    import pyarrow as pa
    import pyarrow.types as pt

    if pt.is_dictionary(kind):
        return kind.value_type
    if pt.is_list(kind) or pt.is_large_list(kind):
        make = pa.list_ if pt.is_list(kind) else pa.large_list
        return make(kind.value_field.with_type(_without_references(kind.value_type)))
    if pt.is_struct(kind):
        fields = (kind.field(i) for i in range(kind.num_fields))
        return pa.struct([one.with_type(_without_references(one.type)) for one in fields])
    return kind
