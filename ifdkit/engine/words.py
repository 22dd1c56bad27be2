"""Token ids of texts word by word, from a table of the words that were seen before.

A byte-level BPE tokenizer splits a text into words by a regular expression and encodes each word on
its own.  Most words of a dataset are ones that it saw before.  Looking them up takes a sixth of the
CPU time of the Rust library, which encodes every word anew.

This is exact for the ways of splitting in `_SPLITS`, and for texts of ASCII, Western European
letters and common punctuation: there, every version of Unicode agrees on what a letter, a digit and
a space is.  All other texts and tokenizers are left to the library.
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Sequence
from itertools import chain
from typing import Any, cast

from ifdkit.prompting.tokens import Encoded

log = logging.getLogger(__name__)

MAX_WORDS = 2**17
"""Words in the table, which then takes some 30 MB. A full table is emptied."""
_MAX_ADDED = 1000
"""Tokens beside the vocabulary: a text is searched for each of them."""
MAX_WORD_CHARS = 64
"""Longer words, such as lines of dashes or base64, are not kept."""

_GPT2 = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
_BYTES = {**_GPT2, "use_regex": False}
_DIGITS = {"type": "Digits", "individual_digits": True}


def _split(regex: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}


def _sequence(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": list(parts)}


_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LETTERS = "A-Za-zÀ-ÖØ-öø-ÿ"
_SPLITS: tuple[tuple[dict[str, Any], str], ...] = (
    (_GPT2, r"'(?:[sdmt]|ll|ve|re)| ?[L]+| ?[0-9]+| ?[^\sL0-9]+|\s+(?!\S)|\s+"),
    # SmolLM2: a digit ends the text for the second splitting.
    (
        _sequence(_DIGITS, _GPT2),
        r"'(?:[sdmt]|ll|ve|re)| ?[L]+|[0-9]| ?[^\sL0-9]+|\s+(?![^\s0-9])|\s+",
    ),
    *(  # Llama 3; Qwen 2 and 3
        (
            _sequence(_split(_LLAMA3 % digits), _BYTES),
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\nL0-9]?[L]+|[0-9]DIGITS"
            r"| ?[^\sL0-9]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+".replace("DIGITS", digits),
        )
        for digits in ("{1,3}", "")
    ),
)
"""What splits texts, as the tokenizer's JSON says it → the same for texts without `_OTHER`.
L stands for the letters."""
_NORMALIZERS = {None, "NFC"}
"""Those that change no character of these texts."""
_OTHER = re.compile(f"[^\\t\\n\\r -~{_LETTERS}‘’“”–—…•€£°×÷]")
_PROBE = (
    "It's  'Tis WE'LL don't\n\n\tif (x1 == 1234567):\r\n   return [a_b, \"c\"]  # 3.14 ...\n \n"
    "  --- 50% <b>!</b>  12 ab12cd  x\n“Ça va”–été’s… £5\n"
)


class Words:
    """The words that a tokenizer has encoded so far."""

    def __init__(self, tokenizer: Any, pattern: str) -> None:
        """`tokenizer` is a `tokenizers.Tokenizer`; `of` says which are possible."""
        self._tokenizer = tokenizer
        self._split = re.compile(pattern.replace("L", _LETTERS)).findall
        added = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
        self._has_added = re.compile("|".join(map(re.escape, added)) if added else r"(?!)").search
        self._lock = threading.Lock()
        self._ids: dict[str, tuple[int, ...]] = {}
        self._lengths: dict[int, int | None] = {}

    @classmethod
    def of(cls, tokenizer: Any) -> Words | None:
        """A table for this tokenizer; None if it does more than encode words one by one."""
        pattern = _pattern(tokenizer)
        if pattern is None:
            return None
        found = cls(tokenizer, pattern)
        (ids,) = found.encode([_PROBE])
        if ids is not None and ids != tokenizer.encode(_PROBE, add_special_tokens=False).ids:
            log.warning("texts are tokenised as a whole: word by word gives other ids")
            return None
        return found

    def encode(self, texts: Sequence[str]) -> list[list[int] | None]:
        """Ids of each text, without special ones; None for a text that is left to the library."""
        split = [self._words(text) for text in texts]
        with self._lock:
            if len(self._ids) > MAX_WORDS:
                self._ids.clear()
            known = self._ids
            new = list({word for words in split if words for word in words if word not in known})
            encoded = self._tokenizer.encode_batch_fast(new, add_special_tokens=False)
            known.update((word, tuple(one.ids)) for word, one in zip(new, encoded, strict=True))
            found = [
                None if words is None else list(chain.from_iterable(map(known.__getitem__, words)))
                for words in split
            ]
            for word in new:
                if len(word) > MAX_WORD_CHARS:
                    del known[word]
        return found

    def encode_from(self, texts: Sequence[str], first: int) -> list[Encoded | None]:
        """The same with the characters that the ids from position `first` on stand for."""
        return [
            None if ids is None else self._located(text, ids, first)
            for text, ids in zip(texts, self.encode(texts), strict=True)
        ]

    def _words(self, text: str) -> list[str] | None:
        """The words of a text; None if it has to be encoded as a whole."""
        if _OTHER.search(text) or self._has_added(text):
            return None
        return cast(list[str], self._split(text))

    def _located(self, text: str, ids: list[int], first: int) -> Encoded | None:
        lengths = [self._length(one) for one in (*ids[:first], *ids[-1:])]
        if None in lengths:
            return None
        begin = sum(n or 0 for n in lengths[:first]) if first <= len(ids) else 0
        if begin and not text.isascii():
            try:
                begin = len(text.encode()[:begin].decode())
            except UnicodeDecodeError:  # a character of several tokens
                return None
        return Encoded(ids, begin, len(text))

    def _length(self, token: int) -> int | None:
        """Bytes of a token; None if it ends with a space, which offsets may leave out.

        In the vocabulary each byte is a character, and a space is Ġ.
        """
        if token not in self._lengths:
            written = self._tokenizer.id_to_token(token)
            self._lengths[token] = None if written.endswith("Ġ") else len(written)
        return self._lengths[token]


def _pattern(tokenizer: Any) -> str | None:
    """The regular expression that splits ASCII texts as this tokenizer does; None if unknown."""
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel

    if not isinstance(tokenizer.model, BPE) or tokenizer.model.dropout:
        return None
    if len(tokenizer.get_added_tokens_decoder()) > _MAX_ADDED:
        return None
    characters = "".join(one for one in map(chr, range(0x2100)) if not _OTHER.match(one))
    split_bytes = ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str
    if any(tokenizer.token_to_id(byte) is None for byte in set(split_bytes(characters)[0][0])):
        return None  # a byte could become an unknown token, or nothing
    try:
        normalizer, splitter = (
            None if part is None else json.loads(part.__getstate__())
            for part in (tokenizer.normalizer, tokenizer.pre_tokenizer)
        )
    except Exception as error:  # a part written in Python has no JSON
        log.info("texts are tokenised as a whole: %s", error)
        return None
    if (normalizer or {}).get("type") not in _NORMALIZERS:
        return None
    return next((pattern for known, pattern in _SPLITS if known == splitter), None)
