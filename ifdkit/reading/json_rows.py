"""JSON arrays, JSON Lines and concatenated JSON, row by row in constant memory.

Rows are found by a scanner that knows only strings and brackets, then parsed one at a time: a
malformed row is rejected by itself, and the scanner goes on at the next place that looks like the
boundary between two objects.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, NoReturn

from ifdkit.reading.raw import MAX_DEPTH, MAX_ROW_BYTES, Raw

_CHUNK = 2**20
_FIRST_SYNTAX_CHECK = 2**16
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}"]', re.DOTALL)
_STRING_END = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_SCALAR = re.compile(rb"[^\s,\]\[{}\"]+")
_GAP = re.compile(rb"[\s,]*")
_BOUNDARY = re.compile(rb"\}\s*,?\s*(?=\{)")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


class BadRowError(ValueError):
    """A row that is not a JSON value; `resume` is the character from which to look for the next."""

    def __init__(self, reason: str, resume: int | None = None) -> None:
        super().__init__(reason)
        self.resume = resume


def parse(data: bytes) -> Any:
    """One JSON value. Raises BadRowError with a reason a person can act on."""
    try:
        value = _DECODER.decode(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadRowError(f"not UTF-8: byte 0x{data[error.start]:02x} at {error.start}") from error
    except json.JSONDecodeError as error:
        # A raw control character is a slip inside one string; anything else may hide a boundary.
        resume = None if "control character" in error.msg else error.pos
        raise BadRowError(f"not JSON: {error.msg} (character {error.pos})", resume) from error
    except RecursionError as error:
        raise BadRowError(f"nested deeper than {MAX_DEPTH} levels") from error
    except ValueError as error:
        reason = str(error) if "JSON number" in str(error) else "a number has too many digits"
        raise BadRowError(f"not JSON: {reason}") from error
    if _is_deep(value):
        raise BadRowError(f"nested deeper than {MAX_DEPTH} levels")
    return value


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            child
            for node in level
            if isinstance(node, (dict, list))
            for child in (node.values() if isinstance(node, dict) else node)
        ]
        if not level:
            return False
    return True


def json_lines(stream: BinaryIO) -> Iterator[Raw]:
    """Rows of a file with one JSON value a line; blank lines are no rows."""
    offset, row = 0, 0
    for number, (line, length) in enumerate(_lines(stream), start=1):
        content = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        if content.strip():
            yield _raw(row, content, number, offset, length)
            row += 1
        offset += length


def _raw(row: int, data: bytes, line: int, offset: int, length: int) -> Raw:
    if length > MAX_ROW_BYTES:
        error: str | None = f"longer than {MAX_ROW_BYTES:,} bytes"
        return Raw(row, error=error, line=line, byte_offset=offset)
    try:
        return Raw(row, parse(data.strip()), line=line, byte_offset=offset)
    except BadRowError as bad:
        return Raw(row, error=str(bad), line=line, byte_offset=offset)


def _lines(stream: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Lines and their lengths in bytes; of an over-long line, only the beginning."""
    while line := stream.readline(MAX_ROW_BYTES + 1):
        length, piece = len(line), line
        while not piece.endswith(b"\n") and (piece := stream.readline(_CHUNK)):
            length += len(piece)
        yield line, length


