"""The change of the main metrics in each group of pairs: by input, or by a column of the rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ifdkit.comparison.result import SourceChange
from ifdkit.comparison.sides import ComparedSide
from ifdkit.data.pairing import Pairs
from ifdkit.scoring.metrics import METRICS
from ifdkit.scoring.table import ScoreTable
from ifdkit.stats.columns import finite, median_ci95


def labels_by_source(
    before: ScoreTable, after: ScoreTable, pairs: Pairs
) -> list[str | None] | None:
    """The input of each pair, None if its sides are from different ones.

    None instead of a list if a side has one input.
    """
    if before.sources is None or after.sources is None:
        return None
    return [
        before.sources[i] if before.sources[i] == after.sources[j] else None
        for i, j in zip(pairs.before.tolist(), pairs.after.tolist(), strict=True)
    ]


def labels_by_column(before: ComparedSide, after: ComparedSide, pairs: Pairs) -> list[str | None]:
    """The group of each pair: that of its row before, or after if only that side has the column."""
    side, positions = (before, pairs.before) if before.groups else (after, pairs.after)
    assert side.groups is not None, "it was looked for before the sides were scored"
    return [side.groups.of(row) for row in side.scores.rows[positions].tolist()]


def changes_by_label(
    before: ScoreTable,
    after: ScoreTable,
    pairs: Pairs,
    fields: Iterable[str],
    labels: Sequence[str | None],
    *,
    seed: int,
) -> tuple[SourceChange, ...]:
    """One entry for each label, in the order of the pairs; a pair without one is left out.

    The metrics are those that can lead the headline, and the length of the response.
    """
    groups: dict[str, list[int]] = {}
    for place, label in enumerate(labels):
        if label is not None:
            groups.setdefault(label, []).append(place)
    main = [name for name in fields if _is_main(name)]
    found = []
    for label, places in groups.items():
        medians: dict[str, tuple[float, float, float]] = {}
        intervals: dict[str, tuple[float, float]] = {}
        for name in main:
            old = before.numbers[name][pairs.before[places]]
            new = after.numbers[name][pairs.after[places]]
            defined = np.isfinite(old) & np.isfinite(new)
            if not defined.any():
                continue
            old, new = old[defined], new[defined]
            medians[name] = tuple(  # type: ignore[assignment]  # three numbers
                finite(np.median(one)) or 0.0 for one in (old, new, new - old)
            )
            if (ends := median_ci95(new - old, seed=seed)) is not None:
                intervals[name] = ends
        change = SourceChange(
            name=label, n_pairs=len(places), medians=medians, change_ci95=intervals
        )
        found.append(change)
    return tuple(found)


def _is_main(name: str) -> bool:
    return name == "response_tokens" or METRICS[name].headline_order is not None
