"""The score store: NLLs and embeddings keyed by content, in a SQLite file in the user's cache.

A key is the digest of what decides the numbers: model fingerprint, dtype, ids and span.  This one
mechanism resumes interrupted runs, re-scores only what changed in a dataset, scores equal texts
once, and shares scores between datasets.  The scores of one model are never used for another.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from ifdkit.engine.kept_files import file_state
from ifdkit.engine.models import cache_folder
from ifdkit.errors import StoreError
from ifdkit.records import NLL, Request
from ifdkit.scoring.store_schema import COLUMNS, OWN_TABLES, TABLES, VALUES, sqlite_code, tables_of
from ifdkit.visible import one_line

Vector = NDArray[np.float32]
_Result = TypeVar("_Result")

_FLOAT32 = np.dtype("<f4")
_KEY_VERSION = 1
"""Part of every key. Raised when the numbers of equal content change by more than rounding."""
_FILE_VERSION = 4
"""`PRAGMA user_version`. Version 1, which had no checksums, did not set it; 2 had no batches, and 3
did not know which model a row is from and when it was written."""
DAY_S = 86_400
MAX_KEYS_PER_QUERY = 500  # below SQLite's limit on parameters, which was 999 before 3.32
BUSY_TIMEOUT_S = 60.0
_RETRY_S = 0.05
"""SQLite waits in C, where Ctrl-C has to wait too: it waits no longer than this at a time."""


def request_key(scope: str, request: Request) -> bytes:
    """Key of a Request's NLLs, 32 bytes. The scope is `<model fingerprint>/<dtype>`."""
    return hashlib.sha256(f"{_KEY_VERSION} {scope} ".encode() + request.content).digest()


def text_key(scope: str, text: str) -> bytes:
    """Key of a text's embedding, 32 bytes. The scope is the embedder's fingerprint."""
    return hashlib.sha256(f"{_KEY_VERSION} {scope} ".encode() + text.encode()).digest()


def _blobs(arrays: Mapping[bytes, Vector]) -> dict[bytes, bytes]:
    return {key: array.astype(_FLOAT32).tobytes() for key, array in arrays.items()}


def _checksum(key: bytes | str, value: bytes | str) -> bytes:
    """Eight bytes over a row."""
    whole = hashlib.blake2b(key if isinstance(key, bytes) else key.encode(), digest_size=8)
    whole.update(value if isinstance(value, bytes) else value.encode())
    return whole.digest()


