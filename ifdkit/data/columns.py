"""Which column of a dataset fills which slot."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from functools import lru_cache

from ifdkit.errors import UsageError, unknown

_BETWEEN_WORDS = re.compile(r"[\s-]+")


@dataclass(frozen=True, slots=True)
class Columns:
    """How rows are read: the column that fills each slot; None if no column does."""

    messages: str | None = None
    instruction: str | None = None
    input: str | None = None
    response: str | None = None
    history: str | None = None
    system: str | None = None
    tools: str | None = None
    id: str | None = None
    reasoning: str | None = None
    """What was thought before the response."""
    label: str | None = None
    """Whether the row is a good example. Rows in which it is false are not read."""
    other_side: str | None = None
    """The other side of a preference pair. It is not read as a response: it shows which turns the
    sides share, and these are context."""
    text: str | None = None
    """A whole document."""
    drops_reasoning: bool = False
    """Not a slot: whether reasoning is left out instead of preceding the response."""

    @property
    def filled(self) -> dict[str, str]:
        """Slot → column, for every slot that is filled."""
        named = ((slot, getattr(self, slot)) for slot in SLOTS)
        return {slot: column for slot, column in named if column}


SLOTS = tuple(f.name for f in fields(Columns) if f.name != "drops_reasoning")


def parse_columns(text: str) -> dict[str, str]:
    """`instruction=q,response=a` → {'instruction': 'q', 'response': 'a'}. Raises UsageError."""
    chosen: dict[str, str] = {}
    for part in text.split(","):
        slot, separator, key = part.strip().partition("=")
        if not separator or slot not in SLOTS:
            problem = f"{unknown('name', slot, SLOTS)}; " if separator else ""
            raise UsageError(
                f"--columns {text!r}: {problem}write pairs such as instruction=q,response=a"
            )
        chosen[slot] = key
    return chosen


@lru_cache(maxsize=4096)
def normal_name(column: str) -> str:
    """A column name in lower case, without white space around it, `_` between its words."""
    return _BETWEEN_WORDS.sub("_", column.strip().lower())
