"""Output files: whole or not at all, strict in every format.

A file is written beside its place under a temporary name, synced and renamed; whoever looks finds
the old file or the new one.
"""

from __future__ import annotations

import glob
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from ifdkit.errors import OutputError
from ifdkit.records import Reject

_UNFINISHED = ".inprogress"


@contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that appears at `path` when the block ends, and not at all if it raises.

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
        temporary.chmod(0o666 & ~_umask())
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


def json_file(value: Any) -> bytes:
    """The content of an indented JSON file."""
    # A path can have bytes that are not text; they are written as escapes.
    return dumps(value, indent=2).encode(errors="backslashreplace") + b"\n"


def write_json(path: Path, value: Any) -> None:
    """One JSON object, indented, whole or not at all."""
    with atomic(path) as file:
        file.write(json_file(value))


def json_line(value: Any) -> bytes:
    """One line of a JSON Lines file."""
    # Half a character, which no encoding holds, stays what it was: a \\uXXXX of JSON.
    return dumps(value).encode(errors="backslashreplace") + b"\n"


def write_rejects(path: Path, rejects: Sequence[Reject]) -> None:
    """Rejected rows as JSON Lines; no rejects, no file."""
    if not rejects:
        path.unlink(missing_ok=True)
        return
    with atomic(path) as file:
        for reject in rejects:
            file.write(json_line(asdict(reject)))
