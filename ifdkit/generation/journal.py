"""Answers kept under the content of the question: a SQLite file beside the output.

A batch is committed whole before anyone uses it, so that nothing is generated twice.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from ifdkit.errors import OutputError

_BUSY_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class GeneratedAnswer:
    """What a model answered."""

    text: str
    tokens: int
    """Tokens generated, without the one that ended it."""
    is_ended: bool
    """Whether the model ended it; else the limit of new tokens did."""


class AnswerJournal:
    """Answers by key. The file is locked while it is open."""

    def __init__(self, path: Path) -> None:
        """Open or create it. Raises OutputError if it is in use, damaged or not writable."""
        self.path = path
        with self._errors("opened"):
            path.touch(mode=0o600)  # it contains people's texts
            self._database = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
            try:
                for statement in (
                    "PRAGMA locking_mode = EXCLUSIVE",
                    "PRAGMA synchronous = FULL",
                    "PRAGMA journal_mode = WAL",
                    "CREATE TABLE IF NOT EXISTS answer (key BLOB PRIMARY KEY, text TEXT NOT NULL,"
                    " tokens INTEGER NOT NULL, is_ended INTEGER NOT NULL)",
                    "DELETE FROM answer WHERE key = x''",  # fails now if the file is read-only
                ):
                    self._database.execute(statement)
            except BaseException:
                self._database.close()
                raise

    def __enter__(self) -> AnswerJournal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(sqlite3.Error):
            self._database.close()

    def get(self, key: bytes) -> GeneratedAnswer | None:
        """The answer under this key; None if there is none, or one that was damaged."""
        with self._errors("read"):
            row = self._database.execute(
                "SELECT text, tokens, is_ended FROM answer WHERE key = ?", (key,)
            ).fetchone()
        # SQLite keeps a value of any type in a column.
        is_answer = row is not None and isinstance(row[0], str) and isinstance(row[1], int)
        return GeneratedAnswer(row[0], row[1], bool(row[2])) if is_answer else None

    def put(self, answers: Mapping[bytes, GeneratedAnswer]) -> None:
        """Store answers in one transaction; they are on the disk when this returns."""
        rows = [(key, a.text, a.tokens, int(a.is_ended)) for key, a in answers.items()]
        with self._errors("written"), self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany("INSERT OR REPLACE INTO answer VALUES (?, ?, ?, ?)", rows)

    @contextmanager
    def _errors(self, done: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                raise OutputError(
                    f"the journal {self.path} is in use by another run; wait for that run to end,"
                    " or choose another output"
                ) from None
            raise OutputError(f"the journal {self.path} cannot be {done}: {error}") from error
