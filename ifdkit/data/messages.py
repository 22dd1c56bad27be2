"""Conversations stored as a list of messages, in the formats that datasets use.

A role name is one entry of `ROLES`, a kind of content part one entry of `PART_TEXTS`, and a new
form of message one entry of `MESSAGE_FORMS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ifdkit.data.turns import BadContentError, RowTurn, TextPlace, json_text_of, kind_of, unpacked
from ifdkit.records import Role

_CALL_ROLES = ("function_call", "tool_call", "function-call")
ROLES: dict[str, Role] = {
    **dict.fromkeys(("system", "developer", "context"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(
        ("assistant", "gpt", "model", "bot", "ai", "chatgpt", "bing", "bard", "claude"),
        "assistant",
    ),
    # The assistant writes a call; the tool writes its result.
    **dict.fromkeys(_CALL_ROLES, "assistant"),
    **dict.fromkeys(
        ("tool", "function", "observation", "tool_response", "function_response", "ipython"),
        "tool",
    ),
}
"""Lower-case name → role."""
PART_TEXTS = {"text": "text"}
"""Type of a content part → the key of its text."""
_ROLE_KEYS = ("role", "from")
_TEXT_KEYS = ("content", "value")
_CALL_KEYS = ("tool_calls", "function_call")


@dataclass(frozen=True, slots=True)
class MessageForm:
    """One way of writing an entry of a conversation."""

    name: str
    matches: Callable[[Any], bool]
    walk: Callable[[Any, int, TextPlace], Iterator[RowTurn]]
    """From an entry, its position and its place to its turns. Raises BadContentError."""


def walk_messages(value: Any, column: str) -> list[RowTurn]:
    """The turns of a list of messages, which may be stored as JSON text.

    Raises BadContentError if it is not a list, is empty, or has an entry of no known form.
    """
    messages, is_json_text = unpacked(value, column)
    if not isinstance(messages, (list, tuple)):
        raise BadContentError(f"{column!r} must be a list of messages, not {kind_of(messages)}")
    if not messages:
        raise BadContentError(f"{column!r} is an empty conversation")
    place = TextPlace((column,), is_json_text)
    return [
        turn
        for number, message in enumerate(messages)
        for turn in walk_message(message, number, place.inside(number))
    ]


def walk_message(message: Any, number: int, place: TextPlace) -> Iterator[RowTurn]:
    """The turns of one entry. Raises BadContentError if it has no known form."""
    for form in MESSAGE_FORMS:
        if form.matches(message):
            return form.walk(message, number, place)
    raise BadContentError(f"message {number} is {kind_of(message)}, not an object")


def _is_round(message: Any) -> bool:
    return isinstance(message, Mapping) and all(
        isinstance(message.get(key), str) for key in ("human", "assistant")
    )


def _walk_round(message: Mapping[str, Any], _: int, place: TextPlace) -> Iterator[RowTurn]:
    """A question and its answer in one object, as ms-swift writes them."""
    for role, key in (("user", "human"), ("assistant", "assistant")):
        yield RowTurn(
            ROLES[role],
            message[key],
            place=place.inside(key),
            message=message,
            used=("human", "assistant"),
        )


def _walk_message(message: Mapping[str, Any], number: int, place: TextPlace) -> Iterator[RowTurn]:
    """A role and its content, as OpenAI and ShareGPT write them; their key names may be mixed."""
    role_key = _first_present(message, _ROLE_KEYS)
    if role_key is None:
        raise BadContentError(f"message {number} has neither 'role' nor 'from'")
    given = message[role_key]
    name = given.lower() if isinstance(given, str) else ""
    if (role := ROLES.get(name)) is None:
        raise BadContentError(f"message {number} has the unknown role {str(given)[:40]!r}")
    text_key = _first_present(message, _TEXT_KEYS)
    text, text_place = "", None
    if text_key is not None:
        text, text_place = _content(message[text_key], number, place.inside(text_key))
    # Where every message has every key, an empty `tool_calls` says nothing about `function_call`.
    call_key = next((key for key in _CALL_KEYS if message.get(key)), None)
    if call_key is not None:
        calls = json_text_of(message[call_key])
        text = f"{text}\n{calls}" if text else calls
    elif text_key is None and role != "assistant":
        raise BadContentError(f"message {number} has neither 'content' nor 'value'")
    has_call = call_key is not None or name in _CALL_ROLES
    yield RowTurn(
        role,
        text,
        place=None if has_call else text_place,
        message=message,
        used=[key for key in (role_key, text_key, call_key) if key is not None],
    )


def _first_present(message: Mapping[str, Any], keys: Sequence[str]) -> str | None:
    """The first key that is not null. Arrow gives every message every key, most of them null."""
    return next((key for key in keys if message.get(key) is not None), None)


def _content(content: Any, number: int, place: TextPlace) -> tuple[str, TextPlace | None]:
    """The text of a message and its place, which only a single text has."""
    if isinstance(content, str):
        return content, place
    if not isinstance(content, list):
        raise BadContentError(f"the content of message {number} is {kind_of(content)}, not text")
    texts = []
    text_place = None
    for position, part in enumerate(content):
        text, text_place = part, place.inside(position)
        if isinstance(part, Mapping):
            key = PART_TEXTS.get(str(part.get("type", "text")), "")
            text, text_place = part.get(key) if key else None, text_place.inside(key)
        if not isinstance(text, str):
            raise BadContentError(f"message {number} contains a part that is not text")
        texts.append(text)
    return "".join(texts), text_place if len(texts) == 1 else None


MESSAGE_FORMS = (
    MessageForm("round", _is_round, _walk_round),
    MessageForm("role and content", lambda entry: isinstance(entry, Mapping), _walk_message),
)
"""Tried in this order."""
