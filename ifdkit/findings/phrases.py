"""Openings and closings that many rows of one side share and few of the other.

"Here is a new and more detailed answer:" is a rewriting prompt that leaks into its data.  Such a
phrase is found without a list of phrases: every beginning of 3 to 12 words is counted on both
sides, and those far more frequent on one side than chance allows are reported.

Chance is Fisher's exact test of each phrase, corrected for all phrases by Tarone's method
(Biometrics 46, 1990, 515–522): a phrase too rare to ever reach significance does not count as a
test.  So of pairs of datasets that differ by chance alone, at most one in twenty shows a phrase of
any one kind.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ifdkit.findings.pairs import Evidence, PairedTexts, pair_check, quoting
from ifdkit.findings.texts import quote, word_spans, words

MIN_WORDS = 3
MAX_WORDS = 12
MIN_ROWS = 5
MIN_SHARE = 0.001
"""Of the rows of its side, for a phrase to be reported."""
MIN_RATIO = 4.0
"""Times as frequent as on the other side a phrase has to be."""
ALPHA = 0.05
MAX_PHRASES = 10
"""Reported per side."""

_CLOSING_MARKS = re.compile(r"[^\w\s]*")

Rows = NDArray[np.int64]
"""Positions of texts, ascending, shape (rows,)."""


@pair_check("shared_opening", "shared openings")
def shared_opening(texts: PairedTexts) -> Iterator[Evidence]:
    """Beginnings of responses that are frequent on one side."""
    yield from _shared(texts, texts.before.responses, texts.after.responses, from_end=False)


@pair_check("shared_closing", "shared closings")
def shared_closing(texts: PairedTexts) -> Iterator[Evidence]:
    """Ends of responses that are frequent on one side."""
    yield from _shared(texts, texts.before.responses, texts.after.responses, from_end=True)


@pair_check("shared_instruction_opening", "shared openings of instructions")
def shared_instruction_opening(texts: PairedTexts) -> Iterator[Evidence]:
    """Beginnings of instructions that are frequent on one side."""
    yield from _shared(texts, texts.before.instructions, texts.after.instructions, from_end=False)


def _shared(
    texts: PairedTexts, before: Sequence[str], after: Sequence[str], *, from_end: bool
) -> Iterator[Evidence]:
    """The shared phrases of both sides: one family of tests."""
    n_before, n = len(before), len(before) + len(after)
    phrases = closed_phrases(reading(text, from_end=from_end) for text in chain(before, after))
    test = TaroneTest.of([len(phrase.rows) for phrase in phrases], n_before, len(after))
    end: Literal["head", "tail"] = "tail" if from_end else "head"
    for side, of_side, offset in ((texts.before, before, 0), (texts.after, after, n_before)):
        is_before = side is texts.before
        on_side = (np.arange(n) < n_before) == is_before
        is_reported = partial(test.is_reported, is_before=is_before)
        for phrase, n_other in cover(phrases, on_side, is_reported):
            rows = (phrase.rows - offset).tolist()
            shown = (of_side[row] for row in rows)
            yield Evidence(
                side=side,
                rows=rows,
                text=usual_wording(shown, len(phrase.words), from_end=from_end),
                quoted=quoting(of_side, end),
                other_count=n_other,
                quotes_text=True,
            )


def reading(text: str, *, from_end: bool) -> str:
    """The part of a text that can contain the phrase; an end is reversed, so it is read first."""
    max_chars = MAX_WORDS * 50  # 12 long words
    return text.rstrip()[-max_chars:][::-1] if from_end else text.lstrip()[:max_chars]


def usual_wording(texts: Iterable[str], n_words: int, *, from_end: bool) -> str:
    """The most frequent way in which these texts write the phrase that they share."""
    written: Counter[str] = Counter()
    for text in texts:
        read = reading(text, from_end=from_end)
        spans = word_spans(read, n_words)
        # A closing keeps its full stop, an opening the colon that ends it.
        start = 0 if from_end else spans[0][0]
        stop = spans[-1][1]
        marks = _CLOSING_MARKS.match(read, stop)
        part = read[start : marks.end() if marks and not from_end else stop]
        written[quote(part[::-1] if from_end else part)] += 1
    return min(written, key=lambda way: (-written[way], way))


@dataclass(frozen=True, slots=True)
class Phrase:
    """The first words that some texts share, and these texts."""

    words: tuple[str, ...]
    rows: Rows


def closed_phrases(texts: Iterable[str]) -> list[Phrase]:
    """Beginnings of MIN_WORDS to MAX_WORDS words that at least MIN_ROWS texts share.

    Only closed ones: a beginning after which every text has the same next word is left out in
    favour of the longer one.
    """
    table, vocabulary = _word_table(texts)
    rows, group = np.arange(len(table)), np.zeros(len(table), dtype=np.int64)
    closed: list[Phrase] = []
    shorter: dict[int, Rows] = {}
    for n_words in range(1, MAX_WORDS + 1):
        continues = table[rows, n_words - 1] >= 0
        rows, parent = rows[continues], group[continues]
        # Texts that share n words are those that share n − 1 and the next.
        pair = parent * len(vocabulary) + table[rows, n_words - 1]
        _, group, sizes = np.unique(pair, return_inverse=True, return_counts=True)
        frequent = sizes[group] >= MIN_ROWS
        rows, parent, group = rows[frequent], parent[frequent], group[frequent]
        members = _members(rows, group)
        replaced = {
            above
            for above, number in set(zip(parent.tolist(), group.tolist(), strict=True))
            if above in shorter and len(members[number]) == len(shorter[above])
        }
        closed += _phrases(shorter, replaced, table, vocabulary, n_words - 1)
        shorter = members if n_words >= MIN_WORDS else {}
    return closed + _phrases(shorter, set(), table, vocabulary, MAX_WORDS)


def _word_table(texts: Iterable[str]) -> tuple[NDArray[np.int32], list[str]]:
    """The first words of each text as numbers, shape (texts, MAX_WORDS), −1 past the end."""
    vocabulary: dict[str, int] = {}
    padding = [-1] * MAX_WORDS
    cells = array("i")
    for text in texts:
        numbers = [vocabulary.setdefault(word, len(vocabulary)) for word in words(text, MAX_WORDS)]
        cells.extend((numbers + padding)[:MAX_WORDS])
    return np.array(cells, dtype=np.int32).reshape(-1, MAX_WORDS), list(vocabulary)


def _members(rows: Rows, group: NDArray[np.int64]) -> dict[int, Rows]:
    """Group → its rows, ascending."""
    if not len(rows):
        return {}
    order = np.argsort(group, kind="stable")
    numbers, starts = np.unique(group[order], return_index=True)
    parts = np.split(rows[order], starts[1:])
    return {int(number): part for number, part in zip(numbers, parts, strict=True)}


def _phrases(
    members: dict[int, Rows],
    replaced: set[int],
    table: NDArray[np.int32],
    vocabulary: Sequence[str],
    n_words: int,
) -> list[Phrase]:
    """The groups that no longer phrase replaces, with their words."""
    return [
        Phrase(tuple(vocabulary[word] for word in table[rows[0], :n_words]), rows)
        for number, rows in members.items()
        if number not in replaced
    ]


@dataclass(frozen=True, slots=True)
class TaroneTest:
    """Fisher's exact test of how a phrase's rows split between the sides, corrected by Tarone."""

    n_before: int
    n_after: int
    level: float = ALPHA
    """Largest p that is significant: ALPHA ÷ the number of testable phrases."""

    @classmethod
    def of(cls, pooled: Sequence[int], n_before: int, n_after: int) -> TaroneTest:
        """The tests of phrases that occur `pooled` times on both sides together."""
        uncorrected = cls(n_before, n_after)
        smallest = {n: uncorrected.smallest_p(n) for n in set(pooled)}
        reachable = np.sort([smallest[n] for n in pooled])
        # The smallest k for which at most k phrases can reach p ≤ ALPHA ÷ k.
        k = 1
        while np.searchsorted(reachable, ALPHA / k, side="right") > k:
            k += 1
        return cls(n_before, n_after, ALPHA / k)

    def p(self, n_before: int, n_after: int) -> float:
        """Two-sided p: twice the smaller tail of the hypergeometric distribution, at most 1."""
        from scipy.stats import hypergeom

        drawn, rows = n_before + n_after, self.n_before + self.n_after
        above = hypergeom.sf(n_before - 1, rows, self.n_before, drawn)
        below = hypergeom.sf(n_after - 1, rows, self.n_after, drawn)
        return min(1.0, 2.0 * float(min(above, below)))

    def smallest_p(self, pooled: int) -> float:
        """The p of the most uneven split of so many rows."""
        max_before, max_after = min(pooled, self.n_before), min(pooled, self.n_after)
        return min(self.p(max_before, pooled - max_before), self.p(pooled - max_after, max_after))

    def is_reported(self, phrase: Phrase, n_other: int, *, is_before: bool) -> bool:
        """Whether a phrase is far more frequent in its rows' side, and significantly so."""
        n = len(phrase.rows)
        size, other_size = (
            (self.n_before, self.n_after) if is_before else (self.n_after, self.n_before)
        )
        # One more row on the other side: 0 of 400 does not prove a rate of 0.
        is_frequent = n / size >= MIN_RATIO * (n_other + 1) / other_size
        if n < max(MIN_ROWS, MIN_SHARE * size) or not is_frequent:
            return False
        counts = (n, n_other) if is_before else (n_other, n)
        return self.p(*counts) <= self.level


