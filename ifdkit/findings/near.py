"""Texts that are nearly the same: the Jaccard similarity of their three-word shingles.

An exact search by prefix filtering (Chaudhuri, Ganti and Kaushik, ICDE 2006; Bayardo, Ma and
Srikant, WWW 2007), not a sketch: with the shingles of every text sorted from rare to frequent, two
texts of similarity t or more share one among the first n − ⌈t n⌉ + 1 of each.  Most texts are out
at once, for they have that many shingles that occur nowhere else.

Kept instead of MinHash with LSH, which was measured (`benchmarks/near.py`, `reports/near.md`):
`datasketch` 2.0 takes twice the time on 20,000 texts, and on a file made from one template, as such
files are, twenty times the time or, where its comparisons are limited like ours, it misses nearly
all pairs.  `semhash` compares embeddings of a model that it fetches.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifdkit.findings.runs import Numbers, Vocabulary, runs
from ifdkit.findings.texts import EMPTY, equal_places, key, words

SIMILARITY = 0.8
FEWEST_WORDS = 25
"""In shorter texts one word more or less is a different answer."""
MOST_WORDS = 128
"""Only so many first words of a text are looked at."""
MOST_TEXTS = 50_000
"""Of more distinct texts a random sample is searched."""
MOST_PARTNERS = 32
"""Texts compared with each, so that a file made from one template takes no quadratic time."""

Shingles = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """Rows whose text another text of the side nearly repeats."""

    rows: tuple[int, ...]
    """Ascending."""
    searched: int
    """Distinct texts that were compared."""
    distinct: int
    """Distinct texts that are long enough to be compared."""


def near_duplicates(texts: Sequence[str]) -> list[tuple[int, ...]]:
    """Groups of texts that repeat one another, exactly or nearly: their places, ascending.

    Exactly means but for whitespace and case, and counts in texts of any length but none.  A group
    hangs together by links: of a near b and b near c all three are one, though a and c may differ
    more.  Groups come in the order of their first places; the order of the texts changes no group.
    """
    places_of = equal_places([key(text) for text in texts])
    places_of.pop(EMPTY, None)
    searched = _long_enough(places_of, texts)
    near = _linked(_shingles([texts[places_of[one][0]] for one in searched]))
    groups = [[place for i in group for place in places_of[searched[i]]] for group in near]
    in_one = {place for group in groups for place in group}
    groups += [
        places for places in places_of.values() if len(places) > 1 and places[0] not in in_one
    ]
    return sorted(tuple(sorted(group)) for group in groups)


def nearly_repeated(texts: Sequence[str], keys: Sequence[bytes], seed: int) -> NearDuplicates:
    """Find texts with a near duplicate that is not an exact one.

    `keys` are equal for texts that are exact duplicates.  The order of the texts does not matter.
    Of more than MOST_TEXTS texts a sample drawn by `seed` is searched.
    """
    rows_of = equal_places(keys)
    long_enough = _long_enough(rows_of, texts)
    searched = long_enough
    if len(long_enough) > MOST_TEXTS:
        chosen = np.random.default_rng(seed).choice(len(long_enough), MOST_TEXTS, replace=False)
        searched = [long_enough[place] for place in np.sort(chosen)]
    groups = _linked(_shingles([texts[rows_of[one][0]] for one in searched]))
    rows = sorted(row for group in groups for i in group for row in rows_of[searched[i]])
    return NearDuplicates(tuple(rows), len(searched), len(long_enough))


def _long_enough(places_of: Mapping[bytes, Sequence[int]], texts: Sequence[str]) -> list[bytes]:
    """Keys of the texts that are compared, sorted: so the order of the texts does not matter."""
    return [
        one
        for one in sorted(places_of)
        if len(words(texts[places_of[one][0]], FEWEST_WORDS)) == FEWEST_WORDS
    ]


def _shingles(texts: Sequence[str]) -> list[Shingles]:
    """The distinct runs of three words in each text."""
    vocabulary = Vocabulary()
    return [shingles(vocabulary.numbers(text, MOST_WORDS)) for text in texts]


def shingles(numbers: Numbers) -> Shingles:
    """The distinct runs of three words in the first MOST_WORDS of a text, sorted."""
    return np.unique(runs(numbers[:MOST_WORDS], 3))


class _Groups:
    """Numbers that are joined one by one to groups (union–find with path halving)."""

    def __init__(self, n: int) -> None:
        self._above = list(range(n))

    def head(self, one: int) -> int:
        """The same for all of a group."""
        above = self._above
        while above[one] != one:
            above[one] = above[above[one]]
            one = above[one]
        return one

    def join(self, one: int, other: int) -> None:
        first, second = sorted((self.head(one), self.head(other)))
        self._above[second] = first

    def of_several(self) -> list[list[int]]:
        """Groups of two or more, members ascending."""
        members: dict[int, list[int]] = defaultdict(list)
        for one in range(len(self._above)):
            members[self.head(one)].append(one)
        return [group for group in members.values() if len(group) > 1]


def _linked(sets: Sequence[Shingles]) -> list[list[int]]:
    """Groups of sets that hang together by pairs of SIMILARITY or more."""
    if not sets:
        return []
    ranks, n_once = _rarest_first(sets)
    groups = _Groups(len(sets))
    holders: dict[int, list[int]] = defaultdict(list)
    for place, ranked in enumerate(ranks):
        telling = ranked[: len(ranked) - math.ceil(SIMILARITY * len(ranked)) + 1]
        # Ranks below n_once occur in one text only and lead nowhere.
        leads = telling[telling >= n_once].tolist()
        partners = dict.fromkeys(other for lead in leads for other in holders[lead])
        _compare(place, list(partners)[:MOST_PARTNERS], ranks, groups)
        for lead in leads:
            if len(holders[lead]) < MOST_PARTNERS:
                holders[lead].append(place)
    return groups.of_several()


def _rarest_first(sets: Sequence[Shingles]) -> tuple[list[NDArray[np.int64]], int]:
    """The sets with shingles numbered from rare to frequent, and how many occur only once."""
    _, numbers, counts = np.unique(np.concatenate(sets), return_inverse=True, return_counts=True)
    rank_of = np.empty(len(counts), dtype=np.int64)
    rank_of[np.argsort(counts, kind="stable")] = np.arange(len(counts))
    stops = np.cumsum([len(one) for one in sets])[:-1]
    ranks = [np.sort(part) for part in np.split(rank_of[numbers], stops)]
    return ranks, int((counts == 1).sum())


def _compare(
    place: int, partners: Sequence[int], ranks: Sequence[NDArray[np.int64]], groups: _Groups
) -> None:
    """Join the text with those of its partners that are near to it."""
    for partner in partners:
        if groups.head(place) == groups.head(partner):
            continue
        if jaccard(ranks[place], ranks[partner]) >= SIMILARITY:
            groups.join(place, partner)


def are_near(one: str, other: str) -> bool:
    """Whether two texts of like length have SIMILARITY of the shingles of their first words."""
    shorter, longer = sorted((len(one), len(other)))
    if shorter < SIMILARITY * longer:  # goes on where the other ends: no copy, however it begins
        return False
    if any(len(words(text, FEWEST_WORDS)) < FEWEST_WORDS for text in (one, other)):
        return False
    return jaccard(*_shingles([one, other])) >= SIMILARITY


def jaccard(a: NDArray[np.integer[Any]], b: NDArray[np.integer[Any]]) -> float:
    """Share of two sets' members that they have in common, 0…1; both without repetition."""
    common = len(np.intersect1d(a, b, assume_unique=True))
    return common / (len(a) + len(b) - common)
