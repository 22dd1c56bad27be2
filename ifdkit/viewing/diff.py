"""Which words of two texts are common: for a text before beside the text after."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

MAX_WORDS = 3000
"""Of each text; of longer ones only what is equal at both ends is found."""
_PIECE = re.compile(r"(?:\w+|[^\w\s])\s*|\s+")
Piece = tuple[str, bool]
"""Text, and whether it is in the other text too."""


def word_diff(before: str, after: str) -> tuple[list[Piece], list[Piece]]:
    """Both texts cut into pieces; joined, the pieces of a side are its text."""
    old, new = _PIECE.findall(before), _PIECE.findall(after)
    head = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b),
                min(len(old), len(new)))  # fmt: skip
    limit = min(len(old), len(new)) - head
    tail = 0
    while tail < limit and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    middle_old, middle_new = old[head : len(old) - tail], new[head : len(new) - tail]
    if max(len(middle_old), len(middle_new)) > MAX_WORDS:
        blocks = []
    else:
        matcher = SequenceMatcher(None, middle_old, middle_new, autojunk=False)
        blocks = [one for one in matcher.get_matching_blocks() if one.size]
    ends = old[len(old) - tail :] if tail else []
    return (
        _pieces(old[:head], middle_old, [(one.a, one.size) for one in blocks], ends),
        _pieces(old[:head], middle_new, [(one.b, one.size) for one in blocks], ends),
    )


def _pieces(
    head: list[str], middle: list[str], common: list[tuple[int, int]], tail: list[str]
) -> list[Piece]:
    found: list[Piece] = [("".join(head), True)]
    at = 0
    for begin, size in common:
        found.append(("".join(middle[at:begin]), False))
        found.append(("".join(middle[begin : begin + size]), True))
        at = begin + size
    found += [("".join(middle[at:]), False), ("".join(tail), True)]
    return [piece for piece in found if piece[0]]