def parts(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """The keys of each query."""
    for begin in range(0, len(keys), MAX_KEYS_PER_QUERY):
        yield keys[begin : begin + MAX_KEYS_PER_QUERY]


def marks(values: Sequence[object]) -> str:
    """Placeholders of SQL, one for each value."""
    return ",".join("?" * len(values))


@dataclass(frozen=True, slots=True)
class Verified:
    """What `Store.verify` found."""

    rows: int
    """Rows that are intact."""
    damaged: int
    """Rows that did not match their checksum. They are deleted, and scored again when needed."""
    size_bytes: int


class Store:
    """Per-token NLLs, sentence embeddings and file digests, kept between runs.

    Every `put` is one transaction: after a kill, all of it is stored or nothing.  Every row has a
    checksum; a row that does not match it counts as missing.
    """

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        """Open or create the store at `path`; None means a private temporary file.

        Raises StoreError if the file is not a store, was made by a newer version of ifdkit, or
        cannot be written.
        """
        self.path = None if path is None else Path(path)
        self._lock = threading.Lock()
        """A run reads for its next block while another thread stores a batch."""
        self.damaged = 0
        """Rows read so far that did not match their checksum."""
        self._models: dict[str, int] = {}
        with self._errors("opened"):
            if self.path is not None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                # Whoever can read the store can find out which texts were scored.  SQLite gives
                # its WAL the mode of the file.
                with suppress(FileExistsError):
                    os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            self._database = sqlite3.connect(
                self.path or "", timeout=_RETRY_S, isolation_level=None, check_same_thread=False
            )
            # Text that is not UTF-8 is damage, which checksums find: sqlite3 would raise an error.
            self._database.text_factory = partial(str, encoding="utf-8", errors="replace")
            try:
                _retry(self._prepare)
            except BaseException:
                self._database.close()
                raise

    def _prepare(self) -> None:
        """Create the tables of a new store, or bring those of an older one up to date.

        With a write-ahead log and NORMAL synchronisation, a killed process loses nothing that it
        committed.  A power failure may lose the last batches, but does not corrupt the file.
        """
        execute = self._database.execute
        # First: what follows changes the file.  It also keeps out views, which may have no end.
        if foreign := tables_of(self._database) - OWN_TABLES:
            raise StoreError(
                f"{self.path} is not a score store: it has {one_line(min(foreign), 40)!r}; name"
                " another with --store PATH"
            )
        if execute("PRAGMA page_count").fetchone() == (0,):
            execute("PRAGMA auto_vacuum = INCREMENTAL")  # of a new file: it can become smaller
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = NORMAL")
        # Keys have no order, so their pages are written again and again: with SQLite's default of
        # 1,000 pages in its log, a first run took a tenth longer.
        execute("PRAGMA wal_autocheckpoint = 16384")
        if self._version() == _FILE_VERSION:
            return
        with self._transaction():
            version = self._version()  # again: another process may have been first
            if version > _FILE_VERSION:
                raise StoreError(
                    f"the score store {self.path} was made by a newer version of ifdkit: name"
                    " another with --store PATH"
                )
            if version == _FILE_VERSION:
                return
            if "nll" in tables_of(self._database) and version < 2:
                self._add_checksums()
            for statement in TABLES.split(";"):
                execute(statement)
            self._add_columns()
            execute(f"PRAGMA user_version = {_FILE_VERSION}")

    def _version(self) -> int:
        return int(self._database.execute("PRAGMA user_version").fetchone()[0])

    def _add_checksums(self) -> None:
        """Migrate a store of ifdkit 0.1, whose rows are taken as they are."""
        self._database.create_function("checksum", 2, _checksum, deterministic=True)
        for table, value in (("nll", "nats"), ("embedding", "vector"), ("digest", "sha256")):
            key = "file" if table == "digest" else "key"
            self._database.execute(f"ALTER TABLE {table} ADD COLUMN checksum BLOB")
            self._database.execute(f"UPDATE {table} SET checksum = checksum({key}, {value})")

    def _add_columns(self) -> None:
        """Migrate a store of an earlier version; what it did not know is null."""
        types = {"batch": "BLOB", "checksum": "BLOB"}
        for table, columns in COLUMNS.items():
            found = {name for _, name, *_ in self._database.execute(f"PRAGMA table_info({table})")}
            for column in columns:
                if column not in found:
                    kind = types.get(column, "INTEGER")
                    self._database.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")

    def end_run(self) -> str | None:
        """What a complete run ends with, and a sentence about what was done; nothing by itself."""
        return None

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get_nlls(self, keys: Sequence[bytes], *, provisional: bool = True) -> dict[bytes, NLL]:
        """NLLs by key, float32 nats of shape (n_scored,); keys not in the store are left out.

        Without `provisional`, so are those that were stored as such.
        """
        found = self._get("nll", keys, "" if provisional else "AND provisional IS NOT 1")
        return {key: np.frombuffer(value, _FLOAT32) for key, value in found}

    def put_nlls(
        self,
        nlls: Mapping[bytes, NLL],
        batch: bytes | None = None,
        *,
        provisional: bool = False,
        model: str | None = None,
    ) -> None:
        """Store the NLLs of one batch, all or nothing, with the name of the batch.

        `model` is its name for `store info`.
        """
        self._put("nll", _blobs(nlls), model, batch, int(provisional))

    def batches_of(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The name of the batch in which each NLL was computed, by key, where it is known."""
        found: dict[bytes, bytes] = {}
        for part in parts(keys):
            query = f"SELECT key, CAST(batch AS BLOB) FROM nll WHERE key IN ({marks(part)})"
            found.update((key, batch) for key, batch in self._select(query, part) if batch)
        return found

    def get_embeddings(self, keys: Sequence[bytes]) -> dict[bytes, Vector]:
        """Embeddings by key, float32 (dimensions,); keys not in the store are left out."""
        return {key: np.frombuffer(value, "<f4") for key, value in self._get("embedding", keys)}

    def put_embeddings(self, vectors: Mapping[bytes, Vector], model: str | None = None) -> None:
        """Store the embeddings of one batch, all or nothing."""
        self._put("embedding", _blobs(vectors), model)

    def get_finished(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Records of finished rows by key; keys not in the store are left out."""
        return dict(self._get("finished", keys))

    def put_finished(self, records: Mapping[bytes, bytes], model: str | None = None) -> None:
        """Store the records of one block, all or nothing."""
        self._put("finished", records, model)

    def file_digest(self, path: Path) -> str:
        """SHA-256 of a file as a hex digest, computed again only if the file has changed.

        Hashing gigabytes of weights takes seconds.
        """
        name = file_state(path)
        if (known := self.recall(name)) is not None:
            return known
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        self.remember(name, digest)
        return digest

    def recall(self, name: str) -> str | None:
        """The digest that was remembered under a name; None if there is none."""
        query = "SELECT CAST(sha256 AS BLOB), checksum FROM digest WHERE file = ?"
        for known, checksum in self._select(query, [name]):
            if known is not None and checksum == _checksum(name, known):
                return bytes(known).decode()
        return None

    def remember(self, name: str, digest: str) -> None:
        """Keep a digest that takes long to make. The name tells everything it depends on."""
        self._insert("digest", [(name, digest, _checksum(name, digest))])

    def verify(self) -> Verified:
        """Check the file and every row in it, and delete the rows that are damaged.

        Raises StoreError if the file itself is damaged: then it must be deleted.
        """
        with self._errors("read"):
            problems = self._database.execute("PRAGMA integrity_check(1)").fetchone()
            if problems != ("ok",):
                raise StoreError(
                    f"the score store {self.path} is damaged ({problems[0]}): delete it; what was"
                    " in it is scored again"
                )
            self._database.create_function("checksum", 2, _checksum, deterministic=True)
            n_rows = n_damaged = 0
            with self._transaction():
                for table, value in (*VALUES.items(), ("digest", "sha256")):
                    key = "file" if table == "digest" else "key"
                    damaged = (
                        f"checksum IS NOT checksum(CAST({key} AS BLOB), CAST({value} AS BLOB))"
                    )
                    n_damaged += self._database.execute(
                        f"DELETE FROM {table} WHERE {damaged}"
                    ).rowcount
                    (n,) = self._database.execute(f"SELECT count(*) FROM {table}").fetchone()
                    n_rows += n
        return Verified(n_rows, n_damaged, self.path.stat().st_size if self.path else 0)

    def _get(
        self, table: str, keys: Sequence[bytes], condition: str = ""
    ) -> Iterator[tuple[bytes, bytes]]:
        for part in parts(keys):
            # Cast, because damage can change the type of a value as well as the value.
            query = (
                f"SELECT key, CAST({VALUES[table]} AS BLOB), checksum FROM {table} WHERE key IN"
                f" ({marks(part)}) {condition}"
            )
            for key, value, checksum in self._select(query, part):
                if value is None or checksum != _checksum(key, value):
                    self.damaged += 1
                else:
                    yield key, value

    def _select(self, query: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
        with self._lock, self._errors("read"):
            return _retry(lambda: self._database.execute(query, parameters).fetchall())

    def _put(
        self, table: str, values: Mapping[bytes, bytes], model: str | None, *others: object
    ) -> None:
        more = (self._model_id(model), int(time.time() // DAY_S), *others)
        self._insert(table, [(k, blob, _checksum(k, blob), *more) for k, blob in values.items()])

    def _model_id(self, name: str | None) -> int | None:
        """The number of a model in this store, which is added if it is new."""
        if name is None:
            return None
        if name not in self._models:
            with self._lock, self._errors("written"), self._transaction():
                self._database.execute("INSERT OR IGNORE INTO model (name) VALUES (?)", [name])
            ((self._models[name],),) = self._select("SELECT id FROM model WHERE name = ?", [name])
        return self._models[name]

    def _insert(self, table: str, rows: Sequence[tuple[object, ...]]) -> None:
        if not rows:
            return
        columns = ", ".join(COLUMNS[table])
        query = f"INSERT OR REPLACE INTO {table} ({columns}) VALUES ({marks(rows[0])})"
        with self._lock, self._errors("written"), self._transaction():
            self._database.executemany(query, rows)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        _retry(lambda: self._database.execute("BEGIN IMMEDIATE"))
        try:
            yield
        except BaseException:
            # A full disk may have rolled back already.
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    @contextmanager
    def _errors(self, done: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
            # The last: of a damaged schema, sqlite3 cannot decode the message of the error.
            where = self.path or "in a temporary file"
            damaged = self.path is not None and sqlite_code(error) == sqlite3.SQLITE_CORRUPT
            advice = "`ifdkit store verify` shows what is damaged; " if damaged else ""
            raise StoreError(
                f"the score store {where} cannot be {done}: {error}; {advice}name another with"
                " --store PATH, or none with --store off"
            ) from error


def _retry(action: Callable[[], _Result]) -> _Result:
    """Repeat an action while another process has the store locked, for up to BUSY_TIMEOUT_S.

    SQLite's own timeout does not cover the switch to WAL: of two processes that open a new store at
    the same time, one would fail.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            return action()
        except sqlite3.OperationalError as error:
            is_busy = sqlite_code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            if not is_busy or time.monotonic() > deadline:
                raise
        time.sleep(_RETRY_S)


def default_store() -> Path:
    """The store that is used if none is named."""
    return cache_folder() / "scores.sqlite"


def open_store(path: str | None, max_bytes: int | None = None) -> Store:
    """The store that `--store` names, `off` a temporary one, with its limit. Raises StoreError."""
    if path == "off":
        return Store(None)
    place = Path(path) if path else default_store()
    if max_bytes is None:
        return Store(place)
    from ifdkit.scoring.store_management import LimitedStore

    return LimitedStore(place, max_bytes)
