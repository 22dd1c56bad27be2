"""Long n-grams that many texts share, anywhere inside them.

N-grams of MIN_WORDS are first counted in a hash table of fixed size, so that nothing is kept of the
millions that occur once (Park, Chen and Yu, SIGMOD 1995).  Frequent ones grow by one word at a time
as long as they stay frequent (Agrawal and Srikant, VLDB 1994).  An n-gram is closed, and a
candidate, unless a longer one occurs in the same texts.
"""

from __future__ import annotations

import heapq
import itertools
import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ifdkit.findings.ngrams import NgramHashes, Vocabulary, WordIds, ngram_hashes

MIN_WORDS = 6
MAX_WORDS = 32
"""Of a longer n-gram only so many words are reported."""
MAX_WORDS_PER_TEXT = 1_000
"""Only so many first words of a text are searched."""
MAX_CANDIDATES = 500
MAX_TEXTS = 100_000
"""Of more texts an evenly spaced part is searched, and what is found is counted in all of them."""
MAX_OCCURRENCES = 500_000
"""Of frequent n-grams.  If there are more, an evenly spaced part of the texts is searched."""
_MIN_ROWS_IN_PART = 5
_TABLE_BITS = 24  # 64 MB

Indices = NDArray[np.int64]
"""Of texts (`rows`) or of words in the stream (`starts`), shape (n,)."""


@dataclass(frozen=True, slots=True)
class SharedNgram:
    """An n-gram and its first occurrence in each text that contains it."""

    n_words: int
    rows: Indices
    """Of the texts, ascending."""
    offsets: Indices
    """Words before it, one per row."""


def shared_ngrams(texts: Sequence[str], min_rows: int, max_found: int) -> list[SharedNgram]:
    """The n-grams inside texts that at least `min_rows` of them share, by words covered.

    What continues to the beginning or end of its text is not inside it.  The n-gram that covers
    the most words (texts times words) comes first.  Its words are then taken, and the others are
    judged by their remaining occurrences.  100,000 texts of 200 words take 130 MB, or 200 MB if
    they are all made from one template, so that nearly every n-gram is frequent.

    Of more than MAX_TEXTS, a part of 50,000 or more is searched.  What is found there is counted in
    all texts, so its rows are exact; an n-gram can be missed if its share of the texts is less than
    three standard errors above the limit, which is 0.2 points at a limit of 2 %.
    """
    step = math.ceil(len(texts) / MAX_TEXTS)
    if step > 1:
        return _by_part(texts, step, min_rows, max_found)
    stream = _Stream.of(texts)
    table = _count(stream)
    n_occurrences = int(table[table >= min_rows].sum(dtype=np.int64))
    step = math.ceil(n_occurrences / MAX_OCCURRENCES)
    if step > 1:
        return _by_part(texts, step, min_rows, max_found)
    seeds = _seeds(stream, table, min_rows)
    candidates = _closed(stream, seeds, min_rows)
    return _cover(stream, seeds, candidates, min_rows, max_found)


def _by_part(texts: Sequence[str], step: int, min_rows: int, max_found: int) -> list[SharedNgram]:
    """What every `step`-th text shares, counted in all texts."""
    part = texts[::step]
    min_rows_in_part = max(_MIN_ROWS_IN_PART, math.ceil(min_rows / step))
    found = shared_ngrams(part, min_rows_in_part, max_found)
    return [one for one in _in_all_texts(texts, part, found) if len(one.rows) >= min_rows]


@dataclass(frozen=True, slots=True)
class _Stream:
    """The words of all texts, one text after another."""

    word_ids: WordIds
    borders: Indices
    """Where each text starts, and where the last ends; shape (texts + 1,)."""

    @classmethod
    def of(cls, texts: Sequence[str]) -> _Stream:
        vocabulary = Vocabulary()
        parts = [vocabulary.ids(text, MAX_WORDS_PER_TEXT) for text in texts]
        borders = np.cumsum([0, *(len(part) for part in parts)])
        return cls(np.concatenate([np.zeros(0, dtype=np.int32), *parts]), borders)

    def texts(self) -> Iterator[tuple[int, WordIds]]:
        """Start and words of each text."""
        for start, end in itertools.pairwise(self.borders.tolist()):
            yield start, self.word_ids[start:end]

    def rows(self, starts: Indices) -> Indices:
        """The text that contains each of these words."""
        return np.searchsorted(self.borders, starts, side="right") - 1


