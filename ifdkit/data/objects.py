"""One JSON object around all rows of a dataset, in the ways in which programs write them.

{"data": [row, …], "version": 1}        one list of rows
{"train": [row, …], "test": [row, …]}   several: the user must choose
{"instruction": ["…", …], "output": …}  a list per column
{"instruction": {"0": "…", …}, …}       an object per column, as pandas writes it
{"columns": […], "data": [[…], …]}      the columns named apart, as pandas writes it too
{"id1": row, "id2": row}                an object per row
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ifdkit.data.columns import normal_name
from ifdkit.data.detection import Found, detect
from ifdkit.data.layouts import walk_row
from ifdkit.data.messages import ROLE_KEYS
from ifdkit.data.turns import BadContentError
from ifdkit.errors import AmbiguousFormatError, IfdkitError

Row = Mapping[str, Any]


class Table(NamedTuple):
    """Rows found in an object, and how it contains them."""

    rows: list[Any]
    how: str


def tables_of(value: Row, given: Mapping[str, str]) -> dict[str, Table]:
    """The datasets in an object, by their key, "" if it is one itself; {} if it is a row.

    `given` are the columns that the user names.
    """
    table = _split_table(value, given)
    if table is None and _is_row(value, given):
        return {}
    if table := table or _table(value, given):
        return {"": table}
    found: dict[str, Table] = {}
    for key, one in value.items():
        if isinstance(one, list) and one and isinstance(one[0], Mapping):
            keys = {name for row in one if isinstance(row, Mapping) for name in row}
            table = Table(one, "a list of rows") if _has_layout(keys, given) else None
        else:
            table = _table(one, given) if isinstance(one, Mapping) else None
        if table:
            found[str(key)] = table
    return found


def _is_row(value: Row, given: Mapping[str, str]) -> bool:
    """Whether the object can be read as a row itself."""
    try:
        columns = detect(Found([key for key in value if value[key] is not None], "it"), given)
        walk_row(value, columns)
    except AmbiguousFormatError:
        return not all(isinstance(one, (list, Mapping)) for one in value.values())
    except (BadContentError, IfdkitError):
        return False
    messages = value.get(columns.messages or "")
    is_table = normal_name(columns.messages or "") == "data" and _are_objects(messages)
    return not is_table and not isinstance(value.get(columns.id or ""), (list, Mapping))


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(one, Mapping) for one in value)


def _has_layout(keys: Sequence[str] | set[str], given: Mapping[str, str]) -> bool:
    """Whether columns of these names are those of a dataset."""
    try:
        detect(Found(list(keys), "it"), given)
    except AmbiguousFormatError:
        return True
    except IfdkitError:
        return False
    return True


def _table(value: Row, given: Mapping[str, str]) -> Table | None:
    """The rows of an object that is a table."""
    parts = list(value.values())
    if parts and all(isinstance(one, Mapping) for one in parts):
        return _of_objects(value, given)
    return _split_table(value, given) or _of_lists(value, given)


def _split_table(value: Row, given: Mapping[str, str]) -> Table | None:
    """The rows of an object with the names of the columns apart."""
    names, cells = value.get("columns"), value.get("data")
    if not (isinstance(names, list) and isinstance(cells, list)):
        return None
    if not _has_layout([name for name in names if isinstance(name, str)], given):
        return None
    rows = [dict(zip(names, row, strict=False)) if isinstance(row, list) else row for row in cells]
    return Table(rows, "a list of cells per row")


def _of_lists(value: Row, given: Mapping[str, str]) -> Table | None:
    """The rows of an object with a list per column, all of one length."""
    columns = list(value.values())
    if not all(isinstance(one, list) and len(one) == len(columns[0]) for one in columns):
        return None
    cells = [cell for one in columns for cell in one]
    if not cells or not _has_layout(list(value), given):
        return None
    if any(isinstance(cell, Mapping) and any(cell.get(key) for key in ROLE_KEYS) for cell in cells):
        return None  # messages
    if len(columns) == 1 and not all(isinstance(cell, list) for cell in cells):
        return None  # one list is a column only if it has a list for every row
    rows = [dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True)]
    return Table(rows, "a list per column")


def _of_objects(value: Row, given: Mapping[str, str]) -> Table | None:
    """The rows of an object of objects: one per row, or one per column."""
    inner = list(dict.fromkeys(key for one in value.values() for key in one))
    if _has_layout(inner, given):
        if _table(next(iter(value.values())), given):
            return None  # several tables
        rows = [row if "id" in row else {"id": key, **row} for key, row in value.items()]
        return Table(rows, "an object per row")
    if not _has_layout(list(value), given) or any(key in ROLE_KEYS for key in inner):
        return None
    if not inner or any(one.keys() != set(inner) for one in value.values()):
        return None  # pandas writes every row into every column
    has_ids = not all(str(key).isdigit() for key in inner) and "id" not in value
    rows = [
        {**({"id": key} if has_ids else {}), **{name: one.get(key) for name, one in value.items()}}
        for key in inner
    ]
    return Table(rows, "an object per column")


def describe_table(key: str, table: Table, value: Row) -> str:
    """How the object contains the rows, for a note to the user."""
    if not key:
        return f"one object with {table.how}"
    others = [repr(other) for other in value if str(other) != key]
    unused = f"; not used: {', '.join(others[:5])}{', …' if len(others) > 5 else ''}"
    return f"the rows in {key!r}{unused if others else ''}"
