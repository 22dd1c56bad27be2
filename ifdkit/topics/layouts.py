"""Layouts of the map: from embeddings to places in two dimensions.

pca   the plane of most variance
umap  UMAP (McInnes, Healy and Melville 2018, arXiv 1802.03426), which keeps neighbors together;
      needs the extra `umap`

Both are fitted on some rows and applied to any.  The same rows and seed give the same places.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from ifdkit.errors import UsageError, brief, unknown

Vectors = NDArray[np.float32]
"""Shape (rows, dimensions), rows of length 1."""
LayoutName = Literal["pca", "umap"]
LAYOUTS: tuple[LayoutName, ...] = get_args(LayoutName)
_N_NEIGHBORS = 15
"""Of UMAP, its default."""


class FittedLayout(Protocol):
    """A fitted layout."""

    def __call__(self, rows: Vectors) -> Vectors:
        """Places of rows, shape (rows, 2)."""
        ...


def check_layout(name: str) -> None:
    """Raise UsageError for an unknown layout, or one whose packages are not installed."""
    if name not in LAYOUTS:
        raise UsageError(f"--map: {unknown('layout', name, LAYOUTS)}")
    if name == "umap":
        _umap()


def fit_layout(name: LayoutName, rows: Vectors, *, seed: int) -> FittedLayout:
    """A layout fitted on at least two rows. Raises UsageError, see :func:`check_layout`."""
    return Umap(rows, seed) if name == "umap" else Plane(rows)


class Plane:
    """The first two principal components."""

    def __init__(self, rows: Vectors) -> None:
        self._middle = rows.mean(axis=0)
        centred = rows - self._middle
        covariance = centred.T.astype(np.float64) @ centred / max(1, len(centred) - 1)
        _, directions = np.linalg.eigh(covariance)
        axes = directions[:, ::-1][:, :2].T
        if len(axes) < 2:
            axes = np.vstack([axes, np.zeros_like(axes)])
        # The sign of a direction is arbitrary: the largest entry of each is positive.
        largest = axes[np.arange(2), np.abs(axes).argmax(axis=1)]
        self._axes = (axes * np.where(largest < 0, -1, 1)[:, None]).astype(np.float32)

    def __call__(self, rows: Vectors) -> Vectors:
        """Places of rows, shape (rows, 2)."""
        return np.asarray((rows - self._middle) @ self._axes.T, dtype=np.float32)


class Umap:
    """UMAP; the rows that it was fitted on keep their places."""

    def __init__(self, rows: Vectors, seed: int) -> None:
        self._model = _umap()(
            n_neighbors=min(_N_NEIGHBORS, len(rows) - 1),
            random_state=seed,
            n_jobs=1,  # with several threads the seed would not fix the places
        ).fit(rows)

    def __call__(self, rows: Vectors) -> Vectors:
        """Places of rows, shape (rows, 2)."""
        if not len(rows):
            return np.empty((0, 2), dtype=np.float32)
        return np.asarray(self._model.transform(rows), dtype=np.float32)


def _umap() -> Any:
    """The class of the package. Raises UsageError if it cannot be imported."""
    try:
        from umap import UMAP
    except ImportError as error:
        raise UsageError(
            f"--map umap needs a package that is not installed ({brief(error)}): install it with"
            " pip install 'ifdkit[umap]'"
        ) from error
    return UMAP
