"""What a sample of the rows says about all of them: `score --sample`."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ifdkit.scoring.rows import ScoreRow
from ifdkit.stats.columns import Interval
from ifdkit.stats.sampling import Intervals, cluster_intervals, share_ci95


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSummary:
    """95 % intervals of the numbers of a summary, in all rows that the sample was drawn from."""

    rows: int
    """Rows that were drawn."""
    of_rows: int
    """Rows that they were drawn from."""
    seed: int
    metrics: dict[str, Intervals]
    """Metrics with a value in enough rows."""
    statuses: dict[str, Interval]
    """Share of the examples with each status, 0…1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UntilSummary:
    """Where a sample stopped that grew until a mean was known well enough."""

    rule: str
    """As in `ifd ± 0.005`."""
    metric: str
    mean: float | None
    """Estimate for all rows; None if no row has a value."""
    half_width: float | None
    """Of its 95 % interval, which allows for all looks; None if too few rows have a value."""
    rows: int
    """Rows that were drawn."""
    looks: int
    """How often the interval was looked at."""
    reached: bool
    """Whether it is as narrow as the rule asks."""


class SampleTally:
    """Collects the rows of scores of a sample: the row of every value."""

    def __init__(self, names: Sequence[str], of_rows: int, seed: int) -> None:
        """`names` are the metrics of the summary."""
        self._of_rows, self._seed = of_rows, seed
        self._columns = {name: (array("d"), array("q")) for name in names}
        self._statuses: list[str] = []
        self._rows = array("q")

    def add(self, rows: Sequence[ScoreRow]) -> None:
        """Count the rows of a block."""
        for row in rows:
            self._statuses.append(row.status)
            self._rows.append(row.row)
            for name, (values, positions) in self._columns.items():
                if (value := row[name]) is not None:
                    values.append(value)
                    positions.append(row.row)

    def summary(self, n_rows: int) -> SampleSummary:
        """The intervals; `n_rows` are the rows that were drawn, rejected ones included."""
        rows, statuses = np.array(self._rows), np.array(self._statuses)
        drawn = n_rows / self._of_rows
        filled = {
            name: (np.array(values), np.array(positions))
            for name, (values, positions) in self._columns.items()
            if len(values)
        }
        shares: Mapping[str, Interval] = {
            str(one): share_ci95(statuses == one, rows, drawn) for one in np.unique(statuses)
        }
        return SampleSummary(
            rows=n_rows,
            of_rows=self._of_rows,
            seed=self._seed,
            metrics=cluster_intervals(filled, drawn, self._seed),
            statuses=dict(shares),
        )
