"""Token ids of texts: the interface of a tokenizer, and a cache in front of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol


class Tokenizer(Protocol):
    """The part of a tokenizer that alignment needs."""

    @property
    def anchor_id(self) -> int | None:
        """The token before the first scored token of a direct pass: BOS, else EOS, else None."""
        ...

    def encode(self, texts: Sequence[str], *, special: bool) -> list[list[int]]:
        """Token ids of each text; `special` adds what the tokenizer's default call adds."""
        ...

    def offsets(self, text: str, *, special: bool) -> list[tuple[int, int]]:
        """The characters [start, stop) of `text` that each token stands for."""
        ...


class TokenCache:
    """Token ids by text. Texts are tokenised in batches ahead of time, and each only once."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._known: dict[tuple[str, bool], list[int]] = {}

    def prime(self, texts: Iterable[str], *, special: bool) -> None:
        """Tokenise texts in one call."""
        new = [text for text in dict.fromkeys(texts) if (text, special) not in self._known]
        if new:
            ids = self._tokenizer.encode(new, special=special)
            self._known.update(zip(((text, special) for text in new), ids, strict=True))

    def __call__(self, text: str, *, special: bool) -> list[int]:
        """The ids of one text, tokenised now if it was not primed."""
        self.prime([text], special=special)
        return self._known[text, special]
