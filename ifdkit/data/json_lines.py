"""JSON Lines, row by row in constant memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from ifdkit.data.raw import MAX_ROW_BYTES, MAX_VALUES, Raw, too_long, too_many
from ifdkit.data.strict_json import exceeds, may_exceed, parsed

_CHUNK = 2**20
"""Bytes of an over-long line that are read at a time."""
_BOM = b"\xef\xbb\xbf"
_GAP = re.compile(r"[ \t\r\n,]*")
_DECODER = json.JSONDecoder(parse_int=float)
"""Finds the end of a value; numbers may have any length."""


def json_lines(stream: BinaryIO) -> Iterator[Raw]:
    """The rows of a file with one JSON value per line; blank lines are skipped.

    A line may end in a comma, and may contain several objects.
    """
    offset, row = 0, 0
    for number, (line, length) in enumerate(byte_lines(stream), start=1):
        content = line.removeprefix(_BOM) if number == 1 else line
        if text := content.strip():
            begin, size = offset + len(line) - len(content), len(content.removesuffix(b"\n"))
            if length <= MAX_ROW_BYTES:
                value, error = parsed(text)
            else:
                value, error, size = None, too_long(MAX_ROW_BYTES), offset + length - begin
            parts: list[_Part] = []
            if error is not None and "Extra data" in error:
                parts = _objects_of_line(content.removesuffix(b"\n"))
            if not parts:
                yield Raw(row, value, error, number, begin, size, is_line=True)
                row += 1
            for part in parts:
                place = begin + part.begin
                yield Raw(row, part.value, part.error, number, place, part.n_bytes, is_line=True)
                row += 1
        offset += length


class _Part(NamedTuple):
    """One of several values in a line."""

    begin: int
    n_bytes: int
    value: Any
    error: str | None


def _objects_of_line(line: bytes) -> list[_Part]:
    """The objects of a line, with commas or white space between them; [] if it has other parts."""
    text = line.decode("utf-8")  # its first value was read, so all of it is UTF-8
    found: list[_Part] = []
    position = begin = 0
    is_large = may_exceed(text, MAX_VALUES)
    while True:
        gap = _GAP.match(text, position)
        assert gap is not None, "a gap may be empty"
        begin += len(gap.group())  # in bytes too: a gap is ASCII
        if gap.end() == len(text):
            return found
        if is_large and exceeds(text, MAX_VALUES, gap.end()):
            rest = len(text[gap.end() :].encode())
            return [*found, _Part(begin, rest, None, too_many(MAX_VALUES))]
        try:
            _, position = _DECODER.raw_decode(text, gap.end())
        except (json.JSONDecodeError, RecursionError):
            return []
        data = text[gap.end() : position].encode()
        value, error = parsed(data)
        if error is None and not isinstance(value, dict):
            return []
        found.append(_Part(begin, len(data), value, error))
        begin += len(data)


def byte_lines(stream: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Lines and their lengths in bytes. Of an over-long line, only the beginning is kept."""
    while line := stream.readline(MAX_ROW_BYTES + 1):
        length, piece = len(line), line
        while not piece.endswith(b"\n") and (piece := stream.readline(_CHUNK)):
            length += len(piece)
        yield line, length
