"""The header of a GGUF file, read before the libraries that believe it.

Their reader makes an object of each element of each array, and transformers a module of each layer
that the metadata names: both take gigabytes for a header of some MB, or of one number.  The format
is that of `docs/gguf.md` of ggml, versions 2 and 3, little-endian.
"""

from __future__ import annotations

import struct
from math import prod
from pathlib import Path
from typing import BinaryIO

from ifdkit.errors import ModelError

_MAX_PAIRS, _MAX_TENSORS, _MAX_ELEMENTS, _MAX_TEXT_BYTES = 10_000, 100_000, 5_000_000, 2**24
"""Of all arrays together: a vocabulary of 262,144 tokens has 1.3 million elements."""
_MAX_PARTS = 100_000
_PARTS = ("block_count", "head_count", "head_count_kv", "expert_count", "layer_count")
_WIDTH, _OTHER_WIDTHS = ("embedding_length",), ("feed_forward_length", "vocab_size")
"""Of metadata: a matrix has the first by one of the others."""
_MAX_PARAMETERS_PER_BYTE = 8
"""The smallest quantisation takes 1.5 bits."""
_SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
"""Number of a type → its letter for `struct`."""
_FLOAT, _TEXT, _ARRAY, _DOUBLE = 6, 8, 9, 12
_LITTLE_ENDIAN = (2, 3)


def check_header(file: Path) -> None:
    """Raise ModelError if the header of a GGUF file is cut, or asks for more than the file has."""
    problem = f"{file.name} cannot be dequantised:"
    try:
        with file.open("rb") as stream:
            numbers, shapes = _Header(stream).read()
    except (struct.error, OSError, UnicodeDecodeError, OverflowError) as error:
        raise ModelError(f"{problem} its header is damaged or cut") from error
    except ValueError as error:
        raise ModelError(f"{problem} its header has {error}") from error
    for key, value in numbers.items():
        if key.endswith(_PARTS) and value > _MAX_PARTS:
            raise ModelError(f"{problem} its {key} is over {_MAX_PARTS:,}")
    limit = _MAX_PARAMETERS_PER_BYTE * file.stat().st_size
    width, other = (
        max((value for key, value in numbers.items() if key.endswith(ends)), default=1)
        for ends in (_WIDTH, _OTHER_WIDTHS)
    )
    if max((width * other, *map(prod, shapes))) > limit:
        raise ModelError(f"{problem} it names weights that are larger than the file")


class _Header:
    """Reads a header forward. Raises struct.error if it is cut, ValueError for a limit."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._n_elements = 0

    def read(self) -> tuple[dict[str, int], list[tuple[int, ...]]]:
        """The integers of the metadata, and the shapes of the tensors."""
        magic, version = self._stream.read(4), self._number("I")
        if magic != b"GGUF" or version not in _LITTLE_ENDIAN:
            raise ValueError(f"version {version} of GGUF, and 2 and 3 can be read")
        n_tensors, n_pairs = self._number("Q"), self._number("Q")
        if n_tensors > _MAX_TENSORS or n_pairs > _MAX_PAIRS:
            raise ValueError(f"{n_tensors:,} tensors and {n_pairs:,} pairs of metadata")
        numbers: dict[str, int] = {}
        for _ in range(n_pairs):
            key, kind = self._text().decode(), self._number("I")
            value = self._value(kind)
            if isinstance(value, int):
                numbers[key] = value
        shapes = []
        for _ in range(n_tensors):
            self._text()
            n_dimensions = self._number("I")
            if n_dimensions > 8:
                raise ValueError(f"a tensor of {n_dimensions:,} dimensions")
            shapes.append(tuple(self._number("Q") for _ in range(n_dimensions)))
            self._number("I"), self._number("Q")  # type and offset
        return numbers, shapes

    def _number(self, letter: str) -> int:
        form = f"<{letter}"
        (number,) = struct.unpack(form, self._stream.read(struct.calcsize(form)))
        return int(number)

    def _text(self) -> bytes:
        length = self._number("Q")
        if length > _MAX_TEXT_BYTES:
            raise ValueError(f"a text of {length:,} bytes")
        text = self._stream.read(length)
        if len(text) < length:
            raise struct.error("cut")
        return text

    def _value(self, kind: int) -> int | None:
        """A scalar as an integer; None for a text or an array."""
        if kind == _TEXT:
            self._text()
            return None
        if kind in (_FLOAT, _DOUBLE):
            self._skip(kind, 1)
            return None
        if kind != _ARRAY:
            return self._number(_letter(kind))
        inner, count = self._number("I"), self._number("Q")
        self._n_elements += count
        if self._n_elements > _MAX_ELEMENTS:
            raise ValueError(f"more than {_MAX_ELEMENTS:,} elements in arrays")
        if inner != _TEXT:
            self._skip(inner, count)
        else:
            for _ in range(count):
                self._text()
        return None

    def _skip(self, kind: int, count: int) -> None:
        n_bytes = struct.calcsize(f"<{_letter(kind)}") * count
        if len(self._stream.read(n_bytes)) < n_bytes:
            raise struct.error("cut")


def _letter(kind: int) -> str:
    if kind not in _SCALARS:
        raise ValueError(f"a value of unknown type {kind}")
    return _SCALARS[kind]
