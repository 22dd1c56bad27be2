"""Plain text files: one document per file, or one per line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from ifdkit.data.json_lines import byte_lines
from ifdkit.data.raw import MAX_ROW_BYTES, Raw, too_long

TEXT_ENDING = ".txt"
TEXT_COLUMN = "text"
"""The column of the rows of a text file."""
_BOM = b"\xef\xbb\xbf"


def whole_text(stream: BinaryIO) -> Iterator[Raw]:
    """The only row of a file that is one document, unchanged; none if the file is empty."""
    content = stream.read(MAX_ROW_BYTES + 1)
    if content:
        error = too_long(MAX_ROW_BYTES) if len(content) > MAX_ROW_BYTES else None
        yield _row(0, content.removeprefix(_BOM), error, line=1, byte_offset=0)


def text_lines(stream: BinaryIO) -> Iterator[Raw]:
    """One row per line that is not blank, without its line break."""
    offset = row = 0
    for number, (line, length) in enumerate(byte_lines(stream), start=1):
        content = line.removeprefix(_BOM) if number == 1 else line
        if content.strip():
            error = too_long(MAX_ROW_BYTES) if length > MAX_ROW_BYTES else None
            content = content.removesuffix(b"\n").removesuffix(b"\r")
            yield _row(row, content, error, line=number, byte_offset=offset, is_line=True)
            row += 1
        offset += length


def _row(
    row: int,
    content: bytes,
    error: str | None,
    *,
    line: int,
    byte_offset: int,
    is_line: bool = False,
) -> Raw:
    value = None
    if error is None:
        try:
            value = {TEXT_COLUMN: content.decode()}
        except UnicodeDecodeError as problem:
            error = f"is not UTF-8: byte 0x{content[problem.start]:02X} at {problem.start}"
    return Raw(row, value, error, line, byte_offset, is_line=is_line)
