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
"""Values of a column in a row group, which may all be in one row. Each takes a few bytes."""


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
            references = _expandable(file.metadata, path, n_rows)
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
            references = _expandable(file.metadata, path, file.metadata.num_rows)
        with pq.ParquetFile(path, read_dictionary=references) as file:
            groups = (file.read_row_group(i).combine_chunks() for i in range(file.num_row_groups))
            whole = (batch for table in groups for batch in table.to_batches())
            for batch in until_expanded(whole, path):
                yield pa.Table.from_batches([batch])
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a readable Parquet file: {brief(error)}") from error


def until_expanded(batches: Iterable[pa.RecordBatch], path: Path) -> Iterator[pa.RecordBatch]:
    """The batches. Raises InputError once their texts are far more than the file can contain."""
    limit = max(_MAX_EXPANDED_BYTES, _MAX_EXPANSION * path.stat().st_size)
    n_bytes = 0
    for batch in batches:
        n_bytes += n_text_bytes(batch)
        if n_bytes > limit:
            raise InputError(
                f"{path}: its texts take more than {limit:,} bytes, {_MAX_EXPANSION:,} times its"
                " size: write it as JSON Lines if that is right"
            )
        yield batch


def _expandable(metadata: pq.FileMetaData, path: Path, n_rows: int) -> list[str]:
    """Columns whose values are few but may be long, and are read as references to them.

    Read as texts, a batch of `n_rows` could take gigabytes.  Raises InputError if that could happen
    in a single row too.
    """
    found: dict[str, None] = {}
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            column = metadata.row_group(group).column(number)
            if column.num_values > _MAX_VALUES_PER_GROUP:
                raise InputError(
                    f"{path}: a row group has more than {_MAX_VALUES_PER_GROUP:,} values: write it"
                    " with smaller row groups"
                )
            n_bytes = column.total_uncompressed_size * min(column.num_values, n_rows)
            has_references = any("DICTIONARY" in one for one in column.encodings)
            if has_references and n_bytes > MAX_BATCH_BYTES:
                found[column.path_in_schema] = None
    return list(found)


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
