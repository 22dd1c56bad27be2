"""Long runs of words that many texts share, wherever they stand in them.

Runs of FEWEST_WORDS are first counted in a hash table of fixed size, so that of the millions that
occur once nothing is kept (Park, Chen and Yu, SIGMOD 1995).  Those that are frequent grow by one
word at a time as long as they stay so (Agrawal and Srikant, VLDB 1994).  A run whose every text
goes on, or begins, with the same word is left to the longer one.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ifdkit.findings.runs import Numbers, Vocabulary, runs

FEWEST_WORDS = 6
LONGEST = 32
"""Words; of a longer run the first so many are given."""
MOST_WORDS = 1_000
"""Only so many first words of a text are looked at."""
MOST_CANDIDATES = 500
MOST_PLACES = 500_000
"""Where frequent runs begin; with more of them a part of the texts is searched, evenly drawn."""
_FEWEST_IN_PART = 5
_TABLE_BITS = 24  # 64 MB

Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SharedRun:
    """A run of words, and where it stands first in each text that holds it."""

    n_words: int
    rows: Places
    """Ascending."""
    starts: Places
    """Words before it, for every row."""


def shared_runs(texts: Sequence[str], fewest_rows: int, most: int) -> list[SharedRun]:
    """At most `most` runs inside of texts that `fewest_rows` or more of these share.

    What hangs together with the beginning or the end of a text is not inside it.  The run that
    covers the most words (texts times words) comes first; its words are taken out, and the others
    are judged by what is left.  100,000 texts of 200 words take 130 MB, and 200 MB where they are
    all made from one template, so that nearly every run is frequent.
    """
    stream = _Stream.of(texts)
    table = _count(stream)
    n_places = int(table[table >= fewest_rows].sum(dtype=np.int64))
    every = math.ceil(n_places / MOST_PLACES)
    if every > 1:
        fewest = max(_FEWEST_IN_PART, math.ceil(fewest_rows / every))
        part = shared_runs(texts[::every], fewest, most)
        used = np.zeros(len(stream.numbers), dtype=bool)
        found = [_everywhere(stream, run, int(run.rows[0]) * every, used) for run in part]
        return [run for run in found if len(run.rows) >= fewest_rows]
    seeds = _seeds(stream, table, fewest_rows)
    candidates = _closed(stream, seeds, fewest_rows)
    return _most_covering(stream, seeds, candidates, fewest_rows, most)


@dataclass(frozen=True, slots=True)
class _Stream:
    """The words of all texts one after another."""

    numbers: Numbers
    borders: Places
    """Where each text begins, and where the last ends; shape (texts + 1,)."""

    @classmethod
    def of(cls, texts: Sequence[str]) -> _Stream:
        vocabulary = Vocabulary()
        parts = [vocabulary.numbers(text, MOST_WORDS) for text in texts]
        borders = np.cumsum([0, *(len(part) for part in parts)])
        return cls(np.concatenate([np.zeros(0, dtype=np.int32), *parts]), borders)

    def texts(self) -> Iterator[tuple[int, Numbers]]:
        """Where each text begins, and its words."""
        borders = self.borders.tolist()
        for begin, end in itertools.pairwise(borders):
            yield begin, self.numbers[begin:end]

    def rows(self, at: Places) -> Places:
        """The texts in which these words stand."""
        return np.searchsorted(self.borders, at, side="right") - 1


@dataclass(frozen=True, slots=True)
class _Seeds:
    """Runs of equal length that are frequent: where they begin, ascending, and which they are."""

    at: Places
    group: Places
    """The same for equal runs; 0, 1, …"""
    n_rows: Places
    """Texts that hold each group."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A frequent run, by one place where it begins."""

    at: int
    n_words: int
    n_rows: int

    @property
    def weight(self) -> int:
        return self.n_rows * self.n_words


def _count(stream: _Stream) -> NDArray[np.uint32]:
    """In how many texts runs of FEWEST_WORDS stand, by bucket: for no run too few."""
    table = np.zeros(1 << _TABLE_BITS, dtype=np.uint32)
    for _, numbers in stream.texts():
        table[np.unique(_bucket(runs(numbers, FEWEST_WORDS)))] += 1
    return table


def _seeds(stream: _Stream, table: NDArray[np.uint32], fewest_rows: int) -> _Seeds:
    """Frequent runs of FEWEST_WORDS inside of texts."""
    at, hashed = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.uint64)]
    for begin, numbers in stream.texts():
        here = runs(numbers, FEWEST_WORDS)
        often = np.flatnonzero(table[_bucket(here)] >= fewest_rows)
        at.append(often + begin)
        hashed.append(here[often])
    places = np.concatenate(at)
    _, group = np.unique(np.concatenate(hashed), return_inverse=True)
    frequent = _frequent(stream, places, group, fewest_rows)
    inside = _inside(stream, frequent.at)
    return _frequent(stream, frequent.at[inside], frequent.group[inside], fewest_rows)


