"""Rows that the user starred or dropped, in a file that `ifdkit select --ids` takes.

A line is appended for every change, and the last line of an id counts: nothing is lost if the
program is killed, and a mark costs the same in a file of a million rows.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from threading import Lock

from ifdkit.data.atomic import json_line
from ifdkit.errors import InputError, OutputError
from ifdkit.selection.ids import MARKS, marks_in


class Marks:
    """The marks of one file; it is created with the first mark."""

    def __init__(self, path: Path) -> None:
        """Read the marks of an earlier session. Raises InputError if the file is no such file."""
        self.path = path
        self._lock = Lock()
        if path.exists() and not path.is_file():
            raise InputError(f"--marks {path} is not a file")
        found = marks_in(path, "--marks") if path.exists() else {}
        self._marks = {name: mark for name, mark in found.items() if mark is not None}
        self.revision = 0
        """Rises with every change."""

    def get(self, name: str) -> str | None:
        """The mark of an id."""
        return self._marks.get(name)

    def ids(self, mark: str) -> frozenset[str]:
        """The ids with a mark."""
        with self._lock:
            return frozenset(name for name, one in self._marks.items() if one == mark)

    def counts(self) -> dict[str, int]:
        """Mark → number of ids."""
        with self._lock:
            counts = Counter(self._marks.values())
        return {mark: counts[mark] for mark in MARKS}

    def set(self, name: str, mark: str | None) -> None:
        """Mark an id, or take its mark back. Raises OutputError if the file cannot be written."""
        line = json_line({"id": name, "mark": mark})
        with self._lock:
            try:
                descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
                try:
                    os.write(descriptor, line)
                finally:
                    os.close(descriptor)
            except OSError as error:
                raise OutputError(f"cannot write {self.path}: {error.strerror}") from error
            if mark is None:
                self._marks.pop(name, None)
            else:
                self._marks[name] = mark
            self.revision += 1
