"""Openings, closings and phrases that many responses of one dataset share.

There is no other dataset to compare with, so frequency alone decides.  Equal texts count once: a
text that occurs a hundred times is a duplicate, not a phrase.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ifdkit.data.spilling import Chosen
from ifdkit.findings.phrases import (
    MAX_PHRASES,
    Phrase,
    closed_phrases,
    cover,
    reading,
    usual_wording,
)
from ifdkit.findings.shared_ngrams import MAX_WORDS_PER_TEXT, SharedNgram, shared_ngrams
from ifdkit.findings.texts import DistinctTexts, key, quote, word_spans

PhraseKind = Literal["opening", "closing", "phrase"]

MIN_SHARE = 0.01
"""Of the distinct texts, for a phrase of PLAIN_WORDS words or more."""
MIN_TEXTS = 5
PLAIN_WORDS = 5
"""Shorter openings need a multiple of the share: "It was a" begins many good texts."""
_MAX_WORDINGS = 100  # texts that decide how a phrase is written


@dataclass(frozen=True, slots=True)
class Recurring:
    """Words that many texts share."""

    text: str
    """As most of them write it, on one line."""
    indices: tuple[int, ...]
    """Of the texts, ascending."""


def recurring(
    texts: Sequence[str],
    *,
    kind: PhraseKind,
    min_share: float = MIN_SHARE,
    distinct: DistinctTexts | None = None,
) -> list[Recurring]:
    """What at least `min_share` of the distinct texts share, and at least MIN_TEXTS.

    An `opening` or `closing` has 3 to 12 words; one of 4 words needs twice the share, one of 3
    three times.  A `phrase` has 6 to 32 words inside of texts.  At most MAX_PHRASES, by the words
    they cover; a text has one opening, and a word is in one phrase.  `distinct` are the distinct
    ones of the texts, if they are known.
    """
    distinct = distinct or DistinctTexts.of([key(text) for text in texts])
    chosen = Chosen(texts, distinct.firsts)
    min_texts = min_share * len(distinct)
    if kind == "phrase":
        found = _phrases(chosen, min_texts)
    else:
        found = _ends(chosen, min_texts, from_end=kind == "closing")
    return [
        Recurring(text, tuple(sorted(index for row in rows for index in distinct.indices(row))))
        for text, rows in found
    ]


_Found = list[tuple[str, list[int]]]
"""Phrases, and the distinct texts that contain them."""


def _ends(texts: Sequence[str], min_texts: float, *, from_end: bool) -> _Found:
    def is_frequent(phrase: Phrase, _: int) -> bool:
        times = max(1, PLAIN_WORDS + 1 - len(phrase.words))
        return len(phrase.rows) >= max(MIN_TEXTS, times * min_texts)

    found = cover(
        closed_phrases(reading(text, from_end=from_end) for text in texts),
        np.ones(len(texts), dtype=bool),
        is_frequent,
        # From PLAIN_WORDS on more rows beat more words: "Here is a new and" with all its rows, not
        # "Here is a new and complete answer" with all but a few.
        max_words_counted=PLAIN_WORDS,
    )
    return [
        (
            usual_wording(Chosen(texts, phrase.rows), len(phrase.words), from_end=from_end),
            phrase.rows.tolist(),
        )
        for phrase, _ in found
    ]


def _phrases(texts: Sequence[str], min_texts: float) -> _Found:
    min_rows = max(MIN_TEXTS, math.ceil(min_texts))
    found = shared_ngrams(texts, min_rows, MAX_PHRASES)
    return [(_written(texts, ngram), ngram.rows.tolist()) for ngram in found]


def _written(texts: Sequence[str], ngram: SharedNgram) -> str:
    """The most frequent way in which the first texts write an n-gram."""
    written: Counter[str] = Counter()
    firsts = zip(ngram.rows[:_MAX_WORDINGS], ngram.offsets[:_MAX_WORDINGS], strict=True)
    for row, offset in firsts:
        spans = word_spans(texts[row], MAX_WORDS_PER_TEXT)[offset : offset + ngram.n_words]
        written[quote(texts[row][spans[0][0] : spans[-1][1]] if spans else texts[row])] += 1
    return min(written, key=lambda way: (-written[way], way))
