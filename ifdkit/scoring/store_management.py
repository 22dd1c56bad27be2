"""`ifdkit store info`, `prune` and `export`: what a score store has, and how it is kept small.

Any number of processes can read a store while one writes: the write-ahead log gives each reader the
state of its beginning.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ifdkit.data.atomic import OutputFiles
from ifdkit.errors import StoreError, UsageError
from ifdkit.format import size
from ifdkit.scoring.store import DAY_S, Store, marks, parts
from ifdkit.scoring.store_schema import COLUMNS, VALUES

UNKNOWN_MODEL = "unknown"
"""Rows that an earlier version wrote."""
_ROWS_PER_GROUP = 4096
_PAGES_PER_STEP = 1024
"""Pages that are given back in one transaction."""
_KEPT = 0.9
"""Share of the limit that is left, so that not every run has to delete."""
_BYTES = "length(CAST({} AS BLOB)) + 32 + 8"
"""Of a row: its value, its key and its checksum."""


@dataclass(frozen=True, slots=True)
class StoredModel:
    """What a store has of one model."""

    model: str
    """Name and data type."""
    kind: str
    """`nll`, `embedding`, or `finished`: rows of scores."""
    rows: int
    size_bytes: int
    """Of the values and their keys."""
    oldest_day: str | None
    """YYYY-MM-DD; None if it is not known."""
    newest_day: str | None


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """What a store has."""

    path: str
    size_bytes: int
    """Of the file and its log."""
    models: tuple[StoredModel, ...]
    """The largest first."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What `prune` has deleted."""

    rows: int
    size_before_bytes: int
    size_bytes: int


