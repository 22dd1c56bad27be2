"""Rows of very many values are rejected before they are parsed, in every format."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ifdkit.data import files, json_lines, strict_json, table_rows
from ifdkit.data.dataset import open_dataset
from ifdkit.data.parquet_files import n_values
from ifdkit.data.raw import MAX_VALUES
from ifdkit.data.strict_json import exceeds, may_exceed
from ifdkit.errors import InputError
from ifdkit.records import Reject

pytestmark = pytest.mark.long

LIMIT = 100
TEXTS = st.text('ab,[]{}"\\:é', max_size=8)
VALUES = st.recursive(
    st.none() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5),
    max_leaves=40,
)


def n_values_of(value: Any) -> int:
    """Brackets and commas of its JSON text outside strings, counted in the value."""
    if not isinstance(value, (list, dict)):
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(len(value) - 1, 0) + sum(map(n_values_of, inner))


@settings(deadline=None, max_examples=300)
@given(VALUES, st.integers(0, 60), TEXTS, TEXTS, st.booleans())
def test_values_are_counted(
    value: Any, limit: int, before: str, after: str, is_ascii: bool
) -> None:
    text = json.dumps(value, ensure_ascii=is_ascii)
    is_more = n_values_of(value) > limit
    assert exceeds(text, limit) == is_more
    assert may_exceed(text, limit) or not is_more
    if isinstance(value, (list, dict, str)):  # others end where the next thing begins
        assert exceeds(before + text + after, limit, len(before)) == is_more


@given(st.text('[]{},"\\ab', max_size=60), st.integers(0, 10))
def test_any_text_is_counted_to_an_end(text: str, limit: int) -> None:
    assert may_exceed(text, limit) or not exceeds(text, limit)


GOOD = {"instruction": "Add 2 and 3", "output": "It is 5"}


def row_of(count: int) -> dict[str, Any]:
    """A row that counts so many values."""
    made = GOOD | {"more": [0] * (count - 3)}
    assert n_values_of(made) == count
    return made


def lines(rows: list[Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def table(rows: list[Any]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["id", "messages"])
    for row in rows:
        turns = [{"role": "user", "content": row["instruction"]},
                 {"role": "assistant", "content": row["output"],
                  "more": row.get("more")}]  # fmt: skip
        writer.writerow(["", json.dumps(turns)])
    return out.getvalue().encode()


def parquet(rows: list[Any]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([{"more": None} | row for row in rows]), out)
    return out.getvalue()


FORMATS: dict[str, tuple[str, Callable[[list[Any]], bytes]]] = {
    "lines": ("x.jsonl", lines),
    "array": ("x.json", lambda rows: json.dumps(rows).encode()),
    "objects": ("x.json", lambda rows: b"\n".join(json.dumps(r, indent=1).encode() for r in rows)),
    "a line": ("x.jsonl", lambda rows: lines(rows).replace(b"\n", b", ")),
    "csv": ("x.csv", table),
    "parquet": ("x.parquet", parquet),
}


@pytest.fixture
def low_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (strict_json, json_lines, table_rows, files):
        monkeypatch.setattr(module, "MAX_VALUES", LIMIT)


@pytest.mark.usefixtures("low_limit")
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("count", [LIMIT - 20, LIMIT + 20])
def test_only_the_row_of_many_values_is_rejected(name: str, count: int, tmp_path: Path) -> None:
    file, write = FORMATS[name]
    # Commas and brackets of a text are no values, however many rows a line has.
    text = GOOD | {"output": ",[{" * LIMIT + '"'}
    (tmp_path / file).write_bytes(write([text, GOOD, row_of(count), GOOD]))
    found = list(open_dataset(tmp_path / file))
    rejected = [str(one.reason) for one in found if isinstance(one, Reject)]
    if count <= LIMIT:
        assert rejected == []
        assert len(found) == 4
    elif name == "a line":  # where it ends is not known without parsing it
        assert rejected == [f"has more than {LIMIT} values"]
        assert len(found) == 3
    else:
        assert [isinstance(one, Reject) for one in found] == [False, False, True, False]
        assert f"more than {LIMIT} values" in rejected[0]


@pytest.mark.usefixtures("low_limit")
def test_cells_of_a_table_are_values(tmp_path: Path) -> None:
    header = ["instruction", "output", *(f"c{i}" for i in range(LIMIT))]
    (tmp_path / "x.csv").write_text(",".join(header) + "\nu,a" + "," * LIMIT + "\n")
    with pytest.raises(InputError, match=f"has more than {LIMIT} values"):
        open_dataset(tmp_path / "x.csv")


@pytest.mark.usefixtures("low_limit")
@pytest.mark.parametrize("make", [
    lambda rows: {"data": rows},
    lambda rows: {key: [row[key] for row in rows] for key in rows[0]},
])  # fmt: skip
def test_an_object_around_all_rows_may_have_more(
    make: Callable[[list[Any]], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(make([GOOD] * LIMIT)))
    assert open_dataset(path).n_rows == LIMIT
    monkeypatch.setattr(files, "_MAX_OBJECT_VALUES", LIMIT)
    with pytest.raises(InputError, match=f"one object of more than {LIMIT} values: write its rows"):
        open_dataset(path)


CELLS = {
    "lists": pa.list_(pa.int8()),
    "large lists": pa.large_list(pa.string()),
    "lists of fixed size": pa.list_(pa.int8(), 2),
    "structs": pa.struct({"a": pa.int8(), "b": pa.list_(pa.int8())}),
    "maps": pa.map_(pa.string(), pa.int8()),
    "lists of lists": pa.list_(pa.list_(pa.null())),
}
OF_TYPE: dict[str, Any] = {
    "lists": [[1, 2, 3], [], None],
    "large lists": [["a"], None, ["b", "c"]],
    "lists of fixed size": [[1, 2], [3, 4], [5, 6]],
    "structs": [{"a": 1, "b": [1, 2]}, {"a": None, "b": []}, {"a": 2, "b": None}],
    "maps": [[("x", 1)], [], [("y", 2), ("z", 3)]],
    "lists of lists": [[[], [None], []], [], [[]]],
}


def members(value: Any) -> int:
    if isinstance(value, dict):
        value = value.values()
    return 1 + (0 if isinstance(value, (str, int, type(None))) else sum(map(members, value)))


@pytest.mark.parametrize("name", CELLS)
def test_values_of_arrow_are_counted(name: str) -> None:
    cells = OF_TYPE[name]
    batch = pa.RecordBatch.from_arrays([pa.array(cells, CELLS[name])], ["c"])
    for begin in range(3):
        part = batch.slice(begin, 1)
        # Struct and list that are null may still count what Arrow keeps for them.
        assert n_values(part) >= members(cells[begin])
        assert n_values(part) <= members(cells[begin]) + 2
    assert n_values(batch) >= sum(map(members, cells))


def test_lists_without_bytes_are_rejected_in_a_parquet_file(tmp_path: Path) -> None:
    """Some KB of a file: without a limit each empty list becomes an object of Python."""
    lists = pa.array([[]] * (MAX_VALUES + 1), pa.list_(pa.null()))
    offsets = pa.array([0, len(lists), len(lists)], pa.int32())
    nested = pa.ListArray.from_arrays(offsets, lists)
    data = pa.table({"instruction": ["u", "u"], "output": ["a", "b"], "more": nested})
    pq.write_table(data, tmp_path / "x.parquet", compression="zstd")
    assert (tmp_path / "x.parquet").stat().st_size < 20_000
    found = list(open_dataset(tmp_path / "x.parquet"))
    assert [isinstance(one, Reject) for one in found] == [True, False]


def test_the_limit_bounds_memory() -> None:
    """Of the smallest values: a list in a list."""
    assert MAX_VALUES * (sys.getsizeof([]) + 8) < 2**27
