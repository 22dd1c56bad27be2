"""What became of every row of the input, one line each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from heapq import merge
from pathlib import Path
from typing import Any

from ifdkit.data.atomic import atomic, json_line
from ifdkit.records import Reject
from ifdkit.selection.methods import Verdict
from ifdkit.selection.rows import Rows


def write_account(path: Path, rows: Rows, verdict: Verdict, rejects: Sequence[Reject]) -> None:
    """Write `row`, `id`, `kept`, `reason`, `status` and `value` of each row, in their order.

    `reason` is null for a row that is kept, `value` what it was ranked by, or null.
    """
    lines = merge(_judged(rows, verdict), _rejected(rejects), key=lambda line: int(line["row"]))
    with atomic(path) as file:
        for line in lines:
            file.write(json_line(line))


def _judged(rows: Rows, verdict: Verdict) -> Iterator[dict[str, Any]]:
    values = [None] * len(rows) if verdict.values is None else verdict.values.tolist()
    reasons = verdict.reasons.tolist()
    for place, row in enumerate(rows.positions.tolist()):
        value = values[place]
        yield {
            "row": row,
            "id": rows.ids[place],
            "kept": not reasons[place],
            "reason": reasons[place] or None,
            "status": rows.statuses[place],
            "value": value if value is not None and math.isfinite(value) else None,
        }


def _rejected(rejects: Sequence[Reject]) -> Iterator[dict[str, Any]]:
    for reject in rejects:
        yield {
            "row": reject.row,
            "id": None,
            "kept": False,
            "reason": "rejected",
            "status": reject.reason,
            "value": None,
        }
