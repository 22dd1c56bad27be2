"""The layouts of a row: which columns each is known by, and how its turns are read.

A new layout is one entry of `LAYOUTS`. If its rows are read in a new way, the entry names a new
`Shape`; if it fills a new slot, the slot is also a field of `Columns`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from ifdkit.data.columns import Columns, normal_name
from ifdkit.data.pairs import walk_conversation, walk_document, walk_pair
from ifdkit.data.raw import MAX_TURNS
from ifdkit.data.turns import (
    BadContentError,
    Conversation,
    RowTurn,
    TextPlace,
    json_text_of,
    optional_text_of,
)
from ifdkit.records import with_reasoning

Row = Mapping[str, Any]
Candidates = dict[str, list[str]]
"""Slot → the columns that may fill it, best first."""


def describe_columns(columns: Columns) -> str:
    """One line that says how rows are read, such as `Alpaca: instruction + input → output`."""
    label = f", rows with {columns.label!r} true" if columns.label else ""
    if columns.messages:
        extra = [key for key in (columns.system, columns.tools) if key]
        plus = f" with {', '.join(extra)}" if extra else ""
        return f"conversations in {columns.messages!r}{plus}{label}"
    if columns.text:
        return f"documents in {columns.text!r}{label}"
    prompt = (columns.tools, columns.system, columns.history, columns.instruction, columns.input)
    target = (columns.reasoning, columns.response)
    reading = " → ".join(" + ".join(key for key in part if key) for part in (prompt, target))
    name = next((layout.name for layout in LAYOUTS if layout.has_names_of(columns)), None)
    return f"{name}: {reading}{label}" if name else reading + label


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
    if not columns.drops_reasoning and any(turn.reasoning for turn in turns):
        turns = [_with_reasoning(turn) if turn.reasoning else turn for turn in turns]
    if columns.system and (system := optional_text_of(row, columns.system)):
        has_own = bool(turns) and turns[0].role == "system"
        if not has_own:
            turns = [RowTurn("system", system, place=TextPlace((columns.system,))), *turns]
        if not has_own or turns[0].text == system:
            used |= {columns.system}
    tools = json_text_of(row.get(columns.tools)) if columns.tools else ""
    described = next((turn.tools for turn in turns if turn.tools), "")
    used = used.union(filter(None, (columns.tools, columns.id, columns.label)))
    return Conversation(turns, used, tools or described)


def _with_reasoning(turn: RowTurn) -> RowTurn:
    """The turn with its reasoning before its text; without, if the text contains it already."""
    thought = turn.reasoning.strip()
    if not thought or ("<think>" in turn.text and thought in turn.text):
        return replace(turn, reasoning="")
    return replace(turn, text=with_reasoning(thought, turn.text), place=None, reasoning=thought)


@dataclass(frozen=True, slots=True)
class Shape:
    """How the turns of a row are read; layouts that differ only in column names share one."""

    slots: tuple[str, ...]
    """Slots that must be filled."""
    optional: tuple[str, ...]
    """Slots that it reads besides these. `id` is read for every shape."""
    walk: Callable[[Row, Columns], Conversation]
    """From a row to its turns, without that of the `system` column. Raises BadContentError."""


_OF_EXAMPLES = ("system", "tools", "label")
CONVERSATION = Shape(("messages",), _OF_EXAMPLES, walk_conversation)
PAIR = Shape(
    ("instruction", "response"), ("input", "history", "reasoning", *_OF_EXAMPLES), walk_pair
)
# In a corpus, a column such as `label` is a class of texts, not a mark of good ones.
DOCUMENT = Shape(("text",), (), walk_document)


@dataclass(frozen=True, slots=True)
class Layout:
    """Column names that datasets use for the slots of a shape."""

    name: str
    shape: Shape
    columns: Mapping[str, tuple[str, ...]]
    """Slot → column names, compared by `normal_name`. A slot may be filled by the names of any
    layout of the same shape, so that `prompt` and `answer` are a pair too."""
    reassign: Callable[[Candidates], None] | None = None
    """For a layout whose names fill other slots in another layout: moves candidates to the slots
    that they fill in this one, if the layouts above leave a slot empty. The names in `columns` then
    are not candidates by themselves."""
    choice: int = 1
    """Its names count only if those of the layouts with a lower number fill no shape. Names of the
    second choice also name other things, such as the reference solution beside an answer. Those of
    the third, of documents, are also beside pairs, such as the rendered `text` of Alpaca."""
    contains_lists: bool = False
    """Whether its columns count only if they contain lists."""

    def has_names_of(self, columns: Columns) -> bool:
        """Whether these columns have the names of this layout."""
        return all(
            normal_name(getattr(columns, slot) or "") in names
            for slot, names in self.columns.items()
        )


def _input_as_instruction(found: Candidates) -> None:
    """`input` is the instruction if there is a response and no other instruction."""
    inputs = [key for key in found["input"] if normal_name(key) == "input"]
    if not found["instruction"] and found["response"] and inputs:
        found["input"].remove(inputs[0])
        found["instruction"] = inputs[:1]


def _conversation_as_instruction(found: Candidates) -> None:
    """LLaMA-Factory's preference pairs: a conversation, and the chosen and rejected response."""
    if not found["instruction"] and _is_side(found["response"]) and found["messages"]:
        found["instruction"] = found["messages"][:1]


