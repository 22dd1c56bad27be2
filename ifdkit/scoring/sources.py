"""What a run saw of each of several inputs: rows, rejects, and the medians of metrics."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ifdkit.data.dataset import Dataset
from ifdkit.records import Reject, Status
from ifdkit.scoring.metrics import METRICS
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

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._codes = {part.source: code for code, part in enumerate(dataset.parts)}
        self._sources = array("q")
        self._values = {name: array("d") for name in METRICS if METRICS[name].in_summary}
        self._ok: Counter[str | None] = Counter()
        self._rejected: Counter[str | None] = Counter()

    def add(self, rows: Iterable[ScoreRow], rejects: Iterable[Reject]) -> None:
        """Count the examples and the rejects of a block."""
        if not self._dataset.has_sources:
            return
        self._rejected.update(one.source for one in rejects)
        for row in rows:
            self._sources.append(self._codes[row.source])
            self._ok[row.source] += row.status == Status.OK
            for name, values in self._values.items():
                value = row[name]
                values.append(float("nan") if value is None else value)

    def summaries(self) -> tuple[SourceSummary, ...]:
        """One per input, in their order; empty if there is one input."""
        if not self._dataset.has_sources:
            return ()
        counts = np.bincount(np.frombuffer(self._sources, np.int64), minlength=len(self._codes))
        columns = {name: np.frombuffer(values) for name, values in self._values.items()}
        ends = np.cumsum(counts).tolist()  # rows are in the order of the inputs
        n_rows = self._dataset.rows_per_source()
        found = []
        for part, begin, end in zip(self._dataset.parts, [0, *ends], ends, strict=False):
            medians = {name: _median(column[begin:end]) for name, column in columns.items()}
            found.append(
                SourceSummary(
                    name=part.source or "",
                    rows=n_rows[part.source or ""],
                    rejected=self._rejected[part.source],
                    examples=end - begin,
                    ok=self._ok[part.source],
                    medians={name: one for name, one in medians.items() if one is not None},
                    problem=part.problem,
                )
            )
        return tuple(found)


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
