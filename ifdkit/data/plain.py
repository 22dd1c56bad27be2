"""Values of tables and Python objects as JSON would have them.

A dataset must give the same texts whatever contains it. Arrow gives every struct every member of
its type, most of them null; pandas writes NaN for a missing value, arrays for lists and its own
types for dates and numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np

_AS_THEY_ARE = frozenset({str, int, bool, type(None)})


def plain(value: Any, *, drop_nulls: bool) -> Any:
    """The value as `json.loads` would return it, as far as it has a JSON form.

    NaN and infinity become null, dates ISO 8601 text, arrays lists. With `drop_nulls`, members of
    objects that are null are left out. Raises RecursionError if the value is nested too deeply.
    """
    kind = type(value)
    if kind in _AS_THEY_ARE:
        return value
    if kind is dict or isinstance(value, Mapping):
        members = ((key, plain(one, drop_nulls=drop_nulls)) for key, one in value.items())
        return {key: one for key, one in members if not (drop_nulls and one is None)}
    if isinstance(value, (list, tuple)):
        return [plain(one, drop_nulls=drop_nulls) for one in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist(), drop_nulls=drop_nulls)
    return _plain_scalar(value)


def _plain_scalar(value: Any) -> Any:
    if isinstance(value, (float, Decimal)):
        if not math.isfinite(value):
            return None
        is_whole = isinstance(value, Decimal) and value == int(value)
        return int(value) if is_whole else float(value)
    if isinstance(value, (date, time)):
        # A missing date of pandas is a date too, and the only one that is not equal to itself.
        return value.isoformat() if value == value else None
    if isinstance(value, UUID):
        return str(value)
    return None if type(value).__name__ == "NAType" else value


def plain_row(row: Any) -> Any:
    """A row of Arrow, pandas or `datasets`: nulls inside its fields are padding, and left out."""
    if not isinstance(row, Mapping):
        return plain(row, drop_nulls=True)
    return {key: plain(value, drop_nulls=True) for key, value in row.items()}
