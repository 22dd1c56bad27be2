"""The nouns of a reflection: what is asked of the oracle, what comes back, what it is worth."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any


class Stage(StrEnum):
    """Which half of an example the oracle reflects on."""

    INSTRUCTION = "instruction"
    RESPONSE = "response"


class Outcome(StrEnum):
    """What became of one call. The original stands wherever it is not `rewritten`."""

    REWRITTEN = "rewritten"
    KEPT = "kept"
    """The oracle gave the text back as it was."""
    REFUSED = "refused"
    UNPARSED = "unparsed"
    """Empty, in no known form, or a copy of the prompt's own words."""
    TRUNCATED = "truncated"
    """Cut off by the limit on completion tokens."""
    FAILED = "failed"
    """No reply was had: the network, the server, or a cap of the user's. Asked again next time."""


class Form(StrEnum):
    """How the oracle is asked to write its answer, from the strictest on."""

    SCHEMA = "json_schema"
    """JSON that the server holds to a schema."""
    OBJECT = "json_object"
    """JSON that the server holds to be JSON."""
    PLAIN = "plain_json"
    """JSON because the prompt asks for it."""
    SECTIONS = "sections"
    """Text between marks."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the oracle draws its tokens."""

    temperature: float | None = 0.0
    """0 draws the most likely token; None leaves it to the server."""
    top_p: float | None = None
    max_tokens: int = 2048
    """Most completion tokens of one call, reasoning included."""
    seed: int | None = 0
    """None leaves it to the server."""


@dataclass(frozen=True)
class Call:
    """One question to the oracle. `Prompts.call` makes it; equal keys deserve equal answers."""

    stage: Stage
    system: str
    user: str
    """The task and the dataset's text between delimiters, without the form of the reply."""
    reply_json: str
    """The end of the user message where JSON is asked for."""
    reply_sections: str
    """The end of the user message where sections are asked for."""
    fence: str
    """The token in this call's delimiters; occurs in none of the dataset's text."""
    original: str
    """The text that is to be improved."""
    prompt_version: str
    model: str
    """The oracle's name, as the server knows it."""
    endpoint: str = ""
    """What else tells one oracle from another: the server's host, or a digest of its weights."""
    sampling: Sampling = Sampling()

    @cached_property
    def key(self) -> str:
        """SHA-256, in hex, of all that decides the answer: the call's key in the journal."""
        # ASCII throughout, so that no text can fail to encode.
        content = json.dumps([_KEY_VERSION, asdict(self)], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    @property
    def text_field(self) -> str:
        """Name of the rewritten text in a JSON reply: `better_instruction` or `better_response`."""
        return f"better_{self.stage}"

    @property
    def schema(self) -> dict[str, Any]:
        """JSON schema of the reply, in the subset that every server's strict mode takes."""
        names = ["criticism", self.text_field]
        return {
            "type": "object",
            "properties": {name: {"type": "string"} for name in names},
            "required": names,
            "additionalProperties": False,
        }

    def messages(self, form: Form) -> list[dict[str, str]]:
        """The messages as they are sent when the reply is asked for in this form."""
        ending = self.reply_sections if form is Form.SECTIONS else self.reply_json
        return [
            {"role": "system", "content": self.system},
            {"role": "user", "content": f"{self.user}\n\n{ending}"},
        ]

    @property
    def most_prompt_tokens(self) -> int:
        """A bound on the prompt's tokens under any byte-level tokenizer: one a byte, and a frame.

        Caps are kept by it, since a cap that rests on a guess can be passed.
        """
        return self._prompt_bytes + _FRAME_TOKENS

    @property
    def likely_prompt_tokens(self) -> int:
        """A guess at the prompt's tokens, for an estimate shown to a person: one in four bytes."""
        return self._prompt_bytes // 4

    @cached_property
    def _prompt_bytes(self) -> int:
        """UTF-8 bytes of the longest form, the schema included: some servers show it the model."""
        ending = max(self.reply_json + json.dumps(self.schema), self.reply_sections, key=len)
        return len((self.system + self.user + ending).encode(errors="replace"))


_KEY_VERSION = 1
_FRAME_TOKENS = 128
"""What a chat template puts around two messages, with room to spare."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back for a call: the server's words, or why there are none."""

    text: str
    finish_reason: str | None = None
    """The server's own word, such as `stop` or `length`."""
    refusal: str | None = None
    """The server's refusal, where it has a field for it."""
    prompt_tokens: int | None = None
    """As the server counts them; None where it does not say."""
    completion_tokens: int | None = None
    failure: str | None = None
    """One line on why nothing came back; such a reply is not recorded, and is asked again."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply understood. `text` is the rewritten text where the outcome is `rewritten`."""

    outcome: Outcome
    reason: str | None = None
    """One sentence for anything but `rewritten`."""
    criticism: str | None = None
    text: str | None = None
    """None wherever the original stands."""
    notes: tuple[str, ...] = ()
    """What was stripped or looks odd, a sentence each."""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