class _Scanner:
    """Finds where one value ends, however many chunks it spans."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.buffer = b""
        self.position = 0
        """Where scanning goes on, in the buffer."""
        self.dropped = 0
        """Bytes before the buffer."""
        self.newlines = 0
        """Line ends before the buffer."""
        self.at_end = False

    @property
    def place(self) -> tuple[int, int]:
        """1-based line and byte offset of the position."""
        line = 1 + self.newlines + self.buffer.count(b"\n", 0, self.position)
        return line, self.dropped + self.position

    def read_more(self) -> bool:
        """Append a chunk to the buffer; False at the end of the stream."""
        chunk = self.stream.read(_CHUNK)
        self.at_end = not chunk
        self.buffer += chunk
        return bool(chunk)

    def drop(self) -> None:
        """Forget what lies before the position."""
        self.newlines += self.buffer.count(b"\n", 0, self.position)
        self.dropped += self.position
        self.buffer, self.position = self.buffer[self.position :], 0

    def next_byte(self, gap: re.Pattern[bytes] = _GAP) -> bytes:
        """Skip a gap and return the byte after it, empty at the end."""
        while True:
            match = gap.match(self.buffer, self.position)
            assert match is not None, "a gap may be empty"
            self.position = match.end()
            if self.position < len(self.buffer) or not self.read_more():
                return self.buffer[self.position : self.position + 1]
            self.drop()

    def value(self) -> tuple[bytes, str | None]:
        """The bytes of the value at the position, which moves behind it.

        With a reason where the value is longer than allowed or the stream ends inside it; of an
        over-long value the bytes are not kept.
        """
        self.drop()
        if self.buffer[:1] not in b'{["':
            return self._scalar()
        depth, in_string, length = 0, False, 0
        check = _FIRST_SYNTAX_CHECK
        while True:
            depth, in_string, done = self._scan(depth, in_string)
            if done:
                break
            if not length and len(self.buffer) > check:
                # A lost quote makes everything after it look like one long value: look early.
                if (resume := _early_error(self.buffer)) is not None:
                    self.position = resume
                    return self.buffer[:resume], "not JSON: quotes or brackets do not match"
                check = 2 * len(self.buffer)
            if length or len(self.buffer) > MAX_ROW_BYTES:
                length += self.position
                self.drop()
            if not self.read_more():
                return self.buffer[: self.position], "the file ends inside this row"
        if length:
            return b"", f"longer than {MAX_ROW_BYTES:,} bytes"
        return self.buffer[: self.position], None

    def _scan(self, depth: int, in_string: bool) -> tuple[int, bool, bool]:
        """Advance to the end of the value or of the buffer."""
        if in_string:
            end = _STRING_END.match(self.buffer, self.position)
            if end is None:
                self.position = _before_escape(self.buffer, self.position)
                return depth, True, False
            self.position = end.end()
            if depth == 0:
                return 0, False, True
        for match in _TOKEN.finditer(self.buffer, self.position):
            token = match.group()
            if token in b"{[":
                depth += 1
            elif token in b"}]":
                depth -= 1
            elif token == b'"':
                self.position = _before_escape(self.buffer, match.end())
                return depth, True, False
            if depth <= 0:
                self.position = match.end()
                return depth, False, True
        self.position = len(self.buffer)
        return depth, False, False

    def _scalar(self) -> tuple[bytes, str | None]:
        while True:
            match = _SCALAR.match(self.buffer)
            end = match.end() if match else 1
            if end < len(self.buffer) or end > MAX_ROW_BYTES or not self.read_more():
                self.position = end
                return self.buffer[:end], None


def _before_escape(buffer: bytes, position: int) -> int:
    """The end of the buffer, less a backslash that escapes what the next chunk begins with."""
    tail = buffer[position:]
    odd = (len(tail) - len(tail.rstrip(b"\\"))) % 2
    return len(buffer) - odd


def _early_error(data: bytes) -> int | None:
    """Where to go on, if the value that begins here is malformed well before the data's end."""
    text = data.decode("utf-8", errors="replace")
    try:
        _DECODER.raw_decode(text)
    except json.JSONDecodeError as error:
        if error.msg.startswith("Unterminated string") or error.pos > len(text) - 64:
            return None
        return _boundary_after(data, len(text[: error.pos].encode()))
    except (ValueError, RecursionError):
        pass
    return None


def _boundary_after(data: bytes, position: int) -> int | None:
    match = _BOUNDARY.search(data, max(0, position - 1))
    return match.end() if match else None


def json_values(stream: BinaryIO, *, in_array: bool) -> Iterator[Raw]:
    """Rows of a JSON array, or of values that follow each other."""
    scanner = _Scanner(stream)
    scanner.read_more()
    scanner.position = len(b"\xef\xbb\xbf") if scanner.buffer.startswith(b"\xef\xbb\xbf") else 0
    if in_array and scanner.next_byte() == b"[":
        scanner.position += 1
    row = 0
    while byte := scanner.next_byte():
        line, offset = scanner.place
        if in_array and byte == b"]":
            scanner.position += 1
            in_array = False
            if scanner.next_byte():
                line, offset = scanner.place
                yield Raw(
                    row, error="text after the end of the array", line=line, byte_offset=offset
                )
            return
        data, error = scanner.value()
        value = None
        if error is None or error.startswith("the file ends"):
            try:
                value = parse(data)
            except BadRowError as bad:
                error = error or str(bad)
                resume = None if bad.resume is None else len(_prefix(data, bad.resume))
                found = None if resume is None else _boundary_after(data, resume)
                if found is not None:
                    # Hand back what follows the boundary: good rows may have been swallowed.
                    scanner.position -= len(data) - found
                    scanner.at_end = False
        yield Raw(row, value, error, line, offset)
        row += 1
    if in_array:
        line, offset = scanner.place
        yield Raw(row, error="the array is not closed", line=line, byte_offset=offset)


def _prefix(data: bytes, characters: int) -> bytes:
    return data.decode("utf-8", errors="replace")[:characters].encode()
