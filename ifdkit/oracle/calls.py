"""A call to an oracle and its reply, whatever is asked."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, Protocol


class Form(StrEnum):
    """Form in which the oracle is asked to reply, strictest first."""

    SCHEMA = "json_schema"
    """The server enforces a JSON schema."""
    OBJECT = "json_object"
    """The server enforces JSON."""
    PLAIN = "plain_json"
    """The prompt asks for JSON."""
    SECTIONS = "sections"
    """The prompt asks for text between marks."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Sampling parameters of the oracle."""

    temperature: float | None = 0.0
    """0 is greedy; None leaves it to the server."""
    top_p: float | None = None
    max_tokens: int = 2048
    """Maximum completion tokens per call, reasoning included."""
    seed: int | None = 0
    """None leaves it to the server."""


@dataclass(frozen=True, kw_only=True)
class OracleCall:
    """One question to the oracle; a verb adds what its questions are about.

    The names and values of all fields, also those of a subclass, make the key, so calls with equal
    keys have equal answers, and renaming a field would orphan every journal.
    """

    system: str
    user: str
    """The task and the dataset's text between delimiters, without the form of the reply."""
    reply_json: str
    """End of the user message if JSON is asked for."""
    reply_sections: str
    """End of the user message if sections are asked for."""
    fence: str
    """Token in this call's delimiters; does not occur in the dataset's text."""
    prompt_version: str
    model: str
    """Model name on the server."""
    endpoint: str = ""
    """Distinguishes oracles of the same name: the server's host, or the source of local weights."""
    sampling: Sampling = Sampling()

    @cached_property
    def key(self) -> str:
        """SHA-256, in hex, of everything that determines the answer: the key in the journal."""
        # ASCII throughout, so that every text can be encoded.
        content = json.dumps([_KEY_VERSION, asdict(self)], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    @property
    def reply_fields(self) -> tuple[str, ...]:
        """Names of the strings of a reply. The last is required and names the JSON schema."""
        raise NotImplementedError

    @property
    def schema(self) -> dict[str, Any]:
        """JSON schema of the reply, in the subset that every server's strict mode accepts."""
        names = list(self.reply_fields)
        return {
            "type": "object",
            "properties": {name: {"type": "string"} for name in names},
            "required": names,
            "additionalProperties": False,
        }

    def messages(self, form: Form) -> list[dict[str, str]]:
        """The messages that ask for a reply in this form."""
        ending = self.reply_sections if form is Form.SECTIONS else self.reply_json
        return [
            {"role": "system", "content": self.system},
            {"role": "user", "content": f"{self.user}\n\n{ending}"},
        ]

    @property
    def max_prompt_tokens(self) -> int:
        """Upper bound on the prompt's tokens under any byte-level tokenizer: one per byte.

        Caps use it, because a cap based on an estimate could be exceeded.
        """
        return self._prompt_bytes + _CHAT_TEMPLATE_TOKENS

    @property
    def likely_prompt_tokens(self) -> int:
        """Rough number of prompt tokens, for an estimate shown to the user: one per four bytes."""
        return self._prompt_bytes // 4

    @cached_property
    def _prompt_bytes(self) -> int:
        """UTF-8 bytes of the longest form, with the schema: some servers show it to the model."""
        ending = max(self.reply_json + json.dumps(self.schema), self.reply_sections, key=len)
        return len((self.system + self.user + ending).encode(errors="replace"))


_KEY_VERSION = 1
_CHAT_TEMPLATE_TOKENS = 128
"""Tokens that a chat template adds to two messages, generously."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server returned for a call, or why it returned nothing."""

    text: str
    finish_reason: str | None = None
    """In the server's words, such as `stop` or `length`."""
    refusal: str | None = None
    """The server's refusal, if it sends one in a field of its own."""
    prompt_tokens: int | None = None
    """As counted by the server; None if it does not say."""
    completion_tokens: int | None = None
    failure: str | None = None
    """One line on why there is no reply. A failure is not recorded, so the call is asked again."""


class Probe(Protocol):
    """The question with which a server is asked which form of reply it supports."""

    def call(self, model: str, endpoint: str) -> OracleCall:
        """A question so simple that only the form of its answer matters."""
        ...

    def accepts(self, call: OracleCall, reply: Reply) -> bool:
        """Whether the reply has the form that was asked for."""
        ...
