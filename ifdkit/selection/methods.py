"""The methods of `select`: what each ranks by, where it comes from, and how it chooses rows.

    cherry             highest ratio of losses below 1                2308.12032, section 2
    superfiltering     highest ratio of perplexities below 1          2402.00530, section 3
      --diversity      of these, the rows that represent the others   the same, Superfiltering.D
    length-controlled  highest IFD within bands of response length
    diverse            the rows that represent all others
    quality-diverse    highest quality × distance to the rows chosen before
    selective          rows whose new response the student accepted   2402.10110, section 3
    random             as many rows at random

A method is one entry of METHODS.  A dropped row has one reason; if several apply, it is the first
of: undefined, 1 or more, below `--min`, above `--max`, not among the best.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ifdkit.data.dataset import Dataset
from ifdkit.errors import UsageError
from ifdkit.scoring.metrics import METRICS
from ifdkit.selection.groups import (
    CLUSTER,
    Groups,
    GroupShare,
    best_of_groups,
    cluster_groups,
    column_groups,
)
from ifdkit.selection.quality import combined, quality_diverse
from ifdkit.selection.ranking import Column, Places, best_first, best_within_bands, drawn
from ifdkit.selection.reflected import accepted_responses, provenance_of
from ifdkit.selection.rows import LENGTH_FIELDS, Rows
from ifdkit.selection.verdict import KEPT, Verdict, fill_reasons

if TYPE_CHECKING:
    from ifdkit.selection.options import SelectOptions

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts → float32 of shape (texts, dimensions), each row of length 1."""