@dataclass(frozen=True, slots=True)
class _FrequentNgrams:
    """Where frequent n-grams of one length start, and which n-gram starts there."""

    starts: Indices
    """Ascending, shape (occurrences,)."""
    group: Indices
    """Number of the n-gram at each start, 0, 1, …; shape (occurrences,)."""
    n_rows: Indices
    """Texts that contain each n-gram, shape (n-grams,)."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A frequent n-gram, by one of its starts."""

    start: int
    n_words: int
    n_rows: int

    @property
    def coverage(self) -> int:
        return self.n_rows * self.n_words


def _count(stream: _Stream) -> NDArray[np.uint32]:
    """Bucket → texts with an n-gram of MIN_WORDS in it.

    N-grams that share a bucket raise its count, so a count is never too low.
    """
    table = np.zeros(1 << _TABLE_BITS, dtype=np.uint32)
    for _, word_ids in stream.texts():
        table[np.unique(_bucket(ngram_hashes(word_ids, MIN_WORDS)))] += 1
    return table


def _bucket(hashes: NgramHashes) -> NDArray[np.uint64]:
    return hashes >> np.uint64(64 - _TABLE_BITS)


def _seeds(stream: _Stream, table: NDArray[np.uint32], min_rows: int) -> _FrequentNgrams:
    """Occurrences of the frequent n-grams of MIN_WORDS inside texts."""
    starts, hashes = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.uint64)]
    for start, word_ids in stream.texts():
        of_text = ngram_hashes(word_ids, MIN_WORDS)
        frequent = np.flatnonzero(table[_bucket(of_text)] >= min_rows)
        starts.append(frequent + start)
        hashes.append(of_text[frequent])
    all_starts = np.concatenate(starts)
    _, group = np.unique(np.concatenate(hashes), return_inverse=True)
    found = _frequent(stream, all_starts, group, min_rows)
    inside = _inside(stream, found.starts)
    return _frequent(stream, found.starts[inside], found.group[inside], min_rows)


def _frequent(stream: _Stream, starts: Indices, group: Indices, min_rows: int) -> _FrequentNgrams:
    """The occurrences whose n-gram is in `min_rows` texts or more, with groups renumbered."""
    n_texts = len(stream.borders)
    # Group and text as one number, so that several occurrences in one text count once.
    once_per_text = np.unique(group * n_texts + stream.rows(starts)) // n_texts
    n_rows = np.bincount(once_per_text)
    keep = n_rows[group] >= min_rows
    kept, renumbered = np.unique(group[keep], return_inverse=True)
    return _FrequentNgrams(starts[keep], renumbered, n_rows[kept])


def _inside(stream: _Stream, starts: Indices) -> NDArray[np.bool_]:
    """Which starts belong to no unbroken series that reaches the beginning or end of its text.

    Shared openings and closings are series of frequent n-grams there; `recurring` reports them
    under kinds of their own.
    """
    if not len(starts):
        return np.zeros(0, dtype=bool)
    rows = stream.rows(starts)
    breaks = np.flatnonzero((np.diff(starts) != 1) | (np.diff(rows) != 0))
    first, last = np.append(0, breaks + 1), np.append(breaks, len(starts) - 1)
    is_inside = (starts[first] > stream.borders[rows[first]]) & (
        starts[last] + MIN_WORDS < stream.borders[rows[last] + 1]
    )
    return np.repeat(is_inside, last - first + 1)


def _closed(stream: _Stream, seeds: _FrequentNgrams, min_rows: int) -> list[_Candidate]:
    """The closed frequent n-grams of MIN_WORDS to MAX_WORDS words, by coverage."""
    found: list[_Candidate] = []
    shorter = seeds
    for n_words in range(MIN_WORDS, MAX_WORDS + 1):
        longer, is_closed = _grow(stream, shorter, min_rows)
        if n_words == MAX_WORDS:
            is_closed[:] = True
        _, first = np.unique(shorter.group, return_index=True)
        found += [
            _Candidate(int(shorter.starts[first[one]]), n_words, int(shorter.n_rows[one]))
            for one in np.flatnonzero(is_closed)
        ]
        shorter = longer
    return heapq.nsmallest(MAX_CANDIDATES, found, key=lambda one: (-one.coverage, one.start))


