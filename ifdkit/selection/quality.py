"""Several numbers as one: weighted z-scores, and quality times diversity."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ifdkit.errors import UsageError, unknown
from ifdkit.scoring.metrics import METRICS
from ifdkit.selection.ranking import Column, Places, best_first

_WEIGHT = re.compile(r"\s*([A-Za-z_]\w*)\s*=\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*", re.ASCII)


def parse_weights(text: str) -> dict[str, float]:
    """`ifd=1,coherence=0.5,response_tokens=-0.2` → field → weight. Raises UsageError."""
    found: dict[str, float] = {}
    for part in text.split(","):
        matched = _WEIGHT.fullmatch(part)
        if matched is None:
            raise UsageError(f"--weights: {part.strip()!r} is not FIELD=NUMBER, such as ifd=0.5")
        name, weight = matched[1], float(matched[2])
        if name not in METRICS:
            raise UsageError(f"--weights: {unknown('metric', name, METRICS)}")
        if name in found:
            raise UsageError(f"--weights: {name} is given twice: give each field once")
        if weight == 0:
            raise UsageError(f"--weights: {name} has the weight 0: leave it out")
        found[name] = weight
    return found


def combined(columns: Mapping[str, Column], weights: Mapping[str, float]) -> Column:
    """Σ weight · (value − mean) ÷ sd of each field; NaN for a row that lacks a field.

    Mean and standard deviation are those of the rows that have every field; a field without spread
    counts 0.
    """
    table = np.stack([columns[name] for name in weights])  # (fields, rows)
    has_all = np.isfinite(table).all(axis=0)
    total = np.full(table.shape[1], np.nan)
    total[has_all] = 0
    for name, weight in weights.items():
        values = columns[name][has_all]
        if not is_constant(values):
            total[has_all] += weight * (values - values.mean()) / values.std()
    return total


def is_constant(values: Column) -> bool:
    """Whether all values are equal but for rounding; true of none."""
    if not len(values):
        return True
    return bool(values.std() <= 1e-12 * max(1.0, float(np.abs(values).max())))


def quality_diverse(
    values: Column, vectors: NDArray[np.float32], n: int, *, lowest: bool
) -> Places:
    """`n` places, greedily: the largest quality × distance to the nearest row chosen before.

    Quality is the share of the ranked rows with a value that is no better, 0…1; distance is
    (1 − cosine) ÷ 2, 0…1.  The best row comes first; of equal products the better row, then the
    earlier one.  `vectors` is float32 of shape (rows, dimensions), each of length 1, or 0 for a row
    without a direction.  Rows without a value are not chosen.
    """
    ranked = best_first(values, lowest=lowest)
    keys = values[ranked] if lowest else -values[ranked]  # ascending
    n_better = np.searchsorted(keys, keys, side="left")
    quality = (len(ranked) - n_better) / max(1, len(ranked))
    rows = np.ascontiguousarray(vectors[ranked])
    nearest = np.full(len(ranked), np.inf)
    is_left = np.ones(len(ranked), dtype=bool)
    chosen: list[int] = []
    while len(chosen) < min(n, len(ranked)):
        gains = np.where(is_left, quality * np.minimum(nearest, 1.0), -1.0)
        place = int(gains.argmax())  # the first of equals, and better rows come first
        chosen.append(place)
        is_left[place] = False
        distances = (1 - rows @ rows[place]) / 2
        np.minimum(nearest, np.where(distances < 1e-6, 0, distances), out=nearest)
    return ranked[np.array(chosen, dtype=np.int64)]
