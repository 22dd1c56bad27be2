"""Replies kept under the content of the call: a SQLite file beside the output.

A reply is on disk before anyone uses it, so no crash loses an answer that was paid for.
Write-ahead logging with `synchronous = FULL` needs one fsync per transaction, and `AsyncJournal`
lets all tasks that wait for the disk share the next transaction.  The file is locked while it is
open, and none of it is kept in memory.

A row stores its event as one line with a checksum, in the format of the journal of ifdkit 0.1:

    {"sum":"<16 hex>","kind":"reply","key":"<64 hex>","value":{"text":"…", …}}

`sum` is the start of the SHA-256 of everything after it.  A row that fails its checksum is a miss:
the call is asked again.  If SQLite finds the database itself damaged, the file is set aside and
read as bytes, and every intact line in it is copied to a new journal.  The same code imports a
journal of ifdkit 0.1, which consists of these lines and nothing else.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from ifdkit.errors import OutputError
from ifdkit.oracle.calls import Form, Reply

log = logging.getLogger(__name__)

_BUSY_TIMEOUT_S = 1.0
"""Two runs that create a journal at the same moment both meet a lock; one of them gets it."""
_SETUP = (
    # SQLite stores a row in one piece if it fits in a page, and only a row in one piece can be
    # read from a damaged file.  Nearly all replies fit.
    "PRAGMA page_size = 16384",
    "PRAGMA locking_mode = EXCLUSIVE",  # set before WAL, which then needs no shared-memory file
    "PRAGMA synchronous = FULL",  # syncs the WAL in each commit, not in checkpoints alone
    "PRAGMA journal_mode = WAL",
)
_TABLES = (
    "CREATE TABLE event"
    " (kind TEXT NOT NULL, key BLOB NOT NULL, line BLOB NOT NULL, PRIMARY KEY (kind, key))",
    "CREATE TABLE imported (file TEXT PRIMARY KEY, size INTEGER NOT NULL)",
)
_PUT = "INSERT OR REPLACE INTO event VALUES (?, ?, ?)"
# Cast, because damage can change the type of a value as well as the value.
_GET = "SELECT CAST(line AS BLOB) FROM event WHERE kind = ? AND key = ?"
# Fails if a name in the schema is damaged, and if the file is read-only: better now than after a
# call that has to be paid for.
_PROBE = "DELETE FROM event WHERE kind = '' AND key = x'' AND line = x''"
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}
"""Errors of opening a damaged file. Others, such as a full disk, have nothing to do with it."""

_HEAD = b'{"sum":"'
_SUM_HEX = 16
_BODY_AT = len(_HEAD) + _SUM_HEX
_MAX_LINE_BYTES = 1 << 24
"""Bounds the memory of an import; a journal has no longer lines."""
_REPLY_FIELDS = tuple(one.name for one in fields(Reply) if one.name != "failure")


class Journal:
    """Replies, and the reply form that a server supports, by the key of the call."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open or create the journal at `path` and lock it against every other process.

        A journal of ifdkit 0.1, at the same path with the suffix `.jsonl`, is imported once.
        Raises OutputError if another run has the journal open, or if it cannot be read or written.
        """
        self.path = Path(path)
        self.imported = 0
        """Replies copied on opening, from a journal of ifdkit 0.1 or from a damaged one."""
        self._lock = threading.Lock()
        with self._errors("opened"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._database = self._connect()
            except (sqlite3.Error, UnicodeDecodeError) as error:
                if _code(error) not in _DAMAGE:
                    raise
                self._set_aside()
                self._database = self._connect()
            try:
                self._import(self.path.with_suffix(".jsonl"))
                for suffix in ("", "-wal"):
                    self._import(Path(f"{self._damaged}{suffix}"))
            except BaseException:
                self.close()
                raise

    @property
    def _damaged(self) -> Path:
        return Path(f"{self.path}.damaged")

    def _connect(self) -> sqlite3.Connection:
        """The database, locked, intact and ready to be written. Raises sqlite3.Error."""
        # The replies contain people's texts.  SQLite gives its WAL the same mode.  An existing file
        # is left closed: closing it would drop the locks that this process has on it.
        with suppress(FileExistsError):
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        database = sqlite3.connect(
            self.path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        try:
            for statement in _SETUP:
                database.execute(statement)
            with database:
                database.execute("BEGIN IMMEDIATE")
                (n_tables,) = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
                # Not IF NOT EXISTS, which would hide a table whose name is damaged.
                for statement in () if n_tables else _TABLES:
                    database.execute(statement)
            database.execute(_PROBE)
            (found,) = database.execute("PRAGMA integrity_check(1)").fetchone()
            if found != "ok":
                raise sqlite3.DatabaseError(found)
        except BaseException:
            database.close()
            raise
        return database

    def _set_aside(self) -> None:
        """Rename a damaged database, to import from it what is intact."""
        # The WAL goes first: SQLite would replay one that stayed into the new database.
        for suffix in ("-journal", "-wal", ""):
            with suppress(FileNotFoundError):
                Path(f"{self.path}{suffix}").replace(f"{self._damaged}{suffix}")
        log.warning(
            "the journal %s is damaged: renamed it to %s, and copying the intact replies in it",
            self.path,
            self._damaged.name,
        )

    def _import(self, source: Path) -> None:
        """Copy all events of an older or damaged journal, in one transaction, unless that is done.

        A source that has grown since is imported again: a run of ifdkit 0.1 may still write to it.
        """
        try:
            mark = (source.name, source.stat().st_size)
        except FileNotFoundError:
            return
        known = "SELECT 1 FROM imported WHERE file = ? AND size = ?"
        if self._database.execute(known, mark).fetchone():
            return
        before = self._n_replies()
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany(_PUT, _rows_in(source))
            self._database.execute("INSERT OR REPLACE INTO imported VALUES (?, ?)", mark)
        self.imported += self._n_replies() - before

    def _n_replies(self) -> int:
        (count,) = self._database.execute(
            "SELECT count(*) FROM event WHERE kind = 'reply'"
        ).fetchone()
        return int(count)

    def close(self) -> None:
        """Close and unlock the file, after any write in another thread has finished."""
        with self._lock:
            self._database.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def reply(self, key: str) -> Reply | None:
        """The reply to the call with this key, or None."""
        value = self._get("reply", key)
        return None if value is None else Reply(**{name: value[name] for name in _REPLY_FIELDS})

    def record(self, replies: Mapping[str, Reply]) -> None:
        """Store replies by key, in one transaction that is on disk when this returns.

        Raises ValueError for a failure, which must be asked again, and OutputError if the disk
        does not take them; then none of them is stored.
        """
        if any(reply.failure is not None for reply in replies.values()):
            raise ValueError("a failure is asked again, not recorded")
        self._put(
            ("reply", key, {name: getattr(reply, name) for name in _REPLY_FIELDS})
            for key, reply in replies.items()
        )

    def form(self, key: str) -> tuple[Form, str] | None:
        """The reply form that a server supports, and its parameter for the completion limit."""
        value = self._get("form", key)
        return None if value is None else (Form(value["form"]), value["limit"])

    def record_form(self, key: str, form: Form, limit: str) -> None:
        """Store what probing a server has found."""
        self._put([("form", key, {"form": form, "limit": limit})])

    def _get(self, kind: str, key: str) -> dict[str, Any] | None:
        with self._lock, self._errors("read"):
            row = self._database.execute(_GET, (kind, bytes.fromhex(key))).fetchone()
        event = _event(row[0]) if row is not None else None
        # The key is checked too, because a damaged one could make this the answer to another call.
        if event is None or (event["kind"], event["key"]) != (kind, key):
            return None
        value: dict[str, Any] = event["value"]
        return value

    def _put(self, events: Iterable[tuple[str, str, dict[str, Any]]]) -> None:
        rows = [(kind, bytes.fromhex(key), _line(kind, key, value)) for kind, key, value in events]
        with self._lock, self._errors("written"), self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany(_PUT, rows)

    @contextmanager
    def _errors(self, done: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if _code(error) == sqlite3.SQLITE_BUSY:
                raise OutputError(
                    f"the journal {self.path} is in use by another run; wait for that run to end,"
                    " or choose another output"
                ) from None
            raise OutputError(
                f"the journal {self.path} cannot be {done}: {error}; recorded replies are kept:"
                " re-run the same command to resume"
            ) from error


class AsyncJournal:
    """A journal shared by the tasks of one event loop, which never waits for the disk itself.

    Replies that arrive during one transaction share the next.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._pending: dict[str, Reply] = {}
        # While a thread commits, a look-up would block the event loop; here its task waits.
        self._turn = asyncio.Lock()

    async def reply(self, key: str) -> Reply | None:
        """The reply to the call with this key, or None."""
        async with self._turn:
            return self._journal.reply(key)

    async def record(self, key: str, reply: Reply) -> None:
        """Store a reply; it is on disk when this returns."""
        self._pending[key] = reply
        async with self._turn:
            if key not in self._pending:
                return  # stored together with another one
            batch = dict(self._pending)
            await asyncio.to_thread(self._journal.record, batch)
            self._forget(batch)

    def flush(self) -> None:
        """Store the replies of tasks that were cancelled: they may have to be paid for."""
        batch = dict(self._pending)
        if batch:
            self._journal.record(batch)
            self._forget(batch)

    def _forget(self, batch: Mapping[str, Reply]) -> None:
        for key in batch:
            self._pending.pop(key, None)


