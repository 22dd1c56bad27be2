"""Near duplicates: texts whose sets of word 3-grams have a Jaccard similarity of 0.8 or more.

An exact search by prefix filtering (Chaudhuri, Ganti and Kaushik, ICDE 2006; Bayardo, Ma and
Srikant, WWW 2007), not a sketch.  With the n shingles of every text sorted from rare to frequent,
two texts of similarity t or more share one among the first n − ⌈t n⌉ + 1 of each.  Most texts need
no comparison at all, because their rare shingles occur nowhere else.  The shingles of many texts
are in a temporary file.

MinHash with LSH was measured and rejected (`benchmarks/near.py`, `reports/near.md`): `datasketch`
2.0 takes twice the time on 20,000 texts.  On a file made from one template, which is common, it
takes twenty times as long, or misses nearly all pairs if its comparisons are limited as ours are.
`semhash` compares the embeddings of a model that it downloads.
"""

from __future__ import annotations

import math
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifdkit.data.spilling import Chosen, HashColumn
from ifdkit.findings.ngrams import NgramHashes, Vocabulary, WordIds, ngram_hashes
from ifdkit.findings.texts import DistinctTexts, has_words, key

SIMILARITY = 0.8
SHINGLE_WORDS = 3
MIN_WORDS = 25
"""In a shorter text one word more or less is a different answer."""
MAX_WORDS = 128
"""Only so many first words of a text are compared."""
MAX_WORDS_WHOLE = 200_000
SKETCH_SIZE = 128
MAX_TEXTS = 50_000
"""Of more distinct texts a random sample is searched."""
MAX_CANDIDATES = 32
"""Texts compared with each one, so that a file made from one template takes linear time."""

MAX_COUNTED = 2**23
"""Shingles of all texts that are counted exactly: those of some 80,000 answers."""
_TABLE_BITS = 27  # 128 MB
_TO_CELL = np.uint64(64 - _TABLE_BITS)
_NONE = np.zeros(0, dtype=np.uint64)

Shingles = NgramHashes
"""A set: sorted, each once."""


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """The texts that have a near duplicate among them."""

    indices: tuple[int, ...]
    """Ascending."""
    n_searched: int
    """Distinct texts that were compared."""
    n_distinct: int
    """Distinct texts that are long enough to be compared."""


def near_duplicates(
    texts: Sequence[str], *, whole: bool = False, distinct: DistinctTexts | None = None
) -> list[tuple[int, ...]]:
    """Groups of texts that are equal or near duplicates of each other: their indices, ascending.

    Texts of any length are equal if they differ only in whitespace and case; empty ones are in no
    group.  Groups are connected components: if a is near b and b near c, all three are in one,
    though a and c may differ more.  Groups are in the order of their first index.  `distinct` are
    the distinct ones of the texts, if they are known.

    `whole` compares documents by all of their words, not only the first MAX_WORDS.  Each is then
    represented by a sketch, the SKETCH_SIZE smallest hashes of its 3-grams (bottom-k: Broder, 1997;
    Cohen and Kaplan, PODC 2007), so that 1 kB is kept per document.  The Jaccard similarity of
    sketches has a standard error of about 0.04 at 0.8.
    """
    distinct = distinct or DistinctTexts.of([key(text) for text in texts])
    searched = _long_enough(distinct, texts)
    near = _groups(_sets_of(Chosen(texts, distinct.firsts[searched]), whole=whole))
    numbers = [[int(searched[i]) for i in group] for group in near]
    grouped = {number for group in numbers for number in group}
    numbers += [[number] for number in distinct.repeated.tolist() if number not in grouped]
    return sorted(
        tuple(sorted(index for number in group for index in distinct.indices(number)))
        for group in numbers
    )


def nearly_repeated(texts: Sequence[str], keys: Sequence[bytes], seed: int) -> NearDuplicates:
    """The texts with a near duplicate that is not an exact one.

    `keys` are equal for exact duplicates; `seed` draws the sample of more than MAX_TEXTS.
    """
    distinct = DistinctTexts.of(keys)
    long_enough = searched = _long_enough(distinct, texts)
    if len(long_enough) > MAX_TEXTS:
        chosen = np.random.default_rng(seed).choice(len(long_enough), MAX_TEXTS, replace=False)
        searched = long_enough[np.sort(chosen)]
    groups = _groups(_sets_of(Chosen(texts, distinct.firsts[searched])))
    indices = sorted(
        index for group in groups for i in group for index in distinct.indices(int(searched[i]))
    )
    return NearDuplicates(tuple(indices), len(searched), len(long_enough))


def are_near(one: str, other: str) -> bool:
    """Whether two texts are near duplicates by their first words and of similar length."""
    shorter, longer = sorted((len(one), len(other)))
    if shorter < SIMILARITY * longer:  # a continuation is not a copy, whatever it begins with
        return False
    if not (has_words(one, MIN_WORDS) and has_words(other, MIN_WORDS)):
        return False
    return jaccard(*_shingles_of([one, other])) >= SIMILARITY


def shingles(word_ids: WordIds) -> Shingles:
    """The distinct 3-grams in the first MAX_WORDS of a text, sorted."""
    return np.unique(ngram_hashes(word_ids[:MAX_WORDS], SHINGLE_WORDS))


def jaccard(a: NDArray[np.integer[Any]], b: NDArray[np.integer[Any]]) -> float:
    """|a ∩ b| ÷ |a ∪ b| of two sets, 0…1; both without repetition, not both empty."""
    common = len(np.intersect1d(a, b, assume_unique=True))
    return common / (len(a) + len(b) - common)


