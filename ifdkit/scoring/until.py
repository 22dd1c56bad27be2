"""`score --until 'ifd ± 0.005'`: rows in random order, until the mean is known that well.

The rows of a look are the first ones of a random order that depends on the seed and the number of
rows, so a look contains the one before, whose numbers are in the store.  `stats.sequential` says
how many rows a look has.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ifdkit.data.dataset import Dataset
from ifdkit.data.options import ReadOptions
from ifdkit.errors import UsageError, unknown
from ifdkit.format import number, plural
from ifdkit.scoring.metrics import METRICS
from ifdkit.scoring.progress import Progress
from ifdkit.scoring.run import Run, score_to_file
from ifdkit.scoring.sampled import UntilSummary
from ifdkit.scoring.scorer import Scorer
from ifdkit.scoring.settings import Settings
from ifdkit.scoring.summary import ScoreSummary
from ifdkit.stats.sampling import MeanEstimate, mean_estimate
from ifdkit.stats.sequential import ALPHA, Stopped, run_until

if TYPE_CHECKING:
    from ifdkit.scoring.inputs import Data

_RULE = re.compile(r"\s*(\w+)\s*(?:±|\+/?-)\s*([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*")


@dataclass(frozen=True, slots=True)
class Until:
    """How well the mean of a metric shall be known."""

    metric: str
    half_width: float
    """Of its interval, in the unit of the metric; > 0."""

    def __str__(self) -> str:
        return f"{self.metric} ± {self.half_width:g}"


def parse_until(text: str) -> Until:
    """`ifd ± 0.005`, also with `+-`. Raises UsageError."""
    found = _RULE.fullmatch(text)
    try:
        until = Until(found[1], float(found[2])) if found else None
    except ValueError:
        until = None
    if until is None or until.half_width <= 0:
        raise UsageError(f"--until {text!r}: write a metric and a width, as in 'ifd ± 0.005'")
    if until.metric not in METRICS:
        raise UsageError(f"--until: {unknown('metric', until.metric, METRICS)}")
    return until


def score_until(
    data: Data,
    output: Path | None,
    settings: Settings,
    read_options: ReadOptions,
    progress: Progress | None = None,
    *,
    until: Until,
) -> ScoreSummary:
    """Score rows in random order until the mean of a metric is known well enough.

    Writes the rows scored as a scores file, like `score_to_file`.  Raises IfdkitError.
    """
    if read_options.sample is not None:
        raise UsageError("--until chooses the size of the sample: leave out --sample")
    growing = _GrowingSample(until)
    summary = score_to_file(data, output, settings, read_options, progress, narrow=growing.narrow)
    return replace(summary, until=growing.summary())


class _GrowingSample:
    """A sample that grows until the mean is known well enough."""

    def __init__(self, until: Until) -> None:
        self._until = until
        self._stopped: Stopped | None = None

    def narrow(
        self, dataset: Dataset, read_options: ReadOptions, scorer: Scorer, progress: Progress
    ) -> tuple[Dataset, ReadOptions]:
        """The rows at which it stops, and how they were chosen."""
        # `--where` and `--limit` have chosen the rows of the dataset already.
        n_rows = dataset.n_rows

        def chosen_rows(options: ReadOptions) -> Dataset:
            return replace(options, where=None, limit=None).narrow(dataset)

        def options_of(n_scored: int) -> ReadOptions:
            return replace(read_options, sample=n_scored, until=str(self._until))

        def estimate(n_scored: int) -> MeanEstimate:
            options = options_of(n_scored)
            run = Run(chosen_rows(options), options, scorer, notes_reading=False)
            values, rows = [], []
            for block in run.blocks(progress):
                for row in block:
                    if (value := row[self._until.metric]) is not None:
                        values.append(value)
                        rows.append(row.row)
            columns = np.array(values), np.array(rows, dtype=np.int64)
            found = mean_estimate(*columns, n_scored / n_rows, ALPHA)
            progress.note(
                f"{plural(n_scored, 'row')}: {self._until.metric} {number(found.mean)} ±"
                f" {number(found.half_width)}"
            )
            return found

        self._stopped = run_until(self._until.half_width, n_rows, estimate)
        options = options_of(self._stopped.rows)
        return chosen_rows(options), options

    def summary(self) -> UntilSummary:
        """Where it stopped."""
        assert self._stopped is not None, "the rows were scored"
        found = self._stopped
        is_known = np.isfinite(found.estimate.half_width)
        return UntilSummary(
            rule=str(self._until),
            metric=self._until.metric,
            mean=found.estimate.mean if np.isfinite(found.estimate.mean) else None,
            half_width=found.estimate.half_width if is_known else None,
            rows=found.rows,
            looks=found.looks,
            reached=found.reached,
        )
