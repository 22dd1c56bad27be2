"""Whether the two examples of a pair belong together.

A wrong key gives pairs that compare whatever rows happen to meet, with small p-values: two datasets
differ.  Rewritten instructions are expected, so a mismatch alone proves nothing.  But the versions
of one example share more of their words than two random examples do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ifdkit.data.pairing import MOSTLY, Pairs, fingerprint
from ifdkit.findings.texts import words
from ifdkit.scoring.dataset import Texts

Column = NDArray[np.float64]
MAX_SAMPLE = 1000
"""Pairs whose words are compared."""
MIN_SAMPLE = 10
"""Fewer pairs allow no conclusion."""
_MAX_WORDS = 300
STANDARD_ERRORS = 3.0
"""How far the overlap of pairs must lie above that of random examples."""


def with_overlap(pairs: Pairs, before: Texts, after: Texts, seed: int) -> Pairs:
    """The pairs, of which there is at least one, with what their texts tell about the pairing."""
    i, j = pairs.before.tolist(), pairs.after.tolist()
    same = [
        fingerprint(before.instructions[a]) == fingerprint(after.instructions[b])
        for a, b in zip(i, j, strict=True)
    ]
    share = sum(same) / len(same)
    pairing = replace(pairs.pairing, same_instructions=share)
    if share < MOSTLY and len(i) >= MIN_SAMPLE:
        sample = np.random.default_rng(seed).permutation(len(i))[:MAX_SAMPLE].tolist()
        old = [_words(before, i[k]) for k in sample]
        new = [_words(after, j[k]) for k in sample]
        paired, random = _overlaps(old, new), _overlaps(old, new[1:] + new[:1])
        difference = paired - random
        error = float(difference.std(ddof=1)) / len(sample) ** 0.5
        pairing = replace(
            pairing,
            word_overlap=float(paired.mean()),
            random_word_overlap=float(random.mean()),
            is_unrelated=bool(difference.mean() <= STANDARD_ERRORS * error),
        )
    return replace(pairs, pairing=pairing)


def _words(texts: Texts, position: int) -> frozenset[str]:
    both = f"{texts.instructions[position]}\n{texts.responses[position]}"
    return frozenset(words(both, _MAX_WORDS))


def _overlaps(old: Sequence[frozenset[str]], new: Sequence[frozenset[str]]) -> Column:
    """Jaccard index of each pair of word sets, 0…1."""
    pairs = zip(old, new, strict=True)
    return np.array([len(a & b) / len(a | b) if a or b else 0.0 for a, b in pairs])
