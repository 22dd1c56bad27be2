"""What a Parquet file contains: what its footer says, checked against the headers of its pages.

Nothing makes a footer true: a reader would leave out the rows that it does not count, or take
gigabytes for a column that it calls small.  What a page says of its size is checked when it is
decompressed.  pyarrow does not give the headers of pages, and its accessors of columns end the
process if a schema contradicts statistics, so both are read here, with the numbers that
`parquet.thrift` of the Parquet format gives to fields.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ifdkit.data.thrift import read_struct
from ifdkit.errors import InputError

_HEADER_BYTES, _MAX_HEADER_BYTES = 2**8, 2**24
"""Bytes that are read of a header first, and at most; pyarrow has the same limit."""
_SCHEMA, _N_ROWS, _GROUPS = 2, 3, 4
"""Fields of FileMetaData."""
_TYPE, _TYPE_LENGTH, _REPETITION, _N_CHILDREN = 1, 2, 3, 5
"""Fields of SchemaElement."""
_FIXED_LENGTH, _REPEATED = 7, 2
"""Their values: FIXED_LEN_BYTE_ARRAY, REPEATED."""
_COLUMNS, _GROUP_ROWS, _META = 1, 3, 3
"""Fields of RowGroup, and of ColumnChunk."""
_PATH, _VALUES, _STORED, _DATA_OFFSET, _DICTIONARY_OFFSET = 3, 5, 7, 9, 11
"""Fields of ColumnMetaData."""
_PAGE_SIZE, _PAGE_STORED, _DATA, _DICTIONARY, _DATA_V2 = 2, 3, 5, 7, 8
"""Fields of PageHeader. Which of the last three is set tells the kind of the page."""
_PAGE_VALUES = 1
_ENCODING = {_DATA: 2, _DATA_V2: 4}
"""Fields of DataPageHeader and DataPageHeaderV2."""
_DELTA_BYTE_ARRAY = 7


class ColumnChunk(NamedTuple):
    """A column in a row group."""

    path: str
    n_values: int
    n_bytes: int
    """Of its pages, decompressed."""
    is_nested: bool
    """Whether its values are in lists."""
    fixed_length: int
    """Bytes of each value; 0 if they differ."""
    has_dictionary: bool
    """Whether values may be references to those of a dictionary."""
    repeats: bool
    """Whether a value may repeat the one before it without taking space."""


class ChunkGroup(NamedTuple):
    """A row group."""

    n_rows: int
    chunks: Sequence[ColumnChunk]


class ParquetContent:
    """The rows and columns of a file. `path` is for messages."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        """Read the footer. Raises InputError if it is malformed or contradicts itself."""
        self._file, self._path = file, path
        self._size = file.seek(0, os.SEEK_END)
        try:
            self._footer = self._read_footer()
            self.n_rows: int = self._footer[_N_ROWS]
            self._leaves = list(_leaves(self._footer[_SCHEMA]))
            named = [group[_GROUP_ROWS] for group in self._footer[_GROUPS]]
            is_right = min(named, default=0) >= 0 and sum(named) == self.n_rows
        except (LookupError, ValueError, TypeError, AttributeError, struct.error) as error:
            raise self._error("its footer is malformed") from error
        if not is_right:
            raise self._error(f"it names {self.n_rows:,} rows, its row groups others")

    def groups(self) -> Iterator[ChunkGroup]:
        """The row groups. Raises InputError if the footer says something else than the pages."""
        for number, group in enumerate(self._footer[_GROUPS]):
            try:
                chunks = [
                    self._chunk(column[_META], leaf, group[_GROUP_ROWS], number)
                    for column, leaf in zip(group[_COLUMNS], self._leaves, strict=True)
                ]
            except (LookupError, ValueError, TypeError, AttributeError) as error:
                raise self._error("its footer is malformed") from error
            yield ChunkGroup(group[_GROUP_ROWS], chunks)

    def _error(self, problem: str) -> InputError:
        return InputError(f"{self._path}: not a readable Parquet file: {problem}")

    def _read_footer(self) -> dict[int, Any]:
        self._file.seek(max(0, self._size - 8))
        length, magic = struct.unpack("<I4s", self._file.read(8))
        if magic != b"PAR1" or length + 8 > self._size:
            raise ValueError("no footer")
        self._file.seek(self._size - 8 - length)
        return read_struct(self._file.read(length))[0]

    def _chunk(self, meta: dict[int, Any], leaf: _Leaf, n_rows: int, group: int) -> ColumnChunk:
        name = b".".join(meta[_PATH]).decode(errors="replace")
        where = f"column {name!r} of row group {group}"
        n_expected, at = meta[_VALUES], meta[_DATA_OFFSET]
        if not leaf.is_nested and n_expected != n_rows:
            raise self._error(f"{where} has {n_expected:,} values, not {n_rows:,}")
        if 0 < meta.get(_DICTIONARY_OFFSET, 0) < at:
            at = meta[_DICTIONARY_OFFSET]
        if at < 0:
            raise self._error(f"{where} lies outside of the file")
        end = at + meta[_STORED]
        n_bytes = n_values = 0
        has_dictionary = repeats = False
        while at < end or n_values < n_expected:
            try:
                header, at = self._header(at)
                size, stored = header[_PAGE_SIZE], header[_PAGE_STORED]
                kind = next((one for one in _ENCODING if one in header), None)
                page = header[kind] if kind else {}
                n_more = page[_PAGE_VALUES] if kind else 0
                is_possible = min(size, stored, n_more) >= 0 and at + stored <= self._size
            except (LookupError, ValueError, TypeError) as error:
                if n_values == n_expected:
                    break  # padding, which some writers leave
                raise self._error(f"{where} has a page without a header") from error
            if not is_possible:
                raise self._error(f"{where} has a page of an impossible size")
            at += stored
            n_values += n_more
            n_bytes += max(size, stored)  # a page need not be compressed
            has_dictionary |= _DICTIONARY in header
            repeats |= kind is not None and page.get(_ENCODING[kind]) == _DELTA_BYTE_ARRAY
        if n_values != n_expected:
            raise self._error(f"{where} has {n_values:,} values, not {n_expected:,}")
        return ColumnChunk(
            name, n_values, n_bytes, leaf.is_nested, leaf.fixed_length, has_dictionary, repeats
        )

    def _header(self, at: int) -> tuple[dict[int, Any], int]:
        """The fields of the header at a byte, and where it ends.

        Raises LookupError or ValueError if there is none.
        """
        length = _HEADER_BYTES
        while True:
            self._file.seek(at)
            data = self._file.read(length)
            try:
                header, n_bytes = read_struct(data)
            except IndexError:
                if len(data) < length or length >= _MAX_HEADER_BYTES:
                    raise
                length *= 4
            else:
                return header, at + n_bytes


class _Leaf(NamedTuple):
    """A column of the schema."""

    is_nested: bool
    fixed_length: int


def _leaves(schema: Sequence[dict[int, Any]]) -> Iterator[_Leaf]:
    """The columns of a schema, in order. Raises LookupError or ValueError if it is malformed."""
    open_groups = [(1, False)]  # elements that are still to come, and whether they are in a list
    for element in schema:
        while not open_groups[-1][0]:
            open_groups.pop()
        n_left, is_nested = open_groups[-1]
        open_groups[-1] = (n_left - 1, is_nested)
        is_nested |= element.get(_REPETITION) == _REPEATED
        if element.get(_N_CHILDREN, 0) > 0:
            open_groups.append((element[_N_CHILDREN], is_nested))
        elif _TYPE in element:
            is_fixed = element[_TYPE] == _FIXED_LENGTH
            yield _Leaf(is_nested, element.get(_TYPE_LENGTH, 0) if is_fixed else 0)
    if any(n_left for n_left, _ in open_groups):
        raise ValueError("a schema with missing elements")
