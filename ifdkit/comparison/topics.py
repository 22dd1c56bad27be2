"""Which topics changed, and which did not: the pairs grouped by what they are about.

Topics are clusters of the stored sentence embeddings of the before side, so that a rewrite moves no
pair to another topic.  A topic is marked as changed unlike the others if its changes in IFD differ
from those of all other pairs (Mann-Whitney, Holm over the topics).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifdkit.comparison.result import TopicChange
from ifdkit.comparison.sides import ComparedSide
from ifdkit.data.pairing import Pairs, Positions
from ifdkit.scoring.embeddings import stored_vectors
from ifdkit.stats.columns import MIN_PAIRS, Column, finite, holm, median_ci95
from ifdkit.topics.layouts import LayoutName
from ifdkit.topics.model import MAX_FITTED, Labels, TopicModel, fit
from ifdkit.topics.titles import titles

_PAIRS_PER_BATCH = 8192


@dataclass(frozen=True, eq=False)
class Topics:
    """The topic and the places of every pair."""

    titles: Sequence[str]
    labels: Labels
    """(pairs,), −1 for a pair without embeddings."""
    before: NDArray[np.float32]
    """(pairs, 2), places on the map."""
    after: NDArray[np.float32]

    def columns(self) -> dict[str, Any]:
        """Columns of `rows.parquet`."""
        names = np.array([*self.titles, None], dtype=object)
        found: dict[str, Any] = {"topic": names[self.labels]}
        for side, places in (("before", self.before), ("after", self.after)):
            found[f"map_x_{side}"], found[f"map_y_{side}"] = places.T
        return found


def find_topics(
    before: ComparedSide,
    after: ComparedSide,
    pairs: Pairs,
    *,
    seed: int,
    layout: LayoutName = "pca",
) -> Topics | None:
    """The topics of the pairs; None if too few of them have stored embeddings."""
    if not (before.has_embeddings and after.has_embeddings) or not len(pairs):
        return None
    n = len(pairs)
    drawn = np.arange(n)
    if n > MAX_FITTED:
        drawn = np.sort(np.random.default_rng(seed).choice(n, MAX_FITTED, replace=False))
    sample = vectors_of(before, pairs.before[drawn])
    model = fit(sample, seed=seed, layout=layout)
    if model is None:
        return None
    labels, old, new = _applied(model, before, after, pairs)
    assert before.texts is not None
    texts = before.texts.instructions
    words = (texts[i] for i in pairs.before.tolist())
    return Topics(titles(words, labels, len(model.centres)), labels, old, new)


def _applied(
    model: TopicModel, before: ComparedSide, after: ComparedSide, pairs: Pairs
) -> tuple[Labels, NDArray[np.float32], NDArray[np.float32]]:
    """Topic and both places of each pair, a batch at a time."""
    labels: Labels = np.full(len(pairs), -1, dtype=np.int32)
    old, new = (np.full((len(pairs), 2), np.nan, dtype=np.float32) for _ in range(2))
    for part in _batches(len(pairs)):
        vectors = vectors_of(before, pairs.before[part])
        if vectors.shape[1] == model.centres.shape[1]:  # one of 1: none of the batch is stored
            labels[part], old[part] = model.labels(vectors), model.positions(vectors)
        vectors = vectors_of(after, pairs.after[part])
        if vectors.shape[1] == model.centres.shape[1]:
            new[part] = model.positions(vectors)
    return labels, old, new


def _batches(n: int) -> Iterator[slice]:
    return (slice(begin, begin + _PAIRS_PER_BATCH) for begin in range(0, n, _PAIRS_PER_BATCH))


def vectors_of(side: ComparedSide, positions: Positions) -> NDArray[np.float32]:
    """Stored embeddings of some examples of a side, see :func:`stored_vectors`."""
    scorer, texts = side.scorer, side.texts
    assert scorer is not None
    assert scorer.embeddings is not None
    assert texts is not None
    chosen = positions.tolist()
    return stored_vectors(
        scorer.embeddings,
        [texts.instructions[i] for i in chosen],
        [texts.responses[i] for i in chosen],
    )


def topic_changes(
    names: Sequence[str],
    labels: Labels,
    ifd: tuple[Column, Column],
    tokens: tuple[Column, Column],
    common_ifd: tuple[Column, Column] | None,
    *,
    seed: int,
) -> tuple[TopicChange, ...]:
    """The table of topics, the largest first; columns have one entry per pair, shape (pairs,)."""
    measured = common_ifd or ifd
    change = measured[1] - measured[0]
    found = []
    for i, name in enumerate(names):
        rows = np.flatnonzero(labels == i)
        if not len(rows):
            continue
        old, new = (side[rows] for side in ifd)
        is_defined = np.isfinite(old) & np.isfinite(new)
        old, new = old[is_defined], new[is_defined]
        own = change[rows][np.isfinite(change[rows])]
        found.append(
            TopicChange(
                title=name,
                n_pairs=len(rows),
                ifd_before=_median(old),
                ifd_after=_median(new),
                tokens_before=_median(tokens[0][rows]),
                tokens_after=_median(tokens[1][rows]),
                share_rose=float((new > old).mean()) if len(old) else None,
                is_at_common_length=common_ifd is not None,
                change=_median(own),
                change_ci95=median_ci95(own, seed=seed) if len(own) >= MIN_PAIRS else None,
                n_change=len(own),
                p_holm=_p_unlike(change, labels, i),
            )
        )
    corrected = holm({one.title: one.p_holm for one in found})
    return tuple(replace(one, p_holm=corrected[one.title]) for one in found)


def _median(values: Column) -> float | None:
    known = values[np.isfinite(values)]
    return finite(np.median(known)) if len(known) else None


def _p_unlike(change: Column, labels: Labels, topic: int) -> float | None:
    """p that the changes of a topic differ from those of the other topics, not yet corrected."""
    known = np.isfinite(change) & (labels >= 0)
    own, others = change[known & (labels == topic)], change[known & (labels != topic)]
    if min(len(own), len(others)) < MIN_PAIRS:
        return None
    from scipy import stats

    if np.ptp(np.concatenate([own, others])) == 0:
        return 1.0
    return float(stats.mannwhitneyu(own, others, method="asymptotic").pvalue)