def _side_as_conversation(found: Candidates) -> None:
    """Preference pairs in which each side contains the whole conversation."""
    if not found["instruction"] and _is_side(found["response"]) and not found["messages"]:
        found["messages"], found["response"] = found["response"], []


def _is_side(columns: list[str]) -> bool:
    return len(columns) == 1 and normal_name(columns[0]) in OTHER_SIDE


def _pair(
    name: str,
    instruction: str,
    response: str,
    reassign: Callable[[Candidates], None] | None = None,
    *,
    choice: int = 1,
) -> Layout:
    columns = {"instruction": (instruction,), "response": (response,)}
    return Layout(name, PAIR, columns, reassign, choice)


def _second(name: str, instruction: str, response: str) -> Layout:
    return _pair(name, instruction, response, choice=2)


def _lists(name: str, *columns: str) -> Layout:
    return Layout(name, CONVERSATION, {"messages": columns}, choice=2, contains_lists=True)


OTHER_SIDE = {"chosen": "rejected", "rejected": "chosen"}
"""One side of a preference pair → the other one."""
_MESSAGES = ("messages", "conversations", "conversation")
DOCUMENT_COLUMNS = ("text", "content", "raw_content", "document")
LAYOUTS = (
    Layout("conversations", CONVERSATION, {"messages": _MESSAGES}),
    _pair("Alpaca", "instruction", "output"),
    _pair("Dolly", "instruction", "response"),
    _pair("prompt and completion", "prompt", "completion"),
    _pair("question and answer", "question", "answer"),
    _pair("query and response", "query", "response"),
    _pair("preference pairs, the chosen side", "prompt", "chosen"),
    _second("problem and solution", "problem", "solution"),
    _second("inputs and targets", "inputs", "targets"),
    _second("inputs and outputs", "inputs", "outputs"),
    _second("input and target texts", "input_text", "target_text"),
    _second("input and output texts", "input_text", "output_text"),
    _second("user and assistant", "user", "assistant"),
    _second("human and assistant", "human", "assistant"),
    _second("instruction and target", "instruction", "target"),
    _lists("lists of texts", "data"),
    _lists("segments", "segments"),
    _lists("dialogues", "dialog", "dialogue", "turns", "chat"),
    _pair("input and output", "input", "output", _input_as_instruction),
    _pair("input and target", "input", "target", _input_as_instruction),
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
    Layout("documents", DOCUMENT, {"text": DOCUMENT_COLUMNS}, choice=3),
)
"""Every layout. The order is that of the candidates in messages, and that of reassigning."""
OPTIONAL_COLUMNS = {
    "input": ("input", "context"),
    "history": ("history",),
    "system": ("system", "system_prompt", "system_message"),
    "tools": ("tools", "functions"),
    "id": ("id",),
    "reasoning": ("reasoning_content", "thinking"),
    "label": ("label", "kto_tag"),
}
"""Slot that a row may leave empty → column names."""
SHAPES = tuple(dict.fromkeys(layout.shape for layout in LAYOUTS))


@cache
def shape_of(columns: Columns) -> Shape | None:
    """The shape whose slots are filled, or None."""
    return next(
        (shape for shape in SHAPES if all(getattr(columns, slot) for slot in shape.slots)), None
    )
