"""What became of each row of the input: kept, or dropped for one reason."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import merge
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifdkit.records import Reject
from ifdkit.selection.groups import GroupShare
from ifdkit.selection.ranking import Band, Column
from ifdkit.selection.rows import Rows

Reasons = NDArray[np.str_]
"""Why each row was dropped, shape (rows,); KEPT if it was not."""
KEPT = ""
_MAX_REASON_CHARACTERS = 32


def fill_reasons(n_rows: int, reason: str) -> Reasons:
    """The same reason for every row."""
    return np.full(n_rows, reason, dtype=f"<U{_MAX_REASON_CHARACTERS}")


@dataclass(frozen=True, eq=False, kw_only=True)
class Verdict:
    """Which of the readable rows are kept, and why the others are dropped."""

    reasons: Reasons
    values: Column | None = None
    """What the rows were ranked by; None if nothing was ranked."""
    wanted: int | None = None
    """Rows asked for; None for all that qualify."""
    bands: tuple[Band, ...] = ()
    groups: tuple[GroupShare, ...] = ()

    def among(self, rows: Rows, others: Rows, reason: str = "where") -> Verdict:
        """The same verdict on `others`, which contain these rows: what it is not about is dropped.

        A row that is dropped here, for `reason`, has no value.
        """
        places = np.searchsorted(others.positions, rows.positions)
        reasons = fill_reasons(len(others), reason)
        reasons[places] = self.reasons
        values = None
        if self.values is not None:
            values = np.full(len(others), np.nan)
            values[places] = self.values
        return replace(self, reasons=reasons, values=values)

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Whether each row is kept, shape (rows,)."""
        kept: NDArray[np.bool_] = self.reasons == KEPT
        return kept


def row_log(
    rows: Rows, verdict: Verdict, rejects: Sequence[Reject], left_out: Iterable[int]
) -> Iterator[dict[str, Any]]:
    """One line for every row of the input, in file order.

    A line has `row`, `id`, `kept`, `reason` (null if kept), `status` and `value` (what the row was
    ranked by, or null). `left_out` are the rows that `--where` did not choose.
    """
    others: list[tuple[int, str, str | None]] = [(row, "where", None) for row in left_out]
    others += [(one.row, "rejected", one.reason) for one in rejects]
    return merge(_judged(rows, verdict), _not_judged(others), key=lambda line: int(line["row"]))


def _judged(rows: Rows, verdict: Verdict) -> Iterator[dict[str, Any]]:
    values = [None] * len(rows) if verdict.values is None else verdict.values.tolist()
    reasons = verdict.reasons.tolist()
    for place, row in enumerate(rows.positions.tolist()):
        value = values[place]
        yield {
            "row": row,
            "id": rows.ids[place],
            "kept": reasons[place] == KEPT,
            "reason": reasons[place] or None,
            "status": rows.statuses[place],
            "value": value if value is not None and math.isfinite(value) else None,
        }


def _not_judged(rows: Iterable[tuple[int, str, str | None]]) -> Iterator[dict[str, Any]]:
    for row, reason, status in sorted(rows):
        yield {
            "row": row,
            "id": None,
            "kept": False,
            "reason": reason,
            "status": status,
            "value": None,
        }
