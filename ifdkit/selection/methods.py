"""Which rows stay, and why each of the others goes.

    cherry             highest ratio of losses below 1              2308.12032, section 2
    superfiltering     highest ratio of perplexities below 1        2402.00530, section 3
      --diversity      of those the ones that stand for the others  the same, Superfiltering.D
    length-controlled  highest IFD within bands of response length
    selective          rows whose response the student took         2402.10110, section 3
    random             as many rows by chance

A row has one reason at most: the first of these that holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ifdkit.errors import UsageError
from ifdkit.scoring.metrics import METRICS
from ifdkit.selection.options import LENGTH_FIELDS, MISFIT_FROM, SelectOptions
from ifdkit.selection.ranking import Band, Column, Places, best_first, best_within_bands, drawn
from ifdkit.selection.rows import Rows

Reasons = NDArray[np.str_]
"""Why each row goes; empty for one that stays."""
Embed = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts → float32 of shape (texts, dimensions), each of length 1."""

KEPT = ""
_LONGEST = 32
"""Characters of a reason."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Verdict:
    """What became of each row that could be read."""

    reasons: Reasons
    values: Column | None = None
    """What the rows were ranked by; None where they were not."""
    wanted: int | None = None
    """Rows that were asked for; None for all that qualify."""
    bands: tuple[Band, ...] = ()

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Which rows stay."""
        stay: NDArray[np.bool_] = self.reasons == KEPT
        return stay


def draw(rows: Rows, options: SelectOptions, rows_in: int, seed: int) -> Verdict:
    """As many rows by chance, of all that could be read: what every other choice must beat."""
    n = _wanted(options, rows_in)
    reasons = np.full(len(rows), "not_drawn", dtype=f"<U{_LONGEST}")
    reasons[drawn(len(rows), n, seed)] = KEPT
    return Verdict(reasons=reasons, wanted=n)


def rank(rows: Rows, options: SelectOptions, rows_in: int, embed: Embed) -> Verdict:
    """The best rows by a field, as the options say. Raises UsageError.

    `rows_in` are all rows of the input: what a share is a share of.
    """
    field = options.field
    assert field is not None, "this method ranks"
    values = rows.column(field)
    if field in LENGTH_FIELDS:  # what is not there is no short text
        values = np.where(values > 0, values, np.nan)
    reasons = _screened(values, field, options)
    if options.top is None:
        return Verdict(reasons=reasons, values=values)
    n = _wanted(options, rows_in)
    candidates = np.where(reasons == KEPT, values, np.nan)
    bands: list[Band] = []
    if options.method == "length-controlled":
        taken, bands = best_within_bands(
            candidates, rows.column("response_tokens"), n, options.n_bands
        )
    elif options.diversity:
        pool = best_first(candidates)[: _pool(options, n, rows_in)]
        taken = _spread(pool, rows, n, embed)
        reasons[pool] = "too_similar"
    else:
        taken = best_first(candidates, lowest=options.lowest)[:n]
    stays = np.zeros(len(rows), dtype=bool)
    stays[taken] = True
    reasons[(reasons == KEPT) & ~stays] = "below_top"
    reasons[stays] = KEPT
    return Verdict(reasons=reasons, values=values, wanted=n, bands=tuple(bands))


def _wanted(options: SelectOptions, rows_in: int) -> int:
    top = options.top_rows
    assert top is not None, "the options say so"
    return top.of(rows_in)


def _screened(values: Column, field: str, options: SelectOptions) -> Reasons:
    """Rows that no ranking is open to."""
    reasons: Reasons = np.full(len(values), KEPT, dtype=f"<U{_LONGEST}")
    with np.errstate(invalid="ignore"):  # NaN is no more and no less than anything
        if options.max is not None:
            reasons[values > options.max] = "above_max"
        if options.min is not None:
            reasons[values < options.min] = "below_min"
        if METRICS[field].is_ratio and not options.keep_misaligned:
            name = "rifd" if field.startswith("rifd") else "ifd"
            reasons[values >= MISFIT_FROM] = f"{name}_above_one"
    reasons[~np.isfinite(values)] = "undefined"
    return reasons


def _pool(options: SelectOptions, n: int, rows_in: int) -> int:
    pool = options.pool_rows.of(rows_in)
    if pool < n:
        raise UsageError(
            f"--pool {options.pool_rows.text} is {pool:,} rows, fewer than the {n:,} of --top:"
            " give more"
        )
    return pool


def _spread(pool: Places, rows: Rows, n: int, embed: Embed) -> Places:
    """Of a pool the rows that stand for the others: facility location on embeddings.

    Instruction and response are embedded as one text, as by the published script.  The best come
    first, so that of two alike the better one is taken.
    """
    if len(pool) <= n:
        return pool
    from ifdkit.selection.facility import facility_location

    vectors = embed([rows.text(int(place)) for place in pool])
    return pool[np.array(facility_location(vectors, n), dtype=np.int64)]
