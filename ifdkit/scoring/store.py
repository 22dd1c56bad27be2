"""The score store: NLLs and embeddings keyed by content, in a SQLite file in the user's cache.

A key is the digest of what decides the numbers: model fingerprint, dtype, ids and span.  This one
mechanism resumes interrupted runs, re-scores only what changed in a dataset, scores equal texts
once, and shares scores between datasets.  The scores of one model are never used for another.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ifdkit.errors import StoreError
from ifdkit.records import NLL, Request

Vector = NDArray[np.float32]

_SCHEMA = 1
MAX_KEYS_PER_QUERY = 500  # below SQLite's limit on parameters, which was 999 before 3.32
BUSY_TIMEOUT_S = 60
_TABLES = """
CREATE TABLE IF NOT EXISTS nll (key BLOB PRIMARY KEY, nats BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS embedding (key BLOB PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS digest (file TEXT PRIMARY KEY, sha256 TEXT NOT NULL) WITHOUT ROWID;
"""


def request_key(scope: str, request: Request) -> bytes:
    """Key of a Request's NLLs, 32 bytes. The scope is `<model fingerprint>/<dtype>`."""
    return hashlib.sha256(f"{_SCHEMA} {scope} ".encode() + request.content).digest()


def text_key(scope: str, text: str) -> bytes:
    """Key of a text's embedding, 32 bytes. The scope is the embedder's fingerprint."""
    return hashlib.sha256(f"{_SCHEMA} {scope} ".encode() + text.encode()).digest()


class Store:
    """Per-token NLLs, sentence embeddings and file digests, kept between runs.

    Every `put` is one transaction: after a kill, all of it is stored or nothing.
    """

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        """Open or create the store at `path`; None means a private temporary file.

        Raises StoreError if the file is not a store or cannot be written.
        """
        self.path = None if path is None else Path(path)
        with self._errors("opened"):
            if self.path is not None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(
                self.path or "",
                timeout=BUSY_TIMEOUT_S,
                isolation_level=None,
                check_same_thread=False,
            )
            self._prepare()

    def _prepare(self) -> None:
        """Create the tables of a new store.

        With a write-ahead log and NORMAL synchronisation, a killed process loses nothing that it
        committed.  A power failure may lose the last batches, but does not corrupt the file.
        """
        deadline = time.monotonic() + BUSY_TIMEOUT_S
        while True:
            try:
                self._database.execute("PRAGMA journal_mode = WAL")
                self._database.execute("PRAGMA synchronous = NORMAL")
                self._database.executescript(_TABLES)
                return
            except sqlite3.OperationalError as error:
                # SQLite's timeout does not cover the switch to WAL: of two processes that open a
                # new store at the same time, one would fail.
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
            time.sleep(0.02)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get_nlls(self, keys: Sequence[bytes]) -> dict[bytes, NLL]:
        """NLLs by key, float32 nats of shape (n_scored,); keys not in the store are left out."""
        return dict(self._get("SELECT key, nats FROM nll WHERE key IN", keys))

    def put_nlls(self, nlls: Mapping[bytes, NLL]) -> None:
        """Store the NLLs of one batch, all or nothing."""
        self._put("INSERT OR REPLACE INTO nll VALUES (?, ?)", nlls)

    def get_embeddings(self, keys: Sequence[bytes]) -> dict[bytes, Vector]:
        """Embeddings by key, float32 (dimensions,); keys not in the store are left out."""
        return dict(self._get("SELECT key, vector FROM embedding WHERE key IN", keys))

    def put_embeddings(self, vectors: Mapping[bytes, Vector]) -> None:
        """Store the embeddings of one batch, all or nothing."""
        self._put("INSERT OR REPLACE INTO embedding VALUES (?, ?)", vectors)

    def file_digest(self, path: Path) -> str:
        """SHA-256 of a file as a hex digest, computed again only if the file has changed.

        Hashing gigabytes of weights takes seconds.  A file counts as unchanged if its inode, size,
        modification time and change time are the same; users cannot set the last of these.
        """
        stat = path.stat()
        name = (
            f"{path.resolve()} {stat.st_ino} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"
        )
        with self._errors("read"):
            row = self._database.execute(
                "SELECT sha256 FROM digest WHERE file = ?", (name,)
            ).fetchone()
        if row is not None:
            return str(row[0])
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        with self._errors("written"):
            self._database.execute("INSERT OR REPLACE INTO digest VALUES (?, ?)", (name, digest))
        return digest

    def _get(self, query: str, keys: Sequence[bytes]) -> Iterator[tuple[bytes, Vector]]:
        with self._errors("read"):
            for begin in range(0, len(keys), MAX_KEYS_PER_QUERY):
                part = keys[begin : begin + MAX_KEYS_PER_QUERY]
                parameters = ",".join("?" * len(part))
                for key, blob in self._database.execute(f"{query} ({parameters})", part):
                    yield key, np.frombuffer(blob, dtype="<f4")

    def _put(self, statement: str, values: Mapping[bytes, Vector]) -> None:
        rows: Iterable[tuple[bytes, bytes]] = (
            (key, value.astype("<f4").tobytes()) for key, value in values.items()
        )
        with self._errors("written"):
            self._database.execute("BEGIN IMMEDIATE")
            try:
                self._database.executemany(statement, rows)
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    @contextmanager
    def _errors(self, done: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            where = self.path or "in a temporary file"
            raise StoreError(
                f"the score store {where} cannot be {done}: {error}; name another with --store"
                " PATH, or none with --store off"
            ) from error
