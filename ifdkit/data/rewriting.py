"""A new instruction or response put back into a row, wherever the row's layout keeps it.

The inverse of `reading.layouts`, and held to it: whatever is put back is read again, and must give
the example that was meant, with nothing else changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ifdkit.data.dataset import Columns
from ifdkit.data.json_rows import BadRowError, parse
from ifdkit.data.layouts import BadContentError, examples_of, role_of
from ifdkit.records import Example

_CALLS = ("tool_calls", "function_call")
_CALL_ROLES = {"function_call", "tool_call", "function-call"}


class NotRewritableError(ValueError):
    """A row that cannot hold a new text in this place; the message is the reason."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the text of one turn stands in a row."""

    path: tuple[str | int, ...]
    """Keys and positions from the row to the text."""
    in_text: bool = False
    """Whether the first key holds its list as JSON text, as in a CSV file."""


def instruction_problem(example: Example) -> str | None:
    """Why the instruction of an example must stand as it is, or None.

    What lies between it and the response, such as the result of a tool, was made for it.
    """
    last = example.context[-1] if example.context else None
    if example.last_user_turn is None or not example.instruction.strip():
        return "there is no instruction"
    if last is None or last.role != "user":
        return "other turns stand between the instruction and its response"
    return None


def with_texts(
    value: Mapping[str, Any],
    columns: Columns,
    example: Example,
    *,
    instruction: str | None = None,
    response: str | None = None,
) -> dict[str, Any]:
    """A copy of a row in which the example has a new instruction, a new response or both.

    `example` is one that `examples_of` has made of the row; an `input` stays what it is.  Raises
    NotRewritableError where the layout has no single place for the text, as with a function call.
    """
    wanted = _changed(example, instruction, response)
    places = list(_places(value, columns, example))
    new: dict[str, Any] = dict(value)
    for text, place in zip((instruction, response), places, strict=True):
        if text is None:
            continue
        if place is None:
            raise NotRewritableError("the text is no field of its own, as with a function call")
        new = _put(new, place, text)
    _check(new, columns, wanted)
    return new


def _changed(example: Example, instruction: str | None, response: str | None) -> Example:
    """The example as it should read afterwards."""
    context = list(example.context)
    if instruction is not None:
        if problem := instruction_problem(example):
            raise NotRewritableError(problem)
        context[-1] = replace(context[-1], text=instruction)
    text = example.response if response is None else response
    return replace(example, context=tuple(context), response=text)


def _check(value: Mapping[str, Any], columns: Columns, wanted: Example) -> None:
    """Read the row again. Raises NotRewritableError where it says anything but what was meant."""
    try:
        found = examples_of(wanted.row, value, columns)
    except BadContentError as error:
        raise NotRewritableError(f"the new text cannot stand in the row: {error}") from error
    same = next((one for one in found if one.turn == wanted.turn), None)
    if same is None or replace(same, id=wanted.id) != wanted:
        raise NotRewritableError("the row would not read as it was meant")


def _places(
    value: Mapping[str, Any], columns: Columns, example: Example
) -> tuple[_Place | None, _Place | None]:
    """Where the instruction and the response of an example stand; None where in no one place."""
    turns = list(_turns(value, columns))
    assistants = [i for i, (role, _) in enumerate(turns) if role == "assistant"]
    # A pair's earlier rounds are context only: its examples are numbered from behind them.
    n_examples = len(examples_of(example.row, value, columns))
    target = assistants[len(assistants) - n_examples + example.turn]
    users = [place for role, place in turns[:target] if role == "user"]
    return (users[-1] if users else None), turns[target][1]


def _turns(value: Mapping[str, Any], columns: Columns) -> Iterator[tuple[str, _Place | None]]:
    """Whether each turn of the row is the user's or the assistant's, and its place, in order."""
    if columns.messages:
        yield from _message_turns(value[columns.messages], columns.messages)
        return
    assert columns.instruction is not None
    assert columns.response is not None
    before, after = value.get(columns.instruction), value.get(columns.response)
    answer = list(_message_turns(after, columns.response)) if _is_listed(after) else []
    if not any(role == "user" for role, _ in answer):
        yield from _history_turns(value, columns.history)
        if isinstance(before, (list, tuple)):
            yield from _message_turns(before, columns.instruction)
        else:
            yield "user", _Place((columns.instruction,))
    yield from answer or [("assistant", _Place((columns.response,)))]


def _history_turns(
    value: Mapping[str, Any], key: str | None
) -> Iterator[tuple[str, _Place | None]]:
    rounds: Any = (value.get(key) if key else None) or ()
    in_text = isinstance(rounds, str)
    for number, _ in enumerate(_unpacked(rounds) if in_text else rounds):
        for side, role in enumerate(("user", "assistant")):
            yield role, _Place((str(key), number, side), in_text)


def _is_listed(value: Any) -> bool:
    return isinstance(value, (list, tuple, Mapping))


def _message_turns(messages: Any, key: str) -> Iterator[tuple[str, _Place | None]]:
    in_text = isinstance(messages, str)
    listed = _unpacked(messages) if in_text else messages
    if isinstance(listed, Mapping):
        yield role_of(listed), _message_place(listed, (key,), in_text=False)
        return
    for number, message in enumerate(listed):
        path = (key, number)
        if isinstance(message.get("human"), str) and isinstance(message.get("assistant"), str):
            yield "user", _Place((*path, "human"), in_text)
            yield "assistant", _Place((*path, "assistant"), in_text)
        else:
            yield role_of(message), _message_place(message, path, in_text=in_text)


def _message_place(
    message: Mapping[str, Any], path: tuple[str | int, ...], *, in_text: bool
) -> _Place | None:
    """Where the text of a message stands; None where it is more than one text."""
    role = message.get("role") if message.get("role") is not None else message.get("from")
    if str(role).lower() in _CALL_ROLES or any(message.get(key) for key in _CALLS):
        return None
    key = "content" if message.get("content") is not None else "value"
    content = message.get(key)
    if isinstance(content, str):
        return _Place((*path, key), in_text)
    if isinstance(content, list) and len(content) == 1:
        inside = (0,) if isinstance(content[0], str) else (0, "text")
        return _Place((*path, key, *inside), in_text)
    return None


def _unpacked(text: str) -> Any:
    try:
        return parse(text.encode())
    except BadRowError as error:
        raise NotRewritableError(f"a conversation that cannot be read: {error}") from error


def _put(value: dict[str, Any], place: _Place, text: str) -> dict[str, Any]:
    """A copy of the row with another text in that place."""
    key, *rest = place.path
    if not place.in_text:
        return {**value, key: _replaced(value[str(key)], rest, text)}  # type: ignore[dict-item]
    inside = _replaced(_unpacked(value[str(key)]), rest, text)
    return {**value, str(key): json.dumps(inside, ensure_ascii=False)}


def _replaced(value: Any, path: list[str | int], text: str) -> Any:
    """A copy of a nested value with the text at the end of the path."""
    if not path:
        return text
    first, *rest = path
    if isinstance(first, int):
        items = list(value)
        items[first] = _replaced(items[first], rest, text)
        return items
    return {**value, first: _replaced(value[first], rest, text)}
