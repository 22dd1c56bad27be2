"""Token ids of texts: the interface of a tokenizer, and a cache in front of it."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import NamedTuple, Protocol

from ifdkit.errors import InputError

_CHARS_PER_ID, _MIN_HEAD_CHARS = 16, 2**12
_AGREED = 64
"""Ids beyond the last one asked for that must be equal in a text and in its beginning."""


class LongWordError(InputError):
    """A text that takes too much memory to tokenise; the message is one sentence."""


class Encoded(NamedTuple):
    """Token ids of a text, and the characters [begin, end) of it that ids[first:] stand for."""

    ids: list[int]
    begin: int
    """Where the token before the first ends, because some tokenizers leave spaces out of offsets;
    0 if there is none."""
    end: int


class Tokenizer(Protocol):
    """The part of a tokenizer that alignment needs."""

    @property
    def anchor_id(self) -> int | None:
        """The token before the first scored token of a direct pass: BOS, else EOS, else None."""
        ...

    @property
    def added_ids(self) -> tuple[list[int], list[int]] | None:
        """The ids that `special` puts before and after every text; None if that is not known."""
        ...

    def encode(self, texts: Sequence[str], *, special: bool) -> list[list[int]]:
        """Token ids of each text; `special` adds what the tokenizer's default call adds.

        Raises LongWordError, as the other methods.
        """
        ...

    def encode_from(self, texts: Sequence[str], *, special: bool, first: int) -> list[Encoded]:
        """The same with the characters that the ids from position `first` on stand for."""
        ...

    def offsets(self, text: str, *, special: bool) -> list[tuple[int, int]]:
        """The characters [start, stop) of `text` that each token stands for."""
        ...


class TokenCache:
    """Token ids by text. Texts are tokenised in batches ahead of time, and each only once.

    A text with what the tokenizer adds to every text is not tokenised again if that is known.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._added = tokenizer.added_ids
        self._n_before = len(self._added[0]) if self._added else 0
        self._known: dict[tuple[str, bool], list[int]] = {}
        self._covered: dict[tuple[str, bool], tuple[int, int, int]] = {}
        """Text → a position among its ids, and the characters that the ids from there stand for."""

    def prime(self, texts: Iterable[str], *, special: bool, first: int | None = None) -> None:
        """Tokenise texts in one call.

        With `first`, `n_bytes` of the ids from there to the last will need no further call.
        """
        special = special and self._added is None
        done: Container[tuple[str, bool]] = self._known if first is None else self._covered
        new = [text for text in dict.fromkeys(texts) if (text, special) not in done]
        if new and first is None:
            ids = self._tokenizer.encode(new, special=special)
            self._known.update(zip(((text, special) for text in new), ids, strict=True))
        elif new and first is not None:
            first = max(0, first - self._n_before)
            found = self._tokenizer.encode_from(new, special=special, first=first)
            for text, one in zip(new, found, strict=True):
                self._known[text, special] = one.ids
                self._covered[text, special] = (first, one.begin, one.end)

    def __call__(self, text: str, *, special: bool) -> list[int]:
        """The ids of one text, tokenised now if it was not primed."""
        key = (text, special and self._added is None)
        if key not in self._known:
            self.prime([text], special=special)
        if special and self._added is not None:
            before, after = self._added
            return [*before, *self._known[key], *after]
        return self._known[key]

    def n_bytes(self, text: str, first: int, stop: int, *, special: bool) -> int:
        """Number of UTF-8 bytes of a text that its ids[first:stop] stand for."""
        ids = self(text, special=special)
        if first == 0 and stop == len(ids):
            return len(text.encode())
        if first >= stop:
            return 0
        is_added = special and self._added is not None
        position, begin, end = self._covered.get((text, special and not is_added), (-1, 0, 0))
        shift = self._n_before if is_added else 0
        ends_text = stop == len(ids) and not (is_added and self._added and self._added[1])
        if position != first - shift or not ends_text:
            # From the end of the token before, because some tokenizers leave spaces out of offsets.
            begin, end = self.ends(text, [first, stop], special=special)
        return len(text[begin:end].encode())

    def ends(self, text: str, counts: Sequence[int], *, special: bool) -> list[int]:
        """The character up to which the first ids of a text stand for it, for each count of ids.

        Of a long text only the beginning is tokenised with its places, if that gives the same ids.
        """
        last = max(counts)
        head = text[: _CHARS_PER_ID * last + _MIN_HEAD_CHARS]
        if len(head) < len(text):
            (ids,) = self._tokenizer.encode([head], special=special)
            if ids[: last + _AGREED] != self(text, special=special)[: last + _AGREED]:
                head = text
        offsets = self._tokenizer.offsets(head, special=special)
        return [offsets[n - 1][1] if n > 0 else 0 for n in counts]
