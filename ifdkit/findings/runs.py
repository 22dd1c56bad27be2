"""Runs of words as numbers, so that numpy compares millions of them."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from ifdkit.findings.texts import words

Numbers = NDArray[np.int32]
Runs = NDArray[np.uint64]


class Vocabulary:
    """Numbers for words, in the order in which they are met."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def numbers(self, text: str, most: int) -> Numbers:
        """The first `most` words of a text."""
        known = self._numbers
        return np.array(
            [known.setdefault(word, len(known)) for word in words(text, most)], dtype=np.int32
        )


def runs(numbers: Numbers, length: int) -> Runs:
    """The run of `length` words that begins at each word, as one number; shape (n − length + 1,).

    Equal runs have equal numbers.  Different ones have different numbers but for one pair in some
    2⁶⁰ (multilinear hashing: Lemire and Kaser, The Computer Journal 57, 2014).
    """
    n = max(len(numbers) - length + 1, 0)
    wide = numbers.astype(np.uint64)
    hashed = np.zeros(n, dtype=np.uint64)
    for place, factor in enumerate(_factors(length)):
        hashed += wide[place : place + n] * factor  # modulo 2⁶⁴
    return hashed


@cache
def _factors(length: int) -> Runs:
    drawn = np.random.default_rng(length).integers(0, 2**64, size=length, dtype=np.uint64)
    return drawn | np.uint64(1)
