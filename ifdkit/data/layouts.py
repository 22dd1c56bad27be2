"""The layouts of a row: which columns each is known by, and how its turns are read.

A new layout is one entry of `LAYOUTS`. If its rows are read in a new way, the entry names a new
`Shape`; if it fills a new slot, the slot is also a field of `Columns`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

from ifdkit.data.messages import walk_message, walk_messages
from ifdkit.data.raw import MAX_TURNS
from ifdkit.data.turns import (
    BadContentError,
    Conversation,
    RowTurn,
    TextPlace,
    json_text_of,
    kind_of,
    optional_text_of,
    text_of,
    unpacked,
)
from ifdkit.errors import UsageError

Row = Mapping[str, Any]
Candidates = dict[str, list[str]]
"""Slot → the columns that may fill it, best first."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The column that fills each slot; None if no column does."""

    messages: str | None = None
    instruction: str | None = None
    input: str | None = None
    response: str | None = None
    history: str | None = None
    system: str | None = None
    tools: str | None = None
    id: str | None = None

    def describe(self) -> str:
        """One line that says how rows are read, such as `Alpaca: instruction + input → output`."""
        if self.messages:
            extra = [key for key in (self.system, self.tools) if key]
            plus = f" with {', '.join(extra)}" if extra else ""
            return f"conversations in {self.messages!r}{plus}"
        prompt = (self.system, self.history, self.instruction, self.input)
        reading = f"{' + '.join(key for key in prompt if key)} → {self.response}"
        name = next((layout.name for layout in LAYOUTS if layout.has_names_of(self)), None)
        return f"{name}: {reading}" if name else reading


SLOTS = tuple(f.name for f in fields(Columns))


def parse_columns(text: str) -> dict[str, str]:
    """`instruction=q,response=a` → {'instruction': 'q', 'response': 'a'}. Raises UsageError."""
    chosen: dict[str, str] = {}
    for part in text.split(","):
        slot, separator, key = part.strip().partition("=")
        if not separator or slot not in SLOTS:
            raise UsageError(
                f"--columns {text!r}: write pairs such as instruction=q,response=a; the names on"
                f" the left are {', '.join(SLOTS)}"
            )
        chosen[slot] = key
    return chosen


def walk_row(row: Row, columns: Columns) -> Conversation:
    """The turns of a row and its tools. Raises BadContentError if the row does not fit its layout.

    Reading and rewriting both use this function: it decides where a row stores which text.
    """
    shape = shape_of(columns)
    assert shape, "columns are detected only with a shape"
    conversation = shape.walk(row, columns)
    turns, used = conversation.turns, conversation.used
    if len(turns) > MAX_TURNS:
        raise BadContentError(f"a conversation of {len(turns):,} turns, more than {MAX_TURNS:,}")
    system = optional_text_of(row, columns.system)
    if columns.system and system and not (turns and turns[0].role == "system"):
        turns = [RowTurn("system", system, place=TextPlace((columns.system,))), *turns]
        used |= {columns.system}
    tools = json_text_of(row.get(columns.tools)) if columns.tools else ""
    used |= {key for key in (columns.tools, columns.id) if key}
    return Conversation(turns, used, tools)


def _walk_conversation(row: Row, columns: Columns) -> Conversation:
    """A whole conversation in one column."""
    column = columns.messages
    assert column, "the shape is chosen by its slots"
    return Conversation(walk_messages(row.get(column), column), frozenset({column}))


def _walk_pair(row: Row, columns: Columns) -> Conversation:
    """An instruction and its response in columns of their own; either may be a list of messages."""
    instruction, response = columns.instruction, columns.response
    assert instruction, "the shape is chosen by its slots"
    assert response, "the shape is chosen by its slots"
    prompt = _walk_history(row, columns.history)
    before, after = row.get(instruction), row.get(response)
    completion: list[RowTurn] = []
    if isinstance(after, Mapping):
        completion = list(walk_message(after, 0, TextPlace((response,))))
    elif isinstance(after, list):
        completion = walk_messages(after, response)
    if any(turn.role == "user" for turn in completion):
        # The side of a preference pair that repeats the prompt: no other column is read.
        return Conversation(completion, frozenset({response}))
    used = {instruction, response, columns.history}
    if isinstance(before, list):
        prompt += walk_messages(before, instruction)
    else:
        text, data = text_of(row, instruction), optional_text_of(row, columns.input)
        prompt.append(RowTurn("user", text, data, TextPlace((instruction,))))
        used.add(columns.input)
    if completion or isinstance(before, list):
        # Earlier answers are context in a prompt of messages. Beside two plain texts, those of a
        # `history` column are examples: LLaMA-Factory trains on them.
        prompt = [replace(turn, is_prompt=True) for turn in prompt]
    if not completion:
        completion = [RowTurn("assistant", text_of(row, response), place=TextPlace((response,)))]
    return Conversation([*prompt, *completion], frozenset(key for key in used if key))


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


