"""How the turns of a row are read: from a conversation, a pair of columns, or a document.

A conversation and a response may be one side of a preference pair. The turns that a side repeats,
from a prompt column or from the other side, are context.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ifdkit.data.columns import Columns
from ifdkit.data.messages import ROLE_KEYS, walk_message, walk_messages
from ifdkit.data.transcripts import is_transcript
from ifdkit.data.turns import (
    BadContentError,
    Conversation,
    RowTurn,
    TextPlace,
    kind_of,
    optional_text_of,
    text_of,
    unpacked,
)

Row = Mapping[str, Any]


def walk_conversation(row: Row, columns: Columns) -> Conversation:
    """A whole conversation in one column."""
    column = columns.messages
    assert column, "the shape is chosen by its slots"
    turns = walk_messages(row.get(column), column)
    if columns.other_side is not None:
        turns = _after_shared(turns, _other_side(row, columns))
    return Conversation(turns, _used(column, columns.other_side))


def walk_document(row: Row, columns: Columns) -> Conversation:
    """A document: one response, with nothing before it."""
    column = columns.text
    assert column, "the shape is chosen by its slots"
    document = RowTurn("assistant", text_of(row, column), place=TextPlace((column,)))
    return Conversation([document], _used(column))


def walk_pair(row: Row, columns: Columns) -> Conversation:
    """An instruction and its response in columns of their own; either may be a list of messages."""
    instruction, response = columns.instruction, columns.response
    assert instruction, "the shape is chosen by its slots"
    assert response, "the shape is chosen by its slots"
    before = row.get(instruction)
    is_side = columns.other_side is not None
    completion = [] if instruction == response else _messages_in(row, response, is_side=is_side)
    if is_side and completion:
        completion = _after_shared(completion, _other_side(row, columns))
    prompt = _walk_history(row, columns.history)
    has_messages = _is_messages(before)
    has_text = not has_messages and not (_is_empty_text(before) and _asks(completion))
    if has_messages:
        prompt += walk_messages(before, instruction, objects_only=True)
    elif has_text:
        data = optional_text_of(row, columns.input)
        place = TextPlace((instruction,))
        prompt.append(RowTurn("user", text_of(row, instruction), data, place))
    if completion or has_messages:
        # Earlier answers are context in a prompt of messages. Beside two plain texts, those of a
        # `history` column are examples: LLaMA-Factory trains on them.
        prompt = [replace(turn, is_prompt=True) for turn in prompt]
    if completion:
        turns, thoughts = _with_prompt(prompt, completion), None
    elif instruction == response and has_messages:  # a prompt alone, whose response is not used
        turns, thoughts = [*prompt, RowTurn("assistant", "")], None
    else:
        thoughts, place = columns.reasoning, TextPlace((response,))
        thought = optional_text_of(row, thoughts)
        answer = RowTurn("assistant", text_of(row, response), place=place, reasoning=thought)
        turns = [*prompt, answer]
    used = _used(
        *(instruction, response, columns.history, columns.other_side),
        *(columns.input if has_text else None, thoughts),
    )
    return Conversation(turns, used)


def _used(*columns: str | None) -> frozenset[str]:
    return frozenset(filter(None, columns))


def _messages_in(row: Row, column: str, *, is_side: bool) -> list[RowTurn]:
    """The turns of a column that contains messages; [] for a text."""
    value = row.get(column)
    if not isinstance(value, str) and isinstance(value, Mapping):
        return list(walk_message(value, 0, TextPlace((column,))))
    if _is_messages(value) or (is_side and is_transcript(value)):
        return walk_messages(value, column, objects_only=not is_side)
    return []


def _is_messages(value: Any) -> bool:
    """Whether a value is a list, or the JSON text of a list of messages, as CSV files store it."""
    if not isinstance(value, str):
        return isinstance(value, list)
    if not (value.startswith("[{") and value.rstrip().endswith("}]")):
        return False
    try:
        messages, _ = unpacked(value, "")
    except BadContentError:
        return False
    return all(isinstance(one, Mapping) and any(one.get(k) for k in ROLE_KEYS) for one in messages)


def _is_empty_text(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _asks(turns: Sequence[RowTurn]) -> bool:
    return any(turn.role == "user" for turn in turns)


def _other_side(row: Row, columns: Columns) -> list[RowTurn]:
    """The turns of the other side of a preference pair; [] if it has none that can be read."""
    column = columns.other_side
    if column is None:
        return []
    try:
        return _messages_in(row, column, is_side=True)
    except BadContentError:
        return []


def _after_shared(turns: Sequence[RowTurn], other: Sequence[RowTurn]) -> list[RowTurn]:
    """One side of a preference pair; the turns with which the other side begins too are its prompt.

    At least the last answer is not.
    """
    answers = [i for i, turn in enumerate(turns) if turn.role == "assistant"]
    places: list[TextPlace | None] = []
    for turn, same in zip(turns[: answers[-1] if answers else 0], other, strict=False):
        if (turn.role, turn.text, turn.reasoning) != (same.role, same.text, same.reasoning):
            break
        places.append(same.place)
    shared = [_prompt_turn(turn, place) for turn, place in zip(turns, places, strict=False)]
    return [*shared, *turns[len(shared) :]]


def _prompt_turn(turn: RowTurn, copy: TextPlace | None) -> RowTurn:
    copies = turn.copies if copy is None else (*turn.copies, copy)
    return replace(turn, is_prompt=True, copies=copies)


def _with_prompt(prompt: list[RowTurn], completion: list[RowTurn]) -> list[RowTurn]:
    """Prompt and completion as one conversation.

    A completion that begins with the messages of the prompt repeats it, as the sides of preference
    pairs do. System prompts need not be repeated.
    """
    first, asked = _split_system(prompt)
    second, rest = _split_system(completion)
    repeats = 0 < len(asked) < len(rest) and all(map(_is_repeated, asked, rest))
    if not repeats:
        return [*prompt, *completion]
    if len(first) == len(second) and all(map(_is_repeated, first, second)):
        systems = list(map(_repeated, first, second))
    else:
        systems = [*first, *second]
    return [*systems, *map(_repeated, asked, rest), *rest[len(asked) :]]


def _is_repeated(turn: RowTurn, later: RowTurn) -> bool:
    """Whether a turn of the completion has the content of one of the prompt."""
    whole = f"{turn.text}\n{turn.input}".strip()
    return (turn.role, whole, turn.reasoning) == (later.role, later.text.strip(), later.reasoning)


def _repeated(turn: RowTurn, later: RowTurn) -> RowTurn:
    """A turn of the completion in place of the one of the prompt that it repeats."""
    # A text and its `input` together are no copy of one text.
    found = _prompt_turn(later, None if turn.input else turn.place)
    objects, media = (*later.objects, *turn.objects), later.media or turn.media
    return replace(found, objects=objects, media=media)


def _split_system(turns: list[RowTurn]) -> tuple[list[RowTurn], list[RowTurn]]:
    """The system turns at the beginning, and the others."""
    n = next((i for i, turn in enumerate(turns) if turn.role != "system"), len(turns))
    return turns[:n], turns[n:]


def _walk_history(row: Row, column: str | None) -> list[RowTurn]:
    """Earlier rounds as LLaMA-Factory stores them: a list of [question, answer]."""
    if column is None:
        return []
    rounds, is_json_text = unpacked(row.get(column), column)
    if not isinstance(rounds or [], (list, tuple)):
        raise BadContentError(f"{column!r} must be a list, not {kind_of(rounds)}")
    turns: list[RowTurn] = []
    for number, pair in enumerate(rounds or ()):
        if not (isinstance(pair, (list, tuple)) and len(pair) == 2):
            raise BadContentError(f"{column!r} must be a list of [question, answer] pairs")
        question, answer = pair
        if not (isinstance(question, str) and isinstance(answer, str)):
            raise BadContentError(f"{column!r} contains something other than text")
        place = TextPlace((column, number), is_json_text)
        turns.append(RowTurn("user", question, place=place.inside(0)))
        turns.append(RowTurn("assistant", answer, place=place.inside(1)))
    return turns
