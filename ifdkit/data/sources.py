"""Bytes of files, compressed files and standard input."""

from __future__ import annotations

import atexit
import gzip
import hashlib
import io
import os
import re
import stat
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import zstandard

from ifdkit.data.expansion import bounded
from ifdkit.data.utf16 import Utf8Stream, wide_encoding
from ifdkit.errors import InputError
from ifdkit.regular import open_regular

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_ZSTD_CHUNK = 2**10
"""Compressed bytes per step. zstd can expand one byte to 30,000, and memory must stay bounded."""
_CHUNK = 2**20
MAX_STREAM_BYTES = 2**34
"""A longer stream is refused: it is copied to the disk, and may not end."""
_DESCRIPTOR = re.compile(r"/dev/stdin|/dev/fd/\d+|/proc/self/fd/\d+")
COMPRESSED = (".gz", ".zst")
JSON_LINES = (".jsonl", ".ndjson")
DELIMITERS = {".csv": ",", ".tsv": "\t"}
DATA_ENDINGS = (".json", ".parquet", ".arrow", ".txt", *COMPRESSED, *JSON_LINES, *DELIMITERS)
"""Endings that mark a name as a file rather than a hub id."""


def spool_stdin() -> Path:
    """Copy standard input to a temporary file, so that it can be read twice.

    The file is deleted when the process exits. Raises InputError if standard input is closed or a
    terminal.
    """
    if sys.stdin is None or sys.stdin.closed:
        raise InputError("'-' reads standard input, but it is closed: pipe a dataset into it")
    if sys.stdin.isatty():
        raise InputError("'-' reads standard input, but it is a terminal: pipe a dataset into it")
    stream: BinaryIO = sys.stdin.buffer
    with suppress(OSError, ValueError):  # not every standard input has a descriptor
        mode = os.fstat(stream.fileno()).st_mode
        is_null = Path(os.devnull).samefile(f"/dev/fd/{stream.fileno()}")
        if stat.S_ISCHR(mode) and not is_null:
            raise InputError("'-' reads standard input, but it is a device: pipe a dataset into it")
    return _spool(stream, "stdin")


def spool_descriptor(path: Path) -> Path | None:
    """A copy of the pipe behind `/dev/stdin` or `/dev/fd/N`, as `<(command)` of a shell gives it.

    None if the path is anything else. Raises InputError if it cannot be read.
    """
    if not _DESCRIPTOR.fullmatch(str(path)):
        return None
    try:
        if not stat.S_ISFIFO(path.stat().st_mode):
            return None
        with path.open("rb") as stream:
            return _spool(stream, str(path))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error


def _spool(stream: BinaryIO, name: str) -> Path:
    """Copy a stream to a temporary file, which is deleted when the process exits."""
    with tempfile.NamedTemporaryFile(prefix="ifdkit-", delete=False) as file:
        path = Path(file.name)
        atexit.register(path.unlink, missing_ok=True)
        n_left = MAX_STREAM_BYTES
        try:
            while piece := stream.read(_CHUNK):
                n_left -= len(piece)
                if n_left < 0:
                    raise InputError(
                        f"{name} has more than {MAX_STREAM_BYTES:,} bytes: write it to a file"
                    )
                file.write(piece)
        except OSError as error:
            raise InputError(f"{name} cannot be copied: {error.strerror or error}") from error
    return path


def suffix(path: Path) -> str:
    """The ending that names the format: `.json` for `x.json.gz`."""
    endings = [ending.lower() for ending in path.suffixes]
    while endings and endings[-1] in COMPRESSED:
        endings.pop()
    return endings[-1] if endings else ""


@contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading its decompressed bytes; its first bytes show gzip and zstd.

    UTF-16 and UTF-32 are converted to UTF-8. Raises InputError, also later while reading, if the
    file cannot be opened or decompressed, or expands too far.
    """
    try:
        with ExitStack() as stack:
            file = stack.enter_context(open_regular(path))
            stream: BinaryIO = file
            magic = file.peek(4)
            if magic.startswith(_GZIP):
                stream = cast(BinaryIO, stack.enter_context(gzip.open(file)))
            elif magic.startswith(_ZSTD):
                stream = cast(BinaryIO, stack.enter_context(_Zstd(file)))
            if stream is not file:
                n_bytes = os.fstat(file.fileno()).st_size
                stream = stack.enter_context(bounded(stream, path, n_bytes))
            if encoding := wide_encoding(cast(io.BufferedReader, stream).peek(4)[:4]):
                stream = stack.enter_context(io.BufferedReader(Utf8Stream(stream, *encoding)))
            yield stream
    except (gzip.BadGzipFile, EOFError, zlib.error, zstandard.ZstdError) as error:
        raise InputError(f"{path}: cannot be decompressed: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error


class _Zstd(io.RawIOBase):
    """The decompressed bytes of consecutive zstd frames.

    The reader of the zstandard library has no `readline`, and treats a truncated file as complete.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._ready = memoryview(b"")
        """Decompressed bytes that have not been returned yet."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        # A step may decompress to nothing, for example inside a frame header. Returning 0 would
        # mean the end of the file, so go on until there are bytes.
        while not self._ready:
            # At the end of a frame, bytes of the next one may have been read already.
            data = self._frame.unused_data or self._file.read(_ZSTD_CHUNK)
            if not data and not self._frame.eof:
                raise EOFError("the file ends inside a zstd frame")
            if not data:
                return 0
            if self._frame.eof:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            self._ready = memoryview(self._frame.decompress(data))
        view = memoryview(buffer)
        count = min(len(view), len(self._ready))
        view[:count], self._ready = self._ready[:count], self._ready[count:]
        return count


def sha256(path: Path) -> str:
    """Hex digest of a file as it is on disk, or of the names and digests of a folder's files."""
    digest = hashlib.sha256()
    if path.is_dir():
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            digest.update(f"{file.relative_to(path).as_posix()} {sha256(file)}\n".encode())
        return digest.hexdigest()
    with open_regular(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
