"""The texts of a dataset, and how they are cut into words, compared and quoted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from itertools import islice
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ifdkit.visible import is_blank

MAX_QUOTE_CHARS = 160
"""Characters of a quotation, the ellipsis included."""
_CONTEXT_CHARS = 40
"""Characters that a quotation from the middle of a text shows before the position."""
_MAX_CHARS_PER_WORD = 50
"""Only so many characters per requested word are searched, so that a megabyte of text without a
break costs nothing.  A word has about ten; an endless one is cut and stays one word."""

_CJK = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
# Scripts that put no spaces between words: two characters count as a word.
_WORD = re.compile(rf"[{_CJK}]{{1,2}}|[^\W{_CJK}](?:[^\s{_CJK}]*[^\W{_CJK}])?")
# Control characters, lone surrogates, and marks that change the direction of the text around them.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Corpus:
    """The texts of a dataset's examples, in their order."""

    ids: Sequence[str]
    instructions: Sequence[str]
    responses: Sequence[str]
    inputs: Sequence[str] = field(default=(), kw_only=True)
    """The part of each instruction that is its input; empty if the inputs are not known."""

    @cached_property
    def instruction_keys(self) -> list[bytes]:
        """One :func:`key` per instruction."""
        return [key(text) for text in self.instructions]

    @cached_property
    def response_keys(self) -> list[bytes]:
        """One :func:`key` per response."""
        return [key(text) for text in self.responses]

    @cached_property
    def distinct_responses(self) -> DistinctTexts:
        """The responses that are distinct by their keys, and not empty."""
        return DistinctTexts.of(self.response_keys)


def key(text: str) -> bytes:
    """Sixteen bytes that are equal for texts that differ only in whitespace and case.

    Texts that show nothing are equal to the empty one.
    """
    plain = "" if is_blank(text) else " ".join(text.split()).casefold()
    # Hashes, because the keys of 100,000 long texts take 5 MB where the texts take hundreds.
    return blake2b(plain.encode("utf-8", "surrogatepass"), digest_size=16).digest()


EMPTY_KEY = key("")


def indices_by_key(keys: Iterable[bytes]) -> dict[bytes, list[int]]:
    """Key → the positions at which it occurs, ascending."""
    indices: dict[bytes, list[int]] = {}
    for index, one in enumerate(keys):
        indices.setdefault(one, []).append(index)
    return indices


@dataclass(frozen=True, eq=False)
class DistinctTexts:
    """The distinct texts of a column by their keys, in arrays: 32 bytes per text."""

    firsts: NDArray[np.int64]
    """Where each occurs first, ascending; shape (distinct,)."""
    keys: NDArray[np.bytes_]
    """Their keys."""
    _order: NDArray[np.int64]
    _borders: NDArray[np.int64]

    @classmethod
    def of(cls, keys: Sequence[bytes]) -> DistinctTexts:
        """Those of a column with these keys, but for the empty text."""
        # Digests of equal length stay different without the zeros at their end.
        array = np.array(keys, dtype="S16")
        filled = np.flatnonzero(array != np.array(EMPTY_KEY, dtype="S16"))
        found, first, inverse = np.unique(array[filled], return_index=True, return_inverse=True)
        by_first = np.argsort(first)
        rank = np.empty(len(found), dtype=np.int64)
        rank[by_first] = np.arange(len(found))
        number = rank[inverse]
        order = np.argsort(number, kind="stable")
        borders = np.searchsorted(number[order], np.arange(len(found) + 1))
        return cls(filled[first[by_first]], found[by_first], filled[order], borders)

    def __len__(self) -> int:
        return len(self.firsts)

    def indices(self, number: int) -> list[int]:
        """Where a distinct text occurs, ascending."""
        at: list[int] = self._order[self._borders[number] : self._borders[number + 1]].tolist()
        return at

    @property
    def repeated(self) -> NDArray[np.int64]:
        """The numbers of the texts that occur more than once, ascending."""
        return np.flatnonzero(np.diff(self._borders) > 1)


def words(text: str, max_words: int) -> list[str]:
    """The first words of a text, case-folded and without the punctuation around them."""
    start = text[: max_words * _MAX_CHARS_PER_WORD].casefold()
    return [found.group() for found in islice(_WORD.finditer(start), max_words)]


def has_words(text: str, n: int) -> bool:
    """Whether a text has `n` words or more."""
    return len(words(text, n)) == n


def word_spans(text: str, max_words: int) -> list[tuple[int, int]]:
    """The half-open character spans of the first words of a text."""
    start = text[: max_words * _MAX_CHARS_PER_WORD]
    return [found.span() for found in islice(_WORD.finditer(start), max_words)]


def quote(text: str, end: Literal["head", "tail"] = "head") -> str:
    """The beginning or end of a text on one line, at most MAX_QUOTE_CHARS, cut between words.

    Characters that cannot be shown, or change how their surroundings show, become U+FFFD.
    """
    # Whitespace goes first, so that a megabyte of it neither hides the text nor costs time.
    text = text.lstrip() if end == "head" else text.rstrip()
    part = text[: 2 * MAX_QUOTE_CHARS] if end == "head" else text[-2 * MAX_QUOTE_CHARS :]
    line = _UNPRINTABLE.sub("\ufffd", " ".join(part.split()))
    if len(line) <= MAX_QUOTE_CHARS and len(part) == len(text):
        return line
    max_chars = MAX_QUOTE_CHARS - 1  # the ellipsis
    if end == "head":
        return _cut(line, max_chars) + "…"
    return "…" + _cut(line[::-1], max_chars)[::-1]


def quote_at(text: str, position: int) -> str:
    """A quotation of a text from a position on, with a few words before it; see :func:`quote`."""
    if position <= _CONTEXT_CHARS:
        return quote(text)
    begin = text.find(" ", position - _CONTEXT_CHARS, position) + 1 or position
    return quote(f"… {text[begin : begin + 3 * MAX_QUOTE_CHARS]}")


def _cut(line: str, max_chars: int) -> str:
    """The beginning of a line, cut between words unless that would cost half of it."""
    if len(line) <= max_chars:
        return line
    at = line.rfind(" ", 0, max_chars + 1)
    return line[: at if at > max_chars // 2 else max_chars].rstrip()
