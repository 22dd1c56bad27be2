"""Output files: whole or not at all, strict in every format.

A file is written beside its place under a temporary name, synced and renamed; whoever looks finds
the old file or the new one.
"""

from __future__ import annotations

import csv
import glob
import io
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Protocol

from ifdkit.errors import OutputError, UsageError
from ifdkit.records import FIELDS, TOKEN_FIELDS, Reject, ScoreRow

_UNFINISHED = ".inprogress"
_TEXT_FIELDS = {"id", "status", "reason"}
_ROWS_A_GROUP = 4096


@contextmanager
def atomic(path: Path, *, mode: int = 0o666) -> Iterator[IO[bytes]]:
    """A binary file that appears at `path` when the block ends, and not at all if it raises.

    `mode` is its permissions, of which the umask is taken away.
    Raises OutputError where the place cannot be written.
    """
    try:
        _sweep(path)
        file = tempfile.NamedTemporaryFile(  # noqa: SIM115  renamed, not deleted, at the end
            dir=path.parent,
            prefix=f".{path.name}.{os.getpid()}.",
            suffix=_UNFINISHED,
            delete=False,
        )
    except OSError as error:
        raise _cannot(path, error) from error
    temporary = Path(file.name)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode & ~_umask())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _cannot(path, error) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _sweep(path: Path) -> None:
    """Remove what killed runs have left of this file; those of running ones stay."""
    if os.name != "posix":
        return
    for left in path.parent.glob(f".{glob.escape(path.name)}.*{_UNFINISHED}"):
        owner = left.name.removeprefix(f".{path.name}.").split(".")[0]
        if owner.isdecimal() and not _is_running(int(owner)):
            left.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)  # asks, does not kill
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _cannot(path: Path, error: OSError) -> OutputError:
    return OutputError(f"cannot write {path}: {error.strerror or error}")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where folders can be opened."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def dumps(value: Any, **options: Any) -> str:
    """Strict JSON: no NaN, no infinity, text as it is."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, **options)


def write_json(path: Path, value: Any) -> None:
    """One JSON object, indented, whole or not at all."""
    with atomic(path) as file:
        # A path may hold bytes that are no text; they are shown, not lost.
        file.write(dumps(value, indent=2).encode(errors="backslashreplace") + b"\n")


def json_line(value: Any) -> bytes:
    """One line of a JSON Lines file."""
    # Half a character, which no encoding holds, stays what it was: a \\uXXXX of JSON.
    return dumps(value).encode(errors="backslashreplace") + b"\n"


def score_columns(*, token_nll: bool) -> tuple[str, ...]:
    """The columns of a scores file."""
    return FIELDS if token_nll else tuple(name for name in FIELDS if name not in TOKEN_FIELDS)


class RowWriter(Protocol):
    """Writes rows of scores into an open file."""

    def write(self, rows: Sequence[ScoreRow]) -> None:
        """Append rows."""
        ...

    def finish(self) -> None:
        """Complete the content; the file itself is closed by whoever opened it."""
        ...


class _JsonLines:
    def __init__(self, file: IO[bytes], names: Sequence[str]) -> None:
        self._file, self._names = file, names

    def write(self, rows: Sequence[ScoreRow]) -> None:
        for row in rows:
            values = {name: getattr(row, name) for name in self._names}
            self._file.write(json_line(values))

    def finish(self) -> None:
        pass


class _Csv:
    def __init__(self, file: IO[bytes], names: Sequence[str]) -> None:
        self._text = io.TextIOWrapper(
            file, encoding="utf-8", errors="backslashreplace", newline="", write_through=True
        )
        self._names = names
        # Lines end as RFC 4180 says; only so does Python quote a bare carriage return in a cell.
        self._writer = csv.writer(self._text, lineterminator="\r\n")
        self._writer.writerow(names)

    def write(self, rows: Sequence[ScoreRow]) -> None:
        for row in rows:
            self._writer.writerow([_cell(getattr(row, name)) for name in self._names])

    def finish(self) -> None:
        self._text.flush()
        self._text.detach()


_FORMULA_SIGNS = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # full-width ones too


def _cell(value: Any) -> Any:
    """A CSV cell that no spreadsheet takes for a formula."""
    if isinstance(value, str) and value.lstrip().startswith(_FORMULA_SIGNS):
        return f"'{value}"
    return dumps(value) if isinstance(value, list) else value


class _Parquet:
    def __init__(self, file: IO[bytes], names: Sequence[str]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._schema = pa.schema([(name, arrow_type(name)) for name in names])
        self._writer = pq.ParquetWriter(file, self._schema, compression="zstd")

    def write(self, rows: Sequence[ScoreRow]) -> None:
        import pyarrow as pa

        for begin in range(0, len(rows), _ROWS_A_GROUP):
            part = rows[begin : begin + _ROWS_A_GROUP]
            arrays = [
                pa.array([_whole(getattr(row, field.name)) for row in part], field.type)
                for field in self._schema
            ]
            self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))

    def finish(self) -> None:
        self._writer.close()


def _whole(value: Any) -> Any:
    """Text that UTF-8 holds: half a character is spelt out."""
    is_text = isinstance(value, str) and not value.isascii()
    return value.encode(errors="backslashreplace").decode() if is_text else value


def arrow_type(name: str) -> Any:
    """The Arrow type of a column of a scores file."""
    import pyarrow as pa

    if name in TOKEN_FIELDS:
        return pa.list_(pa.float32())
    if name in _TEXT_FIELDS:
        return pa.string()
    integer = name in {"row", "turn"} or name.endswith(("_tokens", "_words"))
    return pa.int64() if integer else pa.float64()


WRITERS: dict[str, Any] = {".jsonl": _JsonLines, ".csv": _Csv, ".parquet": _Parquet}
"""Ending → writer of rows.  A new output format is one more entry."""


def check_output(path: Path) -> None:
    """Refuse, before any work is done, an output that could not be written.

    Raises UsageError for an unknown ending, OutputError for a missing folder.
    """
    if path.suffix.lower() not in WRITERS:
        raise UsageError(f"-o {path}: end it in {', '.join(WRITERS)}")
    if not path.parent.is_dir():
        raise OutputError(f"cannot write {path}: there is no folder {path.parent}")
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise OutputError(f"cannot write {path}: it is a folder, or its folder is read-only")


@contextmanager
def row_writer(path: Path, *, token_nll: bool) -> Iterator[RowWriter]:
    """A scores file in the format of its ending, which appears when the block ends."""
    with atomic(path) as file:
        writer: RowWriter = WRITERS[path.suffix.lower()](file, score_columns(token_nll=token_nll))
        try:
            yield writer
        finally:
            # After an error too, while the file is open: Parquet's writer insists on a footer.
            writer.finish()


def write_rejects(path: Path, rejects: Sequence[Reject]) -> None:
    """Rejected rows as JSON Lines; no rejects, no file."""
    if not rejects:
        path.unlink(missing_ok=True)
        return
    with atomic(path) as file:
        for reject in rejects:
            file.write(json_line(asdict(reject)))