class ManagedStore(Store):
    """A store that exists already, for its owner."""

    def __init__(self, path: Path) -> None:
        """Open it. Raises StoreError if it does not exist or cannot be opened."""
        if not path.exists():
            raise StoreError(f"there is no score store {path}")
        super().__init__(path)
        self._file = path

    def info(self) -> StoreInfo:
        """Rows and bytes by model."""
        found = [
            StoredModel(name or UNKNOWN_MODEL, table, rows, n_bytes, _day(oldest), _day(newest))
            for table, value in VALUES.items()
            for name, rows, n_bytes, oldest, newest in self._select(
                f"SELECT m.name, count(*), sum({_BYTES.format(value)}), min(day), max(day)"
                f" FROM {table} LEFT JOIN model m ON m.id = model GROUP BY m.name",
                [],
            )
        ]
        found.sort(key=lambda one: (-one.size_bytes, one.model, one.kind))
        return StoreInfo(str(self._file), self._size(), tuple(found))

    def prune(
        self,
        *,
        model: str | None = None,
        older_than_days: int | None = None,
        max_bytes: int | None = None,
    ) -> Pruned:
        """Delete rows of a model, old rows, and then the oldest until the file is small enough.

        With `model` and `older_than_days`, a row is deleted if both are true of it; rows of which
        the day is not known are the oldest.  What is deleted is scored again when it is needed.
        Raises UsageError if nothing was asked for, or if no row has this model.
        """
        if model is None and older_than_days is None and max_bytes is None:
            raise UsageError("say what to delete: --model, --older-than or --max-size")
        before, deleted = self._size(), 0
        if model is not None or older_than_days is not None:
            with self._errors("written"), self._transaction():
                deleted += self._delete_matching(model, older_than_days)
        if max_bytes is not None:
            deleted += self._delete_oldest(max_bytes)
        with self._errors("written"):
            if deleted:
                self._database.execute("PRAGMA auto_vacuum = INCREMENTAL")  # of an older file
                self._database.execute("VACUUM")
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return Pruned(deleted, before, self._size())

    def export(self, output: Path) -> int:
        """Write all NLLs as Parquet with `key`, `model` and `nats`; the number of rows."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if output.suffix.lower() != ".parquet":
            raise UsageError(f"-o {output}: end it in .parquet")
        schema = pa.schema(
            [("key", pa.binary(32)), ("model", pa.string()), ("nats", pa.list_(pa.float32()))]
        )
        n_rows = 0
        with OutputFiles(output) as files:
            writer = pq.ParquetWriter(files.open(), schema, compression="zstd")
            for keys, models, values in self._pages():
                columns = [pa.array(keys, pa.binary(32)), pa.array(models), pa.array(values)]
                writer.write_table(pa.Table.from_arrays(columns, schema=schema))
                n_rows += len(keys)
            writer.close()
        return n_rows

    def _pages(self) -> Iterator[tuple[list[bytes], list[str], list[object]]]:
        """Intact rows in the order of their keys, some thousands at a time."""
        names = dict(self._select("SELECT id, name FROM model", []))
        last = b""
        while page := self._select(
            "SELECT key, model FROM nll WHERE key > ? ORDER BY key LIMIT ?",
            [last, _ROWS_PER_GROUP],
        ):
            keys = [key for key, _ in page]
            found = self.get_nlls(keys)
            intact = [(key, names.get(m, UNKNOWN_MODEL)) for key, m in page if key in found]
            yield (
                [key for key, _ in intact],
                [name for _, name in intact],
                [np.asarray(found[key], np.float32) for key, _ in intact],
            )
            last = keys[-1]

    def _delete_matching(self, model: str | None, older_than_days: int | None) -> int:
        numbers: list[int | None] = []
        if model is not None:
            known = self._select("SELECT id, name FROM model", [])
            numbers = [number for number, name in known if model in (name, name.rsplit(" ", 1)[0])]
            if not numbers and model != UNKNOWN_MODEL:
                names = ", ".join(sorted(name for _, name in known)) or "none"
                raise UsageError(f"--model {model}: the store has no such model; it has {names}")
        day = None if older_than_days is None else int(time.time() // DAY_S) - older_than_days
        deleted = 0
        for table in VALUES:
            conditions, parameters = [], list[object]()
            if model == UNKNOWN_MODEL:
                conditions.append("model IS NULL")
            elif model is not None:
                conditions.append(f"model IN ({','.join('?' * len(numbers))})")
                parameters += numbers
            if day is not None:
                conditions.append("coalesce(day, 0) < ?")
                parameters.append(day)
            query = f"DELETE FROM {table} WHERE {' AND '.join(conditions)}"
            deleted += self._database.execute(query, parameters).rowcount
        return deleted

    def _delete_oldest(self, max_bytes: int) -> int:
        """Delete rows, the oldest first, to fit into the limit; the number of rows.

        In many short transactions, between which other processes write.
        """
        excess, deleted = self._excess(max_bytes), 0
        while excess > 0:
            with self._errors("written"), self._transaction():
                days = {
                    table: day
                    for table in VALUES
                    for (day,) in self._database.execute(
                        f"SELECT coalesce(day, 0) FROM {table} ORDER BY rowid LIMIT 1"
                    )
                }
                if not days:
                    break
                table = min(days, key=days.__getitem__)
                n_rows, n_bytes = self._delete_first(table, days[table], excess)
            deleted, excess = deleted + n_rows, excess - n_bytes
        return deleted

    def _excess(self, max_bytes: int) -> float:
        """Bytes of the rows to delete until the pages in use fit into the limit."""
        used = self._used()
        if used <= max_bytes:
            return 0.0
        sizes = (
            f"SELECT total({_BYTES.format(value)}) FROM {table}" for table, value in VALUES.items()
        )
        total = sum(n_bytes for (n_bytes,) in self._select(" UNION ALL ".join(sizes), []))
        # The file is larger than its rows: by the share that pages waste, assumed to stay.
        return float(total - total * max_bytes / used)

    def _delete_first(self, table: str, day: int, excess: float) -> tuple[int, float]:
        """Delete the first rows of a table up to a day until so many bytes are free.

        How many, at most _ROWS_PER_GROUP, and their bytes.  The first were written first: a row
        that is written again, or used again in a store with a limit, is the last one.
        """
        is_old = "coalesce(day, 0) <= ?"
        query = (
            f"SELECT rowid, {_BYTES.format(VALUES[table])} FROM {table} WHERE {is_old}"
            " ORDER BY rowid LIMIT ?"
        )
        last, n_bytes = 0, 0.0
        for number, n_row in self._database.execute(query, [day, _ROWS_PER_GROUP]).fetchall():
            if n_bytes >= excess:
                break
            last, n_bytes = number, n_bytes + n_row
        deletion = f"DELETE FROM {table} WHERE rowid <= ? AND {is_old}"
        return self._database.execute(deletion, [last, day]).rowcount, n_bytes

    def _pragma(self, name: str) -> int:
        (row,) = self._select(f"PRAGMA {name}", [])
        return int(row[0])

    def _used(self) -> int:
        """Bytes of the pages that are in use."""
        pages = self._pragma("page_count") - self._pragma("freelist_count")
        return pages * self._pragma("page_size")

    def _size(self) -> int:
        """Bytes of the file and of its write-ahead log."""
        files = (self._file, Path(f"{self._file}-wal"))
        return sum(one.stat().st_size for one in files if one.exists())


class LimitedStore(ManagedStore):
    """A store that a run keeps within a size: what was not used for longest is deleted.

    A row that is read is noted as used, once a day.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        """Open or create it. Raises StoreError."""
        Store(path).close()
        super().__init__(path)
        self._max_bytes = max_bytes
        self._read: dict[str, set[bytes]] = {table: set() for table in VALUES}
        """Table → keys that were read, and are not noted as used yet."""

    def end_run(self) -> str | None:
        """Delete what is too much; a sentence about it, None if there was nothing to do.

        Other processes can go on reading and writing: no lock is held for long, and so the file of
        an earlier version of ifdkit, which can only be made smaller as a whole, does not shrink.
        """
        self._note_used()
        if self._used() <= self._max_bytes:
            return None
        before = self._used()
        deleted = 0
        while self._used() > self._max_bytes:  # again if many pages have become sparse, not empty
            more = self._delete_oldest(int(_KEPT * self._max_bytes))
            if not more:
                break
            deleted += more
        with self._errors("written"):
            while (n_free := self._pragma("freelist_count")) > 0:
                self._select(f"PRAGMA incremental_vacuum({_PAGES_PER_STEP})", [])
                if self._pragma("freelist_count") == n_free:
                    break
        return (
            f"the score store was larger than its limit: {deleted:,} rows deleted that were not"
            f" used for longest, {size(before)} → {size(self._used())}"
        )

    def _get(
        self, table: str, keys: Sequence[bytes], condition: str = ""
    ) -> Iterator[tuple[bytes, bytes]]:
        found = list(super()._get(table, keys, condition))
        with self._lock:
            self._read[table].update(key for key, _ in found)
        if sum(map(len, self._read.values())) > _ROWS_PER_GROUP:
            self._note_used()
        return iter(found)

    def _note_used(self) -> None:
        """Write the rows that were read again, as the last ones and with the day of today."""
        today = int(time.time() // DAY_S)
        with self._lock:
            read = {table: list(keys) for table, keys in self._read.items()}
            self._read = {table: set() for table in VALUES}
        for table, keys in read.items():
            names = COLUMNS[table]
            values = ", ".join("?" if name == "day" else name for name in names)
            for part in parts(keys):
                query = (
                    f"INSERT OR REPLACE INTO {table} ({', '.join(names)}) SELECT {values} FROM"
                    f" {table} WHERE key IN ({marks(part)}) AND coalesce(day, 0) < ?"
                )
                with self._lock, self._errors("written"), self._transaction():
                    self._database.execute(query, [today, *part, today])


def _day(number: int | None) -> str | None:
    return None if number is None else time.strftime("%Y-%m-%d", time.gmtime(number * DAY_S))


_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def parse_size(text: str, flag: str = "--max-size") -> int:
    """`10G`, `500MB` or `1000000` → bytes. Raises UsageError."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)I?B?\s*", text, re.IGNORECASE)
    n_bytes = float(found[1]) * _UNITS[found[2].upper()] if found else -1
    if not 0 <= n_bytes < 2**62:
        raise UsageError(f"{flag} {text}: write a number of bytes, or one such as 500M or 10G")
    return int(n_bytes)


def parse_days(text: str) -> int:
    """`30d`, `2w` or `30` → days. Raises UsageError."""
    unit = {"d": 1, "w": 7}.get(text[-1:].lower(), 0)
    digits = text[:-1] if unit else text
    if not digits.isdecimal() or len(digits) > 6:
        raise UsageError(f"--older-than {text}: write a number of days, such as 30d, or weeks: 4w")
    return int(digits) * (unit or 1)
