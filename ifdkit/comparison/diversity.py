"""How diverse both sides of a comparison are as sets, and how each covers the other.

Measured on the pairs whose texts have stored embeddings on both sides, so that both sets have the
same number of rows.  Densities are relative to both sides together.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ifdkit.comparison.result import DiversityChange, SetCoverage
from ifdkit.comparison.sides import ComparedSide
from ifdkit.comparison.topics import vectors_of
from ifdkit.data.pairing import Pairs, Positions
from ifdkit.diversity.coverage import Coverage, coverage
from ifdkit.diversity.measures import DIVERSITY, MAX_ROWS, RowSet, clusters_of, row_set
from ifdkit.diversity.spread import MIN_PAIRS, change_errors, interval_of
from ifdkit.diversity.vectors import Vectors, known_rows


def find_diversity(
    before: ComparedSide, after: ComparedSide, pairs: Pairs, *, seed: int
) -> tuple[dict[str, DiversityChange], SetCoverage | None]:
    """Measure → its change, and the coverage; empty and None if too few pairs have embeddings.

    Of more than MAX_ROWS pairs as many are drawn by the seed.
    """
    if not (before.has_embeddings and after.has_embeddings):
        return {}, None
    drawn = np.arange(len(pairs))
    if len(pairs) > MAX_ROWS:
        generator = np.random.default_rng(seed)
        drawn = np.sort(generator.choice(len(pairs), MAX_ROWS, replace=False))
    positions = pairs.before[drawn], pairs.after[drawn]
    old, new = vectors_of(before, positions[0]), vectors_of(after, positions[1])
    if old.shape != new.shape:
        return {}, None  # one side has no embedding at all
    both = np.intersect1d(known_rows(old), known_rows(new))
    if len(both) < MIN_PAIRS:
        return {}, None
    old, new = old[both], new[both]
    pooled = np.concatenate([old, new])
    sets = tuple(
        row_set(vectors, _texts(side, rows[both]), reference=pooled, seed=seed)
        for side, rows, vectors in zip((before, after), positions, (old, new), strict=True)
    )
    return _changes(sets[0], sets[1], seed), _coverage(old, new, seed)


def _texts(side: ComparedSide, positions: Positions) -> list[str]:
    assert side.texts is not None, "a side with embeddings has texts"
    return [side.texts.responses[i] for i in positions.tolist()]


def _changes(before: RowSet, after: RowSet, seed: int) -> dict[str, DiversityChange]:
    n_clusters = min(clusters_of(before.vectors), clusters_of(after.vectors))
    old, new = (one.measure(n_clusters=n_clusters, seed=seed) for one in (before, after))
    errors: Mapping[str, float] = change_errors(before, after, n_clusters=n_clusters, seed=seed)
    found = {}
    for name in DIVERSITY:
        first, second = old[name].value, new[name].value
        if first is None or second is None:
            continue
        change = second - first
        sampling = float(np.hypot(old[name].standard_error, new[name].standard_error))
        error = float(np.hypot(errors[name], sampling)) if name in errors else None
        found[name] = DiversityChange(
            n_pairs=len(before),
            before=first,
            after=second,
            change=change,
            change_ci95=interval_of(change, error) if error is not None else None,
            sampling_error=sampling,
        )
    return found


def _coverage(before: Vectors, after: Vectors, seed: int) -> SetCoverage | None:
    of_before: Coverage | None = coverage(before, after, seed=seed)
    of_after: Coverage | None = coverage(after, before, seed=seed)
    if of_before is None or of_after is None:
        return None
    return SetCoverage(
        before_by_after=of_before.share,
        after_by_before=of_after.share,
        cosine_before_to_after=of_before.mean_cosine,
        cosine_after_to_before=of_after.mean_cosine,
        n_rows=of_before.n_rows,
    )
