"""Texts that are nearly the same: the Jaccard similarity of their three-word shingles.

An exact search by prefix filtering (Chaudhuri, Ganti and Kaushik, ICDE 2006; Bayardo, Ma and
Srikant, WWW 2007), not a sketch: with the shingles of every text sorted from rare to frequent, two
texts of similarity t or more share one among the first n − ⌈t n⌉ + 1 of each.  Most texts are out
at once, for they have that many shingles that occur nowhere else.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ifdkit.findings.texts import words

SIMILARITY = 0.8
FEWEST_WORDS = 25
"""In shorter texts one word more or less is a different answer."""
MOST_WORDS = 128
"""Only so many first words of a text are looked at."""
MOST_TEXTS = 50_000
"""Of more distinct texts a random sample is searched."""
MOST_PARTNERS = 32
"""Texts compared with each, so that a file made from one template takes no quadratic time."""
_WORD_BITS = 21  # three numbers of words fit a 64-bit integer

Shingles = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """Rows whose text another text of the side nearly repeats."""

    rows: tuple[int, ...]
    """Ascending."""
    searched: int
    """Distinct texts that were compared."""
    distinct: int
    """Distinct texts that are long enough to be compared."""


def near_duplicates(texts: Sequence[str], keys: Sequence[bytes], seed: int) -> NearDuplicates:
    """Find texts with a near duplicate that is not an exact one.

    `keys` are equal for texts that are exact duplicates.  The order of the texts does not matter.
    """
    rows_of: dict[bytes, list[int]] = defaultdict(list)
    for row, one in enumerate(keys):
        rows_of[one].append(row)
    long_enough = [
        one
        for one in sorted(rows_of)
        if len(words(texts[rows_of[one][0]], FEWEST_WORDS)) == FEWEST_WORDS
    ]
    searched = long_enough
    if len(long_enough) > MOST_TEXTS:
        chosen = np.random.default_rng(seed).choice(len(long_enough), MOST_TEXTS, replace=False)
        searched = [long_enough[place] for place in np.sort(chosen)]
    similar = _similar(_shingles([texts[rows_of[one][0]] for one in searched]))
    rows = sorted(row for place in similar for row in rows_of[searched[place]])
    return NearDuplicates(tuple(rows), len(searched), len(long_enough))


def _shingles(texts: Sequence[str]) -> list[Shingles]:
    """The distinct runs of three words in each text, every run one integer."""
    vocabulary: dict[str, int] = {}
    sets = []
    for text in texts:
        # Past two million different words some share a number, as rare ones can afford to.
        numbers = np.array(
            [vocabulary.setdefault(word, len(vocabulary)) for word in words(text, MOST_WORDS)]
        ) & ((1 << _WORD_BITS) - 1)
        packed = (numbers[:-2] << 2 * _WORD_BITS) | (numbers[1:-1] << _WORD_BITS) | numbers[2:]
        sets.append(np.unique(packed))
    return sets


def _similar(sets: Sequence[Shingles]) -> set[int]:
    """Places of the sets that have a partner of SIMILARITY or more."""
    if not sets:
        return set()
    ranks, n_once = _rarest_first(sets)
    found: set[int] = set()
    holders: dict[int, list[int]] = defaultdict(list)
    for place, shingles in enumerate(ranks):
        telling = shingles[: len(shingles) - math.ceil(SIMILARITY * len(shingles)) + 1]
        # Ranks below n_once occur in one text only and lead nowhere.
        leads = telling[telling >= n_once].tolist()
        partners = dict.fromkeys(other for lead in leads for other in holders[lead])
        _compare(place, list(partners)[:MOST_PARTNERS], ranks, found)
        for lead in leads:
            if len(holders[lead]) < MOST_PARTNERS:
                holders[lead].append(place)
    return found


def _rarest_first(sets: Sequence[Shingles]) -> tuple[list[Shingles], int]:
    """The sets with shingles numbered from rare to frequent, and how many occur only once."""
    _, numbers, counts = np.unique(np.concatenate(sets), return_inverse=True, return_counts=True)
    rank_of = np.empty(len(counts), dtype=np.int64)
    rank_of[np.argsort(counts, kind="stable")] = np.arange(len(counts))
    stops = np.cumsum([len(shingles) for shingles in sets])[:-1]
    ranks = [np.sort(part) for part in np.split(rank_of[numbers], stops)]
    return ranks, int((counts == 1).sum())


def _compare(
    place: int, partners: Sequence[int], ranks: Sequence[Shingles], found: set[int]
) -> None:
    """Add the text and those of its partners that are near to it."""
    for partner in partners:
        if place in found and partner in found:
            continue
        if jaccard(ranks[place], ranks[partner]) >= SIMILARITY:
            found |= {place, partner}


def are_near(one: str, other: str) -> bool:
    """Whether two texts of like length have SIMILARITY of the shingles of their first words."""
    shorter, longer = sorted((len(one), len(other)))
    if shorter < SIMILARITY * longer:  # goes on where the other ends: no copy, however it begins
        return False
    if any(len(words(text, FEWEST_WORDS)) < FEWEST_WORDS for text in (one, other)):
        return False
    return jaccard(*_shingles([one, other])) >= SIMILARITY


def jaccard(a: Shingles, b: Shingles) -> float:
    """Share of two sets' members that they have in common, 0…1; both without repetition."""
    common = len(np.intersect1d(a, b, assume_unique=True))
    return common / (len(a) + len(b) - common)