def _code(error: Exception) -> int:
    """SQLite's primary result code; `SQLITE_OK` for an error of the operating system."""
    if isinstance(error, OSError):
        return sqlite3.SQLITE_OK
    # Two have none: a finding of `integrity_check`, and a message that quotes damaged bytes.
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF


def _line(kind: str, key: str, value: dict[str, Any]) -> bytes:
    # ASCII throughout, so that half a surrogate pair can be stored too.
    body = json.dumps(
        {"kind": kind, "key": key, "value": value}, separators=(",", ":"), allow_nan=False
    ).encode()
    rest = b'",' + body[1:]
    return _HEAD + _sum(rest) + rest + b"\n"


def _sum(rest: bytes) -> bytes:
    return hashlib.sha256(rest).hexdigest()[:_SUM_HEX].encode()


def _event(line: bytes) -> dict[str, Any] | None:
    """The event in a line; None if the line is incomplete, damaged or something else."""
    line = line.removesuffix(b"\n")
    rest = line[_BODY_AT:]
    if not line.startswith(_HEAD) or line[len(_HEAD) : _BODY_AT] != _sum(rest):
        return None
    event: dict[str, Any] = json.loads(line)
    return event


def _rows_in(path: Path) -> Iterator[tuple[str, bytes, bytes]]:
    """Kind, key and line of each intact event in a file, whatever bytes are between them."""
    with path.open("rb") as file:
        while part := file.readline(_MAX_LINE_BYTES):
            # In a database the head of a record comes before the line.  `_HEAD` cannot occur inside
            # one, since JSON escapes quotation marks.
            line = part[max(part.rfind(_HEAD), 0) :]
            if (event := _event(line)) is not None:
                yield event["kind"], bytes.fromhex(event["key"]), line
