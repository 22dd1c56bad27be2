"""`compare --limit` and `--sample`: the same rows of both sides, and what they say about all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ifdkit.data.dataset import Dataset
from ifdkit.data.options import ReadOptions
from ifdkit.errors import InputError
from ifdkit.format import plural
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


@dataclass(frozen=True, slots=True)
class ChosenPart:
    """Which rows of each side are compared, at the same positions of all of them."""

    limit: int | None = None
    """Only so many of each side, the first; None if that is all of them."""
    drawn: DrawnRows | None = None

    @property
    def caveats(self) -> list[str]:
        """What a reader must know."""
        found = []
        if self.limit is not None:
            found.append(
                f"limited: only the first {plural(self.limit, 'row')} of each side (--limit)"
            )
        if self.drawn is not None:
            found.append(self.drawn.caveat)
        return found


def chosen_part(sides: Sequence[Opened], options: ReadOptions) -> ChosenPart:
    """The part of the sides that the options choose. Raises InputError as :func:`drawn_rows`."""
    limit, (first, *others) = options.limit, sides
    is_limited = limit is not None and any(_n_rows(one) > limit for one in sides)
    drawn = [drawn_rows(first, one, options) for one in others]
    return ChosenPart(limit if is_limited else None, drawn[0])


def drawn_rows(before: Opened, after: Opened, options: ReadOptions) -> DrawnRows | None:
    """The sample that the options draw; None if it has all rows, or if there is none.

    It is drawn within the limit.  Raises InputError if the sides have different numbers of rows:
    the same positions would then not be pairs.
    """
    if options.sample is None:
        return None
    n_before, n_after = (len(range(_n_rows(one))[: options.limit]) for one in (before, after))
    if n_before != n_after:
        raise InputError(
            f"--sample draws the same positions of both sides, and they have {n_before:,} and"
            f" {n_after:,} rows: leave it out"
        )
    if options.sample >= n_before:
        return None
    return DrawnRows(options.sample, n_before, options.seed)


def _n_rows(one: Opened) -> int:
    return one.n_rows_in_all - one.n_false if isinstance(one, Dataset) else one.n_rows


def part_of_scores(scores: ScoresFile, options: ReadOptions) -> ScoresFile:
    """Scores without texts, of the rows that the options choose."""
    rows = np.arange(scores.n_rows)
    if scores.scores.rows.max(initial=-1) >= len(rows):  # the file has a part of the rows itself
        rows = np.unique(scores.scores.rows)
    rows = rows[: options.limit]
    if options.sample is not None and options.sample < len(rows):
        rows = rows[options.draw(len(rows))]
    at = np.flatnonzero(np.isin(scores.scores.rows, rows))
    return replace(scores, scores=scores.scores.take(at.tolist()), n_chosen=len(rows))


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
