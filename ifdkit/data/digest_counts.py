"""How often each of any number of digests was counted, in bounded memory."""

from __future__ import annotations

import sqlite3

import numpy as np

MAX_COUNTS_IN_MEMORY = 2**16
"""Digests whose counts wait to be written to the file: some ten megabytes."""
_FILTER_BITS = 26
"""Of the number of a place in the filter, which takes 8 MiB."""


class DigestCounts:
    """Counts of digests: those of the latest in memory, the others in a temporary SQLite file.

    The counts of a hundred million digests do not fit in memory, and to look each of them up in a
    file takes longer than to read its row.  So a Bloom filter (doi:10.1145/362686.362692) with two
    places for each digest knows most digests that are not in the file: of a million, it takes 0.1 %
    for known that are not, of ten million 7 %.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        """A table `seen` is added to the database."""
        self._database = database
        database.execute("CREATE TABLE seen (digest INTEGER PRIMARY KEY, n INTEGER)")
        self._latest: dict[str, int] = {}
        self._bits = _FILTER_BITS
        self._last_place = 2**self._bits - 1
        self._filter = bytearray()
        """A bit for each place, 1 if a digest in the file has it; empty if the file is."""

    def add(self, digest: str) -> int:
        """Count a digest, 16 hexadecimal characters; how often it was counted before."""
        n = self._latest.get(digest)
        if n is None:
            n = self._in_file(digest) if self._filter else 0
        self._latest[digest] = n + 1
        if len(self._latest) >= MAX_COUNTS_IN_MEMORY:
            self._write()
        return n

    def _in_file(self, digest: str) -> int:
        number, bits, last = int(digest, 16), self._filter, self._last_place
        first, second = number & last, number >> self._bits & last
        if not (bits[first >> 3] >> (first & 7) & 1 and bits[second >> 3] >> (second & 7) & 1):
            return 0
        signed = number - 2**64 if number >= 2**63 else number
        found = self._database.execute("SELECT n FROM seen WHERE digest = ?", (signed,)).fetchone()
        return int(found[0]) if found else 0

    def _write(self) -> None:
        numbers = np.array([int(digest, 16) for digest in self._latest], np.uint64)
        signed = numbers.view(np.int64).tolist()  # as SQLite has integers
        # In the order of the table: a page is then read and written once for many digests.
        rows = sorted(zip(signed, self._latest.values(), strict=True))
        self._database.execute("BEGIN")
        self._database.executemany(
            "INSERT INTO seen VALUES (?, ?) ON CONFLICT DO UPDATE SET n = excluded.n", rows
        )
        self._database.execute("COMMIT")
        self._filter = self._filter or bytearray(2**self._bits // 8)
        bits = np.frombuffer(self._filter, np.uint8)
        for shift in (0, self._bits):
            places = (numbers >> np.uint64(shift) & np.uint64(self._last_place)).astype(np.int64)
            np.bitwise_or.at(bits, places >> 3, (1 << (places & 7)).astype(np.uint8))
        self._latest.clear()
