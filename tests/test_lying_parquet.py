"""Parquet files that lie about rows and sizes: refused in one line, or read as they are."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ifdkit.cli.main import main
from ifdkit.data.dataset import open_dataset
from ifdkit.data.parquet_files import parquet_batches, parquet_table, row_groups
from ifdkit.data.parquet_pages import ParquetContent
from ifdkit.errors import InputError
from tests.limits import PEAK_BYTES, needs_proc
from tests.parquet_editing import (
    COLUMNS,
    COMPRESSED,
    DATA_OFFSET,
    DATA_PAGE,
    DATA_PAGE_V2,
    GROUP_ROWS,
    META,
    NUM_ROWS,
    NUM_VALUES,
    PAGE_UNCOMPRESSED,
    ROW_GROUPS,
    UNCOMPRESSED,
    ParquetParts,
    entry,
    integers,
)

pytestmark = pytest.mark.long

N_ROWS = 40
ROWS = [{"id": f"r{i}", "instruction": f"Add {i} and 3", "output": f"It is {i + 3} of course",
         "tags": ["a", "b"][: i % 3], "n": i} for i in range(N_ROWS)]  # fmt: skip
WRITERS: dict[str, dict[str, Any]] = {
    "snappy": {},
    "zstd": {"compression": "zstd", "data_page_version": "2.0"},
    "plain": {"compression": "none", "use_dictionary": False},
    "delta": {"compression": "gzip", "use_dictionary": False,
              "column_encoding": {"output": "DELTA_BYTE_ARRAY", "instruction": "PLAIN"}},
    "groups": {"row_group_size": 15, "data_page_size": 64},
}  # fmt: skip


def written(path: Path, name: str) -> Path:
    pq.write_table(pa.Table.from_pylist(ROWS), path, **WRITERS[name])
    return path


def group_of(parts: ParquetParts, number: int = 0) -> Any:
    return entry(parts.footer, ROW_GROUPS)[2][1][number]


def column_of(parts: ParquetParts, number: int = 2) -> Any:
    return entry(entry(group_of(parts), COLUMNS)[2][1][number], META)[2]


def data_page(parts: ParquetParts) -> Any:
    header = parts.chunks[2].pages[-1].header
    return next(one[2] for one in header if one[0] in (DATA_PAGE, DATA_PAGE_V2))


def all_counts(n: int) -> Callable[[ParquetParts], None]:
    """Footer, group and columns agree."""

    def lie(parts: ParquetParts) -> None:
        entry(parts.footer, NUM_ROWS)[2] = n
        entry(group_of(parts), GROUP_ROWS)[2] = n
        for number in range(len(entry(group_of(parts), COLUMNS)[2][1])):
            entry(column_of(parts, number), NUM_VALUES)[2] = n

    return lie


def put(place: Callable[[ParquetParts], Any], field: int, value: int) -> Callable[[Any], None]:
    def lie(parts: ParquetParts) -> None:
        entry(place(parts), field)[2] = value

    return lie


LIES: dict[str, Callable[[ParquetParts], None]] = {
    "fewer rows": put(lambda p: p.footer, NUM_ROWS, 3),
    "more rows": put(lambda p: p.footer, NUM_ROWS, 10**12),
    "no rows": put(lambda p: p.footer, NUM_ROWS, 0),
    "negative rows": put(lambda p: p.footer, NUM_ROWS, -5),
    "fewer rows of a group": put(group_of, GROUP_ROWS, 3),
    "more rows of a group": put(group_of, GROUP_ROWS, 10**9),
    "fewer values": put(column_of, NUM_VALUES, 3),
    "more values": put(column_of, NUM_VALUES, 10**9),
    "negative values": put(column_of, NUM_VALUES, -1),
    "fewer of all": all_counts(3),
    "more of all": all_counts(10**6),
    "a negative offset": put(column_of, DATA_OFFSET, -8),
    "a chunk of no bytes": put(column_of, COMPRESSED, 0),
    "a chunk beyond the file": put(column_of, COMPRESSED, 10**9),
}
"""Those that no reading can make right."""
HARMLESS: dict[str, Callable[[ParquetParts], None]] = {
    "a small size": put(column_of, UNCOMPRESSED, 1),
    "a huge size": put(column_of, UNCOMPRESSED, 2**40),
    "a negative size": put(column_of, UNCOMPRESSED, -(2**40)),
}
"""Those that the pages make right."""


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("name", LIES)
def test_a_lie_about_rows_is_refused_in_one_line(
    name: str, writer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "x.parquet", writer)
    ParquetParts.read(path).write(path)
    assert [dict(one.value) for one in raws(path)] == ROWS  # the negative control
    ParquetParts.read(path).write(path, LIES[name])
    assert main(["audit", str(path), "--no-model", "-q"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("ifdkit: ")
    assert err.count("\n") == 1
    assert "internal error" not in err
    for read in (parquet_table, lambda p: list(row_groups(p)), lambda p: list(batches(p))):
        with pytest.raises(InputError):
            read(path)


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("name", HARMLESS)
def test_a_lie_about_sizes_is_not_believed(name: str, writer: str, tmp_path: Path) -> None:
    path = written(tmp_path / "x.parquet", writer)
    ParquetParts.read(path).write(path, HARMLESS[name])
    assert [dict(one.value) for one in raws(path)] == ROWS


def batches(path: Path) -> Any:
    return parquet_batches(path, path)


def raws(path: Path) -> Any:
    from ifdkit.data.table_rows import parquet_rows

    return parquet_rows(path)


def bomb(path: Path, n: int, n_chars: int, **options: Any) -> None:
    """A text to which every row refers, in a file whose footer says that it is short."""
    references = pa.DictionaryArray.from_arrays([0] * n, pa.array(["x" * n_chars]))
    table = pa.table({"instruction": ["Add 2 and 3"] * n, "output": references})
    pq.write_table(table, path, dictionary_pagesize_limit=2**30, compression="zstd",
                   store_schema=False, **options)  # fmt: skip

    def lie(parts: ParquetParts) -> None:
        for number in range(2):
            entry(column_of(parts, number), UNCOMPRESSED)[2] = 10
            encodings = entry(column_of(parts, number), 2)[2]
            encodings[1] = [0 for _ in encodings[1]]  # plain

    ParquetParts.read(path).write(path, lie)


READ = f"""{PEAK_BYTES}
import sys
from pathlib import Path
import pyarrow.parquet
from ifdkit.data.table_rows import parquet_rows
from ifdkit.errors import InputError
before = peak_bytes()
try:
    n = sum(one.value is not None for one in parquet_rows(Path(sys.argv[1])))
