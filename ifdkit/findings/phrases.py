"""Openings and closings that many rows of one side share and few of the other.

"Here is a new and more detailed answer:" is a rewriting prompt that leaks into its data.  Such a
phrase is found without being known: every beginning of 3 to 12 words is counted on both sides, and
those that are far more frequent on one side than chance allows are reported.

Chance is Fisher's exact test on each phrase, corrected over all phrases by Tarone's method
(Biometrics 46, 1990, 515–522): a phrase too rare to reach significance at all does not count as a
test.  So of datasets that differ by chance alone at most one pair in twenty shows a phrase of any
one kind.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ifdkit.findings.finding import Finding
from ifdkit.findings.texts import Side, finding, quote, spans, words

FEWEST_WORDS = 3
MOST_WORDS = 12
FEWEST_ROWS = 5
SMALLEST_SHARE = 0.001
LIFT = 4.0
"""How many times as frequent as on the other side a phrase has to be."""
ALPHA = 0.05
MOST_PHRASES = 10
"""Reported for each side."""

_CLOSING_MARKS = re.compile(r"[^\w\s]*")

Rows = NDArray[np.int64]


def shared_phrases(before: Side, after: Side) -> list[Finding]:
    """Shared openings and closings of responses, and shared openings of instructions."""
    return [
        *_family("shared_opening", before, after, _responses, tail=False),
        *_family("shared_closing", before, after, _responses, tail=True),
        *_family("shared_instruction_opening", before, after, _instructions, tail=False),
    ]


def _responses(side: Side) -> Sequence[str]:
    return side.responses


def _instructions(side: Side) -> Sequence[str]:
    return side.instructions


def _family(
    kind: str, before: Side, after: Side, texts_of: Callable[[Side], Sequence[str]], *, tail: bool
) -> list[Finding]:
    """Findings of one kind on both sides: one family of tests."""
    texts = [*texts_of(before), *texts_of(after)]
    phrases = closed_phrases([facing(text, tail=tail) for text in texts])
    n_before = len(before.ids)
    chance = Chance.of([len(phrase.rows) for phrase in phrases], n_before, len(after.ids))
    found = []
    for side in (before, after):
        offset = 0 if side is before else n_before
        here = (np.arange(len(texts)) < n_before) == (side is before)
        tells = partial(_tells, chance, here_is_before=side is before)
        for phrase, n_other in most_telling(phrases, here, tells):
            found.append(
                finding(
                    kind,
                    side,
                    [int(row) - offset for row in phrase.rows],
                    wording([texts[row] for row in phrase.rows], len(phrase.words), tail=tail),
                    quoted=_quoting(texts_of(side), tail=tail),
                    other_count=n_other,
                    quotes_text=True,
                )
            )
    return found


def _tells(chance: Chance, phrase: Phrase, n_there: int, *, here_is_before: bool) -> bool:
    return chance.tell(len(phrase.rows), n_there, here_is_before=here_is_before)


def _quoting(texts: Sequence[str], *, tail: bool) -> Callable[[int], str]:
    return lambda row: quote(texts[row], "tail" if tail else "head")


def facing(text: str, *, tail: bool) -> str:
    """The end of the text that is looked at, turned to the front: a closing opens backwards."""
    # Only this much is kept: room for MOST_WORDS long words.
    room = MOST_WORDS * 50
    return text.rstrip()[-room:][::-1] if tail else text.lstrip()[:room]


def wording(texts: Sequence[str], n_words: int, *, tail: bool) -> str:
    """The most frequent way in which these texts write the phrase that they share."""
    written: Counter[str] = Counter()
    for text in texts:
        turned = facing(text, tail=tail)
        found = spans(turned, n_words)
        # A closing keeps its full stop, an opening the colon that ends it.
        start = 0 if tail else found[0][0]
        stop = found[-1][1]
        marks = _CLOSING_MARKS.match(turned, stop)
        part = turned[start : marks.end() if marks and not tail else stop]
        written[quote(part[::-1] if tail else part)] += 1
    return min(written, key=lambda way: (-written[way], way))


@dataclass(frozen=True, slots=True)
class Phrase:
    """The first words that these rows share, and the rows, ascending."""

    words: tuple[str, ...]
    rows: Rows


def closed_phrases(texts: Sequence[str]) -> list[Phrase]:
    """Beginnings of FEWEST_WORDS to MOST_WORDS words that FEWEST_ROWS texts or more share.

    A beginning whose every text goes on with the same word is left to the longer one.
    """
    table, vocabulary = _word_table(texts)
    rows, group = np.arange(len(table)), np.zeros(len(table), dtype=np.int64)
    closed: list[Phrase] = []
    shorter: dict[int, Rows] = {}
    for n_words in range(1, MOST_WORDS + 1):
        goes_on = table[rows, n_words - 1] >= 0
        rows, parent = rows[goes_on], group[goes_on]
        # Texts that share n words are those that share n − 1 and the next.
        named = parent * len(vocabulary) + table[rows, n_words - 1]
        _, group, sizes = np.unique(named, return_inverse=True, return_counts=True)
        frequent = sizes[group] >= FEWEST_ROWS
        rows, parent, group = rows[frequent], parent[frequent], group[frequent]
        members = _members(rows, group)
        replaced = {
            int(above)
            for above, number in set(zip(parent.tolist(), group.tolist(), strict=True))
            if above in shorter and len(members[number]) == len(shorter[above])
        }
        closed += _named(shorter, replaced, table, vocabulary, n_words - 1)
        shorter = members if n_words >= FEWEST_WORDS else {}
    return closed + _named(shorter, set(), table, vocabulary, MOST_WORDS)


def _word_table(texts: Sequence[str]) -> tuple[NDArray[np.int64], list[str]]:
    """The first words of each text as numbers, shape (texts, MOST_WORDS), −1 past the end."""
    vocabulary: dict[str, int] = {}
    table = np.full((len(texts), MOST_WORDS), -1, dtype=np.int64)
    for row, text in enumerate(texts):
        numbers = [vocabulary.setdefault(word, len(vocabulary)) for word in words(text, MOST_WORDS)]
        table[row, : len(numbers)] = numbers
    return table, list(vocabulary)


def _members(rows: Rows, group: NDArray[np.int64]) -> dict[int, Rows]:
    """Group → its rows, ascending."""
    if not len(rows):
        return {}
    order = np.argsort(group, kind="stable")
    numbers, starts = np.unique(group[order], return_index=True)
    parts = np.split(rows[order], starts[1:])
    return {int(number): part for number, part in zip(numbers, parts, strict=True)}


def _named(
    members: dict[int, Rows],
    replaced: set[int],
    table: NDArray[np.int64],
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
class Chance:
    """Fisher's exact test of how a phrase's rows fall on the two sides, corrected by Tarone."""

    n_before: int
    n_after: int
    level: float = ALPHA
    """What p may be at most."""

    @classmethod
    def of(cls, pooled: Sequence[int], n_before: int, n_after: int) -> Chance:
        """The tests of phrases that occur `pooled` times on both sides together."""
        one = cls(n_before, n_after)
        smallest = {n: one.smallest_p(n) for n in set(pooled)}
        reachable = np.sort([smallest[n] for n in pooled])
        factor = 1
        while np.searchsorted(reachable, ALPHA / factor, side="right") > factor:
            factor += 1
        return cls(n_before, n_after, ALPHA / factor)

    def p(self, n_before: int, n_after: int) -> float:
        """Two-sided p: twice the smaller tail of the hypergeometric distribution, at most 1."""
        from scipy.stats import hypergeom

        drawn, rows = n_before + n_after, self.n_before + self.n_after
        above = hypergeom.sf(n_before - 1, rows, self.n_before, drawn)
        below = hypergeom.sf(n_after - 1, rows, self.n_after, drawn)
        return min(1.0, 2.0 * float(min(above, below)))

    def smallest_p(self, pooled: int) -> float:
        """The p of the most uneven split that so many rows allow."""
        most_before, most_after = min(pooled, self.n_before), min(pooled, self.n_after)
        return min(
            self.p(most_before, pooled - most_before), self.p(pooled - most_after, most_after)
        )

    def tell(self, n_here: int, n_there: int, *, here_is_before: bool) -> bool:
        """Whether a phrase is far more frequent here than there, by more than chance."""
        size, other_size = (
            (self.n_before, self.n_after) if here_is_before else (self.n_after, self.n_before)
        )
        # One row more on the other side: none of 400 is not yet proof of never.
        often_enough = n_here / size >= LIFT * (n_there + 1) / other_size
        if n_here < max(FEWEST_ROWS, SMALLEST_SHARE * size) or not often_enough:
            return False
        counts = (n_here, n_there) if here_is_before else (n_there, n_here)
        return self.p(*counts) <= self.level


def most_telling(
    phrases: Sequence[Phrase],
    here: NDArray[np.bool_],
    tells: Callable[[Phrase, int], bool],
    *,
    enough_words: int = MOST_WORDS,
) -> list[tuple[Phrase, int]]:
    """At most MOST_PHRASES phrases with their rows here, and in how many rows elsewhere they occur.

    `here` holds for every row whether it is looked at; `tells` says of a phrase with its rows here
    and their number elsewhere whether it is worth a word.  The phrase that covers the most words
    (rows times words, of which no more than `enough_words` count) comes first; its rows are taken
    out, and the others are judged by what is left.  So a row stands under one phrase, and no phrase
    stands beside its own beginning for the same rows.
    """
    left = np.ones(len(here), dtype=bool)

    def split(phrase: Phrase) -> tuple[Phrase, int]:
        rows = phrase.rows[left[phrase.rows]]
        mine = rows[here[rows]]
        return Phrase(phrase.words, mine), len(rows) - len(mine)

    def covers(phrase: Phrase) -> tuple[int, tuple[str, ...]]:
        return len(split(phrase)[0].rows) * min(len(phrase.words), enough_words), phrase.words

    found: list[tuple[Phrase, int]] = []
    candidates = [phrase for phrase in phrases if tells(*split(phrase))]
    while candidates and len(found) < MOST_PHRASES:
        best = max(candidates, key=covers)
        found.append(split(best))
        left[best.rows] = False
        candidates = [one for one in candidates if one is not best and tells(*split(one))]
    return found
