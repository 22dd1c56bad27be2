"""Where a run may not write: places that are no files, and what it reads."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ifdkit.errors import OutputError
from ifdkit.regular import special_kind


def check_place(path: Path, companions: Iterable[Path] = ()) -> None:
    """Refuse, before any work is done, an output that could not be written. Raises OutputError."""
    if not path.parent.is_dir():
        raise OutputError(f"cannot write {path}: the folder {path.parent} does not exist")
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise OutputError(f"cannot write {path}: it is a folder, or its folder is read-only")
    for one in (path, *companions):
        with suppress(OSError):
            # Replacing a device, such as a null device, would take it away from everybody.
            if kind := special_kind(one.stat().st_mode):
                raise OutputError(f"cannot write {path}: {one} is {kind}, not a file")
    for companion in companions:
        if companion.is_dir() and not companion.is_symlink():
            raise OutputError(
                f"cannot write {path}: {companion}, which would go with it, is a folder"
            )


def check_different(
    outputs: Iterable[Path], inputs: Iterable[str | os.PathLike[str]], flag: str = "-o"
) -> None:
    """Refuse files of a run, an output and its companions, that it also reads.

    Raises OutputError, which names the flag of the output.

    A companion that is not written is removed, so rejects of an earlier run are lost if they are
    read and named after the output.
    """
    output, *companions = outputs
    for path in inputs:
        for one in (output, *companions):
            is_input = False
            with suppress(OSError, ValueError):  # one of them does not exist
                is_input = one.samefile(path)
            if is_input and one == output:
                raise OutputError(f"{flag} {output} is the input itself: choose another name")
            if is_input:
                raise OutputError(
                    f"{flag} {output} would replace {one}, which is read: choose another name"
                )
