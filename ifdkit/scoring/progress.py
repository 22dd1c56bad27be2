"""What a run reports while it works."""

from __future__ import annotations

from collections.abc import Sequence


class Progress:
    """Receives a run's events; this one ignores them, others display them."""

    def note(self, text: str) -> None:
        """A line for the user, such as which model is being loaded."""

    def start(self, rows: int) -> None:
        """The run has `rows` rows of input."""

    def sources(self, ends: Sequence[int]) -> None:
        """The rows come from several inputs, of which the k-th ends after `ends[k]` rows."""

    def begin_block(self, rows: int, examples: int) -> None:
        """A block of examples starts, made from `rows` rows."""

    def missing(self, tokens: int) -> None:
        """So many tokens of the block are not in the store."""

    def scored(self, tokens: int) -> None:
        """So many of them have been scored and stored."""

    def end_block(self) -> None:
        """The block is finished."""
