"""Words as numbers and n-grams as hashes, so that numpy compares millions of them."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from ifdkit.findings.texts import words

WordIds = NDArray[np.int32]
"""The words of a text, shape (words,)."""
NgramHashes = NDArray[np.uint64]


class Vocabulary:
    """Words numbered in the order in which they are first seen."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}

    def ids(self, text: str, max_words: int) -> WordIds:
        """The first words of a text, shape (≤ max_words,)."""
        known = self._ids
        return np.array(
            [known.setdefault(word, len(known)) for word in words(text, max_words)], dtype=np.int32
        )

    def known_ids(self, text: str, max_words: int) -> WordIds:
        """The same without learning new words, which are all one: shape (≤ max_words,)."""
        known, unknown = self._ids, len(self._ids)
        return np.array(
            [known.get(word, unknown) for word in words(text, max_words)], dtype=np.int32
        )


def ngram_hashes(word_ids: WordIds, n: int) -> NgramHashes:
    """The n-gram that begins at each word, hashed; shape (words − n + 1,).

    Different n-grams collide with probability 2⁻⁶⁰ or so (multilinear hashing: Lemire and Kaser,
    The Computer Journal 57, 2014).
    """
    n_grams = max(len(word_ids) - n + 1, 0)
    wide = word_ids.astype(np.uint64)
    hashes = np.zeros(n_grams, dtype=np.uint64)
    for at, factor in enumerate(_factors(n)):
        hashes += wide[at : at + n_grams] * factor  # modulo 2⁶⁴
    return hashes


@cache
def _factors(n: int) -> NgramHashes:
    drawn = np.random.default_rng(n).integers(0, 2**64, size=n, dtype=np.uint64)
    return drawn | np.uint64(1)


def longest_run(flags: NDArray[np.bool_]) -> tuple[int, int]:
    """The longest unbroken series of True, half-open."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    if not len(edges):
        return 0, 0
    longest = int(np.argmax(edges[1::2] - edges[::2]))
    return int(edges[2 * longest]), int(edges[2 * longest + 1])
