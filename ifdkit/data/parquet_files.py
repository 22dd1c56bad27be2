"""The batches of a Parquet file, in bounded memory: the one place that reads them.

A file of 1 KB can contain one text of 20 MB, compressed, and refer to it from every row.  Such a
text is read as a reference, and a file that expands further than any data does is refused.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ifdkit.data.raw import MAX_ROW_BYTES
from ifdkit.errors import InputError, brief

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

MAX_BATCH_BYTES = 2 * MAX_ROW_BYTES
"""Texts of a batch that are in memory at once."""
_ROWS_PER_BATCH = 4096
_MAX_EXPANDED_BYTES, _MAX_EXPANSION = 2**30, 1000
"""A file is refused if its texts exceed both this size and this multiple of its own."""
_MAX_VALUES_PER_GROUP = 2**26
"""Values in the lists of a row group, which may all be in one row. Each takes a few bytes."""
_MAX_GROUP_BYTES = 4 * MAX_BATCH_BYTES
"""A batch may have any number of rows of a smaller row group."""
_LONG_ROW_BYTES = 2**17
_ROWS_OF_LARGE_GROUP = 8
"""Rows of a batch from a larger one; a single row, if they are longer than _LONG_ROW_BYTES each."""
_FIXED = "FIXED_LEN_BYTE_ARRAY"
_SHARING = ("DELTA_BYTE_ARRAY",)
"""Encodings in which a value may repeat all of the one before it without taking space."""


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
        with pq.ParquetFile(source) as file:
            references, n_rows = _plan(file.metadata, path, n_rows)
        if not isinstance(source, Path):
            source.seek(0)
        with pq.ParquetFile(source, read_dictionary=references) as file:
            batches = file.iter_batches(batch_size=n_rows, columns=columns)
            yield from until_expanded(batches, path)
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
        with pq.ParquetFile(path) as file:
            references, _ = _plan(file.metadata, path, max(file.metadata.num_rows, 1))
        with pq.ParquetFile(path, read_dictionary=references) as file:
            groups = (file.read_row_group(i).combine_chunks() for i in range(file.num_row_groups))
            whole = (batch for table in groups for batch in table.to_batches())
            for batch in until_expanded(whole, path):
                yield pa.Table.from_batches([batch])
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a readable Parquet file: {brief(error)}") from error


def until_expanded(batches: Iterable[pa.RecordBatch], path: Path) -> Iterator[pa.RecordBatch]:
    """The batches. Raises InputError once their texts are far more than the file can contain."""
    n_bytes = 0
    for batch in batches:
        n_bytes += n_text_bytes(batch)
        _check_expanded(n_bytes, path)
        yield batch


def _check_expanded(n_bytes: int, path: Path) -> None:
    limit = max(_MAX_EXPANDED_BYTES, _MAX_EXPANSION * path.stat().st_size)
    if n_bytes > limit:
        raise InputError(
            f"{path}: its texts take more than {limit:,} bytes, {_MAX_EXPANSION:,} times its size:"
            " write it as JSON Lines if that is right"
        )


def _plan(metadata: pq.FileMetaData, path: Path, n_rows: int) -> tuple[list[str], int]:
    """How a file is read in bounded memory, from what it says about its columns.

    The first are columns whose values are few but may be long, and are read as references to them:
    read as texts, a batch of `n_rows` could take gigabytes.  The second is how many rows, at most
    `n_rows`, a batch may have.  Raises InputError if a single row could take gigabytes too.
    """
    references: dict[str, None] = {}
    n_expanded = 0
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        n_bytes = n_nested = 0
        for number in range(metadata.num_columns):
            column, place = group.column(number), metadata.schema.column(number)
            size, n_values = column.total_uncompressed_size, column.num_values
            n_bytes += size
            n_nested += n_values if place.max_repetition_level else 0
            n_together = min(n_values, n_rows)
            if any("DICTIONARY" in one for one in column.encodings):
                # Values of a fixed length are not read as references.
                longest = place.length if column.physical_type == _FIXED else 0
                n_rows = min(n_rows, _n_fitting(longest))
                if not longest and size * n_together > MAX_BATCH_BYTES:
                    references[column.path_in_schema] = None
            elif any(one in _SHARING for one in column.encodings):
                n_rows = min(n_rows, _n_fitting(size))
        if n_nested > _MAX_VALUES_PER_GROUP:
            raise InputError(
                f"{path}: a row group has more than {_MAX_VALUES_PER_GROUP:,} values in lists:"
                " write it with smaller row groups"
            )
        if n_bytes > _MAX_GROUP_BYTES:
            # The rows may differ in size.
            is_long = n_bytes > _LONG_ROW_BYTES * group.num_rows
            n_rows = min(n_rows, 1 if is_long else _ROWS_OF_LARGE_GROUP)
        n_expanded += n_bytes
    _check_expanded(n_expanded, path)
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
