"""JSON arrays and concatenated JSON, row by row in constant memory.

A scanner first finds the end of each value, knowing only strings and brackets (`_Extent`), and then
parses the value.

A malformed row must not take its neighbours with it. A lost quote or bracket makes a row seem to
continue through the rows after it, so a malformed row is cut at the next place that looks like the
start of a row: an object whose first key is one with which other rows start (`_RowStarts`). A valid
string cannot contain such a place, because its quotes would be escaped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from ifdkit.data.raw import MAX_DEPTH, MAX_ROW_BYTES, Raw, too_long
from ifdkit.data.strict_json import parsed

_CHUNK = 2**20
"""Bytes read from a stream at a time."""
_WINDOW = 128
"""Bytes of a value that are scanned before the first check whether it is malformed. Doubled after
every check, so that all checks of a value together take time linear in its length."""
_MAX_KEYS = 32
"""First keys of rows that are remembered."""
_LOOKAHEAD = 512
"""Bytes beyond the end of a search for the start of a row: more than `_OPENING` can match."""
_BOM = b"\xef\xbb\xbf"
_ENDS_INSIDE = "the file ends inside this row"

# Possessive quantifiers (*+) never backtrack. With plain ones, a string of many escapes costs 60
# bytes of memory for each of its own.
_STRING_TAIL = rb'[^"\\]*+(?:\\.[^"\\]*+)*+"'
_STRING_END = re.compile(_STRING_TAIL, re.DOTALL)
_TOKEN = re.compile(rb'"' + _STRING_TAIL + rb'|[\[\]{}"]', re.DOTALL)
"""A whole string, a bracket, or the quote of a string that does not end."""
_SCALAR = re.compile(rb"[^,\[\]{\n]*")
_GAP = re.compile(rb"[\s,]*")
_OPENING = re.compile(rb'\{\s{0,64}("(?:[^"\\]|\\.){0,64}")\s{0,64}:', re.DOTALL)
"""The start of an object, up to the colon after its first key."""
# Accepts what `parse` refuses for other reasons than a wrong structure: numbers of any length, and
# line breaks within strings.
_LENIENT = json.JSONDecoder(parse_int=float, strict=False)


def json_values(stream: BinaryIO, *, in_array: bool) -> Iterator[Raw]:
    """The rows of a JSON array, or of values that follow each other.

    Missing and repeated commas are accepted. If the array is not closed, or text follows it, one
    more row says so.
    """
    window = _Window(stream)
    scanner = _ValueScanner(window)
    if window.peek(len(_BOM)) == _BOM:
        window.position += len(_BOM)
    if in_array and _next_byte(window) == b"[":
        window.position += 1
    row, is_closed = 0, not in_array
    while byte := _next_byte(window):
        line, offset = window.place()
        if in_array and byte == b"]":
            window.position += 1
            is_closed = True
            byte = _next_byte(window)
            if not byte:
                return
            if byte != b"{":
                scanner.value()  # skip the text that follows, up to the next possible row
            # A stray bracket inside the array looks like its end, so rows may still follow.
            yield Raw(row, None, "the array ends here, but text follows", line, offset)
        else:
            value, error = scanner.value()
            # The last row already says that the file is incomplete.
            is_closed = is_closed or error == _ENDS_INSIDE
            yield Raw(row, value, error, line, offset, window.place()[1] - offset)
        row += 1
    if not is_closed:
        yield Raw(row, None, "the array is not closed", *window.place())


def _next_byte(window: _Window) -> bytes:
    """Skip white space and commas; the byte after them, or b"" at the end of the file."""
    while True:
        match = _GAP.match(window.buffer, window.position)
        assert match is not None, "a gap may be empty"
        window.position = match.end()
        byte = window.peek(1)  # reads on if the gap reached the end of the buffer
        if not byte or not _GAP.fullmatch(byte):
            return byte


class _ValueScanner:
    """Takes one value after the other from a window, however many chunks each one spans."""

    def __init__(self, window: _Window) -> None:
        self._window = window
        self._row_starts = _RowStarts()

    def value(self) -> tuple[Any, str | None]:
        """The value at the position, or None and the reason; moves the position behind it."""
        length, error = self._measure()
        if not length:
            return None, error
        value, problem = self._parse(length)
        # A row is never a string, but after a stray quote everything up to the next quote is one.
        if problem or isinstance(value, str):
            if start := self._find_row_start(length):
                length = start
                value, problem = self._parse(length)
            else:
                problem = error or problem
        self._window.position += length
        return value, problem

    def _parse(self, length: int) -> tuple[Any, str | None]:
        return parsed(self._window.peek(length).rstrip(b" \t\r\n,"))

    def _measure(self) -> tuple[int, str | None]:
        """Length in bytes of the value at the position, and what is wrong with its end.

        Of an over-long value the length is 0; the position is moved behind it.
        """
        window = self._window
        first = window.peek(_LOOKAHEAD)
        self._row_starts.learn(first)
        extent = _Extent(first)
        n_wanted = min(_WINDOW, MAX_ROW_BYTES)
        while True:
            n_available = window.available(n_wanted)
            if extent.ends_within(window, n_available):
                return extent.length, None
            if n_available < n_wanted:  # the end of the file
                return n_available, None if extent.is_scalar else _ENDS_INSIDE
            # Without this check a lost quote would make the row swallow all others up to
            # MAX_ROW_BYTES, and be rejected as too long.
            if (start := self._find_row_start(n_wanted)) and self._is_malformed(extent, n_wanted):
                return start, None
            if n_wanted >= MAX_ROW_BYTES:
                extent.skip(window)
                return 0, too_long(MAX_ROW_BYTES)
            n_wanted = min(2 * n_wanted, MAX_ROW_BYTES)

    def _find_row_start(self, length: int) -> int | None:
        """Where in the first `length` bytes of the value another row seems to start."""
        self._window.available(length + _LOOKAHEAD)
        return self._row_starts.find(self._window.buffer, self._window.position, length)

    def _is_malformed(self, extent: _Extent, length: int) -> bool:
        """Whether the first `length` bytes of the value cannot be the beginning of JSON."""
        if extent.depth > MAX_DEPTH:
            return True
        text = self._window.peek(length).decode("utf-8", errors="replace")
        if text.startswith('"'):
            return True  # a string that contains what looks like a row
        try:
            _LENIENT.raw_decode(text)
        except json.JSONDecodeError as error:
            # An error near the end, or a string without an end, may only mean that the rest of the
            # value is missing: 64 bytes cover the longest token that can be cut.
            return error.pos < len(text) - 64 and "Unterminated" not in error.msg
        except RecursionError:
            return True
        return False


class _Extent:
    """A state machine that finds the end of the value at the position of a window.

    It can stop after any byte and resume there, so that it works across chunks.
    """

    def __init__(self, first: bytes) -> None:
        """`first`: the first bytes of the value, at least one."""
        self.is_scalar = first[:1] not in b'{["'
        self.depth = 0
        """Brackets that are open."""
        # The first byte of a scalar may be anything, such as a stray bracket, and belongs to it.
        self.length = int(self.is_scalar)
        """Bytes of the value that were scanned."""
        self._in_string = False

    def ends_within(self, window: _Window, n_bytes: int) -> bool:
        """Scan on through the first `n_bytes` of the value; whether it ends there.

        If it does, `length` is the length of the value.
        """
        begin, stop = window.position + self.length, window.position + n_bytes
        if self.is_scalar:
            match = _SCALAR.match(window.buffer, begin, stop)
            assert match is not None, "it may be empty"
            self.length = match.end() - window.position
            return match.end() < stop
        if self._in_string:
            match = _STRING_END.match(window.buffer, begin, stop)
            if match is None:
                self._stop_in_string(window, begin, stop)
                return False
            begin = match.end()
            self._in_string = False
            self.length = begin - window.position
            if self.depth == 0:
                return True
        for token in _TOKEN.finditer(window.buffer, begin, stop):
            if token.group() == b'"':  # a string that does not end before `stop`
                self._stop_in_string(window, token.end(), stop)
                return False
            first = token.group()[:1]
            self.depth += (first in b"{[") - (first in b"}]")
            if self.depth <= 0:
                self.length = token.end() - window.position
                return True
        self.length = n_bytes
        return False

    def _stop_in_string(self, window: _Window, begin: int, stop: int) -> None:
        """Note that the bytes from `begin` to `stop` are inside a string."""
        self._in_string = True
        # A backslash at the end escapes a byte that is not there yet. It must be scanned again
        # together with that byte: an escaped quote does not end the string. An even number of
        # backslashes escape each other.
        tail = window.buffer[begin:stop]
        n_backslashes = len(tail) - len(tail.rstrip(b"\\"))
        self.length = stop - n_backslashes % 2 - window.position

    def skip(self, window: _Window) -> None:
        """Move the position of the window behind the value, keeping none of its bytes."""
        n_wanted = max(_CHUNK, 2)  # 2: a backslash and the byte that it escapes
        while True:
            window.position += self.length
            self.length = 0
            n_available = window.available(n_wanted)
            if self.ends_within(window, n_available):
                window.position += self.length
                return
            if n_available < n_wanted:  # the end of the file
                window.position += n_available
                return


class _RowStarts:
    """Recognizes the start of a row by the keys with which rows have started so far."""

    def __init__(self) -> None:
        self._keys: list[bytes] = []
        self._pattern = _OPENING  # any key, until the first one is known

    def learn(self, first: bytes) -> None:
        """Remember the first key of a row that begins with these bytes."""
        match = _OPENING.match(first)
        if match and match[1] not in self._keys and len(self._keys) < _MAX_KEYS:
            self._keys.append(match[1])
            keys = b"|".join(map(re.escape, self._keys))
            self._pattern = re.compile(rb"\{\s{0,64}(?:" + keys + rb")\s{0,64}:")

    def find(self, buffer: bytes, begin: int, length: int) -> int | None:
        """Distance from `begin` to the next start of a row, less than `length`, or None.

        `begin` itself does not count: it is where the current row starts.
        """
        end = begin + length
        for match in self._pattern.finditer(buffer, begin + 1, end + _LOOKAHEAD):
            start = match.start()
            if start >= end:
                return None
            # A row follows another one, a comma or a line break; an inner object usually does not.
            before = buffer[max(begin, start - 64) : start].rstrip(b" \t\r")
            if before[-1:] in (b"}", b",", b"\n"):
                return start - begin
        return None


class _Window:
    """The bytes of a stream from a position that only moves forward."""

    def __init__(self, stream: BinaryIO) -> None:
        self.buffer = b""
        self.position = 0
        """Index in `buffer` of the next value."""
        self._stream = stream
        self._at_end = False
        self._n_dropped = 0  # bytes of the stream before the buffer
        self._line = 1  # the line of the byte at _counted
        self._counted = 0  # index up to which line breaks were counted

    def place(self) -> tuple[int, int]:
        """1-based line and 0-based byte offset of the position in the stream."""
        self._line += self.buffer.count(b"\n", self._counted, self.position)
        self._counted = self.position
        return self._line, self._n_dropped + self.position

    def peek(self, length: int) -> bytes:
        """The bytes at the position, `length` of them unless the stream ends before."""
        n_available = self.available(length)  # first: it may replace the buffer
        return self.buffer[self.position : self.position + n_available]

    def available(self, length: int) -> int:
        """Buffer `length` bytes from the position; how many there are, fewer only at the end."""
        missing = length - (len(self.buffer) - self.position)
        if missing > 0 and not self._at_end:
            self._read(missing)
        return min(length, len(self.buffer) - self.position)

    def _read(self, missing: int) -> None:
        """Drop the bytes before the position and append at least `missing` bytes."""
        self.place()  # counts the line breaks that are dropped
        self._n_dropped += self.position
        pieces = [self.buffer[self.position :]]
        while missing > 0 and not self._at_end:
            pieces.append(self._stream.read(_CHUNK))
            missing -= len(pieces[-1])
            self._at_end = not pieces[-1]
        self.buffer, self.position, self._counted = b"".join(pieces), 0, 0
