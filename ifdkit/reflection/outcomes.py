"""Types of a reflection: the call to the oracle, and the answer parsed from its reply."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ifdkit.oracle.calls import OracleCall


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


@dataclass(frozen=True, kw_only=True)
class Call(OracleCall):
    """One question to the oracle, made by `Prompts.call`."""

    stage: Stage
    original: str
    """The text to be improved."""

    @property
    def text_field(self) -> str:
        """Name of the rewritten text in a JSON reply: `better_instruction` or `better_response`."""
        return f"better_{self.stage}"

    @property
    def reply_fields(self) -> tuple[str, ...]:
        """The criticism, and the rewritten text."""
        return "criticism", self.text_field


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
