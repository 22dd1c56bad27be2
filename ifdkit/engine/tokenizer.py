"""A model's own tokenizer, with the interface that alignment needs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, cast

import jinja2

from ifdkit.engine.models import Weights
from ifdkit.engine.quiet import quiet_libraries
from ifdkit.errors import ModelError, UsageError, brief
from ifdkit.records import Turn


class HuggingFaceTokenizer:
    """The fast tokenizer saved with the weights (see `ifdkit.prompting.tokens.Tokenizer`)."""

    def __init__(self, weights: Weights, *, trust_remote_code: bool = False) -> None:
        """Load it. Raises ModelError if it does not load, or has no character offsets."""
        from transformers import AutoTokenizer

        self._name = weights.name
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

    @property
    def chat_source(self) -> str:
        """The source of the chat template. Raises UsageError if the tokenizer has none."""
        source = self._tokenizer.chat_template
        if not isinstance(source, str):
            raise UsageError(f"model {self._name} has no chat template: choose another --template")
        return source

    def render_chat(self, turns: Sequence[Turn], tools: str) -> str:
        """The prompt for the assistant's next turn, by the model's own chat template.

        Raises jinja2.TemplateError if the template does not support these turns.
        """
        messages = [
            {
                "role": turn.role,
                "content": f"{turn.text}\n{turn.input}" if turn.input else turn.text,
            }
            for turn in turns
        ]
        try:
            return cast(
                str,
                self._tokenizer.apply_chat_template(
                    messages,
                    tools=_tool_list(tools),
                    tokenize=False,
                    add_generation_prompt=True,
                ),
            )
        except (ValueError, TypeError, KeyError) as error:
            raise jinja2.TemplateError(str(error)) from error

    @property
    def fingerprint(self) -> str:
        """Hex digest of everything that decides which ids a text becomes."""
        digest = hashlib.sha256(self._tokenizer.backend_tokenizer.to_str().encode())
        special = [self._tokenizer.bos_token_id, self._tokenizer.eos_token_id]
        digest.update(json.dumps(special).encode())
        return digest.hexdigest()


def _tool_list(tools: str) -> list[Any] | None:
    """Tools as the list that chat templates expect; None if the text is not a JSON list."""
    try:
        parsed = json.loads(tools) if tools else None
    except ValueError:
        return None
    return parsed if isinstance(parsed, list) and parsed else None