except InputError as error:
    n = str(error)
print(n)
print(peak_bytes() - before)
"""


@needs_proc
@pytest.mark.parametrize("n", [256, 5000])
def test_a_bomb_whose_footer_calls_it_small_takes_bounded_memory(n: int, tmp_path: Path) -> None:
    bomb(tmp_path / "x.parquet", n, 20_000_000)
    done = subprocess.run([sys.executable, "-c", READ, str(tmp_path / "x.parquet")],
                          capture_output=True, text=True, check=True, timeout=60)  # fmt: skip
    problem, peak = done.stdout.splitlines()
    assert "its texts take more than 1,073,741,824 bytes" in problem
    assert int(peak) < 10**9


@needs_proc
@pytest.mark.parametrize("size", [2**31 - 1, 2**30, 10])
@pytest.mark.parametrize("writer", WRITERS)
def test_a_page_that_lies_about_its_size_takes_bounded_memory(
    writer: str, size: int, tmp_path: Path
) -> None:
    path = written(tmp_path / "x.parquet", writer)
    parts = ParquetParts.read(path)
    entry(parts.chunks[2].pages[-1].header, PAGE_UNCOMPRESSED)[2] = size
    parts.write(path)
    done = subprocess.run([sys.executable, "-c", READ, str(path)],
                          capture_output=True, text=True, check=True, timeout=60)  # fmt: skip
    found, peak = done.stdout.splitlines()
    assert int(peak) < 10**9
    assert found == str(N_ROWS) or "Parquet" in found or "its texts take" in found


EDGES = st.sampled_from([0, 1, 2, -1, -2, 3, 39, 41, 100, 127, 2**14, 2**30, 2**31 - 1, 2**31,
                         2**32, 2**62, -(2**31), -(2**62)])  # fmt: skip


@pytest.mark.parametrize("writer", WRITERS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_integer_may_lie(writer: str, data: st.DataObject, tmp_path_factory: Any) -> None:
    """Of the footer or of a page header: an InputError, or all rows as they were written."""
    folder = tmp_path_factory.mktemp("lies")
    path = written(folder / "x.parquet", writer)
    parts = ParquetParts.read(path)
    in_header = data.draw(st.booleans(), "in a page header")
    if in_header:
        page = data.draw(st.sampled_from([one for chunk in parts.chunks for one in chunk.pages]))
        places = list(integers(page.header))
    else:
        places = list(integers(parts.footer))
    number = data.draw(st.integers(0, len(places) - 1))
    value = data.draw(EDGES)
    if in_header:
        places[number][2] = value
        parts.write(path)
    else:
        parts.write(path, lambda _: places[number].__setitem__(2, value))
    problem = ""
    try:
        n_rows = sum(1 for _ in raws(path))
    except InputError as error:
        problem = str(error)
    assert "\n" not in problem
    assert problem or n_rows == N_ROWS


def test_what_is_read_of_an_honest_file_is_what_pyarrow_reads(tmp_path: Path) -> None:
    for name in WRITERS:
        path = written(tmp_path / f"{name}.parquet", name)
        metadata = pq.read_metadata(path)
        with path.open("rb") as file:
            content = ParquetContent(file, path)
            groups = list(content.groups())
        assert (content.n_rows, len(groups)) == (N_ROWS, metadata.num_row_groups)
        for i, group in enumerate(groups):
            assert group.n_rows == metadata.row_group(i).num_rows
            assert len(group.chunks) == metadata.num_columns
            for k, one in enumerate(group.chunks):
                column, place = metadata.row_group(i).column(k), metadata.schema.column(k)
                assert (one.path, one.n_values) == (column.path_in_schema, column.num_values)
                assert one.is_nested == (place.max_repetition_level > 0)
                assert one.has_dictionary == column.has_dictionary_page
                assert one.repeats == ("DELTA_BYTE_ARRAY" in column.encodings)
                difference = column.total_uncompressed_size - one.n_bytes
                assert 0 < difference < 100 * (1 + column.num_values)  # the headers


def test_columns_of_a_nested_schema_are_found(tmp_path: Path) -> None:
    a_list = pa.list_(pa.struct({"c": pa.string(), "d": pa.list_(pa.int8())}))
    a_map = pa.struct({"h": pa.map_(pa.string(), pa.int8())})
    kinds = {"a": pa.int8(), "b": a_list, "e": pa.struct({"f": pa.binary(7), "g": a_map}),
             "i": pa.binary(3), "j": pa.null()}  # fmt: skip
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({name: pa.nulls(2, kind) for name, kind in kinds.items()}), path)
    metadata = pq.read_metadata(path)
    with path.open("rb") as file:
        (group,) = ParquetContent(file, path).groups()
    places = [metadata.schema.column(k) for k in range(metadata.num_columns)]
    assert [one.path for one in group.chunks] == [place.path for place in places]
    assert [one.is_nested for one in group.chunks] == [
        place.max_repetition_level > 0 for place in places
    ]
    assert [one.fixed_length for one in group.chunks if one.fixed_length] == [7, 3]


def test_a_dataset_with_a_lie_is_refused_before_its_rows_are_counted(tmp_path: Path) -> None:
    path = written(tmp_path / "x.parquet", "groups")
    ParquetParts.read(path).write(path, all_counts(3))
    with pytest.raises(InputError, match="not a readable Parquet file"):
        open_dataset(path)
