"""Conversations stored as a list of messages, in the formats that datasets use.

A role name is one entry of `ROLES`, a kind of content part one entry of the tables in
`content_parts`, and a new form of message one entry of `MESSAGE_FORMS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ifdkit.data.content_parts import Content, content_of
from ifdkit.data.marks import MASK, TRAINING_MARKS, mask_trains, training_marks, yes_or_no
from ifdkit.data.transcripts import is_transcript, walk_transcript
from ifdkit.data.turns import (
    BadContentError,
    RowObject,
    RowTurn,
    TextPlace,
    is_empty,
    json_text_of,
    kind_of,
    unpacked,
)
from ifdkit.records import Role

_CALL_ROLES = ("function_call", "function_calls", "tool_call", "tool_calls")
_TOOL_ROLES = (
    *("tool", "tools", "function", "observation", "environment", "ipython"),
    *("tool_response", "tool_responses", "tool_result", "tool_results", "tool_output"),
    *("function_response", "function_result", "function_output"),
)
ROLES: dict[str, Role] = {
    **dict.fromkeys(("system", "developer", "context"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(
        ("assistant", "gpt", "model", "bot", "ai", "chatgpt", "bing", "bard", "claude"),
        "assistant",
    ),
    # The assistant writes a call; the tool writes its result.
    **dict.fromkeys(_CALL_ROLES, "assistant"),
    **dict.fromkeys(_TOOL_ROLES, "tool"),
}
"""Name in lower case, with `_` between its words → role."""
ROLE_KEYS = ("role", "from", "speaker", "sender")
TEXT_KEYS = ("content", "value", "text")
_CALL_KEYS = ("tool_calls", "function_call", "function_calls")
_TOOL_KEYS = ("tools", "functions")
_REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")
_SPECIAL_KEYS = frozenset({*_CALL_KEYS, *_TOOL_KEYS, *_REASONING_KEYS, *TRAINING_MARKS})
_ROUND_KEYS = (
    *(("human", "assistant"), ("user", "assistant"), ("prompt", "response")),
    *(("question", "answer"), ("instruction", "output"), ("input", "output")),
)
"""The keys of a question and its answer in one object."""
_BETWEEN_WORDS = re.compile(r"[\s-]+")


def role_of(name: Any) -> Role | None:
    """The role that a name stands for, in any case and with any white space around it."""
    return ROLES.get(_role_name(name))


def _role_name(name: Any) -> str:
    if not isinstance(name, str):
        return ""
    # The name as it is first: this is done for every message.
    return name if name in ROLES else _BETWEEN_WORDS.sub("_", name.strip().lower())


@dataclass(frozen=True, slots=True)
class MessageForm:
    """One way of writing an entry of a conversation."""

    name: str
    matches: Callable[[Any], bool]
    walk: Callable[[Any, int, TextPlace], Iterator[RowTurn]]
    """From an entry, its position and its place to its turns. Raises BadContentError."""
    is_object: bool = True
    """False for entries without field names. In a column that may contain a plain list of texts
    too, such as that of a response, they are not read."""
    joins: bool = False
    """Whether neighbouring entries of one role are one turn."""


def walk_messages(value: Any, column: str, *, objects_only: bool = False) -> list[RowTurn]:
    """The turns of a list of messages, which may be stored as JSON text, or of a transcript.

    Raises BadContentError if it is not a list, is empty, or has an entry of no known form.
    """
    if not objects_only and is_transcript(value):
        return list(walk_transcript(value, TextPlace((column,))))
    messages, is_json_text = unpacked(value, column)
    if not isinstance(messages, (list, tuple)):
        raise BadContentError(f"{column!r} must be a list of messages, not {kind_of(messages)}")
    if not messages:
        raise BadContentError(f"{column!r} is an empty conversation")
    place = TextPlace((column,), is_json_text)
    forms = [_form_of(message, number, objects_only) for number, message in enumerate(messages)]
    turns = [
        turn
        for number, (form, message) in enumerate(zip(forms, messages, strict=True))
        for turn in form.walk(message, number, place.inside(number))
    ]
    if any(form.joins for form in forms):
        turns = _joined(turns)
    if any(isinstance(message, Mapping) and MASK in message for message in messages):
        turns = _with_masks(turns)
    return turns


def walk_message(message: Any, number: int, place: TextPlace) -> Iterator[RowTurn]:
    """The turns of one entry. Raises BadContentError if it has no known form."""
    return _form_of(message, number, objects_only=True).walk(message, number, place)


def _form_of(message: Any, number: int, objects_only: bool) -> MessageForm:
    for form in MESSAGE_FORMS:
        if (form.is_object or not objects_only) and form.matches(message):
            return form
    if isinstance(message, Mapping):
        raise BadContentError(f"message {number} has neither 'role' nor 'from'")
    raise BadContentError(f"message {number} is {kind_of(message)}, not an object")


def _joined(turns: Sequence[RowTurn]) -> list[RowTurn]:
    """Neighbouring turns of one role as one, their texts joined without anything between them."""
    found: list[RowTurn] = []
    for turn in turns:
        if found and found[-1].role == turn.role:
            before = found.pop()
            turn = replace(before, text=before.text + turn.text, place=None,
                           objects=before.objects + turn.objects)  # fmt: skip
        found.append(turn)
    return found


def _with_masks(turns: Sequence[RowTurn]) -> list[RowTurn]:
    """The turns with what the `mask` of their messages says about training on them."""
    masks = [
        next((yes_or_no(one.value[MASK]) for one in turn.objects if MASK in one.value), None)
        for turn in turns
    ]
    given = [
        (turn.role == "assistant", mask)
        for turn, mask in zip(turns, masks, strict=True)
        if mask is not None
    ]
    trains = mask_trains(given)
    return [
        turn
        if mask is None
        else replace(
            turn,
            is_trained=turn.is_trained and mask is trains,
            objects=tuple(one._replace(used=(*one.used, MASK)) for one in turn.objects),
        )
        for turn, mask in zip(turns, masks, strict=True)
    ]


def _has_role(message: Any) -> bool:
    return isinstance(message, Mapping) and any(message.get(key) is not None for key in ROLE_KEYS)


def _walk_message(message: Mapping[str, Any], number: int, place: TextPlace) -> Iterator[RowTurn]:
    """A role and its content, as OpenAI and ShareGPT write them; their key names may be mixed."""
    role_key = _first_present(message, ROLE_KEYS)
    assert role_key is not None, "the form matches only messages with a role"
    name = _role_name(message[role_key])
    if (role := ROLES.get(name)) is None:
        raise BadContentError(
            f"message {number} has the unknown role {str(message[role_key])[:40]!r}"
        )
    text_key = _first_present(message, TEXT_KEYS)
    is_call = name in _CALL_ROLES
    if len(message) == 2 and text_key is not None and isinstance(message[text_key], str):
        # Most messages, and nothing else to look for.
        text = message[text_key]
        if is_call:
            yield RowTurn(role, text, tool_calls=_json_calls(text))
        else:
            yield RowTurn(role, text, place=place.inside(text_key))
        return
    content = Content("", None)
    if text_key is not None:
        content = _content(message[text_key], role, number, place.inside(text_key))
    elif role == "user" or (role == "system" and not _first_filled(message, _TOOL_KEYS)):
        raise BadContentError(f"message {number} has neither 'content' nor 'value'")
    used = [key for key in (role_key, text_key) if key is not None]
    turn = RowTurn(role, content.text, place=None if is_call else content.place,
                   reasoning=content.thinking, media=content.media,
                   tool_calls=_json_calls(content.text) if is_call else "")  # fmt: skip
    if not _SPECIAL_KEYS.isdisjoint(message):
        turn = _with_special_fields(turn, message, used)
    used += _repeated(message, role, content.text)
    yield replace(turn, objects=(RowObject(place, message, used), *content.objects))


def _json_calls(text: str) -> str:
    """The calls in the text of a message whose role is a call; "" if they are not JSON."""
    return text if text.lstrip()[:1] in ("{", "[") else ""


def _with_special_fields(turn: RowTurn, message: Mapping[str, Any], used: list[str]) -> RowTurn:
    """The turn with its calls, reasoning, tools and training marks. Adds their fields to `used`."""
    text, place, reasoning, tools = turn.text, turn.place, turn.reasoning, ""
    tool_calls = turn.tool_calls
    # If every message has every key, an empty `tool_calls` says nothing about `function_call`.
    if call_key := _first_filled(message, _CALL_KEYS):
        tool_calls = json_text_of(message[call_key])
        text, place = f"{text}\n{tool_calls}" if text else tool_calls, None
        used.append(call_key)
    if tool_key := _first_filled(message, _TOOL_KEYS):
        tools = json_text_of(message[tool_key])
        used.append(tool_key)
    if turn.role == "assistant":
        for key in _REASONING_KEYS:
            thought = message.get(key)
            if isinstance(thought, str) and (not reasoning or thought.strip() == reasoning.strip()):
                reasoning = reasoning or thought
                used.append(key)
    is_trained, marks = training_marks(message)
    used += marks
    return replace(turn, text=text, place=place, reasoning=reasoning,
                   tool_calls=tool_calls, tools=tools, is_trained=is_trained)  # fmt: skip


def _repeated(message: Mapping[str, Any], role: Role, text: str) -> list[str]:
    """Other fields for the role or the text that say the same as those that were read."""
    return [key for key in ROLE_KEYS if role_of(message.get(key)) == role] + [
        key for key in TEXT_KEYS if message.get(key) == text
    ]


def _first_present(message: Mapping[str, Any], keys: Sequence[str]) -> str | None:
    """The first key that is not null. Some writers give every message every key."""
    return next((key for key in keys if message.get(key) is not None), None)


def _first_filled(message: Mapping[str, Any], keys: Sequence[str]) -> str | None:
    return next((key for key in keys if not is_empty(message.get(key))), None)


def _content(value: Any, role: Role, number: int, place: TextPlace) -> Content:
    """The content of a message; the result of a tool may be any JSON value."""
    try:
        return content_of(value, number, place)
    except BadContentError:
        if role != "tool":
            raise
        return Content(json_text_of(value), None)


def _round_keys(message: Any) -> tuple[str, str] | None:
    if not isinstance(message, Mapping):
        return None
    return next(
        (keys for keys in _ROUND_KEYS if all(isinstance(message.get(key), str) for key in keys)),
        None,
    )


def _walk_round(message: Mapping[str, Any], _: int, place: TextPlace) -> Iterator[RowTurn]:
    """A question and its answer in one object, as ms-swift and XTuner write them."""
    keys = _round_keys(message)
    assert keys is not None, "the form matches only these"
    question, answer = keys
    system = message.get("system")
    has_system = isinstance(system, str)
    read = RowObject(place, message, (*keys, "system") if has_system else keys)
    if has_system and system:
        yield RowTurn("system", system, place=place.inside("system"), objects=(read,))
    yield RowTurn("user", message[question], place=place.inside(question), objects=(read,))
    yield RowTurn("assistant", message[answer], place=place.inside(answer), objects=(read,))


def _role_as_key(message: Any) -> str | None:
    """The only filled key of an object, if it is a role."""
    if not isinstance(message, Mapping):
        return None
    filled = [key for key, value in message.items() if value is not None]
    if len(filled) == 1 and role_of(filled[0]) and isinstance(message[filled[0]], str):
        return str(filled[0])
    return None


def _walk_role_as_key(message: Mapping[str, Any], _: int, place: TextPlace) -> Iterator[RowTurn]:
    """`{"user": "…"}`."""
    key = _role_as_key(message)
    role = role_of(key)
    assert key is not None, "the form matches only these"
    assert role is not None, "the form matches only these"
    yield RowTurn(role, message[key], place=place.inside(key))


def _is_segment(entry: Any) -> bool:
    return (
        isinstance(entry, Mapping)
        and isinstance(entry.get("text"), str)
        and yes_or_no(entry.get("label")) is not None
    )


def _walk_segment(entry: Mapping[str, Any], _: int, place: TextPlace) -> Iterator[RowTurn]:
    """A piece of text that is trained on (`label` true) or not, as axolotl writes them."""
    yield RowTurn(
        "assistant" if yes_or_no(entry["label"]) else "user",
        entry["text"],
        place=place.inside("text"),
        objects=(RowObject(place, entry, ("label", "text")),),
    )


def _is_pair(entry: Any) -> bool:
    return (
        isinstance(entry, (list, tuple))
        and len(entry) == 2
        and all(isinstance(one, str) for one in entry)
    )


def _walk_pair(entry: Sequence[str], _: int, place: TextPlace) -> Iterator[RowTurn]:
    """`[question, answer]`, or `[role, text]`."""
    first, second = entry
    if role := role_of(first):
        yield RowTurn(role, second, place=place.inside(1))
    else:
        yield RowTurn("user", first, place=place.inside(0))
        yield RowTurn("assistant", second, place=place.inside(1))


def _walk_text(text: str, number: int, place: TextPlace) -> Iterator[RowTurn]:
    """Plain texts that alternate between user and assistant."""
    yield RowTurn("assistant" if number % 2 else "user", text, place=place)


MESSAGE_FORMS = (
    MessageForm("role and content", _has_role, _walk_message),
    MessageForm("round", lambda entry: _round_keys(entry) is not None, _walk_round),
    MessageForm("role as key", lambda entry: _role_as_key(entry) is not None, _walk_role_as_key),
    MessageForm("segment", _is_segment, _walk_segment, joins=True),
    MessageForm("pair of texts", _is_pair, _walk_pair, is_object=False),
    MessageForm("text", lambda entry: isinstance(entry, str), _walk_text, is_object=False),
)
"""Tried in this order."""
