"""What goes over the wire to the oracle and comes back, as bytes and as nouns."""

from __future__ import annotations

import json
import os
from typing import Any

from ifdkit.errors import UsageError
from ifdkit.reflection.outcomes import Call, Form, Reply

_LONGEST_QUOTE = 200
_PASSES = {408, 409, 425}
_NO_KEY = "none"
"""Sent to servers that want no key, since the SDK wants one."""


class Fault(Exception):  # noqa: N818  what went wrong with one attempt, for the oracle alone
    """One attempt gave no reply. `reason` is one line without secrets."""

    def __init__(
        self,
        reason: str,
        *,
        status: int | None = None,
        code: str | None = None,
        wait_s: float | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        """HTTP status, where there was one."""
        self.code = code
        """The server's own word for it, such as `insufficient_quota`."""
        self.wait_s = wait_s
        """How long the server asks us to stay away."""

    @property
    def is_busy(self) -> bool:
        """Whether the server asks all of us to slow down."""
        return self.status == 429

    @property
    def may_pass(self) -> bool:
        """Whether the same attempt may succeed later."""
        return self.status is None or self.is_busy or self.status in _PASSES or self.status >= 500


class Key:
    """An API key that shows itself to the SDK alone: it is in no repr and no message."""

    def __init__(self, variable: str | None, *, is_needed: bool) -> None:
        """Read it from the environment variable; UsageError where it is needed and not there."""
        self.__value = os.environ.get(variable, "").strip() if variable else ""
        if not self.__value and is_needed:
            raise UsageError(
                f"the oracle needs a key: set it in the variable {variable}, or name another"
                " variable with --api-key-env"
            )
        # Anything else would break the header, in an error that quotes it.
        if not (self.__value.isascii() and self.__value.isprintable()):
            raise UsageError(f"the key in {variable} is not one line of plain ASCII")

    @property
    def value(self) -> str:
        """The key itself, or a stand-in for none."""
        return self.__value or _NO_KEY

    def hidden(self, text: str) -> str:
        """One line of a foreign text, cut short, without the key in it."""
        if self.__value:
            text = text.replace(self.__value, "[key]")
        line = " ".join(text.split())
        return line if len(line) <= _LONGEST_QUOTE else line[: _LONGEST_QUOTE - 1] + "…"

    def __repr__(self) -> str:
        return "Key([key])"


def body_of(call: Call, form: Form, limit_name: str) -> dict[str, Any]:
    """The arguments of a chat completion that asks for the reply in this form."""
    sampling = call.sampling
    body: dict[str, Any] = {
        "model": call.model,
        "messages": call.messages(form),
        limit_name: sampling.max_tokens,
    }
    drawn = {"temperature": sampling.temperature, "top_p": sampling.top_p, "seed": sampling.seed}
    body |= {name: value for name, value in drawn.items() if value is not None}
    if form is Form.SCHEMA:
        schema = {"name": call.text_field, "strict": True, "schema": call.schema}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif form is Form.OBJECT:
        body["response_format"] = {"type": "json_object"}
    return body


def reply_of(content: bytes) -> Reply:
    """The reply in the body of a response with a status of 200. Raises Fault for a broken one."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        raise Fault("the server's answer is no whole JSON") from None
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise Fault("the server's answer holds no choice")
    message = choices[0].get("message")
    if not isinstance(message, dict):
        raise Fault("the server's answer holds no message")
    usage = body.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    return Reply(
        text=_text(message.get("content")),
        finish_reason=_word(choices[0].get("finish_reason")),
        refusal=_word(message.get("refusal")),
        prompt_tokens=_count(counts.get("prompt_tokens")),
        completion_tokens=_count(counts.get("completion_tokens")),
    )


def _text(content: Any) -> str:
    """A message's content: a text, or a list of parts of which some are texts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return "".join(text for text in texts if isinstance(text, str))


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
