"""Tokenising a long text in pieces, in memory that does not grow with the tokenizer's own records.

The Rust tokenizer keeps about 200 bytes for each character of a text while it works on it.  Pieces
overlap.  They are joined where both tokenise the overlap alike for AGREED tokens in a row: there,
neither knows any more where the other began.  If they never agree, as in one word of many thousand
characters, there is no result, and the caller tokenises the text as a whole, up to a limit.
"""

from __future__ import annotations

from array import array
from typing import Any, NamedTuple

from ifdkit.prompting.tokens import LongWordError

LONG_CHARS = 2**18
"""Texts with more characters are tokenised in pieces of this size."""
OVERLAP_CHARS = 2**12
AGREED = 64
MAX_WHOLE_CHARS = 2**22
"""Characters of the longest text that is tokenised as a whole: 0.8 GB of memory."""


class Located(NamedTuple):
    """Token ids without special ones, and the characters [start, end) of each."""

    ids: list[int]
    starts: array[int]
    ends: array[int]


def encode_in_pieces(
    tokenizer: Any, text: str, size: int = LONG_CHARS, overlap: int = OVERLAP_CHARS
) -> Located | None:
    """The tokens of a text; None if two pieces never agree.

    `tokenizer` is a `tokenizers.Tokenizer`.
    """
    same: dict[int, int] = {}  # one object for each id, not for each token
    ids: list[int] = []
    starts, ends = array("q"), array("q")
    begin, found, first = 0, _encode(tokenizer, text[: size + overlap]), 0
    while begin + size + overlap < len(text):
        next_begin = begin + size
        following = _encode(tokenizer, text[next_begin : next_begin + size + overlap])
        joint = _joint(found, following, size)
        if joint is None:
            return None
        stop, next_first = joint
        ids += (same.setdefault(one, one) for one in found[0][first:stop])
        starts.extend(start + begin for start, _ in found[1][first:stop])
        ends.extend(end + begin for _, end in found[1][first:stop])
        begin, found, first = next_begin, following, next_first
    ids += (same.setdefault(one, one) for one in found[0][first:])
    starts.extend(start + begin for start, _ in found[1][first:])
    ends.extend(end + begin for _, end in found[1][first:])
    return Located(ids, starts, ends)


def check_whole(text: str) -> None:
    """Raise LongWordError if a text is too long to be tokenised as a whole."""
    if len(text) > MAX_WHOLE_CHARS:
        raise LongWordError(
            f"a text of {len(text):,} characters has no place to cut it for the tokenizer, which"
            f" takes {MAX_WHOLE_CHARS:,} at once"
        )


def encode_whole(tokenizer: Any, text: str) -> Located:
    """The same of a text as a whole. Raises LongWordError if it is too long."""
    check_whole(text)
    ids, offsets = _encode(tokenizer, text)
    starts, ends = (array("q", (one[k] for one in offsets)) for k in (0, 1))
    return Located(ids, starts, ends)


_Found = tuple[list[int], list[tuple[int, int]]]
"""Ids of a piece, and the characters of each."""


def _encode(tokenizer: Any, text: str) -> _Found:
    encoding = tokenizer.encode(text, add_special_tokens=False)
    return encoding.ids, encoding.offsets


def _joint(one: _Found, other: _Found, shift: int) -> tuple[int, int] | None:
    """Positions in two pieces, the other of which begins `shift` characters later, of one token.

    AGREED tokens before it and at least as many after it are the same in both.
    """
    (ids, offsets), (other_ids, other_offsets) = one, other
    place_of = {
        (ids[i], offsets[i][0] - shift, offsets[i][1] - shift): i
        for i in range(len(ids))
        if offsets[i][0] >= shift
    }
    n_same, last = 0, -1
    for k in range(len(other_ids)):
        i = place_of.get((other_ids[k], *other_offsets[k]), -1)
        n_same = n_same + 1 if i >= 0 and (i == last + 1 or not n_same) else int(i >= 0)
        last = i
        if n_same == 2 * AGREED:
            return i - AGREED + 1, k - AGREED + 1
    return None
