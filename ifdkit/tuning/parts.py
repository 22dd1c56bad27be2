"""The rows that a search works on: two halves, each with candidates and held-out rows of its own.

The trials see the first half only.  A combination that was lucky with its rows, as the best of many
trials is, has no such luck in the second half: neither the rows that it selects there nor those
that it is measured on had a part in choosing it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ifdkit.data.dataset import Dataset
from ifdkit.errors import UsageError
from ifdkit.findings.texts import key
from ifdkit.format import plural
from ifdkit.records import Request
from ifdkit.scoring.dataset import without_scores
from ifdkit.scoring.inputs import open_data
from ifdkit.scoring.per_row import Places
from ifdkit.scoring.scorer import Scorer
from ifdkit.selection.quality import is_constant
from ifdkit.selection.rows import Rows, rows_of
from ifdkit.selection.tuned import TuningInput
from ifdkit.stats.columns import MIN_PAIRS
from ifdkit.training.rows import TrainingRow, training_rows
from ifdkit.tuning.options import Tuning, reading_of_held_out

MAX_CANDIDATES = 5_000
"""Of each half. Runs train on a few hundred examples, so that more rows would not make the trials
better."""
MIN_SELECTED = 8
"""Rows of a run: with fewer, weights are tuned to single rows."""
_OWN_STREAM = 2
"""Keeps this draw apart from others of the same seed."""

RowRequests = dict[int, list[TrainingRow]]
"""Position in a dataset → what there is to train on."""


@dataclass(frozen=True, eq=False, kw_only=True)
class TuningHalf:
    """Rows to select from, and rows to measure a selection on."""

    candidates: Places
    """Positions in the input, ascending."""
    held_out: Places
    """Positions in the dataset of the held-out rows, ascending."""
    requests: tuple[Request, ...]
    """The responses of the held-out rows given their instructions."""


@dataclass(frozen=True, eq=False, kw_only=True)
class TuningParts:
    """Both halves."""

    halves: tuple[TuningHalf, TuningHalf]
    trained: RowRequests
    """Of all candidates."""
    selected: int
    """Rows to select from each half."""
    held_out_from: str
    left_out: Places
    """Positions in the input of the rows that may not be selected: those that are held out, and
    those with the same texts."""


def divide(tuning: Tuning, found: TuningInput, scorer: Scorer) -> TuningParts:
    """Draw both halves. Raises UsageError if there are too few rows, or if a score is constant."""
    rows = found.task.rows
    eligible = _eligible(tuning, found)
    keys = [key(rows.text(place)) for place in range(len(rows))]
    firsts = list({keys[place]: place for place in reversed(eligible.tolist())}.values())
    generator = np.random.default_rng([found.task.seed, _OWN_STREAM])
    outside = None
    if tuning.eval is not None:
        outside = _outside(tuning, found, scorer, generator)
        firsts = [place for place in firsts if keys[place] not in outside.keys]
    n_inside = 0 if outside else 2 * tuning.holdout
    drawn = generator.permutation(np.sort(np.array(firsts, dtype=np.int64)))
    drawn = rows.positions[drawn[: n_inside + 2 * MAX_CANDIDATES]].tolist()
    dataset = found.scored.dataset
    trained = _training_rows(dataset.choose_where(drawn), scorer, found)
    usable = [row for row in drawn if row in trained]
    _check_enough(len(usable), n_inside, dataset.name)
    held, rest = usable[:n_inside], usable[n_inside:]
    if outside is None:
        texts = {keys[place] for place in np.flatnonzero(np.isin(rows.positions, held)).tolist()}
        held_out = [_held_out(held[part::2], trained) for part in (0, 1)]
    else:
        texts, held_out = outside.keys, outside.parts
    is_open = [keys[place] not in texts for place in eligible.tolist()]
    half = len(rest) // 2
    halves = [
        TuningHalf(
            candidates=np.sort(np.array(rest[begin : begin + half], dtype=np.int64)),
            held_out=positions,
            requests=requests,
        )
        for begin, (positions, requests) in zip((0, half), held_out, strict=True)
    ]
    return TuningParts(
        halves=(halves[0], halves[1]),
        trained=trained,
        selected=_selected(found, half, sum(is_open)),
        held_out_from=outside.name if outside else dataset.name,
        left_out=rows.positions[[one in texts for one in keys]],
    )


def _eligible(tuning: Tuning, found: TuningInput) -> Places:
    """Places of the rows that have every score and that the selection would not drop."""
    task = found.task
    options = replace(task.options, top="100%", per=None, quota=None)
    verdict = options.entry.choose(replace(task, options=options))
    places: Places = np.flatnonzero(verdict.kept)
    for field in tuning.fields:
        if len(places) and is_constant(task.rows.column(field)[places]):
            raise UsageError(
                f"--tune: {field} is the same in all {plural(len(places), 'row')} of"
                f" {task.dataset.name} that have every score: leave it out"
            )
    return places


def _check_enough(usable: int, held_out: int, name: str) -> None:
    minimum = held_out + 2 * (MIN_SELECTED + 1)
    if usable < minimum:
        also = f", of which {held_out:,} are held out: lower --tune-holdout" if held_out else ""
        raise UsageError(
            f"--tune: {plural(usable, 'different row')} of {name} can be trained on and have every"
            f" score; at least {minimum:,} are needed{also}"
        )


def _selected(found: TuningInput, half: int, n_open: int) -> int:
    """Rows to select from each half: the share of its candidates that `--top` is of all.

    `n_open` are the rows that the selection may keep.
    """
    top = found.task.options.top
    n = round(found.task.n_wanted * half / n_open)
    if n >= half:
        raise UsageError(
            f"--top {top} keeps all of the {n_open:,} rows that are not held out: --tune needs"
            " something to choose from; lower it"
        )
    if n < MIN_SELECTED:
        raise UsageError(
            f"--top {top} is too little for --tune: a run would train on {plural(n, 'row')}, and"
            f" needs at least {MIN_SELECTED}; raise it"
        )
    return n


@dataclass(frozen=True, eq=False)
class _Outside:
    """Held-out rows from a dataset of their own."""

    name: str
    keys: set[bytes]
    """Of the texts of all its rows, also of those that were not drawn."""
    parts: list[tuple[Places, tuple[Request, ...]]]


def _outside(
    tuning: Tuning, found: TuningInput, scorer: Scorer, generator: np.random.Generator
) -> _Outside:
    """The held-out rows of both halves from `eval`. Raises UsageError if there are too few."""
    assert tuning.eval is not None, "the caller asks"
    read_options = reading_of_held_out(found.read_options)
    dataset = open_data(tuning.eval, read_options)
    texts: Rows = rows_of(without_scores(dataset), read_options.turns)
    trained = _training_rows(dataset, scorer, found)
    usable = generator.permutation(np.array(sorted(trained), dtype=np.int64)).tolist()
    n = min(tuning.holdout, len(usable) // 2)
    if n < MIN_PAIRS:
        raise UsageError(
            f"--tune-eval {dataset.name}: {plural(len(usable), 'row')} can be scored, and each half"
            f" needs at least {MIN_PAIRS}"
        )
    return _Outside(
        dataset.name,
        {key(texts.text(place)) for place in range(len(texts))},
        [_held_out(usable[part : 2 * n : 2], trained) for part in (0, 1)],
    )


def _held_out(positions: Sequence[int], trained: RowRequests) -> tuple[Places, tuple[Request, ...]]:
    """The positions, ascending, and the responses as they are scored: without their ends."""
    ascending = sorted(positions)
    requests = []
    for row in (one for position in ascending for one in trained[position]):
        stop = row.request.stop - row.n_end
        requests.append(Request(row.request.ids[:stop], row.request.start, stop))
    return np.array(ascending, dtype=np.int64), tuple(requests)


def _training_rows(dataset: Dataset, scorer: Scorer, found: TuningInput) -> RowRequests:
    by_row: RowRequests = {}
    for row in training_rows(dataset, scorer, found.progress).rows:
        by_row.setdefault(row.row, []).append(row)
    return by_row
