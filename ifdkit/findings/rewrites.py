"""What became of the pairs: copied instead of rewritten, duplicated, or worse than before."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from ifdkit.findings.checks import Hit, corpus_check
from ifdkit.findings.near import MAX_WORDS, are_near, nearly_repeated
from ifdkit.findings.pairs import Evidence, PairedTexts, differences, pair_check, quoting
from ifdkit.findings.texts import EMPTY_KEY, Corpus, has_words, quote

_MIN_WORDS = 4
"""Shorter responses and instructions ("Yes", "Summarise this text") repeat with good reason."""
_NEARLY = f"(80 % of the three-word sequences in the first {MAX_WORDS} words)"
_SCORED = {"ok", "truncated"}


def _equal(some: Sequence[bytes], others: Sequence[bytes]) -> list[int]:
    """Rows whose keys are equal and not of an empty text."""
    keys = zip(some, others, strict=True)
    return [row for row, (one, other) in enumerate(keys) if one == other != EMPTY_KEY]


# Copies


@pair_check("copied_across", "unchanged responses")
def copied_across(texts: PairedTexts) -> Iterator[Evidence]:
    """Responses that are equal before and after, except for whitespace and case."""
    before, after = texts.before, texts.after
    rows = _equal(before.response_keys, after.response_keys)
    differ = sum(before.responses[row] != after.responses[row] for row in rows)
    more = f" {differ:,} of them differ in whitespace or case only." if differ else ""
    text = f"The response is the same before and after.{more}"
    yield Evidence(
        side=after, rows=rows, text=text, quoted=quoting(after.responses), is_of_both=True
    )


@pair_check("nearly_copied_across", "nearly unchanged responses")
def nearly_copied_across(texts: PairedTexts) -> Iterator[Evidence]:
    """Responses that are near duplicates, but not equal, before and after."""
    before, after = texts.before, texts.after
    rows = [
        row
        for row, (old, new) in enumerate(zip(before.responses, after.responses, strict=True))
        if before.response_keys[row] != after.response_keys[row] and are_near(old, new)
    ]
    text = f"The response is nearly the same before and after {_NEARLY}."
    yield Evidence(
        side=after, rows=rows, text=text, quoted=quoting(after.responses), is_of_both=True
    )


@pair_check("copied_instruction", "unchanged instructions")
def copied_instruction(texts: PairedTexts) -> Iterator[Evidence]:
    """Instructions that are equal before and after; nothing if all are."""
    after = texts.after
    rows = _equal(texts.before.instruction_keys, after.instruction_keys)
    if list(texts.before.instruction_keys) != list(after.instruction_keys):
        text = "The instruction is the same before and after, and others were rewritten."
        yield Evidence(
            side=after, rows=rows, text=text, quoted=quoting(after.instructions), is_of_both=True
        )


@pair_check("copied_from_other_row", "responses of other rows")
def copied_from_other_row(texts: PairedTexts) -> Iterator[Evidence]:
    """Responses after that are not the row's own before, but another row's."""
    after = texts.after
    known = set(texts.before.response_keys)
    keys = zip(texts.before.response_keys, after.response_keys, strict=True)
    rows = [
        row
        for row, (old, new) in enumerate(keys)
        if new != old and new in known and has_words(after.responses[row], _MIN_WORDS)
    ]
    text = "The response after is that of another row before: the rows may be mixed up."
    yield Evidence(side=after, rows=rows, text=text, quoted=quoting(after.responses))


@corpus_check(
    "response_repeats_instruction",
    "responses that only repeat the instruction",
    "The response only repeats the instruction.",
)
def response_repeats_instruction(corpus: Corpus) -> list[Hit]:
    """Responses that equal their instruction except for whitespace and case."""
    rows = _equal(corpus.instruction_keys, corpus.response_keys)
    return _hits(corpus.responses, rows)


# Duplicates


@corpus_check("exact_duplicate", "exact duplicates", "The same response occurs in several rows.")
def exact_duplicate(corpus: Corpus) -> list[Hit]:
    """Responses that occur in several rows, except for whitespace and case."""
    return _hits(corpus.responses, _repeated(corpus.response_keys))


@corpus_check(
    "exact_duplicate_instruction",
    "duplicate instructions",
    "The same instruction occurs in several rows.",
)
def exact_duplicate_instruction(corpus: Corpus) -> list[Hit]:
    """Instructions that occur in several rows, except for whitespace and case."""
    return _hits(corpus.instructions, _repeated(corpus.instruction_keys))


@pair_check("near_duplicate", "near duplicates")
def near_duplicate(texts: PairedTexts) -> Iterator[Evidence]:
    """Responses that are nearly, but not exactly, those of another row of their side."""
    near = [
        nearly_repeated(side.responses, side.response_keys, texts.seed)
        for side in (texts.before, texts.after)
    ]
    text = f"Another response has nearly the same words {_NEARLY}."
    sampled = [one.n_searched for one in near if one.n_searched < one.n_distinct]
    if sampled:
        text += f" A random sample of {min(sampled):,} different responses was searched."
    before, after = (
        [Hit(row, quote(side.responses[row])) for row in one.indices]
        for side, one in zip((texts.before, texts.after), near, strict=True)
    )
    return differences(texts, before, after, text)


def _repeated(keys: Sequence[bytes]) -> list[int]:
    count = Counter(keys)
    return [row for row, one in enumerate(keys) if count[one] > 1]


def _hits(texts: Sequence[str], rows: Sequence[int]) -> list[Hit]:
    """The rows whose text is long enough that a repetition means anything."""
    return [Hit(row, quote(texts[row])) for row in rows if has_words(texts[row], _MIN_WORDS)]


# Scores


@pair_check("got_worse", "pairs whose IFD rose to 1 or more")
def got_worse(texts: PairedTexts) -> Iterator[Evidence]:
    """Pairs with an IFD below 1 before, and of 1 or more after."""
    rows = np.flatnonzero((texts.ifd_before < 1) & (texts.ifd_after >= 1)).tolist()
    text = "IFD rose to 1 or more: the new instruction no longer helps its response."
    yield Evidence(side=texts.after, rows=rows, text=text, quoted=quoting(texts.after.instructions))


@pair_check("no_longer_scored", "rows that are no longer scored")
def no_longer_scored(texts: PairedTexts) -> Iterator[Evidence]:
    """Rows that were scored before and are not after, by the status that says why."""
    rows_of: dict[str, list[int]] = defaultdict(list)
    statuses = zip(texts.statuses_before, texts.statuses_after, strict=True)
    for row, (before, after) in enumerate(statuses):
        if before in _SCORED and after not in {None, *_SCORED}:
            rows_of[str(after)].append(row)
    for status, rows in sorted(rows_of.items()):
        text = f"The row was scored before, but could not be scored after: {status}."
        yield Evidence(
            side=texts.after, rows=rows, text=text, quoted=quoting(texts.after.instructions)
        )
