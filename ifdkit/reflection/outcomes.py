"""Types of a reflection: the call to the oracle, its reply, and the answer parsed from it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any


class Stage(StrEnum):
    """Which half of an example the oracle rewrites."""

    INSTRUCTION = "instruction"
    RESPONSE = "response"


class Outcome(StrEnum):
    """Result of one call. Only `rewritten` gives a new text; otherwise the original stays."""

    REWRITTEN = "rewritten"
    KEPT = "kept"
    """The oracle returned the text unchanged."""
    REFUSED = "refused"
    UNPARSED = "unparsed"
    """Empty, in no known form, or a copy of the prompt."""
    TRUNCATED = "truncated"
    """Cut off by the limit on completion tokens."""
    FAILED = "failed"
    """No reply, because of the network, the server or the user's cap. Asked again next time."""


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


@dataclass(frozen=True)
class Call:
    """One question to the oracle, made by `Prompts.call`.

    The names and values of all fields make the key, so calls with equal keys have equal answers,
    and renaming a field would orphan every journal.
    """

    stage: Stage
    system: str
    user: str
    """The task and the dataset's text between delimiters, without the form of the reply."""
    reply_json: str
    """End of the user message if JSON is asked for."""
    reply_sections: str
    """End of the user message if sections are asked for."""
    fence: str
    """Token in this call's delimiters; does not occur in the dataset's text."""
    original: str
    """The text to be improved."""
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
    def text_field(self) -> str:
        """Name of the rewritten text in a JSON reply: `better_instruction` or `better_response`."""
        return f"better_{self.stage}"

    @property
    def schema(self) -> dict[str, Any]:
        """JSON schema of the reply, in the subset that every server's strict mode accepts."""
        names = ["criticism", self.text_field]
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


@dataclass(frozen=True, slots=True)
class Answer:
    """A parsed reply. `text` is the rewritten text if the outcome is `rewritten`, else None."""

    outcome: Outcome
    reason: str | None = None
    """One sentence for every outcome but `rewritten`."""
    criticism: str | None = None
    text: str | None = None
    notes: tuple[str, ...] = ()
    """What was removed or looks odd, one sentence each."""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
