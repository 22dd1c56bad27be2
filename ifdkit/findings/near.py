"""Near duplicates: texts whose sets of word 3-grams have a Jaccard similarity of 0.8 or more.

An exact search by prefix filtering (Chaudhuri, Ganti and Kaushik, ICDE 2006; Bayardo, Ma and
Srikant, WWW 2007), not a sketch.  With the n shingles of every text sorted from rare to frequent,
two texts of similarity t or more share one among the first n − ⌈t n⌉ + 1 of each.  Most texts need
no comparison at all, because their rare shingles occur nowhere else.

MinHash with LSH was measured and rejected (`benchmarks/near.py`, `reports/near.md`): `datasketch`
2.0 takes twice the time on 20,000 texts.  On a file made from one template, which is common, it
takes twenty times as long, or misses nearly all pairs if its comparisons are limited as ours are.
`semhash` compares the embeddings of a model that it downloads.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifdkit.findings.ngrams import NgramHashes, Vocabulary, WordIds, ngram_hashes
from ifdkit.findings.texts import EMPTY_KEY, has_words, indices_by_key, key

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

Shingles = NgramHashes
"""A set: sorted, each once."""
Ranks = NDArray[np.int64]
"""Shingles numbered from rare to frequent over all texts, ascending."""


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """The texts that have a near duplicate among them."""

    indices: tuple[int, ...]
    """Ascending."""
    n_searched: int
    """Distinct texts that were compared."""
    n_distinct: int
    """Distinct texts that are long enough to be compared."""


def near_duplicates(texts: Sequence[str], *, whole: bool = False) -> list[tuple[int, ...]]:
    """Groups of texts that are equal or near duplicates of each other: their indices, ascending.

    Texts of any length are equal if they differ only in whitespace and case; empty ones are in no
    group.  Groups are connected components: if a is near b and b near c, all three are in one,
    though a and c may differ more.  Groups are in the order of their first index.

    `whole` compares documents by all of their words, not only the first MAX_WORDS.  Each is then
    represented by a sketch, the SKETCH_SIZE smallest hashes of its 3-grams (bottom-k: Broder, 1997;
    Cohen and Kaplan, PODC 2007), so that 1 kB is kept per document.  The Jaccard similarity of
    sketches has a standard error of about 0.04 at 0.8.
    """
    indices_of = indices_by_key([key(text) for text in texts])
    indices_of.pop(EMPTY_KEY, None)
    searched = _long_enough(indices_of, texts)
    chosen = (texts[indices_of[one][0]] for one in searched)
    near = _groups(_sketches_of(chosen) if whole else _shingles_of(list(chosen)))
    groups = [[index for i in group for index in indices_of[searched[i]]] for group in near]
    grouped = {index for group in groups for index in group}
    groups += [
        indices for indices in indices_of.values() if len(indices) > 1 and indices[0] not in grouped
    ]
    return sorted(tuple(sorted(group)) for group in groups)


def nearly_repeated(texts: Sequence[str], keys: Sequence[bytes], seed: int) -> NearDuplicates:
    """The texts with a near duplicate that is not an exact one.

    `keys` are equal for exact duplicates; `seed` draws the sample of more than MAX_TEXTS.
    """
    indices_of = indices_by_key(keys)
    long_enough = searched = _long_enough(indices_of, texts)
    if len(long_enough) > MAX_TEXTS:
        chosen = np.random.default_rng(seed).choice(len(long_enough), MAX_TEXTS, replace=False)
        searched = [long_enough[i] for i in np.sort(chosen)]
    groups = _groups(_shingles_of([texts[indices_of[one][0]] for one in searched]))
    indices = sorted(index for group in groups for i in group for index in indices_of[searched[i]])
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


def _long_enough(indices_of: Mapping[bytes, Sequence[int]], texts: Sequence[str]) -> list[bytes]:
    """The keys of the texts to compare, sorted, so that the order of the texts does not matter."""
    return [one for one in sorted(indices_of) if has_words(texts[indices_of[one][0]], MIN_WORDS)]


def _shingles_of(texts: Sequence[str]) -> list[Shingles]:
    vocabulary = Vocabulary()
    return [shingles(vocabulary.ids(text, MAX_WORDS)) for text in texts]


def _sketches_of(texts: Iterable[str]) -> list[Shingles]:
    """The smallest hashes of the 3-grams of each text, sorted."""
    vocabulary = Vocabulary()
    sketches = []
    for text in texts:
        distinct = np.unique(ngram_hashes(vocabulary.ids(text, MAX_WORDS_WHOLE), SHINGLE_WORDS))
        sketches.append(distinct[:SKETCH_SIZE].copy())
    return sketches


def _groups(sets: Sequence[Shingles]) -> list[list[int]]:
    """Connected components of two or more sets under similarity; numbers of the sets, ascending."""
    if not sets:
        return []
    ranks, n_unique = _rarest_first(sets)
    forest = _DisjointSets(len(sets))
    sets_with: dict[int, list[int]] = defaultdict(list)
    for number, ranked in enumerate(ranks):
        # A set of similarity t shares ⌈t n⌉ shingles or more with this one.  The rarest of them is
        # followed by ⌈t n⌉ − 1 others, so it is in this prefix; and likewise in that of the other.
        prefix = ranked[: len(ranked) - math.ceil(SIMILARITY * len(ranked)) + 1]
        # Ranks below n_unique occur in one set only and lead to no other.
        shared = prefix[prefix >= n_unique].tolist()
        candidates = dict.fromkeys(other for rank in shared for other in sets_with[rank])
        for other in list(candidates)[:MAX_CANDIDATES]:
            if forest.root(number) == forest.root(other):
                continue
            if jaccard(ranked, ranks[other]) >= SIMILARITY:
                forest.join(number, other)
        for rank in shared:
            if len(sets_with[rank]) < MAX_CANDIDATES:
                sets_with[rank].append(number)
    return forest.groups()


def _rarest_first(sets: Sequence[Shingles]) -> tuple[list[Ranks], int]:
    """The sets with shingles ranked from rare to frequent, and how many occur in one set only."""
    _, numbers, counts = np.unique(np.concatenate(sets), return_inverse=True, return_counts=True)
    rank_of = np.empty(len(counts), dtype=np.int64)
    rank_of[np.argsort(counts, kind="stable")] = np.arange(len(counts))
    stops = np.cumsum([len(one) for one in sets])[:-1]
    ranks = [np.sort(part) for part in np.split(rank_of[numbers], stops)]
    return ranks, int((counts == 1).sum())


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
