"""The folder of a report: made, refused where it holds something else, filled file by file."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ifdkit.data.atomic import atomic
from ifdkit.errors import OutputError


def make_folder(folder: Path) -> None:
    """Make it where it is not there. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make {folder}: {error.strerror or error}") from error


def write_text(path: Path, text: str) -> None:
    """A file of text, whole or not at all; half characters are spelt out. Raises OutputError."""
    with atomic(path) as file:
        file.write(text.encode(errors="backslashreplace"))


def check_holds(folder: Path, what: str, *, file: str, schema: str) -> None:
    """Refuse, before any work is done, a folder whose files are not `what`, "report", of ours.

    `file` is the JSON that tells it, and `schema` what its schema begins with.  Raises OutputError.
    """
    if not folder.exists():
        there = next(place for place in folder.absolute().parents if place.exists())
        if not (there.is_dir() and os.access(there, os.W_OK)):
            raise OutputError(f"cannot make {folder}: {there} is no folder that can be written to")
        return
    if not folder.is_dir():
        raise OutputError(f"-o {folder} is a file: name a folder for the report")
    if any(folder.iterdir()) and not _schema_of(folder / file).startswith(schema):
        raise OutputError(
            f"-o {folder} holds files that are no {what} of ifdkit: name a new or empty folder"
        )


def _schema_of(path: Path) -> str:
    try:
        return str(json.loads(path.read_bytes())["schema"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
