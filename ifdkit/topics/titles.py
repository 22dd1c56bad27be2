"""Titles of clusters, from the words of their own rows.

c-TF-IDF (Grootendorst 2022, arXiv 2203.05794): the weight of a word t in a cluster c is
tf(t, c) · ln(1 + A / f(t)), where tf is how often the cluster has the word, f how often all have
it, and A the mean number of words per cluster.  A word counts once per row, so that one row that
repeats a word names no cluster.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable

from ifdkit.topics.model import Labels

N_WORDS = 3
_WORD = re.compile(r"[^\W\d_]{3,}")
_MAX_CHARACTERS = 2000
_MIN_ROWS = 2
"""A word of one row is its name, not that of the cluster."""


def titles(texts: Iterable[str], labels: Labels, n_topics: int) -> list[str]:
    """One title per cluster, such as `bread · oven · flour`; `topic 3` if no word is its own.

    `texts[i]` is the text of the row with labels[i]; rows with −1 are left out.
    """
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    counts: list[Counter[str]] = [Counter() for _ in range(n_topics)]
    for text, label in zip(texts, labels.tolist(), strict=True):
        if label >= 0:
            words = set(_WORD.findall(text[:_MAX_CHARACTERS].lower()))
            counts[label].update(words - ENGLISH_STOP_WORDS)
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    mean = total.total() / max(1, n_topics)
    found = []
    for i, one in enumerate(counts):
        weights = {
            word: n * math.log(1 + mean / total[word]) for word, n in one.items() if n >= _MIN_ROWS
        }
        best = sorted(weights, key=lambda word: (-weights[word], word))[:N_WORDS]
        found.append(" · ".join(best) or f"topic {i + 1}")
    return _distinct(found)


def _distinct(names: list[str]) -> list[str]:
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found
