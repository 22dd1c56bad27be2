"""The HTTP side of a call: the request body, the response body and errors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ifdkit.oracle.calls import Form, OracleCall, Reply

if TYPE_CHECKING:
    import httpx2

_TRANSIENT_STATUSES = {408, 409, 425, 429}
MAX_REPLY_BYTES = 2**25
"""A longer body is not read to its end: it may have none, or be a small one that decompresses."""

_MAX_COUNT = 2**40


class Fault(Exception):  # noqa: N818  one failed attempt, handled by the oracle
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
        """HTTP status, if there was a response."""
        self.code = code
        """The server's error code, such as `insufficient_quota`."""
        self.wait_s = wait_s
        """Seconds to wait before the next attempt, if the server asks for it."""

    @property
    def is_busy(self) -> bool:
        """Whether the server asks to slow down, which concerns all calls."""
        return self.status == 429

    @property
    def is_transient(self) -> bool:
        """Whether the same attempt may succeed later."""
        return self.status is None or self.status in _TRANSIENT_STATUSES or self.status >= 500


def body_of(call: OracleCall, form: Form, limit_name: str) -> dict[str, Any]:
    """Arguments of a chat completion that asks for a reply in this form.

    `limit_name` is the server's parameter for the limit on completion tokens.
    """
    sampling = call.sampling
    body: dict[str, Any] = {
        "model": call.model,
        "messages": call.messages(form),
        limit_name: sampling.max_tokens,
    }
    given = {"temperature": sampling.temperature, "top_p": sampling.top_p, "seed": sampling.seed}
    body |= {name: value for name, value in given.items() if value is not None}
    if form is Form.SCHEMA:
        schema = {"name": call.reply_fields[-1], "strict": True, "schema": call.schema}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif form is Form.OBJECT:
        body["response_format"] = {"type": "json_object"}
    return body


async def read_body(response: httpx2.Response) -> None:
    """Read the body of a response, of any status. Raises Fault if it is too long."""
    parts, n_bytes = [], 0
    async for part in response.aiter_bytes():
        n_bytes += len(part)
        if n_bytes > MAX_REPLY_BYTES:
            raise Fault(f"the server's response is longer than {MAX_REPLY_BYTES:,} bytes")
        parts.append(part)
    response._content = b"".join(parts)  # as `aread` does, which then returns it


def reply_of(content: bytes) -> Reply:
    """The reply in the body of a response with status 200. Raises Fault if it is malformed."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        raise Fault("the server's response is not complete JSON") from None
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise Fault("the server's response contains no choice")
    message = choices[0].get("message")
    if not isinstance(message, dict):
        raise Fault("the server's response contains no message")
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
    """The content of a message: a string, or a list of parts some of which are text."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return "".join(text for text in texts if isinstance(text, str))


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _count(value: Any) -> int | None:
    """A number of tokens, if it can be one: cost and journal have room for 64 bits."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and 0 <= value <= _MAX_COUNT else None
