"""Parquet files whose footer or page headers say what is not true.

A reader and writer of Thrift's compact protocol that keeps every field: a struct is a list of
(number, type, value), a list is (type, values).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Fields = list[list[Any]]
TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
NUM_ROWS, ROW_GROUPS = 3, 4
"""Of the footer."""
COLUMNS, TOTAL_BYTE_SIZE, GROUP_ROWS = 1, 2, 3
"""Of a row group."""
META = 3
"""Of a column chunk."""
NUM_VALUES, UNCOMPRESSED, COMPRESSED, DATA_OFFSET, DICTIONARY_OFFSET = 5, 6, 7, 9, 11
"""Of the metadata of a column chunk."""
PAGE_UNCOMPRESSED, PAGE_COMPRESSED, DATA_PAGE, DICTIONARY_PAGE, DATA_PAGE_V2 = 2, 3, 5, 7, 8
"""Of a page header."""


class Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def varint(self) -> int:
        number = shift = 0
        while True:
            byte = self.byte()
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number

    def integer(self) -> int:
        number = self.varint()
        return number // 2 if number % 2 == 0 else -(number + 1) // 2

    def struct(self) -> Fields:
        found: Fields = []
        number = 0
        while head := self.byte():
            number = number + (head >> 4) if head >> 4 else self.integer()
            kind = head & 15
            value = (kind == TRUE) if kind in (TRUE, FALSE) else self.value(kind)
            found.append([number, kind, value])
        return found

    def value(self, kind: int) -> Any:
        if kind in (TRUE, FALSE, BYTE):
            return self.byte()
        if kind in (I16, I32, I64):
            return self.integer()
        if kind == DOUBLE:
            self.at += 8
            return self.data[self.at - 8 : self.at]
        if kind == BINARY:
            length = self.varint()
            self.at += length
            return self.data[self.at - length : self.at]
        if kind in (LIST, SET):
            head = self.byte()
            count = head >> 4 if head >> 4 < 15 else self.varint()
            return [head & 15, [self.value(head & 15) for _ in range(count)]]
        assert kind == STRUCT, "pyarrow writes no maps"
        return self.struct()


def varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def encoded(kind: int, value: Any) -> bytes:
    if kind in (TRUE, FALSE, BYTE):
        return bytes([value])
    if kind in (I16, I32, I64):
        return varint(2 * value if value >= 0 else -2 * value - 1)
    if kind == DOUBLE:
        return bytes(value)
    if kind == BINARY:
        return varint(len(value)) + bytes(value)
    if kind in (LIST, SET):
        inner, values = value
        head = bytes([len(values) << 4 | inner]) if len(values) < 15 else (
            bytes([0xF0 | inner]) + varint(len(values)))  # fmt: skip
        return head + b"".join(encoded(inner, one) for one in values)
    parts, last = [], 0
    for number, inner, one in value:
        if inner in (TRUE, FALSE):
            parts.append(bytes([number - last << 4 | (TRUE if one else FALSE)]))
        else:
            parts.append(bytes([number - last << 4 | inner]) + encoded(inner, one))
        last = number
    return b"".join(parts) + b"\0"


def entry(fields: Fields, *numbers: int) -> list[Any]:
    """The field at a path of numbers, to read or to change its third member."""
    for number in numbers[:-1]:
        fields = next(one[2] for one in fields if one[0] == number)
    return next(one for one in fields if one[0] == numbers[-1])


@dataclass
class Page:
    header: Fields
    body: bytes


@dataclass
class Chunk:
    meta: Fields
    pages: list[Page] = field(default_factory=list)


@dataclass
class ParquetParts:
    """A file in parts that can be changed."""

    footer: Fields
    chunks: list[Chunk]

    @classmethod
    def read(cls, path: Path) -> ParquetParts:
        data = path.read_bytes()
        (length,) = struct.unpack("<I", data[-8:-4])
        footer = Reader(data[-8 - length : -8]).struct()
        chunks = []
        for group in entry(footer, ROW_GROUPS)[2][1]:
            for column in entry(group, COLUMNS)[2][1]:
                meta = entry(column, META)[2]
                at = min(one[2] for one in meta if one[0] in (DATA_OFFSET, DICTIONARY_OFFSET))
                end = at + entry(meta, COMPRESSED)[2]
                chunk = Chunk(meta)
                while at < end:
                    reader = Reader(data[at:])
                    header = reader.struct()
                    at += reader.at + entry(header, PAGE_COMPRESSED)[2]
                    body = data[at - entry(header, PAGE_COMPRESSED)[2] : at]
                    chunk.pages.append(Page(header, body))
                chunks.append(chunk)
        return cls(footer, chunks)

    def write(self, path: Path, lie: Callable[[ParquetParts], object] = lambda _: None) -> None:
        """Write the file with its pages where the footer says, then let `lie` change the footer."""
        data = bytearray(b"PAR1")
        for chunk in self.chunks:
            begin = len(data)
            for page in chunk.pages:
                is_dictionary = any(one[0] == DICTIONARY_PAGE for one in page.header)
                place = DICTIONARY_OFFSET if is_dictionary else DATA_OFFSET
                if is_dictionary or page is next(
                    one for one in chunk.pages
                    if not any(entry[0] == DICTIONARY_PAGE for entry in one.header)
                ):  # fmt: skip
                    entry(chunk.meta, place)[2] = len(data)
                data += encoded(STRUCT, page.header) + page.body
            entry(chunk.meta, COMPRESSED)[2] = len(data) - begin
        lie(self)
        footer = encoded(STRUCT, self.footer)
        path.write_bytes(bytes(data) + footer + struct.pack("<I", len(footer)) + b"PAR1")


def integers(fields: Fields) -> Iterator[list[Any]]:
    """Every field with an integer, at any depth."""
    for one in fields:
        if one[1] in (I16, I32, I64):
            yield one
        elif one[1] == STRUCT:
            yield from integers(one[2])
        elif one[1] == LIST and one[2][0] == STRUCT:
            for inner in one[2][1]:
                yield from integers(inner)
