"""From rows to examples: one example per target turn, with an id."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ifdkit.data.columns import Columns
from ifdkit.data.digest_counts import DigestCounts
from ifdkit.data.layouts import walk_row
from ifdkit.data.read_log import ReadLog
from ifdkit.data.turns import BadContentError, RowTurn, kind_of
from ifdkit.records import Example, Turn

_JSON = json.encoder.encode_basestring_ascii
"""A text as JSON in ASCII."""
_MAX_WHOLE_FLOAT = 2.0**53
"""Floats beyond it no longer tell neighbouring whole numbers apart."""


def examples_of(
    row: int,
    value: Any,
    columns: Columns,
    *,
    last_turn_only: bool = False,
    log: ReadLog | None = None,
) -> list[Example]:
    """The examples of the row at position `row`: one per target turn, or only the last one.

    Their id is the row's own, or "" if it has none. What was not read is added to the log. Raises
    BadContentError with a reason if the row cannot be used.
    """
    if not isinstance(value, Mapping):
        raise BadContentError(f"a row must be an object with named fields, not {kind_of(value)}")
    conversation = walk_row(value, columns)
    numbered = list(enumerate(conversation.numbered))
    if not numbered:
        raise BadContentError("the conversation has no assistant turn")
    targets = [(n, i) for n, i in numbered if conversation.turns[i].is_trained]
    if not targets:
        raise BadContentError("no assistant turn is trained on")
    turns = [_turn_of(turn, columns) for turn in conversation.turns]
    for turn in turns:
        check_text(turn.text)
        check_text(turn.input)
    check_text(conversation.tools)
    own_id = id_of(value.get(columns.id)) if columns.id else ""
    if log is not None:
        log.add(value, conversation, columns)
    return [
        Example(
            own_id,
            row,
            number,
            tuple(turns[:i]),
            turns[i].text,
            conversation.tools,
            is_document=columns.text is not None,
        )
        for number, i in (targets[-1:] if last_turn_only else targets)
    ]


def _turn_of(turn: RowTurn, columns: Columns) -> Turn:
    reasoning = "" if columns.drops_reasoning else turn.reasoning
    return Turn(turn.role, turn.text, turn.input, turn.tool_calls, reasoning)


def id_of(value: Any) -> str:
    """The id of a row as text, or "" for anything but text and whole numbers.

    1.0 is the id 1: pandas makes floats of whole numbers if a row has none.  Raises
    BadContentError.
    """
    if isinstance(value, float) and value.is_integer() and abs(value) < _MAX_WHOLE_FLOAT:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return ""
    check_text(str(value))
    return str(value)


def check_text(text: str) -> None:
    """Raise BadContentError for text that tokenizers or output files cannot represent."""
    if "\0" not in text and text.isascii():
        return
    if "\0" in text:
        raise BadContentError(f"contains a NUL character at {text.index(chr(0))}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        raise BadContentError(
            f"is not valid Unicode: lone surrogate or broken byte U+{code:04X} at {error.start}"
        ) from error


def _content_digest(example: Example) -> str:
    """What an id is made of: the same for examples of equal content."""
    # This serialization is part of the format: a change would orphan stored scores.  It is that of
    # json.dumps([[[role, text, input], …], response, tools]), made three times as fast.
    turns = [f"[{_JSON(turn.role)}, {_JSON(turn.text)}, {_JSON(turn.input)}]"
             for turn in example.context]  # fmt: skip
    text = f"[[{', '.join(turns)}], {_JSON(example.response)}, {_JSON(example.tools)}]"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class OccurrenceIds:
    """Ids that are unique over the inputs of a dataset, and made for examples without one.

    An example without an id gets a hash of its content and how often it occurred before, so that
    equal rows get different ids. An id that an earlier input has used gets the source before it:
    `SOURCE/ID`. Within one input, the ids of the rows are kept as they are.

    Neither depends on which rows are chosen, as long as every row before them is counted.
    """

    def __enter__(self) -> OccurrenceIds:
        # "": a private file on disk. A run that is interrupted closes it from another thread.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = OFF")  # the file is never reopened
        self._database.execute("CREATE TABLE used (id TEXT PRIMARY KEY, owner TEXT) WITHOUT ROWID")
        self._counts = DigestCounts(self._database)
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def identify(self, example: Example, source: str | None = None) -> Example:
        """The example with an id: its own, else `DIGEST-N` where N counts from 0.

        `source` is its input if the dataset has several.
        """
        if example.id and source is None:
            return example
        if example.id:
            return self._of_source(example, source or "")
        digest = _content_digest(example)
        while True:
            found = f"{digest}-{self._counts.add(digest)}"
            # The ids of an earlier input may have been made in the same way.
            if source is None or self._owner(found, "") == "":
                return Example(found, example.row, example.turn, example.context, example.response,
                               example.tools, example.is_document)  # fmt: skip

    def _of_source(self, example: Example, source: str) -> Example:
        # The owner tells apart one id of two sources, and `b/1` of a row from `b/1` made of `1`.
        owner = json.dumps([source, example.id])
        found = example.id
        while self._owner(found, owner) != owner:
            found = f"{source}/{found}"
        return example if found == example.id else replace(example, id=found)

    def _owner(self, name: str, owner: str) -> str:
        """Who has used an id first: `owner`, if nobody has so far."""
        self._database.execute(
            "INSERT INTO used VALUES (?, ?) ON CONFLICT DO NOTHING", (name, owner)
        )
        row = self._database.execute("SELECT owner FROM used WHERE id = ?", (name,)).fetchone()
        return str(row[0])
