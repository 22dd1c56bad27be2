"""Output files that are complete or absent, and strict JSON.

A file is written under a temporary name in its folder, synced and renamed. A reader sees either the
old file or the new one.
"""

from __future__ import annotations

import glob
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ifdkit.errors import OutputError
from ifdkit.records import Reject

_UNFINISHED = ".inprogress"


@contextmanager
def atomic(path: Path, *, mode: int = 0o666) -> Iterator[IO[bytes]]:
    """Open a binary file that replaces `path` when the block ends, unless the block raises.

    `mode` are its permissions before the umask.  Raises OutputError if the file cannot be written.
    """
    try:
        _remove_leftovers(path)
        # The name contains the process id, by which a later run recognises a leftover.
        file = tempfile.NamedTemporaryFile(  # noqa: SIM115  renamed at the end, not deleted
            dir=path.parent,
            prefix=f".{path.name}.{os.getpid()}.",
            suffix=_UNFINISHED,
            delete=False,
        )
    except OSError as error:
        raise _output_error(path, error) from error
    temporary = Path(file.name)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # NamedTemporaryFile creates files with mode 0600; the user expects the usual mode.
        temporary.chmod(mode & ~_umask())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _output_error(path, error) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _remove_leftovers(path: Path) -> None:
    """Remove temporary files that killed runs left for this path; keep those of live processes."""
    if os.name != "posix":
        return
    for left in path.parent.glob(f".{glob.escape(path.name)}.*{_UNFINISHED}"):
        owner = left.name.removeprefix(f".{path.name}.").split(".")[0]
        if owner.isdecimal() and not _is_running(int(owner)):
            left.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)  # signal 0 only checks that the process exists
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _output_error(path: Path, error: OSError) -> OutputError:
    return OutputError(f"cannot write {path}: {error.strerror or error}")


def _umask() -> int:
    mask = os.umask(0)  # there is no call that only reads it
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Make the rename durable, on systems where a folder can be opened."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def dumps(value: Any, **options: Any) -> str:
    """Strict JSON with non-ASCII text unescaped. Raises ValueError for NaN and infinity."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, **options)


def encoded_json(text: str) -> bytes:
    r"""JSON text in UTF-8; a lone surrogate, which UTF-8 lacks, becomes its JSON escape \uXXXX."""
    return text.encode(errors="backslashreplace")


def valid_text(value: Any) -> Any:
    """Text that UTF-8 can encode: a lone surrogate becomes its escape. Other values as they are."""
    is_text = isinstance(value, str) and not value.isascii()
    return value.encode(errors="backslashreplace").decode() if is_text else value


def json_file(value: Any) -> bytes:
    """The content of an indented JSON file."""
    return encoded_json(dumps(value, indent=2)) + b"\n"


def write_json(path: Path, value: Any) -> None:
    """Write one indented JSON value. Raises OutputError if the file cannot be written."""
    with atomic(path) as file:
        file.write(json_file(value))


def json_line(value: Any) -> bytes:
    """One line of a JSON Lines file."""
    return encoded_json(dumps(value)) + b"\n"


def write_rejects(path: Path, rejects: Sequence[Reject]) -> None:
    """Write rejected rows as JSON Lines, or remove an old file if there are none."""
    if not rejects:
        path.unlink(missing_ok=True)
        return
    with atomic(path) as file:
        for reject in rejects:
            file.write(json_line(reject.as_json()))
