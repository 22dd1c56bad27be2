"""Held-out responses before and after training: NLL, bits per byte and IFD of each row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ifdkit.data.options import ReadOptions
from ifdkit.data.read_log import ReadLog
from ifdkit.records import Passes, Status
from ifdkit.scoring.inputs import open_data
from ifdkit.scoring.progress import Progress
from ifdkit.scoring.run import blocks, note_reading
from ifdkit.scoring.scorer import Scorer
from ifdkit.stats.crossed import CrossedMean, crossed_mean

if TYPE_CHECKING:
    from ifdkit.scoring.inputs import Data

METRICS = ("nll_response_conditional", "bits_per_byte_conditional", "ifd")
"""What is measured; all fall if the model learns to answer such instructions."""
Values = dict[str, NDArray[np.float64]]
"""Metric → its values in the order of the file, shape (examples,); NaN if undefined."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A held-out file as one model scores it."""

    name: str
    values: Values
    contents: tuple[bytes, ...]
    """Ids of prompt and response by example: equal to those of a training row if it is in both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """One metric of one file, before and after training."""

    file: str
    side: str
    """`data` or `versus`."""
    metric: str
    before: float | None
    """Mean over the rows that are defined before and after."""
    after: float | None
    """Mean over seeds and rows."""
    change: CrossedMean


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """One metric of one file: the models of `versus` minus those of `data`, by seed and row."""

    file: str
    metric: str
    difference: CrossedMean


def held_out(
    data: Data, read_options: ReadOptions, scorer: Scorer, progress: Progress, *, notes: bool
) -> HeldOut:
    """Score a held-out file; `notes` tells the user what was not read of it."""
    dataset, log = open_data(data, read_options), ReadLog()
    columns: dict[str, list[float]] = {name: [] for name in METRICS}
    contents: list[bytes] = []
    progress.start(dataset.n_rows)
    for block in blocks(dataset, log):
        passes = scorer.align(block.examples)
        progress.begin_block(block.n_rows, len(block.examples))
        for row, one in zip(scorer.score(block.examples, passes), passes, strict=True):
            nll = row["nll_response_conditional"]
            columns["nll_response_conditional"].append(_number(nll))
            columns["bits_per_byte_conditional"].append(_bits_per_byte(nll, one))
            columns["ifd"].append(_number(row["ifd"]))
            contents.append(_content(one))
        progress.end_block()
    if notes:
        note_reading(dataset, log, progress)
    values = {name: np.array(column) for name, column in columns.items()}
    return HeldOut(dataset.name, values, tuple(contents))


def _bits_per_byte(nll: float | None, passes: Passes) -> float:
    """Conditional NLL of the response in bits per UTF-8 byte: comparable across tokenizers."""
    scored = passes.response_conditional
    if nll is None or scored is None or not passes.scored_bytes:
        return math.nan
    return nll * scored.request.n_scored / passes.scored_bytes / math.log(2)


def _content(passes: Passes) -> bytes:
    scored = passes.response_conditional
    if scored is None or passes.status == Status.INVALID:
        return b""
    return scored.request.ids[: scored.request.stop].tobytes()


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def evaluated(
    side: str, before: HeldOut, after: Sequence[HeldOut], *, seed: int
) -> list[Evaluated]:
    """Each metric of a file before training, and after it by seed."""
    found = []
    for metric in METRICS:
        old = before.values[metric]
        new = np.stack([one.values[metric] for one in after])
        is_defined = np.isfinite(np.vstack([old, new])).all(axis=0)
        found.append(
            Evaluated(
                file=before.name,
                side=side,
                metric=metric,
                before=_mean(old[is_defined]),
                after=_mean(new[:, is_defined]),
                change=crossed_mean(new - old, seed=seed),
            )
        )
    return found


def contrasts(data: Sequence[HeldOut], versus: Sequence[HeldOut], *, seed: int) -> list[Contrast]:
    """Each metric of a file: the models of `versus` minus those of `data`, seed by seed."""
    return [
        Contrast(
            file=data[0].name,
            metric=metric,
            difference=crossed_mean(
                np.stack([one.values[metric] for one in versus])
                - np.stack([one.values[metric] for one in data]),
                seed=seed,
            ),
        )
        for metric in METRICS
    ]


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if values.size else None
