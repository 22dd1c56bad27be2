"""Rows of two texts, an instruction and its response, read without the turns in between.

Most rows are so.  What comes out is what `examples_of` makes of them, in a third of the time; a row
that is not a plain pair, or of which there is something to note, is left to it.
"""

from __future__ import annotations

from typing import Any

from ifdkit.data.columns import Columns
from ifdkit.data.examples import check_text, id_of
from ifdkit.data.layouts import PAIR, shape_of
from ifdkit.data.read_log import ReadLog, unread_fields
from ifdkit.records import Example, Turn

_OTHER_SLOTS = ("messages", "history", "system", "tools", "reasoning", "other_side", "text")


class PlainPairs:
    """Reads the plain pairs of rows with these columns."""

    def __init__(self, columns: Columns) -> None:
        self._fits = (
            shape_of(columns) is PAIR
            and columns.instruction != columns.response
            and not any(getattr(columns, slot) for slot in _OTHER_SLOTS)
        )
        """Whether rows have no other columns than those of a plain pair."""
        self._instruction, self._response = columns.instruction or "", columns.response or ""
        self._input, self._id = columns.input, columns.id
        self._used = frozenset(columns.filled.values())

    def example(self, row: int, value: Any, log: ReadLog | None) -> Example | None:
        """The only example of a row, as `examples_of` makes it; None if that has to be asked.

        Raises BadContentError as it does.
        """
        if not self._fits or type(value) is not dict:
            return None
        instruction, response = value.get(self._instruction), value.get(self._response)
        data = value.get(self._input) if self._input else ""
        if data is None:
            data = ""
        if not (type(instruction) is type(response) is type(data) is str):
            return None
        # A list of messages as text, or a placeholder such as <image>.
        if instruction[:2] == "[{" or response[:2] == "[{" or "<" in instruction or "<" in response:
            return None
        if log is not None and unread_fields(value, self._used):
            return None
        for text in (instruction, data, response):
            check_text(text)
        name = id_of(value.get(self._id)) if self._id else ""
        return Example(name, row, 0, (Turn("user", instruction, data),), response)
