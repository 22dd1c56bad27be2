"""New instructions and responses put back into rows, wherever the layout stores them.

Rewritten rows are read again: a text is put back only if the row then gives exactly the example
that was meant.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ifdkit.data.columns import Columns
from ifdkit.data.examples import examples_of
from ifdkit.data.layouts import walk_row
from ifdkit.data.turns import BadContentError, TextPlace, unpacked
from ifdkit.records import Example


class NotRewritableError(ValueError):
    """A row that cannot take a new text; the message is the reason."""


def instruction_problem(example: Example) -> str | None:
    """Why the instruction of an example must not change, or None.

    Turns between the instruction and its response, such as the result of a tool, belong to the old
    instruction.
    """
    last = example.context[-1] if example.context else None
    if example.last_user_turn is None or not example.instruction.strip():
        return "there is no instruction"
    if last is None or last.role != "user":
        return "there are other turns between the instruction and its response"
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

    `example` is one that `examples_of` made of the row. Its `input` does not change. Raises
    NotRewritableError if the text has no field of its own, as with a function call, or if the row
    would not give the example that is meant.
    """
    wanted = _changed(example, instruction, response)
    conversation = walk_row(value, columns)
    target = conversation.numbered[example.turn]
    before = conversation.turns[:target]
    asked = next((turn for turn in reversed(before) if turn.role == "user"), None)
    puts: list[tuple[TextPlace, str]] = []
    for text, turn in ((instruction, asked), (response, conversation.turns[target])):
        if text is None:
            continue
        if turn is None or turn.place is None:
            raise NotRewritableError("the text has no field of its own, as with a function call")
        puts += [(place, text) for place in (turn.place, *turn.copies)]
    new: dict[str, Any] = dict(value)
    # From the end to the beginning, so that spans of the same text stay valid.
    for place, text in sorted(puts, key=lambda put: put[0].span or (0, 0), reverse=True):
        new = _put(new, place, text)
    _check(new, columns, wanted)
    return new


def _changed(example: Example, instruction: str | None, response: str | None) -> Example:
    """The example that the rewritten row must give."""
    context = list(example.context)
    if instruction is not None:
        if problem := instruction_problem(example):
            raise NotRewritableError(problem)
        context[-1] = replace(context[-1], text=instruction)
    text = example.response if response is None else response
    return replace(example, context=tuple(context), response=text)


def _check(value: Mapping[str, Any], columns: Columns, wanted: Example) -> None:
    """Read the row again. Raises NotRewritableError unless it gives the example that is meant."""
    try:
        found = examples_of(wanted.row, value, columns)
    except BadContentError as error:
        raise NotRewritableError(f"the row cannot contain the new text: {error}") from error
    same = next((one for one in found if one.turn == wanted.turn), None)
    if same is None or replace(same, id=wanted.id) != wanted:
        raise NotRewritableError("the rewritten row would give another example")


def _put(row: dict[str, Any], place: TextPlace, text: str) -> dict[str, Any]:
    """A copy of the row with another text in that place."""
    column = str(place.path[0])
    if not place.is_json_text:
        return {**row, column: _replaced(row[column], place.path[1:], place.span, text)}
    listed, _ = unpacked(row[column], column)
    new = _replaced(listed, place.path[1:], place.span, text)
    return {**row, column: json.dumps(new, ensure_ascii=False)}


def _replaced(
    value: Any, path: Sequence[str | int], span: tuple[int, int] | None, text: str
) -> Any:
    """A copy of a nested value with the text at the end of the path, or in a span of it."""
    if not path:
        return text if span is None else value[: span[0]] + text + value[span[1] :]
    first, *rest = path
    if isinstance(first, int):
        items = list(value)
        items[first] = _replaced(items[first], rest, span, text)
        return items
    return {**value, first: _replaced(value[first], rest, span, text)}
