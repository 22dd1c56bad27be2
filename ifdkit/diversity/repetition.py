"""Self-repetition: sequences of four words that several texts of a set have (2210.08145).

A text has the score ln(1 + Σ N), where N is, for each different sequence of four words in it, the
number of other texts that have it.  The set has the mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ifdkit.diversity.vectors import Places

WORDS_PER_SEQUENCE = 4
MAX_WORDS = 1_000
"""Words of a text that are read: the rest of a longer one is not looked at."""
_MULTIPLIERS = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93],
    dtype=np.uint64,
)
"""Odd 64-bit numbers: sequences are compared by a sum of products, 8 bytes each."""


class Sequences:
    """The different word sequences of every text, as numbers."""

    def __init__(self, texts: Sequence[str]) -> None:
        vocabulary: dict[str, int] = {}
        self._codes = [_codes(text, vocabulary) for text in texts]

    def repetition(self, places: Places) -> float | None:
        """Mean score of the texts at these places, at least 0; None for none."""
        if not len(places):
            return None
        codes = [self._codes[i] for i in places.tolist()]
        lengths = np.array([len(one) for one in codes])
        everything = np.concatenate(codes)
        if not len(everything):
            return 0.0
        _, numbers, counts = np.unique(everything, return_inverse=True, return_counts=True)
        owner = np.repeat(np.arange(len(codes)), lengths)
        others = np.bincount(owner, weights=counts[numbers] - 1.0, minlength=len(codes))
        return float(np.log1p(others).mean())


def _codes(text: str, vocabulary: dict[str, int]) -> NDArray[np.uint64]:
    words = text.lower().split(maxsplit=MAX_WORDS)[:MAX_WORDS]
    numbers = [vocabulary.setdefault(word, len(vocabulary) + 1) for word in words]
    n = len(numbers) - WORDS_PER_SEQUENCE + 1
    if n < 1:
        return np.zeros(0, dtype=np.uint64)
    ids = _scattered(np.array(numbers, dtype=np.uint64))
    parts = (ids[i : i + n] * factor for i, factor in enumerate(_MULTIPLIERS))
    return np.unique(sum(parts, np.zeros(n, dtype=np.uint64)))


def _scattered(ids: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Small numbers spread over 64 bits, so that sums of products do not coincide (splitmix64)."""
    ids = ids * np.uint64(0x9E3779B97F4A7C15)
    ids = (ids ^ (ids >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    return ids ^ (ids >> np.uint64(31))
