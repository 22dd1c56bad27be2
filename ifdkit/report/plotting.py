"""The one place that imports matplotlib: without the settings of the working folder.

matplotlib takes `./matplotlibrc` before the user's own settings.  The working folder is not
trusted: such a file can change every figure, and a pipe of that name is waited for without end.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def load_matplotlib() -> ModuleType:
    """The module. It is as it was if something else has imported it before."""
    if "matplotlib" in sys.modules:
        return sys.modules["matplotlib"]
    # It asks whether there is a file of this name.  A change of the folder would change what the
    # relative paths of other threads mean.
    exists = os.path.exists
    os.path.exists = lambda path: path != "matplotlibrc" and exists(path)
    try:
        return _with_any_backend()
    finally:
        os.path.exists = exists


def _with_any_backend() -> ModuleType:
    """Import it as always, but for an `MPLBACKEND` that it does not know: none is used here."""
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        matplotlib = importlib.import_module("matplotlib")
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend:
        with suppress(ValueError):
            matplotlib.rcParams["backend"] = backend
    return matplotlib


def new_figure(**options: Any) -> Figure:
    """A figure of its own, which pyplot does not know."""
    load_matplotlib()
    from matplotlib.figure import Figure

    return Figure(**options)


def new_panels(n: int, *, height: float = 3.6) -> tuple[Figure, Sequence[Axes]]:
    """A figure with n panels side by side, without top and right spines."""
    figure = new_figure(figsize=(6.4 * n, height), dpi=100, layout="constrained")
    panels = figure.subplots(1, n, squeeze=False)[0]
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, list(panels)
