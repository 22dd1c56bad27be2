"""A model's own tokenizer, with the interface that alignment needs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, cast

from ifdkit.engine.models import Weights
from ifdkit.engine.quiet import quiet_libraries
from ifdkit.errors import ModelError, brief


class HuggingFaceTokenizer:
    """The fast tokenizer saved with the weights (see `ifdkit.prompting.tokens.Tokenizer`)."""

    def __init__(self, weights: Weights, *, trust_remote_code: bool = False) -> None:
        """Load it. Raises ModelError if it does not load, or has no character offsets."""
        from transformers import AutoTokenizer

        try:
            with quiet_libraries():
                self._tokenizer: Any = AutoTokenizer.from_pretrained(
                    weights.tokenizer_folder, trust_remote_code=trust_remote_code
                )
        except Exception as error:  # each tokenizer class fails in its own way
            raise ModelError(
                f"model {weights.name}: its tokenizer does not load: {brief(error)}"
            ) from error
        if not self._tokenizer.is_fast:
            raise ModelError(f"model {weights.name}: its tokenizer has no character offsets")

    @property
    def anchor_id(self) -> int | None:
        """The id of BOS, else of EOS, else None."""
        bos, eos = self._tokenizer.bos_token_id, self._tokenizer.eos_token_id
        return cast("int | None", eos if bos is None else bos)

    def end_of_response(self, written: str) -> list[int]:
        """The ids that end a response: `written` up to its first special token, else EOS.

        `written` is what the template puts after a response.  Empty if there is no such token.
        """
        special = {i for i, token in self._tokenizer.added_tokens_decoder.items() if token.special}
        special.update(self._tokenizer.all_special_ids)
        (ids,) = self.encode([written], special=False)
        for place, token in enumerate(ids):
            if token in special:
                return ids[: place + 1]
        eos = self._tokenizer.eos_token_id
        return [] if eos is None else [int(eos)]

    @property
    def eos_id(self) -> int | None:
        """The id of EOS; None if the tokenizer has none."""
        return cast("int | None", self._tokenizer.eos_token_id)

    def encode(self, texts: Sequence[str], *, special: bool) -> list[list[int]]:
        """Token ids of each text, without truncation; `special` adds what the tokenizer adds."""
        if not texts:
            return []
        encoded = self._tokenizer(
            list(texts),
            add_special_tokens=special,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        return cast(list[list[int]], encoded["input_ids"])

    def offsets(self, text: str, *, special: bool) -> list[tuple[int, int]]:
        """The characters [start, stop) of the text that each token stands for."""
        encoded = self._tokenizer(
            text, add_special_tokens=special, return_offsets_mapping=True, verbose=False
        )
        return cast(list[tuple[int, int]], encoded["offset_mapping"])

    def decode(self, ids: Sequence[int]) -> list[str]:
        """The text of each id on its own; a part of a character becomes a replacement sign."""
        return [cast(str, self._tokenizer.decode([token])) for token in ids]

    def text(self, ids: Sequence[int]) -> str:
        """The text of consecutive ids, without special tokens."""
        return cast(str, self._tokenizer.decode(list(ids), skip_special_tokens=True))

    @property
    def vocabulary(self) -> int:
        """Number of tokens, added ones included."""
        return len(self._tokenizer)

    @property
    def chat_templates(self) -> dict[str, str]:
        """The sources of its chat templates by name, `default` if it is the only one."""
        found = self._tokenizer.chat_template
        if isinstance(found, str):
            return {"default": found}
        return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}

    @property
    def special_tokens(self) -> dict[str, str]:
        """The special tokens that chat templates may write, such as `bos_token`."""
        return {str(k): str(v) for k, v in self._tokenizer.special_tokens_map.items()}

    @property
    def fingerprint(self) -> str:
        """Hex digest of everything that decides which ids a text becomes."""
        digest = hashlib.sha256(self._tokenizer.backend_tokenizer.to_str().encode())
        special = [self._tokenizer.bos_token_id, self._tokenizer.eos_token_id]
        digest.update(json.dumps(special).encode())
        return digest.hexdigest()
