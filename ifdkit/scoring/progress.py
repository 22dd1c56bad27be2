"""What a run reports while it works."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence


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


_IN_NOTEBOOKS: list[Callable[[], Progress]] = []


def shows_in_notebooks(make: Callable[[], Progress]) -> Callable[[], Progress]:
    """Register what shows the progress of a run that was given none, in a notebook."""
    _IN_NOTEBOOKS[:] = [make]
    return make


def default_progress() -> Progress:
    """What a run reports to if its caller gives nothing: a bar in a notebook, else nothing."""
    return _IN_NOTEBOOKS[0]() if _IN_NOTEBOOKS and in_notebook() else Progress()


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook, which no terminal is."""
    ipython = sys.modules.get("IPython")  # if it is not loaded, there is no notebook
    return hasattr(ipython.get_ipython() if ipython else None, "kernel")
