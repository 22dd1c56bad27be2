"""Openings, closings and phrases that many responses of one dataset share.

There is no other dataset to compare with, so frequency alone decides.  Texts that are the same
altogether count once: a text that stands in the file a hundred times is a duplicate, no phrase.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ifdkit.findings.phrases import (
    MOST_PHRASES,
    Phrase,
    closed_phrases,
    facing,
    most_telling,
    wording,
)
from ifdkit.findings.shared_runs import MOST_WORDS, SharedRun, shared_runs
from ifdkit.findings.texts import EMPTY, equal_places, key, quote, spans

Kind = Literal["opening", "closing", "phrase"]

SMALLEST_SHARE = 0.01
"""Of the different texts, for a phrase of PLAIN_WORDS words or more."""
FEWEST_TEXTS = 5
PLAIN_WORDS = 5
"""Shorter openings need a multiple of the share: "It was a" begins many good texts."""
_MOST_WORDED = 100  # texts that show how a phrase is written


@dataclass(frozen=True, slots=True)
class Recurring:
    """Words that many texts share."""

    text: str
    """As most of them write it, on one line."""
    places: tuple[int, ...]
    """Of the texts, ascending."""


def recurring(
    texts: Sequence[str], *, kind: Kind, smallest_share: float = SMALLEST_SHARE
) -> list[Recurring]:
    """What `smallest_share` of the different texts share, and FEWEST_TEXTS at least.

    `opening` and `closing`: 3 to 12 words; of 4 words twice the share is needed, of 3 three times.
    `phrase`: 6 to 32 words inside of texts; counted once a text.  What covers most comes first, at
    most MOST_PHRASES; a text stands under one opening, a word under one phrase.
    """
    places_of = equal_places([key(text) for text in texts])
    places_of.pop(EMPTY, None)
    copies = list(places_of.values())
    distinct = [texts[places[0]] for places in copies]
    needed = smallest_share * len(distinct)
    if kind == "phrase":
        found = _phrases(distinct, needed)
    else:
        found = _ends(distinct, needed, tail=kind == "closing")
    return [
        Recurring(text, tuple(sorted(place for row in rows for place in copies[row])))
        for text, rows in found
    ]


Found = list[tuple[str, list[int]]]


def _ends(texts: Sequence[str], needed: float, *, tail: bool) -> Found:
    """Shared openings or closings, and the texts that show each."""
    phrases = closed_phrases([facing(text, tail=tail) for text in texts])
    # Past PLAIN_WORDS a phrase that more rows share beats a longer one: "Here is a new and" is told
    # with all its rows, and not "Here is a new and complete answer" with all but a few.
    found = most_telling(
        phrases,
        np.ones(len(texts), dtype=bool),
        _often_enough(needed),
        enough_words=PLAIN_WORDS,
    )
    return [
        (
            wording([texts[row] for row in phrase.rows], len(phrase.words), tail=tail),
            phrase.rows.tolist(),
        )
        for phrase, _ in found
    ]


def _often_enough(needed: float) -> Callable[[Phrase, int], bool]:
    def tells(phrase: Phrase, _: int) -> bool:
        times = max(1, PLAIN_WORDS + 1 - len(phrase.words))
        return len(phrase.rows) >= max(FEWEST_TEXTS, times * needed)

    return tells


def _phrases(texts: Sequence[str], needed: float) -> Found:
    """Shared runs of words inside of texts, and the texts that hold each."""
    fewest = max(FEWEST_TEXTS, math.ceil(needed))
    return [
        (_written(texts, run), run.rows.tolist())
        for run in shared_runs(texts, fewest, MOST_PHRASES)
    ]


def _written(texts: Sequence[str], run: SharedRun) -> str:
    """The most frequent way in which the first texts write a run."""
    ways: Counter[str] = Counter()
    for row, start in zip(run.rows[:_MOST_WORDED], run.starts[:_MOST_WORDED], strict=True):
        lie = spans(texts[row], MOST_WORDS)[start : start + run.n_words]
        ways[quote(texts[row][lie[0][0] : lie[-1][1]] if lie else texts[row])] += 1
    return min(ways, key=lambda way: (-ways[way], way))
