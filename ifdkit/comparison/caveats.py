"""What a reader must know before the numbers of a comparison, a sentence each."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ifdkit.comparison.sides import ComparedSide
from ifdkit.data.pairing import MOSTLY, Pairs
from ifdkit.format import percent, plural
from ifdkit.scoring.metrics import table_metrics
from ifdkit.stats.columns import MIN_PAIRS


def list_caveats(
    before: ComparedSide, after: ComparedSide, pairs: Pairs, min_tokens: int
) -> list[str]:
    """The caveats of these pairs, those of the pairing first."""
    return [
        *_of_pairing(pairs),
        *of_one_side("before", before),
        *of_one_side("after", after),
        *_of_metrics(before, after),
        *_of_undefined(before, after, pairs),
        *_of_short_responses(before, after, pairs, min_tokens),
    ]


def _of_pairing(pairs: Pairs) -> Iterator[str]:
    pairing = pairs.pairing
    if pairing.same_instructions is None:
        if pairing.by == "row":
            yield f"paired by row, and no text was available to check that: {pairing.note}"
    elif pairing.is_unrelated:
        assert pairing.word_overlap is not None
        assert pairing.random_word_overlap is not None
        yield (
            f"paired by {pairing.by}, but the pairs look unrelated: instructions match in"
            f" {percent(pairing.same_instructions)} of them, and a pair shares no more words than"
            f" two random examples do ({percent(pairing.word_overlap)} and"
            f" {percent(pairing.random_word_overlap)})"
        )
    elif pairing.by == "row" and pairing.same_instructions < MOSTLY:
        yield (
            "paired by row, although instructions match in"
            f" {percent(pairing.same_instructions)} of the pairs"
        )
    if pairing.unmatched_before or pairing.unmatched_after:
        yield (
            f"{plural(pairing.unmatched_before, 'example')} before and"
            f" {pairing.unmatched_after:,} after without a partner, left out"
        )
    if pairing.ambiguous:
        yield (
            f"{plural(pairing.ambiguous, 'example')} left out because the {pairing.by} occurs more"
            " often on one side than on the other"
        )
    if len(pairs) < MIN_PAIRS:
        yield f"{plural(len(pairs), 'pair')}: too few for intervals, p or effect"


def of_one_side(word: str, side: ComparedSide) -> Iterator[str]:
    """Rows that were not read, and examples that were cut off."""
    rejected = side.manifest.rows_rejected if side.manifest else 0
    if rejected:
        yield f"{plural(rejected, 'row')} {word} could not be read, and not compared"
    n_cut = sum(status == "truncated" for status in side.scores.statuses)
    if n_cut:
        limit = f" of {side.manifest.max_length} tokens" if side.manifest else ""
        yield f"{plural(n_cut, 'example')} {word} cut off at the maximum length{limit}"


def _of_metrics(before: ComparedSide, after: ComparedSide) -> Iterator[str]:
    """Metrics that only one side has."""
    for word, side, other in (("before", before, after), ("after", after, before)):
        alone = [
            name
            for name in table_metrics()
            if name in side.scores.numbers and name not in other.scores.numbers
        ]
        if alone:
            yield f"left out, because only the side {word} has numbers: {', '.join(alone)}"


def _of_undefined(before: ComparedSide, after: ComparedSide, pairs: Pairs) -> Iterator[str]:
    """Pairs without an IFD: what a rewrite broke would else leave only survivors, unseen."""
    old, new = before.scores.numbers, after.scores.numbers
    if "ifd" not in old or "ifd" not in new:
        return
    lacks_before = ~np.isfinite(old["ifd"][pairs.before])
    lacks_after = ~np.isfinite(new["ifd"][pairs.after])
    n = int((lacks_before | lacks_after).sum())
    if n:
        yield (
            f"{plural(n, 'pair')} left out of IFD, which is undefined before in"
            f" {int(lacks_before.sum()):,} and after in {int(lacks_after.sum()):,}"
        )


def _of_short_responses(
    before: ComparedSide, after: ComparedSide, pairs: Pairs, min_tokens: int
) -> Iterator[str]:
    old, new = before.scores.numbers, after.scores.numbers
    if "ifd" not in old or "ifd" not in new:
        return
    is_defined = np.isfinite(old["ifd"][pairs.before]) & np.isfinite(new["ifd"][pairs.after])
    tokens = np.minimum(old["response_tokens"][pairs.before], new["response_tokens"][pairs.after])
    n_short = int((is_defined & (tokens < min_tokens)).sum())
    if n_short:
        yield (
            f"{plural(n_short, 'pair')} with a response under {min_tokens} tokens left out where"
            " length is held fixed"
        )