def _bucket(hashed: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return hashed >> np.uint64(64 - _TABLE_BITS)


def _frequent(stream: _Stream, at: Places, group: Places, fewest_rows: int) -> _Seeds:
    """The places whose group stands in so many texts, with groups numbered anew."""
    n_texts = len(stream.borders)
    once_a_row = np.unique(group * n_texts + stream.rows(at)) // n_texts
    n_rows = np.bincount(once_a_row)
    keep = n_rows[group] >= fewest_rows
    kept, numbered = np.unique(group[keep], return_inverse=True)
    return _Seeds(at[keep], numbered, n_rows[kept])


def _inside(stream: _Stream, at: Places) -> NDArray[np.bool_]:
    """Which places lie in no unbroken series that reaches the beginning or end of its text."""
    if not len(at):
        return np.zeros(0, dtype=bool)
    rows = stream.rows(at)
    breaks = np.flatnonzero((np.diff(at) != 1) | (np.diff(rows) != 0))
    first, last = np.append(0, breaks + 1), np.append(breaks, len(at) - 1)
    is_inside = (at[first] > stream.borders[rows[first]]) & (
        at[last] + FEWEST_WORDS < stream.borders[rows[last] + 1]
    )
    return np.repeat(is_inside, last - first + 1)


def _closed(stream: _Stream, seeds: _Seeds, fewest_rows: int) -> list[_Candidate]:
    """Frequent runs of FEWEST_WORDS to LONGEST words that no longer one replaces."""
    found: list[_Candidate] = []
    shorter = seeds
    for n_words in range(FEWEST_WORDS, LONGEST + 1):
        longer, is_closed = _grown(stream, shorter, fewest_rows)
        if n_words == LONGEST:
            is_closed[:] = True
        _, first = np.unique(shorter.group, return_index=True)
        found += [
            _Candidate(int(shorter.at[first[one]]), n_words, int(shorter.n_rows[one]))
            for one in np.flatnonzero(is_closed)
        ]
        shorter = longer
    return heapq.nsmallest(MOST_CANDIDATES, found, key=lambda one: (-one.weight, one.at))


def _grown(stream: _Stream, shorter: _Seeds, fewest_rows: int) -> tuple[_Seeds, NDArray[np.bool_]]:
    """The frequent runs of one word more, and which of the shorter ones they do not replace."""
    # A run is frequent only where it is so without its last word and without its first.
    goes_on = np.flatnonzero((np.diff(shorter.at) == 1) & (np.diff(stream.rows(shorter.at)) == 0))
    both = shorter.group[goes_on] * len(shorter.n_rows) + shorter.group[goes_on + 1]
    _, group = np.unique(both, return_inverse=True)
    longer = _frequent(stream, shorter.at[goes_on], group, fewest_rows)
    is_closed = np.ones(len(shorter.n_rows), dtype=bool)
    begins = np.searchsorted(shorter.at, longer.at)
    for part in (shorter.group[begins], shorter.group[begins + 1]):
        is_closed[part[shorter.n_rows[part] == longer.n_rows[longer.group]]] = False
    return longer, is_closed


def _everywhere(stream: _Stream, run: SharedRun, row: int, used: NDArray[np.bool_]) -> SharedRun:
    """A run that was found in some texts, the text `row` first, in all that hold it unused."""
    first = int(stream.borders[row] + run.starts[0])
    (wanted,) = runs(stream.numbers[first : first + run.n_words], run.n_words)
    rows, starts = [], []
    for number, (begin, numbers) in enumerate(stream.texts()):
        for start in np.flatnonzero(runs(numbers, run.n_words) == wanted).tolist():
            words = used[begin + start : begin + start + run.n_words]
            if not words.any():
                words[:] = True
                rows.append(number)
                starts.append(start)
    every_row, at = np.unique(np.array(rows, dtype=np.int64), return_index=True)
    return SharedRun(run.n_words, every_row, np.array(starts, dtype=np.int64)[at])


def _most_covering(
    stream: _Stream,
    seeds: _Seeds,
    candidates: Sequence[_Candidate],
    fewest_rows: int,
    most: int,
) -> list[SharedRun]:
    """Candidates by the words they cover, each word under one of them."""
    used = np.zeros(len(stream.numbers), dtype=bool)
    by_group = np.argsort(seeds.group, kind="stable")
    borders = np.searchsorted(seeds.group[by_group], np.arange(len(seeds.n_rows) + 1))
    # As words are taken out, a weight can only fall: one that still leads when weighed anew is
    # the largest.
    heap = [(-one.weight, one.at, one.n_words) for one in candidates]
    heapq.heapify(heap)
    found: list[SharedRun] = []
    while heap and len(found) < most:
        _, at, n_words = heapq.heappop(heap)
        group = int(seeds.group[np.searchsorted(seeds.at, at)])
        alike = seeds.at[by_group[borders[group] : borders[group + 1]]]
        places = _occurrences(stream, alike, at, n_words, used)
        rows, first = np.unique(stream.rows(places), return_index=True)
        weight = len(rows) * n_words
        if len(rows) < fewest_rows:
            continue
        if heap and -weight > heap[0][0]:
            heapq.heappush(heap, (-weight, at, n_words))
            continue
        used[(places[:, None] + np.arange(n_words)).ravel()] = True
        found.append(SharedRun(n_words, rows, places[first] - stream.borders[rows]))
    return found


def _occurrences(
    stream: _Stream, alike: Places, at: int, n_words: int, used: NDArray[np.bool_]
) -> Places:
    """Of places whose first words are those at `at`, the ones that hold the run in unused words."""
    ends = stream.borders[stream.rows(alike) + 1]
    alike = alike[alike + n_words <= ends]
    windows = alike[:, None] + np.arange(n_words)  # (places, words)
    same = (stream.numbers[windows] == stream.numbers[at : at + n_words]).all(axis=1)
    free: Places = alike[same & ~used[windows].any(axis=1)]
    return free
