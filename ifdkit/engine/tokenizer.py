"""A model's own tokenizer, with the interface that alignment needs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import cached_property, partial, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from ifdkit.engine.models import Weights
from ifdkit.engine.panics import without_panic
from ifdkit.engine.pieces import LONG_CHARS, Located, check_whole, encode_in_pieces, encode_whole
from ifdkit.engine.quiet import quiet_libraries
from ifdkit.engine.tokenizer_facts import TokenizerFacts, keep, recall
from ifdkit.engine.untrusted import check_tokenizer
from ifdkit.engine.words import Words
from ifdkit.errors import ModelError, brief
from ifdkit.prompting.tokens import Encoded

_P = ParamSpec("_P")
_R = TypeVar("_R")
_MAY_PANIC = ('"Regex"', '"Precompiled"')
"""Parts of a tokenizer's JSON that the library does not check when it loads them."""


def _encoding(
    method: Callable[Concatenate[HuggingFaceTokenizer, _P], _R],
) -> Callable[Concatenate[HuggingFaceTokenizer, _P], _R]:
    """The method, with ModelError where Rust panics in it."""

    @wraps(method)
    def called(self: HuggingFaceTokenizer, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        with without_panic(is_quiet=self._may_panic):
            return method(self, *args, **kwargs)

    return called


class HuggingFaceTokenizer:
    """The fast tokenizer saved with the weights (see `ifdkit.prompting.tokens.Tokenizer`)."""

    def __init__(
        self,
        weights: Weights,
        *,
        trust_remote_code: bool = False,
        digest: str | None = None,
    ) -> None:
        """Load it. Raises ModelError if it does not load, or has no character offsets.

        With the `digest` of all that it is loaded from, `Weights.tokenizer_fingerprint`, it is kept
        in the cache, and loads without transformers and torch the next time.
        """
        self._weights = weights
        self._trust_remote_code = trust_remote_code
        self._digest = digest
        self._rust: Any = None
        facts = None
        if digest is not None and not trust_remote_code:
            facts = self._kept(digest)
        if facts is None:
            self._rust = self._rust_tokenizer()
            with without_panic():
                facts = TokenizerFacts.of(self._tokenizer, self._rust)
            if digest is not None and not trust_remote_code:
                keep(digest, facts)
        self._facts = facts
        with without_panic():
            self._words = None if self._rust is None else Words.of(self._rust)
        # The regexes that `Words` knows are harmless, and most models have one of them.
        self._may_panic = self._words is None and (
            facts.backend is None or any(one in facts.backend for one in _MAY_PANIC)
        )
        self.anchor_id: int | None = facts.eos_id if facts.bos_id is None else facts.bos_id
        """The id of BOS, else of EOS, else None."""
        self.added_ids = self._added_ids()
        """The ids that `special` puts before and after every text; None if that is not known."""

    def __reduce__(self) -> tuple[Any, ...]:
        """It is loaded again in another process."""
        trust, digest = self._trust_remote_code, self._digest
        opened = partial(HuggingFaceTokenizer, trust_remote_code=trust, digest=digest)
        return opened, (self._weights,)

    def _kept(self, digest: str) -> TokenizerFacts | None:
        """The facts in the cache, with the tokenizer opened; None if that does not work."""
        if (facts := recall(digest)) is None:
            return None
        try:
            with without_panic():
                self._rust = facts.open_backend()
        except (ValueError, ModelError):
            return None
        return facts

    @cached_property
    def _tokenizer(self) -> Any:
        """transformers' own tokenizer, loaded at first use. Raises ModelError."""
        from transformers import AutoTokenizer

        name = self._weights.name
        check_tokenizer(name, self._weights.tokenizer_folder)
        try:
            with quiet_libraries(), without_panic():
                found: Any = AutoTokenizer.from_pretrained(
                    self._weights.tokenizer_folder, trust_remote_code=self._trust_remote_code
                )
        except ModelError as error:
            raise ModelError(f"model {name}: {error}") from error
        except Exception as error:  # each tokenizer class fails in its own way
            what = f"model {name}: its tokenizer does not load: {brief(error)}"
            raise ModelError(what) from error
        if not found.is_fast:
            raise ModelError(f"model {name}: its tokenizer has no character offsets")
        return found

    def _rust_tokenizer(self) -> Any:
        """The tokenizer behind it, if a call does nothing but that; else None.

        transformers makes several Python objects of each text, which takes as long as the text.
        """
        from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

        kind = type(self._tokenizer)
        if (
            kind.__call__ is not PreTrainedTokenizerBase.__call__
            or kind._encode_plus is not PreTrainedTokenizerFast._encode_plus
            or hasattr(kind, "_switch_to_input_mode")
        ):
            return None
        try:
            # Turns truncation and padding off, which a tokenizer.json can turn on.
            with without_panic():
                self._tokenizer("")
        except Exception as error:  # settings of a wrong type
            what = f"model {self._weights.name}: its tokenizer does not work: {brief(error)}"
            raise ModelError(what) from error
        return self._tokenizer.backend_tokenizer

    def _added_ids(self) -> tuple[list[int], list[int]] | None:
        """What is added to every text, as one text shows: no post-processor looks at the text."""
        if self._rust is None:
            return None
        (bare,), (whole,) = (self.encode(["a"], special=special) for special in (False, True))
        (empty,) = self.encode([""], special=True)
        for begin in range(len(whole) - len(bare) + 1):
            before, after = whole[:begin], whole[begin + len(bare) :]
            if bare and whole[begin : begin + len(bare)] == bare and before + after == empty:
                return before, after
        return None

    def end_of_response(self, written: str) -> list[int]:
        """The ids that end a response: `written` up to its first special token, else EOS.

        `written` is what the template puts after a response.  Empty if there is no such token.
        """
        special = self._facts.special_ids
        (ids,) = self.encode([written], special=False)
        for place, token in enumerate(ids):
            if token in special:
                return ids[: place + 1]
        return [] if self.eos_id is None else [self.eos_id]

    @property
    def eos_id(self) -> int | None:
        """The id of EOS; None if the tokenizer has none."""
        return self._facts.eos_id

    @_encoding
    def encode(self, texts: Sequence[str], *, special: bool) -> list[list[int]]:
        """Token ids of each text, without truncation; `special` adds what the tokenizer adds."""
        if not texts:
            return []
        if self._rust is not None:
            long = {text: self._encode_long(text, special=special) for text in texts
                    if len(text) > LONG_CHARS}  # fmt: skip
            short = [text for text in texts if len(text) <= LONG_CHARS]
            found = iter(self._encode_short(short, special=special))
            return [long[text].ids if text in long else next(found) for text in texts]
        for text in texts:
            check_whole(text)
        encoded = self._tokenizer(
            list(texts),
            add_special_tokens=special,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        return cast(list[list[int]], encoded["input_ids"])

    @_encoding
    def encode_from(self, texts: Sequence[str], *, special: bool, first: int) -> list[Encoded]:
        """The same with the characters that the ids from position `first` on stand for."""
        if self._rust is None:
            ids = self.encode(texts, special=special)
            offsets = [self.offsets(text, special=special) for text in texts]
            return [
                Encoded(one, places[first - 1][1] if 0 < first <= len(one) else 0,
                        places[-1][1] if places else 0)
                for one, places in zip(ids, offsets, strict=True)
            ]  # fmt: skip
        long = {text: self._encode_long(text, special=special, first=first) for text in texts
                if len(text) > LONG_CHARS}  # fmt: skip
        short = [text for text in texts if len(text) <= LONG_CHARS]
        located: list[Encoded | None] = [None] * len(short)
        if self._words is not None and not special:
            located = self._words.encode_from(short, first)
        rest = [text for text, one in zip(short, located, strict=True) if one is None]
        encoded = iter(self._rust.encode_batch(rest, add_special_tokens=special))
        found = iter([_encoded(next(encoded), first) if one is None else one for one in located])
        return [long[text] if text in long else next(found) for text in texts]

    def _encode_short(self, texts: Sequence[str], *, special: bool) -> list[list[int]]:
        """As `encode`, word by word where that is possible, else in all threads."""
        ids: list[list[int] | None] = [None] * len(texts)
        if self._words is not None and not special:
            ids = self._words.encode(texts)
        rest = [text for text, one in zip(texts, ids, strict=True) if one is None]
        encoded = iter(self._rust.encode_batch_fast(rest, add_special_tokens=special))
        return [next(encoded).ids if one is None else one for one in ids]

    def _encode_long(self, text: str, *, special: bool, first: int = 0) -> Encoded:
        """As `encode_from`, piece by piece."""
        if special and self.added_ids is None:
            check_whole(text)
            return _encoded(self._rust.encode(text, add_special_tokens=True), first)
        ids, _, ends = self._located(text)
        before, after = self.added_ids if special and self.added_ids else ([], [])
        place = first - 1 - len(before)
        begin = int(ends[place]) if 0 <= place < len(ends) else 0
        end = int(ends[-1]) if len(ends) and not after else 0
        return Encoded([*before, *ids, *after], begin, end)

    def _located(self, text: str) -> Located:
        """A long text in pieces: the tokenizer takes some 200 bytes per character."""
        made = encode_in_pieces(self._rust, text)
        # Without an agreed place, as in one word of many thousand characters, as a whole.
        return encode_whole(self._rust, text) if made is None else made

    @_encoding
    def offsets(self, text: str, *, special: bool) -> list[tuple[int, int]]:
        """The characters [start, stop) of the text that each token stands for."""
        if (
            self._rust is not None
            and len(text) > LONG_CHARS
            and (not special or self.added_ids is not None)
        ):
            _, starts, ends = self._located(text)
            before, after = self.added_ids if special and self.added_ids else ([], [])
            # What is added stands for no character.
            return (
                [(0, 0)] * len(before)
                + list(zip(starts, ends, strict=True))
                + [(0, 0)] * len(after)
            )
        check_whole(text)
        if self._rust is not None:
            return cast(
                list[tuple[int, int]], self._rust.encode(text, add_special_tokens=special).offsets
            )
        encoded = self._tokenizer(
            text, add_special_tokens=special, return_offsets_mapping=True, verbose=False
        )
        return cast(list[tuple[int, int]], encoded["offset_mapping"])

    @_encoding
    def decode(self, ids: Sequence[int]) -> list[str]:
        """The text of each id on its own; a part of a character becomes a replacement sign."""
        return [cast(str, self._tokenizer.decode([token])) for token in ids]

    @_encoding
    def text(self, ids: Sequence[int]) -> str:
        """The text of consecutive ids, without special tokens."""
        return cast(str, self._tokenizer.decode(list(ids), skip_special_tokens=True))

    @property
    def vocabulary(self) -> int:
        """Number of tokens, added ones included."""
        return self._facts.vocabulary

    @property
    def chat_templates(self) -> dict[str, str]:
        """The sources of its chat templates by name, `default` if it is the only one."""
        return self._facts.chat_templates

    @property
    def special_tokens(self) -> dict[str, str]:
        """The special tokens that chat templates may write, such as `bos_token`."""
        return self._facts.special_tokens

    @property
    def fingerprint(self) -> str:
        """Hex digest of everything that decides which ids a text becomes."""
        written = self._facts.backend
        if written is None:
            written = self._tokenizer.backend_tokenizer.to_str()
        digest = hashlib.sha256(written.encode())
        digest.update(json.dumps([self._facts.bos_id, self._facts.eos_id]).encode())
        return digest.hexdigest()


def _encoded(encoding: Any, first: int) -> Encoded:
    return Encoded(encoding.ids, _end(encoding, first - 1), _end(encoding, len(encoding) - 1))


def _end(encoding: Any, position: int) -> int:
    """The character at which the token at a position ends; 0 for one that stands for no text."""
    place = encoding.token_to_chars(position) if 0 <= position < len(encoding) else None
    return int(place[1]) if place else 0
