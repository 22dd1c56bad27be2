"""JSON arrays, JSON Lines and concatenated JSON, row by row in constant memory.

Rows are found by a scanner that knows only strings and brackets, then parsed one at a time. A lost
quote or bracket makes a row seem to go on through those after it; so, where a row is malformed, it
is cut short at the next place that looks like the beginning of a row: an object that opens with the
key that other rows open with. Inside a valid string that cannot stand, for its quotes would be
escaped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, NoReturn

from ifdkit.data.raw import MAX_DEPTH, MAX_ROW_BYTES, Raw

_CHUNK = 2**20
_WINDOW = 128
"""Bytes of a value that are scanned before asking whether it is broken; doubled every time."""
_LOOKAHEAD = 512
"""More than _OPENING can match."""
_MAX_KEYS = 32
_BOM = b"\xef\xbb\xbf"
_ENDS_INSIDE = "the file ends inside this row"

# Possessive (*+): otherwise a string of many escapes costs 60 bytes of memory for each of its own.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{}"]', re.DOTALL)
_STRING_END = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_SCALAR = re.compile(rb"[^,\[\]{\n]*")
_GAP = re.compile(rb"[\s,]*")
_OPENING = re.compile(rb'\{\s{0,64}("(?:[^"\\]|\\.){0,64}")\s{0,64}:', re.DOTALL)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
_LENIENT = json.JSONDecoder(parse_int=float, strict=False)


class BadRowError(ValueError):
    """A row that is not a JSON value; the message is the reason for its rejection."""


def parse(data: bytes) -> Any:
    """One JSON value. Raises BadRowError with a reason a person can act on."""
    try:
        value = _DECODER.decode(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadRowError(f"not UTF-8: byte 0x{data[error.start]:02x} at {error.start}") from error
    except json.JSONDecodeError as error:
        raise BadRowError(f"not JSON: {error.msg} (character {error.pos})") from error
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
    for _ in range(MAX_DEPTH):
        level = [
            child
            for node in level
            if isinstance(node, (dict, list))
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return False
    return True


def _parsed(data: bytes) -> tuple[Any, str | None]:
    """The value, or None and why there is none."""
    try:
        return parse(data), None
    except BadRowError as error:
        return None, str(error)


def _too_long() -> str:
    return f"longer than {MAX_ROW_BYTES:,} bytes"


def json_lines(stream: BinaryIO) -> Iterator[Raw]:
    """Rows of a file with one JSON value a line; blank lines are no rows."""
    offset, row = 0, 0
    for number, (line, length) in enumerate(_lines(stream), start=1):
        content = line.removeprefix(_BOM) if number == 1 else line
        if content.strip():
            value, error = (
                _parsed(content.strip()) if length <= MAX_ROW_BYTES else (None, _too_long())
            )
            yield Raw(row, value, error, number, offset + len(line) - len(content))
            row += 1
        offset += length


def _lines(stream: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Lines and their lengths in bytes; of an over-long line, only the beginning."""
    while line := stream.readline(MAX_ROW_BYTES + 1):
        length, piece = len(line), line
        while not piece.endswith(b"\n") and (piece := stream.readline(_CHUNK)):
            length += len(piece)
        yield line, length