@dataclass(frozen=True, slots=True)
class Shape:
    """How the turns of a row are read; layouts that differ only in column names share one."""

    slots: tuple[str, ...]
    """Slots that must be filled."""
    optional: tuple[str, ...]
    """Slots that only this shape reads. `system`, `tools` and `id` are read for every shape."""
    walk: Callable[[Row, Columns], Conversation]
    """From a row to its turns, without that of the `system` column. Raises BadContentError."""


CONVERSATION = Shape(("messages",), (), _walk_conversation)
PAIR = Shape(("instruction", "response"), ("input", "history"), _walk_pair)


@dataclass(frozen=True, slots=True)
class Layout:
    """Column names that datasets use for the slots of a shape."""

    name: str
    shape: Shape
    columns: Mapping[str, tuple[str, ...]]
    """Slot → column names. A slot may be filled by the names of any layout of the same shape, so
    that `prompt` and `answer` are a pair too."""
    reassign: Callable[[Candidates], None] | None = None
    """For a layout whose names fill other slots in another layout: moves candidates to the slots
    that they fill in this one, if the layouts above leave a slot empty. The names in `columns` then
    are not candidates by themselves."""

    def has_names_of(self, columns: Columns) -> bool:
        """Whether these columns have the names of this layout."""
        return all(getattr(columns, slot) in names for slot, names in self.columns.items())


def _input_as_instruction(found: Candidates) -> None:
    """`input` is the instruction if there is a response and no other instruction."""
    if not found["instruction"] and found["response"] and "input" in found["input"]:
        found["input"].remove("input")
        found["instruction"] = ["input"]


def _conversation_as_instruction(found: Candidates) -> None:
    """LLaMA-Factory's preference pairs: a conversation, and the chosen and rejected response."""
    if not found["instruction"] and found["response"] in _SIDES and found["messages"]:
        found["instruction"] = found["messages"][:1]


def _side_as_conversation(found: Candidates) -> None:
    """Preference pairs in which each side contains the whole conversation."""
    if not found["instruction"] and found["response"] in _SIDES and not found["messages"]:
        found["messages"], found["response"] = found["response"], []


def _pair(
    name: str, instruction: str, response: str, reassign: Callable[[Candidates], None] | None = None
) -> Layout:
    return Layout(name, PAIR, {"instruction": (instruction,), "response": (response,)}, reassign)


_SIDES = (["chosen"], ["rejected"])
_MESSAGES = ("messages", "conversations", "conversation")
LAYOUTS = (
    Layout("conversations", CONVERSATION, {"messages": _MESSAGES}),
    _pair("Alpaca", "instruction", "output"),
    _pair("Dolly", "instruction", "response"),
    _pair("prompt and completion", "prompt", "completion"),
    _pair("question and answer", "question", "answer"),
    _pair("query and response", "query", "response"),
    _pair("preference pairs, the chosen side", "prompt", "chosen"),
    _pair("input and output", "input", "output", _input_as_instruction),
    _pair(
        "conversations with preference pairs, the chosen side",
        "conversations",
        "chosen",
        _conversation_as_instruction,
    ),
    Layout(
        "preference pairs of conversations, the chosen side",
        CONVERSATION,
        {"messages": ("chosen",)},
        _side_as_conversation,
    ),
)
"""Every layout. The order is that of the candidates in messages, and that of reassigning."""
OPTIONAL_COLUMNS = {
    "input": ("input", "context"),
    "history": ("history",),
    "system": ("system", "system_prompt"),
    "tools": ("tools",),
    "id": ("id",),
}
"""Slot that a row may leave empty → column names."""
SHAPES = tuple(dict.fromkeys(layout.shape for layout in LAYOUTS))


@cache
def shape_of(columns: Columns) -> Shape | None:
    """The shape whose slots are filled, or None."""
    return next(
        (shape for shape in SHAPES if all(getattr(columns, slot) for slot in shape.slots)), None
    )
