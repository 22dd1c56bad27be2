"""Instructions of an evaluation set that stand in a dataset: the same, inside others, or nearly.

A row is contaminated where its instruction

- is one of them but for whitespace and case;
- shares a run of 13 words with one, or holds the whole of one of 8 to 12 words: the convention of
  GPT-3 (2005.14165, appendix C; shorter ones occur in good texts by chance and must be equal);
- is a near duplicate of one by the measure of `near`.

What many instructions share is a template and proves nothing, there as here: words that more than
ten different instructions of the dataset hold, or ten of the evaluation set, or a tenth of it.  A
run with eight words of a template in it does not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ifdkit.findings.near import FEWEST_WORDS, SIMILARITY, jaccard, shingles
from ifdkit.findings.runs import Numbers, Runs, Vocabulary, runs
from ifdkit.findings.texts import (
    EMPTY,
    Corpus,
    Hit,
    equal_places,
    key,
    quote,
    spans,
)

RUN = 13
"""Words."""
SHORTEST = 8
MOST_WORDS = 2_000
"""Only so many first words of an instruction are looked at."""
MOST_SHARED = 10
LARGEST_SHARE = 0.1
FEWEST_OF_A_TEMPLATE = 3
"""Two instructions of a small evaluation set may well share words without a template."""
OWN_SIMILARITY = 0.5
"""Of near duplicates, without what many share: a long template around two questions is none."""
_SHINGLE = 3

Bools = NDArray[np.bool_]


def contaminated(corpus: Corpus, against: Sequence[str]) -> list[Hit]:
    """Examples whose instruction is, holds or nearly is one of `against`; each place once.

    The quotation shows the words that are shared.  The work grows with the sum of both sizes.
    """
    vocabulary = Vocabulary()
    keys = {key(text) for text in against} - {EMPTY}
    read = (vocabulary.numbers(text, MOST_WORDS) for text in against)
    evaluation = {numbers.tobytes(): numbers for numbers in read if len(numbers)}
    rows_of = equal_places(corpus.instruction_keys)
    rows_of.pop(EMPTY, None)
    texts = [corpus.instructions[rows[0]] for rows in rows_of.values()]
    instructions = [vocabulary.numbers(text, MOST_WORDS) for text in texts]
    search = _Search(list(evaluation.values()), instructions)
    hits = []
    for (one, rows), text, numbers in zip(rows_of.items(), texts, instructions, strict=True):
        shown = quote(text) if one in keys else search.shared(text, numbers)
        if shown is not None:
            hits += [Hit(row, shown) for row in rows]
    return sorted(hits, key=lambda hit: hit.place)


class _Known:
    """Runs of one length that instructions of the evaluation set hold."""

    def __init__(self, length: int, texts: Mapping[int, Numbers]) -> None:
        """`texts` are instructions by number."""
        self.length = length
        hashed = [np.unique(runs(text, length)) for text in texts.values()]
        holders = np.repeat(np.array([*texts], dtype=np.int64), [len(one) for one in hashed])
        together = np.concatenate([np.zeros(0, dtype=np.uint64), *hashed])
        order = np.argsort(together, kind="stable")
        self._runs, first = np.unique(together[order], return_index=True)
        self._holders = holders[order]
        self._borders = np.append(first, len(holders))

    def knows(self, some: Runs) -> Bools:
        """Which of these runs the evaluation set holds."""
        return self._find(some) >= 0

    def _find(self, some: Runs) -> NDArray[np.int64]:
        """The number of each run, −1 for one that is not known."""
        if not len(self._runs):
            return np.full(len(some), -1, dtype=np.int64)
        at = np.searchsorted(self._runs, some)
        at[at == len(self._runs)] = 0
        return np.where(self._runs[at] == some, at, -1)


class _Counted(_Known):
    """Known runs, of which is known too whether they are a template."""

    def __init__(
        self, length: int, texts: Mapping[int, Numbers], dataset: Iterable[Numbers]
    ) -> None:
        """`texts` are all of the evaluation set, `dataset` the different ones of the other."""
        super().__init__(length, texts)
        limit = max(FEWEST_OF_A_TEMPLATE - 1, LARGEST_SHARE * len(texts))
        n_rows = np.zeros(len(self._runs), dtype=np.int64)
        for numbers in dataset:
            found = np.unique(self._find(runs(numbers, length)))
            n_rows[found[found >= 0]] += 1
        self._in_many = (np.diff(self._borders) > min(limit, MOST_SHARED)) | (n_rows > MOST_SHARED)

    def is_template(self, some: Runs) -> Bools:
        """Which of these runs are known, and in so many instructions that they prove nothing."""
        found = self._find(some)
        is_known = found >= 0
        is_known[is_known] = self._in_many[found[is_known]]
        return is_known

    def holders(self, some: Runs, fewest: float) -> NDArray[np.int64]:
        """The instructions that hold `fewest` or more of these runs, ascending."""
        parts = [
            self._holders[self._borders[one] : self._borders[one + 1]]
            for one in self._find(some)
            if one >= 0
        ]
        together = np.concatenate([np.zeros(0, dtype=np.int64), *parts])
        found, counts = np.unique(together, return_counts=True)
        return found[counts >= fewest]


class _Search:
    """Looks for the instructions of an evaluation set in those of a dataset."""

    def __init__(self, texts: Sequence[Numbers], dataset: Sequence[Numbers]) -> None:
        """`texts` are the evaluation set's, `dataset` the other's; each without repetition."""
        self._texts = texts
        numbered = dict(enumerate(texts))
        self._parts = _Counted(_SHINGLE, numbered, dataset)
        self._passages = _Counted(SHORTEST, numbered, filter(self._may_hold, dataset))
        self._whole = [
            _Known(length, _of_length(texts, length)) for length in range(RUN, SHORTEST - 1, -1)
        ]

    def shared(self, text: str, numbers: Numbers) -> str | None:
        """The words that an instruction shares with one of these, or None where that is chance."""
        if self._may_hold(numbers):
            in_template = self._passages.is_template(runs(numbers, SHORTEST))
            for known in self._whole:
                proves = known.knows(runs(numbers, known.length))
                proves &= ~_any_within(in_template, known.length - SHORTEST + 1)
                if proves.any():
                    return _quoted(text, proves, known.length)
        like = self._near(numbers)
        if like is None:
            return None
        return _quoted(text, np.isin(runs(numbers, _SHINGLE), shingles(like)), _SHINGLE)

    def _may_hold(self, numbers: Numbers) -> bool:
        """Whether enough known shingles follow one another; most instructions are out at once."""
        begin, end = _longest(self._parts.knows(runs(numbers, _SHINGLE)))
        return end - begin + _SHINGLE - 1 >= SHORTEST

    def _near(self, numbers: Numbers) -> Numbers | None:
        """An instruction of which this is a near duplicate."""
        if len(numbers) < FEWEST_WORDS:
            return None
        mine = shingles(numbers)
        own = self._own(mine)
        for number in self._parts.holders(own, OWN_SIMILARITY * len(own)).tolist():
            other: Numbers = self._texts[number]
            theirs = shingles(other)
            shorter, longer = sorted((len(numbers), len(other)))
            if (
                len(other) >= FEWEST_WORDS
                and shorter >= SIMILARITY * longer
                and jaccard(mine, theirs) >= SIMILARITY
                and jaccard(own, self._own(theirs)) >= OWN_SIMILARITY
            ):
                return other
        return None

    def _own(self, some: Runs) -> Runs:
        return some[~self._parts.is_template(some)]


def _of_length(texts: Sequence[Numbers], length: int) -> dict[int, Numbers]:
    """The instructions whose runs of this length prove alone, by number."""
    return {
        number: text
        for number, text in enumerate(texts)
        if len(text) == length or (length == RUN and len(text) > RUN)
    }


def _longest(flags: Bools) -> tuple[int, int]:
    """The longest unbroken series of true ones, half-open."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    if not len(edges):
        return 0, 0
    longest = int(np.argmax(edges[1::2] - edges[::2]))
    return int(edges[2 * longest]), int(edges[2 * longest + 1])


def _any_within(flags: Bools, width: int) -> Bools:
    """Whether any of `width` flags from each place on is true; shape (n − width + 1,)."""
    if len(flags) < width:
        return np.zeros(0, dtype=bool)
    windows = np.lib.stride_tricks.sliding_window_view(flags, width)
    within: Bools = np.logical_or.reduce(windows, axis=1, dtype=np.bool_)
    return within


def _quoted(text: str, shared: Bools, length: int) -> str:
    """The longest passage of a text whose runs are all shared."""
    begin, end = _longest(shared)
    lie = spans(text, MOST_WORDS)[begin : end + length - 1]
    return quote(text[lie[0][0] : lie[-1][1]] if lie else text)
