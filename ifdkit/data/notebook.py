"""How results look in a notebook, and as a figure.

Results are made below the report layer, so what draws them is registered from above, as the files
of a report are (see `report_folder`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Result = TypeVar("Result")
_VIEWS: dict[type, Callable[[Any], str]] = {}
_FIGURES: dict[type, Callable[..., Figure]] = {}


def views(kind: type[Result]) -> Callable[[Callable[[Result], str]], Callable[[Result], str]]:
    """Register the function that shows a result of this kind as HTML."""

    def register(view: Callable[[Result], str]) -> Callable[[Result], str]:
        _VIEWS[kind] = view
        return view

    return register


def draws(kind: type[Any]) -> Callable[[Callable[..., Figure]], Callable[..., Figure]]:
    """Register the function that draws a result of this kind with matplotlib."""

    def register(draw: Callable[..., Figure]) -> Callable[..., Figure]:
        _FIGURES[kind] = draw
        return draw

    return register


class Shown:
    """A result with a view for notebooks and a figure; both are made in the report layer."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return _VIEWS[type(self)](self)

    def plot(self, field: str | None = None) -> Figure:
        """A matplotlib figure; `field` chooses a metric where the result has several.

        Raises UsageError for a field that the result does not have.
        """
        return _FIGURES[type(self)](self, field)
