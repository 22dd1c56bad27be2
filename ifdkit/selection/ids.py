"""`--ids FILE`: which rows a list of ids, or the marks of `ifdkit view`, keeps.

A line of the file is an id, or a JSON object with an `id` and perhaps a `mark`:

    seed-17
    {"id": "seed-18"}
    {"id": "seed-19", "mark": "star"}       also "drop", or null to take a mark back

The rows listed or starred are kept.  If the file only drops rows, all others are kept.  Of several
lines with one id the last counts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ifdkit.data.atomic import valid_text
from ifdkit.errors import InputError, UsageError
from ifdkit.format import plural
from ifdkit.regular import open_regular
from ifdkit.scoring.dataset import ScoredDataset
from ifdkit.scoring.per_row import only_rows
from ifdkit.scoring.progress import Progress

MARKS = ("star", "drop")
_MAX_LINE_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class IdList:
    """The ids of a file."""

    name: str
    kept: frozenset[str]
    """Ids listed or starred; if there are none, everything but `dropped` is kept."""
    dropped: frozenset[str]

    def narrow(self, scored: ScoredDataset, progress: Progress) -> ScoredDataset:
        """The rows that the list keeps, with all their examples; rejects stay.

        A row is kept, or dropped, if one of its examples is.  Raises UsageError if no row is kept.
        """
        scores = scored.scores
        wanted = self.kept or self.dropped
        is_listed = np.array([name in wanted for name in scores.ids], dtype=bool)
        absent = wanted.difference(scores.ids)
        if absent:
            progress.note(
                f"{self.name}: {plural(len(absent), 'id')} of {len(wanted):,} not in"
                f" {scored.name}, such as {min(absent)[:80]!r}"
            )
        listed = np.unique(scores.rows[is_listed])
        rows = listed if self.kept else np.setdiff1d(np.unique(scores.rows), listed)
        if not len(rows):
            hint = ""
            if self.kept:
                hint = "; the ids of earlier turns of conversations need --turns all"
            raise UsageError(f"--ids {self.name}: it keeps no row of {scored.name}{hint}")
        return only_rows(scored, rows)


def read_ids(path: Path) -> IdList:
    """The ids of a file. Raises InputError if it is not readable or has no id."""
    marks = marks_in(path, "--ids")
    kept = frozenset(name for name, mark in marks.items() if mark == "star")
    dropped = frozenset(name for name, mark in marks.items() if mark == "drop")
    if not (kept or dropped):
        raise InputError(f"--ids {path} has no id")
    return IdList(str(path), kept, dropped)


def marks_in(path: Path, flag: str) -> dict[str, str | None]:
    """Id → its mark: `star`, `drop`, or None if it was taken back. Raises InputError."""
    marks: dict[str, str | None] = {}
    try:
        with open_regular(path) as file:
            for number, line in enumerate(iter(lambda: file.readline(_MAX_LINE_BYTES), b""), 1):
                where = f"{flag} {path}, line {number}"
                if len(line) == _MAX_LINE_BYTES:
                    raise InputError(f"{where} is longer than {_MAX_LINE_BYTES:,} bytes")
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                marks.update([_parsed(text, where)] if text else [])
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{flag} {path} is not a readable text file: {error}") from error
    return marks


def _parsed(line: str, where: str) -> tuple[str, str | None]:
    """The id of a line and its mark: `star`, `drop`, or None for a mark that was taken back."""
    if not line.startswith("{"):
        return line, "star"
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not JSON: {error}") from error
    name = value.get("id") if isinstance(value, Mapping) else None
    mark = value.get("mark", "star")
    if not isinstance(name, (str, int)) or isinstance(name, bool):
        raise InputError(f"{where} has no id")
    if mark not in (*MARKS, None):
        raise InputError(f"{where}: mark {str(mark)[:40]!r} is not star, drop or null")
    return valid_text(str(name)), mark
