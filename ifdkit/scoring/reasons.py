"""The reasons of rows that are not ok, counted for the summary."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest

from ifdkit.records import Status

MAX_REASONS = 200
"""Distinct reasons that are counted, so that memory is bounded; the rest are counted together."""
OTHER = "other reasons"
_NUMBER = re.compile(r"\d(?:[\d,]*\d)?")


@dataclass(frozen=True, slots=True)
class StatusReason:
    """A reason for a status, and how many rows have it."""

    status: str
    reason: str
    """With `…` for each of its numbers that differs from row to row."""
    count: int


class ReasonCounter:
    """Counts reasons. Those that differ in their numbers only are one."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, tuple[str, ...]]] = Counter()
        """Status and the words between the numbers → rows."""
        self._numbers: dict[tuple[str, tuple[str, ...]], tuple[str, ...]] = {}

    def add(self, rows: Iterable[tuple[str, str | None]]) -> None:
        """Count the reasons of rows: status and reason of each."""
        for status, reason in rows:
            if status == Status.OK or not reason:
                continue
            key, numbers = (str(status), tuple(_NUMBER.split(reason))), _NUMBER.findall(reason)
            if key not in self._counts and len(self._counts) >= MAX_REASONS:
                key, numbers = (str(status), (OTHER,)), []
            self._counts[key] += 1
            known = self._numbers.setdefault(key, tuple(numbers))
            self._numbers[key] = tuple(
                a if a == b else "…" for a, b in zip(known, numbers, strict=True)
            )

    def most_common(self) -> tuple[StatusReason, ...]:
        """The most frequent first."""
        found = []
        for key, count in self._counts.most_common():
            pairs = zip_longest(key[1], self._numbers[key], fillvalue="")
            found.append(StatusReason(key[0], "".join(map("".join, pairs)), count))
        return tuple(found)