MISALIGNED_FROM = 1.0
"""From this value on, a ratio means that one half does not help with the other (2308.12032)."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Task:
    """The rows to choose from, and the options."""

    dataset: Dataset
    rows: Rows
    options: SelectOptions
    seed: int
    embed: Embed

    @cached_property
    def vectors(self) -> NDArray[np.float32]:
        """Embeddings of all rows; each row's texts are embedded as one."""
        return self.embed([self.rows.text(place) for place in range(len(self.rows))])

    @property
    def n_wanted(self) -> int:
        """Rows asked for with `--top`. Raises UsageError if that is less than one row."""
        top = self.options.top_rows
        assert top is not None, "SelectOptions requires it"
        return top.of(self.dataset.n_rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One way to select rows."""

    choose: Callable[[Task], Verdict]
    """May raise IfdkitError."""
    field: str | None
    """Metric that it ranks by; None if it ranks nothing."""
    source: str | None
    """The paper, or who proposed it."""
    options: tuple[str, ...]
    """Fields of :class:`SelectOptions` that apply to it."""
    last_turn_only: bool = False
    """Whether it cannot be used with `--turns all`."""
    ranks_by_choice: bool = False
    """Whether `--by` or `--weights` says what it ranks by."""
    embeds: bool = False
    """Whether it needs the embeddings of all rows."""


def rank(task: Task) -> Verdict:
    """Keep the largest values of the field, or the smallest with `--lowest`."""
    screened, lowest = _screen(task), task.options.lowest
    if task.options.top is None:
        return screened
    n, candidates = task.n_wanted, _candidates(screened)
    if task.options.per is not None:
        best, groups = _best_of_groups(task, -candidates if lowest else candidates)
        return replace(_keep(screened, best, n), groups=groups)
    return _keep(screened, best_first(candidates, lowest=lowest)[:n], n)


def superfilter(task: Task) -> Verdict:
    """Keep the largest values; with `--diversity` the rows that represent a pool of them."""
    if not task.options.diversity:
        return rank(task)
    screened, n = _screen(task), task.n_wanted
    pool = best_first(_candidates(screened))[: _pool_size(task)]
    verdict = _keep(screened, pool, n)
    verdict.reasons[np.setdiff1d(pool, _representatives(pool, task))] = "too_similar"
    return verdict


def rank_within_bands(task: Task) -> Verdict:
    """Keep the largest values of each band of response length."""
    screened, n = _screen(task), task.n_wanted
    lengths = task.rows.column("response_tokens")
    best, bands = best_within_bands(_candidates(screened), lengths, n, task.options.n_bands)
    return replace(_keep(screened, best, n), bands=tuple(bands))


def accept(task: Task) -> Verdict:
    """Keep the rows whose new response the student accepted."""
    provenance = provenance_of(task.options.provenance, task.dataset)
    return Verdict(reasons=accepted_responses(task.rows, provenance))


def keep_all(task: Task) -> Verdict:
    """Keep every row: those that `--where` and `--ids` chose."""
    return Verdict(reasons=fill_reasons(len(task.rows), KEPT))


def draw(task: Task) -> Verdict:
    """Keep rows drawn at random from all readable ones: the baseline of every other method."""
    n, reasons = task.n_wanted, fill_reasons(len(task.rows), "not_drawn")
    if task.options.per is None:
        reasons[drawn(len(task.rows), n, task.seed)] = KEPT
        return Verdict(reasons=reasons, wanted=n)
    order = np.random.default_rng(task.seed).permutation(len(task.rows)).astype(np.float64)
    chosen, groups = _best_of_groups(task, order)
    reasons[chosen] = KEPT
    return Verdict(reasons=reasons, wanted=n, groups=groups)


def represent(task: Task) -> Verdict:
    """Keep the rows that represent all others: facility location over the whole input."""
    from ifdkit.selection.facility import facility_location

    n, reasons = task.n_wanted, fill_reasons(len(task.rows), "too_similar")
    if len(task.rows) <= n:
        return Verdict(reasons=fill_reasons(len(task.rows), KEPT), wanted=n)
    reasons[facility_location(task.vectors, n)] = KEPT
    return Verdict(reasons=reasons, wanted=n)


def rank_diverse(task: Task) -> Verdict:
    """Keep rows of high quality that are unlike each other."""
    screened, n, lowest = _screen(task), task.n_wanted, task.options.lowest
    best = quality_diverse(_candidates(screened), task.vectors, n, lowest=lowest)
    return _keep(screened, best, n)


_RANKING = ("top", "min", "max", "keep_misaligned", "where", "ids")
_GROUPED = ("per", "quota")
BY_FIELD = Method(choose=rank, field=None, source=None, options=(*_RANKING, *_GROUPED, "lowest"))
"""`--by FIELD` or `--weights`."""
FILTER = Method(choose=keep_all, field=None, source=None, options=("where", "ids"))
"""`--where` or `--ids` alone."""
METHODS = {
    "cherry": Method(
        choose=rank,
        field="ifd_loss",
        source="arXiv 2308.12032",
        options=(*_RANKING, *_GROUPED),
    ),
    "superfiltering": Method(
        choose=superfilter,
        field="ifd",
        source="arXiv 2402.00530",
        options=(*_RANKING, *_GROUPED, "diversity", "pool"),
    ),
    "selective": Method(
        choose=accept,
        field=None,
        source="arXiv 2402.10110",
        options=("provenance",),
        last_turn_only=True,
    ),
    "length-controlled": Method(
        choose=rank_within_bands, field="ifd", source="ifdkit", options=(*_RANKING, "bands")
    ),
    "diverse": Method(
        choose=represent,
        field=None,
        source="ifdkit",
        options=("top", "where", "ids"),
        embeds=True,
    ),
    "quality-diverse": Method(
        choose=rank_diverse,
        field=None,
        source="ifdkit",
        options=(*_RANKING, "lowest"),
        ranks_by_choice=True,
        embeds=True,
    ),
    "random": Method(
        choose=draw, field=None, source="the baseline", options=("top", "where", "ids", *_GROUPED)
    ),
}
"""Name of `--method` → method."""


def _screen(task: Task) -> Verdict:
    """The values of the field, and the reason of each row that cannot be ranked."""
    options = task.options
    columns = {name: _column(task, name) for name in options.ranked}
    weights = options.combination
    values = combined(columns, weights) if weights else columns[options.ranked[0]]
    reasons = fill_reasons(len(values), KEPT)
    with np.errstate(invalid="ignore"):  # no comparison with NaN is true
        if options.max is not None:
            reasons[values > options.max] = "above_max"
        if options.min is not None:
            reasons[values < options.min] = "below_min"
        for field, column in columns.items():
            if METRICS[field].is_ratio and not options.keep_misaligned:
                name = "rifd" if field.startswith("rifd") else "ifd"
                reasons[column >= MISALIGNED_FROM] = f"{name}_above_one"
    reasons[~np.isfinite(values)] = "undefined"
    return Verdict(reasons=reasons, values=values)


def _column(task: Task, field: str) -> Column:
    values = task.rows.column(field)
    if field in LENGTH_FIELDS:  # an absent text is not a short one
        values = np.where(values > 0, values, np.nan)
    return values


def _best_of_groups(task: Task, ranks: Column) -> tuple[Places, tuple[GroupShare, ...]]:
    """The largest `ranks` of each group of `--per`."""
    is_equal = task.options.quota == "equal"
    return best_of_groups(ranks, _groups(task), task.n_wanted, equal=is_equal)


def _groups(task: Task) -> Groups:
    per = task.options.per
    assert per is not None, "rows are grouped only if that is asked for"
    if per == CLUSTER:
        texts = [task.rows.text(place) for place in range(len(task.rows))]
        return cluster_groups(texts, task.vectors, task.seed)
    return column_groups(task.dataset, task.rows, per)


def _candidates(screened: Verdict) -> Column:
    """The values that can be ranked; NaN for the others."""
    assert screened.values is not None
    return np.where(screened.kept, screened.values, np.nan)


def _keep(screened: Verdict, best: Places, n: int) -> Verdict:
    """Of the rows that can be ranked, keep only those in `best`."""
    is_best = np.zeros(len(screened.reasons), dtype=bool)
    is_best[best] = True
    reasons = screened.reasons.copy()
    reasons[screened.kept & ~is_best] = "below_top"
    return replace(screened, reasons=reasons, wanted=n)


def _pool_size(task: Task) -> int:
    pool, n = task.options.pool_rows.of(task.dataset.n_rows), task.n_wanted
    if pool < n:
        raise UsageError(
            f"--pool {task.options.pool_rows.text} is {pool:,} rows, fewer than the {n:,} of --top:"
            " increase it"
        )
    return pool


def _representatives(pool: Places, task: Task) -> Places:
    """The rows of a pool that represent the others: facility location on embeddings.

    Instruction and response are embedded as one text, as in the published script.  The pool is
    ordered best first, so that of two equal rows the better one is chosen.
    """
    n = task.n_wanted
    if len(pool) <= n:
        return pool
    from ifdkit.selection.facility import facility_location

    vectors = task.embed([task.rows.text(int(place)) for place in pool])
    return pool[np.array(facility_location(vectors, n), dtype=np.int64)]
