"""`compare --sample`: the same rows of both sides, and what they say about all rows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ifdkit.data.dataset import Dataset
from ifdkit.data.options import ReadOptions
from ifdkit.errors import InputError
from ifdkit.scoring.dataset import ScoresFile
from ifdkit.stats.columns import Column
from ifdkit.stats.paired import MetricChange
from ifdkit.stats.sampling import cluster_intervals

Opened = ScoresFile | Dataset


@dataclass(frozen=True, slots=True)
class DrawnRows:
    """A sample of the rows, the same positions of both sides."""

    rows: int
    of_rows: int
    seed: int

    @property
    def caveat(self) -> str:
        """What a reader must know."""
        return (
            f"a sample: {self.rows:,} of {self.of_rows:,} rows, drawn at random with seed"
            f" {self.seed}; intervals of means and medians are about all rows, other numbers are"
            " those of the sample"
        )


def drawn_rows(before: Opened, after: Opened, options: ReadOptions) -> DrawnRows | None:
    """The sample that the options draw; None if it has all rows, or if there is none.

    Raises InputError if the sides have different numbers of rows: the same positions would then
    not be pairs.
    """
    if options.sample is None:
        return None
    n_before, n_after = _n_rows(before), _n_rows(after)
    if n_before != n_after:
        raise InputError(
            f"--sample draws the same positions of both sides, and they have {n_before:,} and"
            f" {n_after:,} rows: leave it out"
        )
    if options.sample >= n_before:
        return None
    return DrawnRows(options.sample, n_before, options.seed)


def _n_rows(one: Opened) -> int:
    if isinstance(one, Dataset):
        return one.n_rows_in_all - one.n_false
    if one.manifest is not None:
        return one.manifest.rows_in
    return int(one.scores.rows.max(initial=-1)) + 1


def sampled_scores(scores: ScoresFile, options: ReadOptions) -> ScoresFile:
    """Scores without texts, of the rows that the options draw."""
    chosen = options.draw(_n_rows(scores))
    at = np.flatnonzero(np.isin(scores.scores.rows, chosen))
    return replace(scores, scores=scores.scores.take(at.tolist()))


def about_all_rows(
    change: MetricChange, difference: Column, rows: NDArray[np.int64], drawn: DrawnRows
) -> MetricChange:
    """A change whose intervals of mean and median are about all rows.

    `difference` has a number for each pair, NaN if it is undefined, and `rows` the row of each.
    """
    known = np.isfinite(difference)
    columns = {"difference": (difference[known], rows[known])}
    share = drawn.rows / drawn.of_rows
    found = cluster_intervals(columns, share, drawn.seed).get("difference")
    if found is None:
        return change
    return replace(
        change, change=replace(change.change, mean_ci95=found.mean, median_ci95=found.median)
    )
