"""How far a run in 16 bits lies from float32, measured on a sample of its own examples."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ifdkit.errors import ModelError
from ifdkit.records import Example, ScoreRow
from ifdkit.scoring.scorer import Progress, Scorer
from ifdkit.stats.columns import spearman

_MOST, _FEWEST, _ONE_IN = 64, 12, 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """IFD of the run against IFD in float32, over the same examples."""

    n: int
    median_abs_ifd: float | None = None
    """Median of |Δ IFD|."""
    p95_abs_ifd: float | None = None
    """95 % of the examples lie within it."""
    spearman: float | None = None
    """Rank correlation of the two; None for fewer than ten examples."""
    reason: str | None = None
    """Why it was not measured."""


class DriftSample:
    """A random sample of the examples that have an IFD, as they go by (reservoir sampling).

    Vitter, "Random sampling with a reservoir" (1985), algorithm R.
    """

    def __init__(self, size: int | None, seed: int = 0) -> None:
        """`size`: examples to keep; None: one in 50, at least 12 and at most 64."""
        self._size = size
        self._room = _MOST if size is None else size
        self._generator = np.random.default_rng(seed)
        self._kept: list[tuple[Example, float]] = []
        self._seen = 0

    def add(self, example: Example, row: ScoreRow) -> None:
        """One example goes by."""
        if row.ifd is None or not self._room:
            return
        self._seen += 1
        if len(self._kept) < self._room:
            self._kept.append((example, row.ifd))
        elif (place := int(self._generator.integers(self._seen))) < self._room:
            self._kept[place] = (example, row.ifd)

    def choose(self) -> list[tuple[Example, float]]:
        """The sample, and the IFD of each."""
        wanted = max(_FEWEST, self._seen // _ONE_IN) if self._size is None else self._size
        if wanted >= len(self._kept):
            return self._kept
        chosen = self._generator.choice(len(self._kept), wanted, replace=False)
        return [self._kept[i] for i in sorted(chosen)]


def measure_drift(scorer: Scorer, sample: DriftSample, progress: Progress) -> Drift | None:
    """Score a sample again in float32 and compare; None where there is nothing to compare.

    The scorer's own models are unloaded first: two copies may not fit.  What is scored here goes
    to the same store, so a second run measures for nothing.
    """
    if scorer.dtype == "float32" or not (chosen := sample.choose()):
        return None
    problem = scorer.float32_problem()
    scorer.unload()
    if problem:
        return Drift(n=0, reason=problem)
    progress.note(f"scoring {len(chosen)} examples again in float32, to tell what {scorer.dtype}"
                  " costs")  # fmt: skip
    exactly = replace(scorer.settings, dtype="float32", metrics=("ifd",))
    try:
        with Scorer(exactly, store=scorer.store) as exact:
            rows = exact.score([example for example, _ in chosen])
    except ModelError as error:
        return Drift(n=0, reason=str(error))
    pairs = [(ifd, row.ifd) for (_, ifd), row in zip(chosen, rows, strict=True) if row.ifd]
    if not pairs:
        return None
    ours, theirs = np.array(pairs).T
    gap = np.abs(ours - theirs)
    return Drift(
        n=len(pairs),
        median_abs_ifd=float(np.median(gap)),
        p95_abs_ifd=float(np.percentile(gap, 95)),
        spearman=spearman(ours.tolist(), theirs.tolist()),
    )
