"""What a run reports while it works."""

from __future__ import annotations


class Progress:
    """Receives a run's events; this one ignores them, others display them."""

    def note(self, text: str) -> None:
        """A line for the user, such as which model is being loaded."""

    def start(self, rows: int) -> None:
        """The run has `rows` rows of input."""

    def begin_block(self, rows: int, examples: int) -> None:
        """A block of examples starts, made from `rows` rows."""

    def missing(self, tokens: int) -> None:
        """So many tokens of the block are not in the store."""

    def scored(self, tokens: int) -> None:
        """So many of them have been scored and stored."""

    def end_block(self) -> None:
        """The block is finished."""
