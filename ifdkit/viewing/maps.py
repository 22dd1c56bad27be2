"""The map as the page draws it: the places, the colours and the chosen rows, as bytes."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifdkit.errors import UsageError
from ifdkit.viewing.query import Queries, Query
from ifdkit.viewing.table import ColumnTable
from ifdkit.visible import one_line

MAX_CLASSES = 9
"""Values of a column of texts that have a colour of their own; the others share one."""
_PLAIN, _PAIRED = ("map_x", "map_y"), ("map_x_before", "map_y_before", "map_x_after", "map_y_after")


def places_of(table: ColumnTable) -> tuple[str, ...]:
    """The columns of the map, four of them for a comparison; empty if there is none."""
    names = set(table.names)
    for columns in (_PAIRED, _PLAIN):
        if names.issuperset(columns):
            return columns
    return ()


def map_bytes(table: ColumnTable, queries: Queries, query: Query, colour: str, n: int) -> bytes:
    """Length of the JSON (uint32), the JSON, then the arrays that it names, all little-endian.

    The arrays have one entry per row: float32 places, NaN if unknown; float32 `colour`, a quantile
    0…1 or the number of a class, −1 if undefined; uint8 `chosen`.  Raises UsageError.
    """
    columns = places_of(table)
    if not columns:
        raise UsageError("these rows have no map")
    values, classes = _colours(queries, colour, n)
    places = [queries.numbers(name, n).astype("<f4") for name in columns]
    parts = [*places, values.astype("<f4")]
    head = {"n": n, "places": len(places), "classes": classes}
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 4)
    chosen = queries.mask(query, n).astype(np.uint8)
    header = np.uint32(len(text)).astype("<u4").tobytes()
    return b"".join([header, text, *(part.tobytes() for part in parts), chosen.tobytes()])


def _colours(queries: Queries, name: str, n: int) -> tuple[NDArray[np.float64], list[str] | None]:
    if not name:
        return np.full(n, -1.0), None
    if queries.is_number(name):
        return _quantiles(queries.numbers(name, n)), None
    column = queries.coded(name, n)
    texts = column.dictionary.texts.tolist()
    counts = Counter(column.codes.tolist())
    most = [code for code, _ in counts.most_common() if texts[code] is not None][:MAX_CLASSES]
    classes = np.full(len(texts), float(len(most)))
    classes[[code for code, text in enumerate(texts) if text is None]] = -1
    classes[most] = np.arange(len(most))
    shown = [one_line(str(texts[code]), 60) for code in most]
    has_others = bool((classes[column.codes] == len(most)).any())
    return classes[column.codes], [*shown, *(["others"] if has_others else [])]


def _quantiles(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of the defined numbers that are smaller, 0…1; −1 if undefined."""
    found = np.full(len(numbers), -1.0)
    known = np.flatnonzero(np.isfinite(numbers))
    if len(known):
        ordered = np.sort(numbers[known])
        found[known] = np.searchsorted(ordered, numbers[known]) / max(1, len(known) - 1)
    return np.asarray(np.minimum(found, 1.0), np.float64)


def topic_table(
    table: ColumnTable, queries: Queries, query: Query, n: int, summarized: Any
) -> list[dict[str, Any]]:
    """One entry per topic, the largest first: its rows, those of the query, its medians.

    `summarized`: the topics of a comparison's `summary.json`, whose numbers are added.
    """
    if "topic" not in table.names:
        return []
    column, mask = queries.coded("topic", n), queries.mask(query, n)
    texts = column.dictionary.texts.tolist()
    known = {one.get("title"): one for one in summarized or ()}
    medians = [name for name in ("ifd", "response_tokens") if name in table.names]
    found = []
    for code, title in enumerate(texts):
        rows = column.codes == code
        if title is None or not rows.any():
            continue
        one: dict[str, Any] = {"title": str(title), "n": int(rows.sum()),
                               "chosen": int((rows & mask).sum())}  # fmt: skip
        for name in medians:
            values = queries.numbers(name, n)[rows]
            defined = values[np.isfinite(values)]
            one[name] = float(np.median(defined)) if len(defined) else None
        told = known.get(title, {})
        names = ("change", "change_ci95", "is_at_common_length", "share_rose", "p_holm")
        found.append(one | {name: told[name] for name in names if name in told})
    return sorted(found, key=lambda one: -one["n"])