def _long_enough(distinct: DistinctTexts, texts: Sequence[str]) -> NDArray[np.int64]:
    """The texts to compare, by key: their order in the dataset does not matter."""
    chosen = Chosen(texts, distinct.firsts)
    is_long = np.fromiter((has_words(text, MIN_WORDS) for text in chosen), bool, len(distinct))
    by_key = np.argsort(distinct.keys)
    numbers: NDArray[np.int64] = by_key[is_long[by_key]]
    return numbers


def _shingles_of(texts: Iterable[str]) -> HashColumn:
    vocabulary = Vocabulary()
    return HashColumn(shingles(vocabulary.ids(text, MAX_WORDS)) for text in texts)


def _sets_of(texts: Iterable[str], *, whole: bool = False) -> HashColumn:
    """The 3-grams of each text; of `whole` texts the smallest hashes.  Each sorted."""
    if not whole:
        return _shingles_of(texts)
    vocabulary = Vocabulary()
    all_of = (ngram_hashes(vocabulary.ids(one, MAX_WORDS_WHOLE), SHINGLE_WORDS) for one in texts)
    return HashColumn(np.unique(hashes)[:SKETCH_SIZE].copy() for hashes in all_of)


def _groups(sets: Sequence[Shingles]) -> list[list[int]]:
    """Connected components of two or more sets under similarity; numbers of the sets, ascending."""
    forest = _DisjointSets(len(sets))
    sets_with: dict[int, list[int]] = defaultdict(list)
    for number, shared in _prefixes(sets):
        candidates = dict.fromkeys(other for one in shared for other in sets_with[one])
        own = sets[number] if candidates else None
        for other in list(candidates)[:MAX_CANDIDATES]:
            if forest.root(number) == forest.root(other):
                continue
            assert own is not None
            if jaccard(own, sets[other]) >= SIMILARITY:
                forest.join(number, other)
        for one in shared:
            if len(sets_with[one]) < MAX_CANDIDATES:
                sets_with[one].append(number)
    return forest.groups()


def _prefixes(sets: Sequence[Shingles]) -> Iterator[tuple[int, list[int]]]:
    """The shingles in the prefix of each set that are in the prefix of another set too.

    A set of similarity t shares ⌈t n⌉ shingles or more with one of n.  The rarest of them is
    followed by ⌈t n⌉ − 1 others, so it is in the prefix of n − ⌈t n⌉ + 1; and likewise in that of
    the other.  Any order that is the same for all sets is exact; from rare to frequent is fast.
    """
    counts = _counts(sets)
    entries, lengths = array("Q"), np.zeros(len(sets), dtype=np.int64)
    for number, one in enumerate(sets):
        n = counts(one)
        prefix = np.lexsort((one, n))[: len(one) - math.ceil(SIMILARITY * len(one)) + 1]
        prefix = prefix[n[prefix] > 1]
        entries.frombytes(one[prefix].tobytes())
        lengths[number] = len(prefix)
    hashes = np.frombuffer(entries, dtype=np.uint64)
    numbers = np.repeat(np.arange(len(sets)), lengths)
    # What only one prefix has leads to no other set.  This leaves few of many.
    ordered = np.sort(hashes)
    occurs_again = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    at = np.minimum(np.searchsorted(occurs_again, hashes), max(len(occurs_again) - 1, 0))
    is_shared = occurs_again[at] == hashes if len(occurs_again) else np.zeros(len(hashes), bool)
    hashes, numbers = hashes[is_shared], numbers[is_shared]
    found, starts = np.unique(numbers, return_index=True)
    stops = np.append(starts, len(numbers))[1:].tolist()
    for number, start, stop in zip(found.tolist(), starts.tolist(), stops, strict=True):
        yield number, hashes[start:stop].tolist()


def _counts(sets: Sequence[Shingles]) -> Callable[[Shingles], NDArray[np.integer[Any]]]:
    """How many sets contain each of some shingles: shape (n,) → shape (n,).

    Up to MAX_COUNTED shingles are counted exactly.  More are counted in a table of fixed size, up
    to 255: shingles that share a cell raise each other's count, which is never too low.
    """
    if sum(map(len, sets)) <= MAX_COUNTED:
        known, n_sets = np.unique(np.concatenate([_NONE, *sets]), return_counts=True)
        return lambda one: n_sets[np.searchsorted(known, one)]
    table = np.zeros(1 << _TABLE_BITS, dtype=np.uint8)
    for one in sets:
        cells = one >> _TO_CELL
        table[cells] += table[cells] < np.iinfo(np.uint8).max
    return lambda one: table[one >> _TO_CELL]


class _DisjointSets:
    """Numbers that are joined to groups one pair at a time (union–find with path halving)."""

    def __init__(self, n: int) -> None:
        self._parent = list(range(n))

    def root(self, number: int) -> int:
        """The same for all numbers of a group."""
        parent = self._parent
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    def join(self, one: int, other: int) -> None:
        first, second = sorted((self.root(one), self.root(other)))
        self._parent[second] = first

    def groups(self) -> list[list[int]]:
        """Groups of two or more, members ascending."""
        members: dict[int, list[int]] = defaultdict(list)
        for number in range(len(self._parent)):
            members[self.root(number)].append(number)
        return [group for group in members.values() if len(group) > 1]