def _grow(
    stream: _Stream, shorter: _FrequentNgrams, min_rows: int
) -> tuple[_FrequentNgrams, NDArray[np.bool_]]:
    """The frequent n-grams that are one word longer, and which of the shorter ones are closed."""
    # An n-gram is frequent only if it is without its last word and without its first (a priori
    # pruning).  So a longer one starts where two shorter ones start one word apart in one text, and
    # the pair of their groups identifies it: no words are compared or hashed again.
    next_too = np.flatnonzero(
        (np.diff(shorter.starts) == 1) & (np.diff(stream.rows(shorter.starts)) == 0)
    )
    pair = shorter.group[next_too] * len(shorter.n_rows) + shorter.group[next_too + 1]
    _, group = np.unique(pair, return_inverse=True)
    longer = _frequent(stream, shorter.starts[next_too], group, min_rows)
    # A shorter n-gram is not closed if a longer one that begins or ends with it is in as many
    # texts: they are then the same texts.
    is_closed = np.ones(len(shorter.n_rows), dtype=bool)
    at = np.searchsorted(shorter.starts, longer.starts)
    for part in (shorter.group[at], shorter.group[at + 1]):
        is_closed[part[shorter.n_rows[part] == longer.n_rows[longer.group]]] = False
    return longer, is_closed


def _in_all_texts(
    texts: Sequence[str], part: Sequence[str], found: Sequence[SharedNgram]
) -> list[SharedNgram]:
    """N-grams found in part of the texts, as numbers of that: their free occurrences in all.

    The texts are read one by one, and none of them is kept.
    """
    vocabulary, wanted = Vocabulary(), []
    for one in found:
        first = vocabulary.ids(part[int(one.rows[0])], MAX_WORDS_PER_TEXT)
        (ngram,) = ngram_hashes(first[one.offsets[0] :][: one.n_words], one.n_words)
        wanted.append((one.n_words, ngram))
    rows = [array("q") for _ in found]
    offsets = [array("q") for _ in found]
    for number, text in enumerate(texts if found else ()):
        word_ids = vocabulary.known_ids(text, MAX_WORDS_PER_TEXT)
        hashes = {n_words: ngram_hashes(word_ids, n_words) for n_words, _ in wanted}
        taken = np.zeros(len(word_ids), dtype=bool)
        for i, (n_words, ngram) in enumerate(wanted):
            for offset in np.flatnonzero(hashes[n_words] == ngram).tolist():
                words = taken[offset : offset + n_words]
                if not words.any():
                    words[:] = True
                    if not rows[i] or rows[i][-1] != number:
                        rows[i].append(number)
                        offsets[i].append(offset)
    return [
        SharedNgram(one.n_words, np.array(rows[i], np.int64), np.array(offsets[i], np.int64))
        for i, one in enumerate(found)
    ]


def _cover(
    stream: _Stream,
    seeds: _FrequentNgrams,
    candidates: Sequence[_Candidate],
    min_rows: int,
    max_found: int,
) -> list[SharedNgram]:
    """Candidates by the words they cover, each word by one of them at most."""
    taken = np.zeros(len(stream.word_ids), dtype=bool)
    by_group = np.argsort(seeds.group, kind="stable")
    borders = np.searchsorted(seeds.group[by_group], np.arange(len(seeds.n_rows) + 1))
    # Coverage only falls as words are taken.  So it is computed again for the first of the heap
    # only, and a candidate that is still first then is the largest.
    heap = [(-one.coverage, one.start, one.n_words) for one in candidates]
    heapq.heapify(heap)
    found: list[SharedNgram] = []
    while heap and len(found) < max_found:
        _, start, n_words = heapq.heappop(heap)
        # The seed that it begins with starts at every occurrence of it.
        group = int(seeds.group[np.searchsorted(seeds.starts, start)])
        seed_starts = seeds.starts[by_group[borders[group] : borders[group + 1]]]
        free = _free_occurrences(stream, seed_starts, start, n_words, taken)
        rows, first = np.unique(stream.rows(free), return_index=True)
        coverage = len(rows) * n_words
        if len(rows) < min_rows:
            continue
        if heap and -coverage > heap[0][0]:
            heapq.heappush(heap, (-coverage, start, n_words))
            continue
        taken[(free[:, None] + np.arange(n_words)).ravel()] = True
        found.append(SharedNgram(n_words, rows, free[first] - stream.borders[rows]))
    return found


def _free_occurrences(
    stream: _Stream, starts: Indices, start: int, n_words: int, taken: NDArray[np.bool_]
) -> Indices:
    """Which of these starts begin the n-gram at `start` with none of its words taken."""
    ends = stream.borders[stream.rows(starts) + 1]
    starts = starts[starts + n_words <= ends]
    windows = starts[:, None] + np.arange(n_words)  # (starts, words)
    same = (stream.word_ids[windows] == stream.word_ids[start : start + n_words]).all(axis=1)
    free: Indices = starts[same & ~taken[windows].any(axis=1)]
    return free
