"""`compare --limit` and `--sample`: the same rows of both sides, and what they say about all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ifdkit.data.chosen_part import ChosenPart, DrawnRows, chosen_part
from ifdkit.data.dataset import Dataset
from ifdkit.data.options import ReadOptions
from ifdkit.scoring.dataset import ScoresFile
from ifdkit.stats.columns import Column
from ifdkit.stats.paired import MetricChange
from ifdkit.stats.sampling import cluster_intervals

Opened = ScoresFile | Dataset
_ABOUT_ALL_ROWS = (
    "intervals of means and medians are about all rows, other numbers are those of the sample"
)


def part_of_sides(sides: Sequence[Opened], options: ReadOptions) -> ChosenPart:
    """The part of the sides that the options choose. Raises InputError as :func:`chosen_part`."""
    return chosen_part([_n_rows(one) for one in sides], options)


def caveats_of(part: ChosenPart) -> list[str]:
    """What a reader of a comparison must know."""
    found = part.caveats()
    if part.drawn is not None:
        found[-1] += f"; {_ABOUT_ALL_ROWS}"
    return found


def _n_rows(one: Opened) -> int:
    return one.n_rows_in_all - one.n_false if isinstance(one, Dataset) else one.n_rows


def part_of_scores(scores: ScoresFile, options: ReadOptions) -> ScoresFile:
    """Scores without texts, of the rows that the options choose."""
    rows = np.arange(scores.n_rows)
    if scores.scores.rows.max(initial=-1) >= len(rows):  # the file has a part of the rows itself
        rows = np.unique(scores.scores.rows)
    rows = rows[options.positions(len(rows))]
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
