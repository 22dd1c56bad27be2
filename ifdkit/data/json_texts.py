"""Rows of JSON as they are written in their file: copied, or with more keys.

The values of a row do not say how they were written: 1.0 or 1e0, a repeated key, an escape. What
must not change is therefore copied from the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, BinaryIO

from ifdkit.data.atomic import dumps
from ifdkit.data.raw import Raw
from ifdkit.data.sources import open_bytes
from ifdkit.data.strict_json import BadRowError, parse

_CHUNK = 2**20
_FIRST_GAP = re.compile(r"\{([ \t\r\n]*)")
_LINE_BREAKS = re.compile(r"[ \t]*[\r\n]+[ \t]*")


class JsonSource:
    """The rows of a JSON file as they are written in it, read forward once."""

    def __init__(self, source: Path | None, stack: ExitStack) -> None:
        self._source = source
        self._stack = stack.enter_context(ExitStack())
        self._stream: BinaryIO | None = None
        self._position = 0

    def close(self) -> None:
        """Close the file, if the caller does not wait for its stack to do so."""
        self._stack.close()

    def has(self, raw: Raw) -> bool:
        """Whether the row is in the file as JSON text, malformed or not."""
        return None not in (self._source, raw.byte_offset, raw.n_bytes)

    def text_of(self, raw: Raw) -> str | None:
        """The text of an object; None for other rows, and if there is no text to read."""
        if not (self.has(raw) and isinstance(raw.value, Mapping)):
            return None
        content = b"".join(self._pieces(raw)).strip(b" \t\r\n,")
        try:
            # If the offsets belong to other bytes than these, the row is serialized.
            return content.decode() if parse(content) == raw.value else None
        except (BadRowError, UnicodeDecodeError):
            return None

    def copy(self, raw: Raw, file: IO[bytes]) -> None:
        """Write the bytes of a row and a line break."""
        for piece in self._pieces(raw):
            file.write(piece.removesuffix(b"\n"))
        file.write(b"\n")

    def _pieces(self, raw: Raw) -> Iterator[bytes]:
        """The bytes of a row, which may be longer than memory allows. Offsets must ascend."""
        assert self._source is not None, "the caller has asked `has`"
        begin, length = raw.byte_offset or 0, raw.n_bytes or 0
        if self._stream is None:
            self._stream = self._stack.enter_context(open_bytes(self._source))
        while self._position < begin + length:
            stop = begin if self._position < begin else begin + length
            piece = self._stream.read(min(_CHUNK, stop - self._position))
            if not piece:
                return
            if self._position >= begin:
                yield piece
            self._position += len(piece)


def with_keys(text: str, keys: Mapping[str, Any]) -> str:
    """The text of a JSON object with more keys at its end, laid out like its other keys."""
    body = text[:-1].rstrip(" \t\r\n")
    before_brace = text[len(body) : -1]
    first_gap = _FIRST_GAP.match(text)
    gap = first_gap[1] if first_gap and "\n" in first_gap[1] else " "
    items = f",{gap}".join(f"{dumps(key)}: {dumps(value)}" for key, value in keys.items())
    return f"{body}{items if body == '{' else f',{gap}{items}'}{before_brace}}}"


def on_one_line(text: str) -> str:
    """JSON text without line breaks, which are white space: inside a string they are escaped."""
    return _LINE_BREAKS.sub(" ", text)
