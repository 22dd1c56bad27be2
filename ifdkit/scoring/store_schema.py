"""The tables of the score store."""

from __future__ import annotations

import sqlite3

VALUES = {"nll": "nats", "embedding": "vector", "finished": "record"}
"""Table → its column of values: float32, or records that `ifdkit.scoring.finished` makes."""
COLUMNS = {
    "nll": ("key", "nats", "checksum", "model", "day", "batch", "provisional"),
    "embedding": ("key", "vector", "checksum", "model", "day"),
    "finished": ("key", "record", "checksum", "model", "day"),
    "digest": ("file", "sha256", "checksum"),
}
"""Table → its columns, in the order in which values are inserted; the first is the key."""
OWN_TABLES = {*COLUMNS, "model", "sqlite_sequence", "sqlite_stat1"}
"""All tables that a store may have."""
# Not WITHOUT ROWID, which keeps values of 250 tokens and more in pages of their own: such a row
# took 4.7 kB instead of 1.1, and three times as long to write and to read.
TABLES = """
CREATE TABLE IF NOT EXISTS nll
    (key BLOB PRIMARY KEY, nats BLOB NOT NULL, checksum BLOB, model INTEGER, day INTEGER,
     batch BLOB, provisional INTEGER);
CREATE TABLE IF NOT EXISTS embedding
    (key BLOB PRIMARY KEY, vector BLOB NOT NULL, checksum BLOB, model INTEGER, day INTEGER);
CREATE TABLE IF NOT EXISTS digest
    (file TEXT PRIMARY KEY, sha256 TEXT NOT NULL, checksum BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS finished
    (key BLOB PRIMARY KEY, record BLOB NOT NULL, checksum BLOB, model INTEGER, day INTEGER);
CREATE TABLE IF NOT EXISTS model (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
"""


def sqlite_code(error: BaseException) -> int:
    """The primary result code of SQLite; 0 for an error that the sqlite3 module makes itself."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def tables_of(database: sqlite3.Connection) -> set[str]:
    """Names of the tables, and views and triggers as `view NAME`."""
    query = "SELECT name, type FROM sqlite_schema WHERE type != 'index'"
    rows = database.execute(query).fetchall()
    return {name if kind == "table" else f"{kind} {name}" for name, kind in rows}
