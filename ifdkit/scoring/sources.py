"""What a run saw of each of several inputs: rows, rejects, and the medians of metrics."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from ifdkit.data.dataset import Dataset
from ifdkit.data.spilling import NumberColumns
from ifdkit.records import Reject, Status
from ifdkit.scoring.rows import ScoreRow
from ifdkit.stats.columns import finite


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSummary:
    """One of several inputs in the summary of a run."""

    name: str
    """As in the column `source`."""
    rows: int
    """Including rejected ones."""
    rejected: int
    examples: int
    ok: int
    """Examples with the status `ok`."""
    medians: Mapping[str, float]
    """Metric → its median over the examples in which it is defined."""
    problem: str | None = None
    """Why the input could not be read, or not to its end."""


class SourceTally:
    """Counts by source, for a dataset of several inputs; does nothing for one input."""

    def __init__(self, dataset: Dataset, names: Iterable[str]) -> None:
        """`names`: the metrics whose medians are told."""
        self._dataset = dataset
        self._values = NumberColumns(names)
        self._examples: Counter[str | None] = Counter()
        self._ok: Counter[str | None] = Counter()
        self._rejected: Counter[str | None] = Counter()

    def add(self, rows: Sequence[ScoreRow], rejects: Iterable[Reject]) -> None:
        """Count the examples and the rejects of a block."""
        if not self._dataset.has_sources:
            return
        self._rejected.update(one.source for one in rejects)
        self._examples.update(row.source for row in rows)
        self._ok.update(row.source for row in rows if row.status == Status.OK)
        for name in self._values:
            values = (row[name] for row in rows)
            self._values.extend(name, (math.nan if one is None else one for one in values))

    def summaries(self) -> tuple[SourceSummary, ...]:
        """One per input, in their order; empty if there is one input."""
        if not self._dataset.has_sources:
            return ()
        parts, n_rows = self._dataset.parts, self._dataset.rows_per_source()
        medians: list[dict[str, float]] = [{} for _ in parts]
        # Rows are in the order of the inputs.
        ends = list(accumulate(self._examples[part.source] for part in parts))
        for name in self._values:
            column = self._values.numbers(name)
            for known, begin, end in zip(medians, [0, *ends], ends, strict=False):
                if (median := _median(column[begin:end])) is not None:
                    known[name] = median
        return tuple(
            SourceSummary(
                name=part.source or "",
                rows=n_rows[part.source or ""],
                rejected=self._rejected[part.source],
                examples=self._examples[part.source],
                ok=self._ok[part.source],
                medians=known,
                problem=part.problem,
            )
            for part, known in zip(parts, medians, strict=True)
        )


def _median(values: np.ndarray) -> float | None:
    defined = values[np.isfinite(values)]
    return finite(np.median(defined)) if len(defined) else None


def most_notable(sources: Sequence[SourceSummary], n: int) -> list[SourceSummary]:
    """At most `n` of the sources in their order: those with problems, then those with most rows."""
    if len(sources) <= n:
        return list(sources)
    ranked = sorted(sources, key=lambda one: (one.problem is None, -one.rejected, -one.rows))
    chosen = {one.name for one in ranked[:n]}
    return [one for one in sources if one.name in chosen]
