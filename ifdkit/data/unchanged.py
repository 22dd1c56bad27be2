"""Files that must not change while they are read.

A dataset is read several times: to detect its columns, to hash it, to score it, to copy its rows.
All passes must see the same bytes, or the rows of one file go with the hash of another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from ifdkit.data.raw import Raw
from ifdkit.errors import ChangedInputError

_State = tuple[tuple[str, int, int, int], ...]


class Unchanged:
    """Remembers the state of a file or folder, and raises ChangedInputError once it has another."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._state = _state(path)

    def check(self) -> None:
        """Raise ChangedInputError if the file was written to, replaced or removed since."""
        if _state(self._path) != self._state:
            raise ChangedInputError(
                f"{self._path} changed while it was read: run the command again when it is complete"
            )

    def watched(self, rows: Callable[[], Iterator[Raw]]) -> Callable[[], Iterator[Raw]]:
        """The same rows; a pass over a changed file ends with ChangedInputError in any case.

        A pass that is not read to its end is not checked: the caller does it.
        """

        def read() -> Iterator[Raw]:
            self.check()
            try:
                yield from rows()
            except Exception:
                self.check()  # the change explains the error
                raise
            self.check()

        return read


def _state(path: Path) -> _State:
    """Name, size, modification time and inode of each file; empty if there is none.

    The inode shows a file that was replaced by one of the same size and age.
    """
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    found = []
    for file in files:
        try:
            stat = file.stat()
        except OSError:
            continue
        found.append((str(file), stat.st_size, stat.st_mtime_ns, stat.st_ino))
    return tuple(found)
