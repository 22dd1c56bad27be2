"""The texts of a comparison, and what a check on both sides of it becomes.

A comparison is about differences: what both sides of every pair show is not reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ifdkit.findings.checks import Hit, TextCheck
from ifdkit.findings.finding import Finding, SideName
from ifdkit.findings.texts import Corpus, quote

MAX_IDS = 50
"""Row ids in a finding."""
MAX_EXAMPLES = 3
"""Quotations in a finding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPair:
    """One example before and after, with what is known of its scores."""

    id_before: str
    id_after: str
    instruction_before: str
    response_before: str
    instruction_after: str
    response_after: str
    ifd_before: float | None = None
    """> 0; None if undefined or not scored."""
    ifd_after: float | None = None
    status_before: str | None = None
    """`ok`, `truncated`, …; None if the rows were not scored."""
    status_after: str | None = None


@dataclass(frozen=True)
class SideTexts(Corpus):
    """One side of a comparison, in the order of the pairs."""

    name: SideName


@dataclass(frozen=True, slots=True)
class PairedTexts:
    """Both sides of a comparison, row by row."""

    before: SideTexts
    after: SideTexts
    ifd_before: NDArray[np.float64]
    """NaN if undefined; shape (pairs,)."""
    ifd_after: NDArray[np.float64]
    statuses_before: Sequence[str | None]
    statuses_after: Sequence[str | None]
    seed: int
    """Of the samples that a check draws."""

    def __len__(self) -> int:
        return len(self.before.ids)

    @classmethod
    def of(cls, pairs: Sequence[TextPair], seed: int) -> PairedTexts:
        """The pairs as two columns of texts."""
        before = SideTexts(
            ids=tuple(pair.id_before for pair in pairs),
            instructions=tuple(pair.instruction_before for pair in pairs),
            responses=tuple(pair.response_before for pair in pairs),
            name="before",
        )
        after = SideTexts(
            ids=tuple(pair.id_after for pair in pairs),
            instructions=tuple(pair.instruction_after for pair in pairs),
            responses=tuple(pair.response_after for pair in pairs),
            name="after",
        )
        return cls(
            before,
            after,
            # None becomes NaN.
            np.array([pair.ifd_before for pair in pairs], dtype=np.float64),
            np.array([pair.ifd_after for pair in pairs], dtype=np.float64),
            [pair.status_before for pair in pairs],
            [pair.status_after for pair in pairs],
            seed,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Rows that show what a check looks for: a Finding without its kind."""

    side: SideTexts
    rows: Sequence[int]
    text: str
    quoted: Callable[[int], str]
    """Row → the words that show it; called for the examples only."""
    other_count: int | None = None
    quotes_text: bool = False
    is_of_both: bool = False
    """Whether the pair as a whole shows it; ids and quotations are those of `side`."""

    def as_finding(self, kind: str) -> Finding:
        """The finding with its count, share, first ids and first quotations."""
        return Finding(
            kind=kind,
            side="both" if self.is_of_both else self.side.name,
            count=len(self.rows),
            share=len(self.rows) / len(self.side.ids),
            text=self.text,
            row_ids=tuple(self.side.ids[row] for row in self.rows[:MAX_IDS]),
            other_count=self.other_count,
            examples=tuple(self.quoted(row) for row in self.rows[:MAX_EXAMPLES]),
            quotes_text=self.quotes_text,
        )


PairSearch = Callable[[PairedTexts], Iterable[Evidence]]


@dataclass(frozen=True, slots=True)
class PairCheck:
    """A check of the texts of a comparison."""

    kind: str
    """Name in `summary.json` and `--fail-if`: `copied_across`."""
    title: str
    """A plural noun phrase as it reads inside a sentence: "unchanged responses"."""
    search: PairSearch

    def __call__(self, texts: PairedTexts) -> list[Finding]:
        """The findings of this kind; evidence without rows is none."""
        return [found.as_finding(self.kind) for found in self.search(texts) if found.rows]


def pair_check(kind: str, title: str) -> Callable[[PairSearch], PairCheck]:
    """Declare a function of both sides of a comparison as a check."""
    return partial(PairCheck, kind, title)


def on_both_sides(check: TextCheck) -> PairCheck:
    """A check of one dataset, applied to both sides of a comparison."""

    def search(texts: PairedTexts) -> Iterator[Evidence]:
        return differences(texts, check(texts.before), check(texts.after), check.description)

    return PairCheck(check.kind, check.title, search)


def differences(
    texts: PairedTexts, before: Sequence[Hit], after: Sequence[Hit], text: str
) -> Iterator[Evidence]:
    """Evidence for each side whose hits are not all hits of the other side too.

    Rows that only this side shows come first.
    """
    for side, hits, others in ((texts.before, before, after), (texts.after, after, before)):
        quotes = {hit.index: hit.quote for hit in hits}
        elsewhere = {hit.index for hit in others}
        only_here = [row for row in quotes if row not in elsewhere]
        if not only_here:
            continue
        in_both = [row for row in quotes if row in elsewhere]
        more = f" {len(only_here):,} of these rows do not show it on the other side."
        yield Evidence(
            side=side,
            rows=only_here + in_both,
            text=text + more if in_both else text,
            quoted=quotes.__getitem__,
            other_count=len(elsewhere),
        )


def quoting(texts: Sequence[str], end: Literal["head", "tail"] = "head") -> Callable[[int], str]:
    """Row → the beginning or end of its text."""
    return lambda row: quote(texts[row], end)
