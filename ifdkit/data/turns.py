"""The turns of a row, each with the place in the row where its text is stored.

The table of layouts and that of message forms produce these types. Reading makes examples of them,
and rewriting puts new texts back through their places, so neither knows any layout.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from ifdkit.data.strict_json import BadRowError, parse
from ifdkit.records import Role
from ifdkit.row_type import row_type


class BadContentError(ValueError):
    """A row whose content cannot be used; the message is the reason for its rejection."""


@row_type(frozen=True, slots=True)
class TextPlace:
    """Where a row stores a text, or an object that contains texts."""

    path: tuple[str | int, ...]
    """The column, then the keys and positions inside its value."""
    is_json_text: bool = False
    """Whether the column stores its list as JSON text, as CSV files do."""
    span: tuple[int, int] | None = None
    """Start and end of the text inside a longer one, such as a transcript; None for all of it."""

    def inside(self, *path: str | int) -> TextPlace:
        """A place further inside this one."""
        return TextPlace((*self.path, *path), self.is_json_text)

    @property
    def name(self) -> str:
        """Such as `messages[].content`, the same for all entries of a list."""
        first, *rest = self.path
        steps = ("[]" if isinstance(step, int) else f".{step}" for step in rest)
        return f"{first}{''.join(steps)}"


class RowObject(NamedTuple):
    """An object inside a row, such as a message, and the keys of it that were read."""

    place: TextPlace
    value: Mapping[str, Any]
    used: Collection[str]

    @property
    def unused(self) -> list[str]:
        """The keys that were not read and have a non-empty value."""
        return unused_keys(self.value, self.used)


@row_type(frozen=True, slots=True)
class RowTurn:
    """One turn of a row, with its place and what it was read from."""

    role: Role
    text: str
    input: str = ""
    """The Alpaca `input` column: data that the instruction of a user turn refers to."""
    place: TextPlace | None = None
    """Where `text` is stored; None if it was put together from several values, such as a message
    and its function calls."""
    copies: tuple[TextPlace, ...] = ()
    """Other places with the same text, such as the other side of a preference pair."""
    is_prompt: bool = False
    """Whether the turn belongs to the prompt of a prompt–response pair. Assistant turns of a prompt
    are neither scored nor numbered."""
    is_trained: bool = True
    """False if the row says that the turn is not trained on. Such an assistant turn has a number,
    but makes no example."""
    reasoning: str = ""
    """What the assistant thought before `text`, if the row stores it apart."""
    tool_calls: str = ""
    """The calls at the end of `text`, as JSON."""
    media: tuple[str, ...] = ()
    """Kinds of its parts that are not text, such as `image`."""
    tools: str = ""
    """The tools that the turn describes beside its text."""
    objects: tuple[RowObject, ...] = ()
    """The objects that it was read from, unless all of their fields were read."""

    @property
    def is_numbered(self) -> bool:
        """Whether the turn counts among the assistant turns of the row."""
        return self.role == "assistant" and not self.is_prompt


@row_type(frozen=True, slots=True)
class Conversation:
    """The content of one row: its turns, oldest first, and its tools."""

    turns: list[RowTurn]
    used: frozenset[str]
    """The columns that were read."""
    tools: str = ""

    @property
    def numbered(self) -> list[int]:
        """Positions of the assistant turns; `Example.turn` is an index of this list."""
        return [i for i, turn in enumerate(self.turns) if turn.is_numbered]


def unused_keys(value: Mapping[str, Any], used: Collection[str]) -> list[str]:
    """The keys of a row or message that are not among `used` and have a non-empty value."""
    return [key for key, one in value.items() if key not in used and not is_empty(one)]


def is_empty(value: Any) -> bool:
    """Whether a field is null, "", or an empty list or object. 0 and false are not empty."""
    return value is None or (isinstance(value, (str, list, tuple, Mapping)) and not value)


def text_of(row: Mapping[str, Any], column: str) -> str:
    """The text in a column; null counts as empty. Raises BadContentError for other types."""
    if column not in row:
        raise BadContentError(f"has no field {column!r}")
    text = row[column]
    if text is None:
        return ""
    if not isinstance(text, str):
        raise BadContentError(f"{column!r} is {kind_of(text)}, not text")
    return text


def optional_text_of(row: Mapping[str, Any], column: str | None) -> str:
    """The text in a column that a row may lack."""
    return "" if column is None or row.get(column) is None else text_of(row, column)


def json_text_of(value: Any) -> str:
    """Text unchanged, null or an empty list or object as "", anything else as JSON."""
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, (list, dict)) and not value):
        return ""
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadContentError(f"{kind_of(value)} is not valid JSON: {error}") from error


def unpacked(value: Any, column: str) -> tuple[Any, bool]:
    """A list and whether it was stored as JSON text; any other value unchanged, and False."""
    if not (isinstance(value, str) and value.lstrip().startswith("[")):
        return value, False
    try:
        # surrogatepass: a lone surrogate is then reported as a byte that is not UTF-8.
        return parse(value.encode("utf-8", "surrogatepass")), True
    except BadRowError as error:
        raise BadContentError(f"{column!r} is text that cannot be read: {error}") from error


def kind_of(value: Any) -> str:
    """The type of a value, in the words of JSON."""
    names = {
        type(None): "null",
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "text",
        list: "a list",
        dict: "an object",
    }
    return names.get(type(value), f"a {type(value).__name__}")
