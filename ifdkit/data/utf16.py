"""UTF-16 and UTF-32 files as streams of UTF-8, so that every reader works on UTF-8 alone."""

from __future__ import annotations

import codecs
import io
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_CHUNK = 2**16
_BOMS = {
    # Those of UTF-32 first: the one of UTF-32-LE begins like that of UTF-16-LE.
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}


def wide_encoding(first: bytes) -> tuple[str, int] | None:
    """The encoding that the first four bytes of a file show, and the length of its mark.

    None for UTF-8 and for anything that is not text. Without a mark, two ASCII characters show
    UTF-16.
    """
    for bom, encoding in _BOMS.items():
        if first.startswith(bom):
            return encoding, len(bom)
    if len(first) < 4:
        return None
    low, high = (first[0], first[2]), (first[1], first[3])
    if high == (0, 0) and all(_is_ascii(byte) for byte in low):
        return "utf-16-le", 0
    if low == (0, 0) and all(_is_ascii(byte) for byte in high):
        return "utf-16-be", 0
    return None


def _is_ascii(byte: int) -> bool:
    return 0x20 <= byte < 0x7F or byte in b"\t\r\n"


def _surrogate_for_error(error: UnicodeError) -> tuple[str | bytes, int]:
    """Lone surrogates as they are, and one for anything that is not a character at all."""
    assert isinstance(error, UnicodeDecodeError), "it is registered for decoding"
    try:
        return codecs.lookup_error("surrogatepass")(error)
    except UnicodeDecodeError:
        return "\udcff", error.end


codecs.register_error("ifdkit.surrogate", _surrogate_for_error)


class Utf8Stream(io.RawIOBase):
    """The text of a stream, encoded as UTF-8.

    A lone surrogate, or a character that is cut off at the end, becomes bytes that are not UTF-8,
    so that only the row that contains it is rejected.
    """

    def __init__(self, stream: BinaryIO, encoding: str, n_mark: int) -> None:
        super().__init__()
        stream.read(n_mark)
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)("ifdkit.surrogate")
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill the buffer with the next bytes; their number, 0 at the end."""
        is_last = False
        while not self._ready and not is_last:  # half a character decodes to nothing
            data = self._stream.read(_CHUNK)
            is_last = not data
            text = self._decoder.decode(data, final=is_last)
            self._ready = memoryview(text.encode("utf-8", "surrogatepass"))
        view = memoryview(buffer)
        count = min(len(view), len(self._ready))
        view[:count], self._ready = self._ready[:count], self._ready[count:]
        return count