def cover(
    phrases: Sequence[Phrase],
    on_side: NDArray[np.bool_],
    is_reported: Callable[[Phrase, int], bool],
    *,
    max_words_counted: int = MAX_WORDS,
) -> list[tuple[Phrase, int]]:
    """At most MAX_PHRASES phrases with their rows on one side, and their number of other rows.

    `on_side` is True for rows of the side, shape (texts,); `is_reported` decides on a phrase with
    its rows there and the number of its other rows.  The phrase that covers the most words (rows
    times words, of which at most `max_words_counted` count) comes first.  Its rows are then taken,
    and the others are judged by their remaining rows.  So a row shows one phrase, and no phrase
    is repeated by its own beginning.
    """
    is_free = np.ones(len(on_side), dtype=bool)

    def split(phrase: Phrase) -> tuple[Phrase, int]:
        free = phrase.rows[is_free[phrase.rows]]
        rows = free[on_side[free]]
        return Phrase(phrase.words, rows), len(free) - len(rows)

    def coverage(phrase: Phrase) -> tuple[int, tuple[str, ...]]:
        n_words = min(len(phrase.words), max_words_counted)
        return len(split(phrase)[0].rows) * n_words, phrase.words

    found: list[tuple[Phrase, int]] = []
    candidates = [phrase for phrase in phrases if is_reported(*split(phrase))]
    while candidates and len(found) < MAX_PHRASES:
        best = max(candidates, key=coverage)
        found.append(split(best))
        is_free[best.rows] = False
        candidates = [one for one in candidates if one is not best and is_reported(*split(one))]
    return found