class _Scanner:
    """A window on a stream that reads one value after another, however many chunks each spans."""

    def __init__(self, stream: BinaryIO) -> None:
        self.position = 0
        """Where the next value begins, in the buffer."""
        self._stream = stream
        self._buffer = b""
        self._at_end = False
        self._dropped = 0  # bytes before the buffer
        self._line = 1  # of the byte at _counted
        self._counted = 0
        self._keys: list[bytes] = []  # with which rows have begun so far
        self._row_start = _OPENING
        self._is_scalar = False  # the state of the value that is being measured
        self._depth = 0
        self._in_string = False
        self._scanned = 0  # its bytes that have been looked at

    def place(self) -> tuple[int, int]:
        """1-based line and byte offset of the position."""
        self._line += self._buffer.count(b"\n", self._counted, self.position)
        self._counted = self.position
        return self._line, self._dropped + self.position

    def next_byte(self) -> bytes:
        """Skip white space and commas and return the byte after them, empty at the end."""
        while True:
            match = _GAP.match(self._buffer, self.position)
            assert match is not None, "a gap may be empty"
            self.position = match.end()
            if byte := self.peek(1):
                if not _GAP.fullmatch(byte):
                    return byte
            else:
                return b""

    def peek(self, length: int) -> bytes:
        """The bytes at the position, as many as asked for unless the stream ends."""
        there = self._available(length)
        return self._buffer[self.position : self.position + there]

    def value(self) -> tuple[Any, str | None]:
        """The value at the position, or None and why there is none; the position moves behind."""
        length, error = self._measure()
        if not length:
            return None, error
        value, problem = _parsed(self._trimmed(length))
        if problem or isinstance(value, str):  # a string may be what follows a stray quote
            if start := self._next_row_start(length):
                length = start
                value, problem = _parsed(self._trimmed(length))
            else:
                problem = error or problem
        self.position += length
        return value, problem

    def _trimmed(self, length: int) -> bytes:
        return self.peek(length).rstrip(b" \t\r\n,")

    def _available(self, length: int) -> int:
        """Have so many bytes behind the position; fewer only where the stream ends before."""
        missing = length - (len(self._buffer) - self.position)
        if missing > 0 and not self._at_end:
            self._read(missing)
        return min(length, len(self._buffer) - self.position)

    def _read(self, missing: int) -> None:
        self.place()  # counts the lines that are dropped here
        self._dropped += self.position
        pieces = [self._buffer[self.position :]]
        while missing > 0 and not self._at_end:
            pieces.append(self._stream.read(_CHUNK))
            missing -= len(pieces[-1])
            self._at_end = not pieces[-1]
        self._buffer, self.position, self._counted = b"".join(pieces), 0, 0

    def _measure(self) -> tuple[int, str | None]:
        """Length in bytes of the value at the position, and what is wrong with its end.

        An over-long value is skipped instead: the position moves behind it.
        """
        first = self.peek(_LOOKAHEAD)
        self._learn(first)
        self._is_scalar = first[:1] not in b'{["'
        # Whatever a scalar's first byte is, it is none of the next value's.
        self._depth, self._in_string, self._scanned = 0, False, int(self._is_scalar)
        window = min(_WINDOW, MAX_ROW_BYTES)
        while True:
            there = self._available(window)
            if self._scan(there):
                return self._scanned, None
            if there < window:
                return there, None if self._is_scalar else _ENDS_INSIDE
            if (start := self._next_row_start(window)) and self._is_broken(window):
                return start, None
            if window >= MAX_ROW_BYTES:
                self._skip()
                return 0, _too_long()
            window = min(2 * window, MAX_ROW_BYTES)

    def _skip(self) -> None:
        """Move the position behind the value, keeping nothing of it."""
        while True:
            self.position += self._scanned
            self._scanned = 0
            there = self._available(max(_CHUNK, 2))  # 2: a backslash and what it escapes
            if self._scan(there):
                self.position += self._scanned
                return
            if self._at_end and self.position + there == len(self._buffer):
                self.position += there
                return

    def _scan(self, stop: int) -> bool:
        """Look on, up to `stop` bytes behind the position: whether the value ends there."""
        at, end = self.position + self._scanned, self.position + stop
        if self._is_scalar:
            match = _SCALAR.match(self._buffer, at, end)
            assert match is not None, "it may be empty"
            self._scanned = match.end() - self.position
            return match.end() < end
        if self._in_string:
            match = _STRING_END.match(self._buffer, at, end)
            if match is None:
                self._scanned = self._before_escape(at, end)
                return False
            at = match.end()
            self._in_string = False
            self._scanned = at - self.position
            if self._depth == 0:
                return True
        for token in _TOKEN.finditer(self._buffer, at, end):
            first = token.group()[:1]
            if token.group() == b'"':
                self._in_string = True
                self._scanned = self._before_escape(token.end(), end)
                return False
            self._depth += (first in b"{[") - (first in b"}]")
            if self._depth <= 0:
                self._scanned = token.end() - self.position
                return True
        self._scanned = stop
        return False

    def _before_escape(self, begin: int, end: int) -> int:
        """The bytes scanned, less a backslash that escapes what comes after them."""
        tail = self._buffer[begin:end]
        return end - (len(tail) - len(tail.rstrip(b"\\"))) % 2 - self.position

    def _learn(self, first: bytes) -> None:
        """Remember with which key a row begins."""
        match = _OPENING.match(first)
        if match and match[1] not in self._keys and len(self._keys) < _MAX_KEYS:
            self._keys.append(match[1])
            keys = b"|".join(map(re.escape, self._keys))
            self._row_start = re.compile(rb"\{\s{0,64}(?:" + keys + rb")\s{0,64}:")

    def _next_row_start(self, length: int) -> int | None:
        """Where in the first `length` bytes of the value another row seems to begin."""
        self._available(length + _LOOKAHEAD)
        begin, end = self.position, self.position + length
        for match in self._row_start.finditer(self._buffer, begin + 1, end + _LOOKAHEAD):
            start = match.start()
            if start >= end:
                return None
            before = self._buffer[max(begin, start - 64) : start].rstrip(b" \t\r")
            if before[-1:] in (b"}", b",", b"\n"):
                return start - begin
        return None

    def _is_broken(self, length: int) -> bool:
        """Whether these first bytes of the value cannot be the beginning of JSON."""
        if self._depth > MAX_DEPTH:
            return True
        text = self.peek(length).decode("utf-8", errors="replace")
        if text.startswith('"'):
            return True  # a string that holds what looks like a row
        try:
            _LENIENT.raw_decode(text)
        except json.JSONDecodeError as error:
            # Near the end the error may be that the rest is missing.
            return error.pos < len(text) - 64 and "Unterminated" not in error.msg
        except RecursionError:
            return True
        return False


def json_values(stream: BinaryIO, *, in_array: bool) -> Iterator[Raw]:
    """Rows of a JSON array, or of values that follow each other."""
    scanner = _Scanner(stream)
    if scanner.peek(len(_BOM)) == _BOM:
        scanner.position += len(_BOM)
    if in_array and scanner.next_byte() == b"[":
        scanner.position += 1
    row, is_closed = 0, not in_array
    while byte := scanner.next_byte():
        line, offset = scanner.place()
        if in_array and byte == b"]":
            scanner.position += 1
            is_closed = True
            byte = scanner.next_byte()
            if not byte:
                return
            if byte != b"{":
                scanner.value()
            # One bracket too many inside the array looks the same: rows may go on.
            yield Raw(row, None, "the array ends here, but text follows", line, offset)
        else:
            value, error = scanner.value()
            is_closed = is_closed or error == _ENDS_INSIDE  # which tells as much
            yield Raw(row, value, error, line, offset)
        row += 1
    if not is_closed:
        yield Raw(row, None, "the array is not closed", *scanner.place())
