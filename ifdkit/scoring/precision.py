"""The precision check: what a run in 16 bits costs, measured on a sample of its own examples."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from ifdkit.errors import ModelError
from ifdkit.format import plural
from ifdkit.records import Example
from ifdkit.scoring.manifest import PrecisionCheck
from ifdkit.scoring.progress import Progress
from ifdkit.scoring.rows import ScoreRow
from ifdkit.scoring.scorer import Scorer
from ifdkit.stats.columns import spearman

# The check is at most 5 % of a run, also where bfloat16 is three times as fast as float32: scoring
# one example in a hundred again is 3 %, and what comes before takes as long as 15 to 20 examples.
# That is mostly the self-check in float32, which widened weights need as loaded ones do.
_MIN_EXAMPLES, _MAX_EXAMPLES, _ONE_IN = 8, 64, 100

_HOW = "--drift 12 measures it with 12"


class PrecisionSample:
    """A random sample of the examples that have an IFD, drawn while they are scored.

    Reservoir sampling: Vitter, "Random sampling with a reservoir" (1985), algorithm R.
    """

    def __init__(self, size: int | None, seed: int = 0) -> None:
        """`size`: examples to keep; None: one in 100, at most 64, and none of a short dataset."""
        self._size = size
        self._capacity = _MAX_EXAMPLES if size is None else size
        self._generator = np.random.default_rng(seed)
        self._kept: list[tuple[Example, float]] = []
        self._seen = 0

    def add(self, example: Example, row: ScoreRow) -> None:
        """Consider one scored example."""
        if row["ifd"] is None or not self._capacity:
            return
        self._seen += 1
        if len(self._kept) < self._capacity:
            self._kept.append((example, row["ifd"]))
        elif (slot := int(self._generator.integers(self._seen))) < self._capacity:
            self._kept[slot] = (example, row["ifd"])

    @property
    def is_short(self) -> bool:
        """Whether there are too few examples for a check that nobody asked for."""
        return self._size is None and self._seen < _MIN_EXAMPLES * _ONE_IN

    @property
    def is_empty(self) -> bool:
        """Whether no example has an IFD, or none is wanted."""
        return not self._kept

    def choose(self) -> list[tuple[Example, float]]:
        """The sampled examples, each with its IFD."""
        if self.is_short:
            return []
        wanted = self._seen // _ONE_IN if self._size is None else self._size
        if wanted >= len(self._kept):
            return self._kept
        chosen = self._generator.choice(len(self._kept), wanted, replace=False)
        return [self._kept[i] for i in sorted(chosen)]


def check_precision(
    scorer: Scorer, sample: PrecisionSample, progress: Progress
) -> PrecisionCheck | None:
    """Score a sample again in float32 and compare; None if there is nothing to compare.

    The scorer's own models are unloaded first, because two copies may not fit, or its weights
    become those in float32.  The float32 scores go to the same store, so that a second run computes
    nothing.
    """
    if scorer.dtype == "float32" or sample.is_empty:
        return None
    if sample.is_short:
        return PrecisionCheck(n=0, reason=f"fewer than {_MIN_EXAMPLES * _ONE_IN} examples: {_HOW}")
    begin, chosen = time.perf_counter(), sample.choose()
    if problem := scorer.float32_problem():
        scorer.unload()
        return PrecisionCheck(n=0, reason=problem)
    progress.note(f"precision check: scoring {plural(len(chosen), 'example')} again in float32")
    settings = replace(
        scorer.settings, dtype="float32", metrics=("ifd",), workers=1, reference_model=None
    )
    try:
        with Scorer(settings, store=scorer.store, before=scorer.release()) as exact:
            rows = exact.score([example for example, _ in chosen], provisional=True)
    except ModelError as error:
        return PrecisionCheck(n=0, reason=str(error))
    pairs = [(ifd, row["ifd"]) for (_, ifd), row in zip(chosen, rows, strict=True) if row["ifd"]]
    if not pairs:
        return None
    approximate, exact_ifd = np.array(pairs).T
    difference = np.abs(approximate - exact_ifd)
    return PrecisionCheck(
        n=len(pairs),
        median_abs_ifd=float(np.median(difference)),
        p95_abs_ifd=float(np.percentile(difference, 95)),
        spearman=spearman(approximate.tolist(), exact_ifd.tolist()),
        elapsed_s=round(time.perf_counter() - begin, 3),
    )
