"""The folder of a report: which files a result is saved as, and how they appear.

Results are made below the report layer and saved by themselves (`result.save(folder)`), so the
renderers are import_registered from above: each file of a report is one function under `@renders`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ifdkit.data.atomic import INCOMPLETE, OutputFiles, create_folder, replace_in_folder
from ifdkit.data.later import import_registered
from ifdkit.data.locks import output_lock
from ifdkit.errors import OutputError
from ifdkit.regular import read_regular

Result = TypeVar("Result")
Render = Callable[[Result], bytes]
_MAX_BYTES = 2**27
"""A longer file is no report that ifdkit has written."""
_LOCK_TIMEOUT_S = 30.0
"""Another run has a report locked only while it saves it."""
_RENDERERS: dict[tuple[type, str], Render[Any]] = {}


def renders(kind: type[Result], name: str) -> Callable[[Render[Result]], Render[Result]]:
    """Register a function that makes the file `name` of a report on a result of this kind."""

    def register(render: Render[Result]) -> Render[Result]:
        _RENDERERS[kind, name] = render
        return render

    return register


def save_report(
    result: object,
    folder: str | Path,
    names: Sequence[str],
    *,
    as_names: Sequence[str] | None = None,
) -> Path:
    """Write the files `names` of a report into `folder`, and return the folder.

    All are made before the first is written.  A new folder appears when it is complete; in one that
    exists, a file `INCOMPLETE` marks the moments in which some files are old and some new.
    `as_names` are other names for the files.  Raises OutputError; then nothing has changed.
    """
    import_registered()
    rendered = [_RENDERERS[type(result), name](result) for name in names]
    files = dict(zip(as_names or names, rendered, strict=True))
    place = Path(folder)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot create {folder}: {error.strerror or error}") from error
    with output_lock(place, timeout_s=_LOCK_TIMEOUT_S):
        write = replace_in_folder if place.exists() else create_folder
        write(place, files)
    return place


def encoded(text: str) -> bytes:
    """Text as UTF-8; a lone surrogate, which no encoding has, as its escape."""
    return text.encode(errors="backslashreplace")


def check_report_folder(folder: Path, what: str, *, file: str, schema: str) -> None:
    """Refuse, before any work is done, a folder with files of anything but an earlier report.

    `what` names the report in the error, `file` is the JSON file that identifies one, and `schema`
    is what its schema begins with.  Raises OutputError.
    """
    if not folder.exists():
        parent = next(one for one in folder.absolute().parents if one.exists())
        if not (parent.is_dir() and os.access(parent, os.W_OK)):
            raise OutputError(f"cannot create {folder}: {parent} is not a writable folder")
        return
    if not folder.is_dir():
        raise OutputError(f"-o {folder} is a file: name a folder for the report")
    if (folder / INCOMPLETE).is_file():
        return  # a run was killed while it replaced the files of a report
    found = str(read_report(folder / file).get("schema"))
    if any(folder.iterdir()) and not found.startswith(schema):
        raise OutputError(
            f"-o {folder} is not empty and is not an {what} of ifdkit: name a new or empty folder"
        )


def read_report(path: Path) -> dict[str, Any]:
    """The JSON file of an earlier report; empty if there is none that can be read."""
    try:
        value = json.loads(read_regular(path, _MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def write_file(path: Path, content: bytes) -> None:
    """Write a file that appears whole. Raises OutputError."""
    with OutputFiles(path) as files:
        files.open().write(content)
