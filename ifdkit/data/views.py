"""What a result shows in a notebook: a figure, and a table in HTML.

Results are made below the report layer, so what draws them is registered from above, as with the
files of a report.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ifdkit.data.later import import_registered

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Result = TypeVar("Result")
_FIGURES: dict[type, Callable[..., Figure]] = {}
_TABLES: dict[type, Callable[[Any], str]] = {}


def draws(kind: type[Result]) -> Callable[[Callable[[Result], Figure]], Callable[[Result], Figure]]:
    """Register the function that makes the figure of a result of this kind."""

    def register(draw: Callable[[Result], Figure]) -> Callable[[Result], Figure]:
        _FIGURES[kind] = draw
        return draw

    return register


def draws_metrics(
    kind: type[Result],
) -> Callable[[Callable[[Result, str | None], Figure]], Callable[[Result, str | None], Figure]]:
    """Register the function that draws one metric of a result of this kind."""

    def register(
        draw: Callable[[Result, str | None], Figure],
    ) -> Callable[[Result, str | None], Figure]:
        _FIGURES[kind] = draw
        return draw

    return register


def tabulates(kind: type[Result]) -> Callable[[Callable[[Result], str]], Callable[[Result], str]]:
    """Register the function that makes the HTML of a result of this kind."""

    def register(show: Callable[[Result], str]) -> Callable[[Result], str]:
        _TABLES[kind] = show
        return show

    return register


class NotebookView:
    """A result with a figure and a view in notebooks."""

    __slots__ = ()

    def plot(self) -> Figure:
        """A matplotlib figure of the result, which a notebook shows; `.savefig(path)` keeps it."""
        import_registered()
        return _FIGURES[type(self)](self)

    def _repr_html_(self) -> str:
        import_registered()
        return _TABLES[type(self)](self)


class MetricView(NotebookView):
    """A result with several metrics, of which the figure shows one."""

    __slots__ = ()

    def plot(self, field: str | None = None) -> Figure:
        """A matplotlib figure of a metric, by default of IFD; `.savefig(path)` keeps it.

        Raises UsageError for a metric that the result does not have.
        """
        import_registered()
        return _FIGURES[type(self)](self, field)
