"""What became of the pairs: copied instead of rewritten, repeated, or worse than before."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from ifdkit.findings.finding import Finding
from ifdkit.findings.near import MOST_WORDS, NearDuplicates, are_near, nearly_repeated
from ifdkit.findings.texts import (
    EMPTY,
    Side,
    TextPair,
    changed_sides,
    finding,
    quote,
    words,
)

_FEWEST_WORDS = 4
"""Shorter answers and instructions ("Yes", "Summarise this text") are repeated with good reason."""
_SCORED = {"ok", "truncated"}


def copies(before: Side, after: Side) -> list[Finding]:
    """Responses and instructions that the rewriting left as they were, or took from another row."""
    same = _equal(before.response_keys, after.response_keys)
    found = []
    if same:
        exact = sum(before.responses[row] == after.responses[row] for row in same)
        text = "The response is the same before and after."
        if exact < len(same):
            text += f" {len(same) - exact:,} of them differ in whitespace or case only."
        found.append(_both("copied_across", after, same, text, after.responses))
    hardly_changed = _nearly_equal(before, after)
    if hardly_changed:
        text = (
            "The response is nearly the same before and after (four in five of the three-word runs"
            f" in the first {MOST_WORDS} words)."
        )
        found.append(_both("nearly_copied_across", after, hardly_changed, text, after.responses))
    kept = _equal(before.instruction_keys, after.instruction_keys)
    if 0 < len(kept) < len(after.ids):
        text = "The instruction is the same before and after, where others were rewritten."
        found.append(_both("copied_instruction", after, kept, text, after.instructions))
    taken = _from_other_rows(before, after)
    if taken:
        text = "The response after is that of another row before: the rows may be mixed up."
        found.append(
            finding("copied_from_other_row", after, taken, text, quoted=_quoting(after.responses))
        )
    return found


def _equal(before: Sequence[bytes], after: Sequence[bytes]) -> list[int]:
    texts = zip(before, after, strict=True)
    return [row for row, (one, other) in enumerate(texts) if one == other != EMPTY]


def _nearly_equal(before: Side, after: Side) -> list[int]:
    return [
        row
        for row, (old, new) in enumerate(zip(before.responses, after.responses, strict=True))
        if before.response_keys[row] != after.response_keys[row] and are_near(old, new)
    ]


def _from_other_rows(before: Side, after: Side) -> list[int]:
    known = set(before.response_keys)
    return [
        row
        for row, (old, new) in enumerate(
            zip(before.response_keys, after.response_keys, strict=True)
        )
        if new != old and new in known and _is_long(after.responses[row])
    ]


def _is_long(text: str) -> bool:
    return len(words(text, _FEWEST_WORDS)) == _FEWEST_WORDS


def duplicates(before: Side, after: Side, seed: int) -> list[Finding]:
    """Texts that stand in several rows of one side, exactly or nearly."""
    both = before, after
    responses = (
        exact_duplicates(before.responses, before.response_keys),
        exact_duplicates(after.responses, after.response_keys),
    )
    instructions = (
        exact_duplicates(before.instructions, before.instruction_keys),
        exact_duplicates(after.instructions, after.instruction_keys),
    )
    shown = _quoting(before.responses), _quoting(after.responses)
    asked = _quoting(before.instructions), _quoting(after.instructions)
    near = (
        nearly_repeated(before.responses, before.response_keys, seed),
        nearly_repeated(after.responses, after.response_keys, seed),
    )
    found = [
        *changed_sides(
            "exact_duplicate", both, responses, "The same response stands in several rows.", shown
        ),
        *changed_sides(
            "exact_duplicate_instruction",
            both,
            instructions,
            "The same instruction stands in several rows.",
            asked,
        ),
        *changed_sides(
            "near_duplicate", both, (near[0].rows, near[1].rows), _near_sentence(near), shown
        ),
    ]
    return [one for one in found if one]


def repeated_instructions(before: Side, after: Side) -> list[Finding]:
    """Responses that are their own instruction, but for whitespace and case."""
    rows = _repeating(before), _repeating(after)
    text = "The response only repeats the instruction."
    shown = _quoting(before.responses), _quoting(after.responses)
    found = changed_sides("response_repeats_instruction", (before, after), rows, text, shown)
    return [one for one in found if one]


def _repeating(side: Side) -> list[int]:
    same = _equal(side.instruction_keys, side.response_keys)
    return [row for row in same if _is_long(side.responses[row])]


def exact_duplicates(texts: Sequence[str], keys: Sequence[bytes]) -> list[int]:
    """Rows whose text, of _FEWEST_WORDS or more, is that of another row; ascending."""
    count = Counter(keys)
    return [row for row, one in enumerate(keys) if count[one] > 1 and _is_long(texts[row])]


def _near_sentence(near: Sequence[NearDuplicates]) -> str:
    text = (
        "Another response has nearly the same words (four in five of the three-word runs in the"
        f" first {MOST_WORDS} words)."
    )
    if any(one.searched < one.distinct for one in near):
        fewest = min(one.searched for one in near if one.searched < one.distinct)
        text += f" A random sample of {fewest:,} different responses was searched."
    return text


def worse_scores(pairs: Sequence[TextPair], after: Side) -> list[Finding]:
    """Pairs whose IFD rose to 1 or beyond, and rows that lost their scores."""
    worse = [
        row
        for row, pair in enumerate(pairs)
        if pair.ifd_before is not None
        and pair.ifd_after is not None
        and pair.ifd_before < 1 <= pair.ifd_after
    ]
    quoted = _quoting(after.instructions)
    found = []
    if worse:
        text = "IFD rose to 1 or beyond: the new instruction no longer helps its response."
        found.append(finding("got_worse", after, worse, text, quoted=quoted))
    lost: dict[str, list[int]] = defaultdict(list)
    for row, pair in enumerate(pairs):
        if pair.status_before in _SCORED and pair.status_after not in {None, *_SCORED}:
            lost[str(pair.status_after)].append(row)
    for status, rows in sorted(lost.items()):
        text = f"The row could be scored before and cannot be after: {status}."
        found.append(finding("no_longer_scored", after, rows, text, quoted=quoted))
    return found


def _both(kind: str, after: Side, rows: list[int], text: str, texts: Sequence[str]) -> Finding:
    return finding(kind, after, rows, text, quoted=_quoting(texts), name="both")


def _quoting(texts: Sequence[str]) -> Callable[[int], str]:
    return lambda row: quote(texts[row])
