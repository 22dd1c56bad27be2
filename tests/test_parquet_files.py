"""Parquet files that expand are refused or read in bounded memory, wherever they are read."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import ifdkit
from ifdkit.cli.main import main
from ifdkit.data import expansion
from ifdkit.data.dataset import open_dataset
from ifdkit.data.options import ReadOptions
from ifdkit.data.parquet_files import MAX_BATCH_BYTES, n_text_bytes, parquet_table, text_batches
from ifdkit.errors import InputError
from ifdkit.scoring.table import read_scores
from ifdkit.viewing.sources import open_source

TEXT_BYTES, N_ROWS = 1_000_000, 300
EXPANDS = "its texts take more than"


@pytest.fixture
def low_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expansion, "MAX_TEXT_BYTES", 20_000_000)


def expanding(path: Path, name: str, **others: object) -> Path:
    """A file of some KB whose column `name` has one long text, in every row."""
    references = pa.DictionaryArray.from_arrays([0] * N_ROWS, pa.array(["x" * TEXT_BYTES]))
    columns = {name: references, **{key: [value] * N_ROWS for key, value in others.items()}}
    pq.write_table(pa.table(columns), path, dictionary_pagesize_limit=2**30, compression="zstd",
                   store_schema=False)  # fmt: skip
    assert path.stat().st_size < 10_000
    return path


@pytest.mark.usefixtures("low_limits")
def test_a_dataset_that_expands_is_refused(tmp_path: Path) -> None:
    data = expanding(tmp_path / "data.parquet", "output", instruction="Add 2 and 3")
    with pytest.raises(InputError, match=EXPANDS):
        open_dataset(data)


@pytest.mark.usefixtures("low_limits")
def test_a_scores_file_that_expands_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = expanding(tmp_path / "scores.parquet", "id", row=0, turn=0, status="ok", ifd=0.5,
                       nll_response_conditional=1.0, response_tokens=3,
                       nll_response_direct=1.0)  # fmt: skip
    with pytest.raises(InputError, match=EXPANDS):
        read_scores(scores)
    assert main(["show", str(scores), "0"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.usefixtures("low_limits")
def test_a_report_that_expands_is_refused(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(json.dumps({"schema": "ifdkit.comparison/1"}))
    expanding(tmp_path / "rows.parquet", "id", row_before=0, row_after=0)
    with pytest.raises(InputError, match=EXPANDS):
        open_source([tmp_path], ReadOptions())


def test_rows_are_rewritten_in_batches_of_bounded_size(tmp_path: Path) -> None:
    data = expanding(tmp_path / "data.parquet", "output", instruction="Add 2 and 3")
    batches = [(one.num_rows, n_text_bytes(one), one.schema) for one in text_batches(data)]
    assert sum(n for n, *_ in batches) == N_ROWS
    assert all(size <= MAX_BATCH_BYTES for _, size, _ in batches)
    assert {schema for *_, schema in batches} == {pq.read_schema(data)}


def test_a_table_is_what_pyarrow_reads(tmp_path: Path) -> None:
    table = pa.table({"id": ["a", "b", None], "n": [1, 2, 3], "l": [[1.5], None, []],
                      "kind": pa.array(["x", "y", "x"]).dictionary_encode()})  # fmt: skip
    folder = tmp_path / "kind=z"  # a name that pyarrow takes for a column
    folder.mkdir()
    pq.write_table(table, folder / "t.parquet")
    assert parquet_table(folder / "t.parquet").equals(pq.ParquetFile(folder / "t.parquet").read())
    assert parquet_table(folder / "t.parquet", ["n", "id"]).equals(table.select(["n", "id"]))
    with pytest.raises(KeyError):
        parquet_table(folder / "t.parquet", ["absent"])


def test_one_module_reads_the_rows_of_parquet_files() -> None:
    root = Path(ifdkit.__file__).parent
    reads = re.compile(r"\.(iter_batches|read_row_groups?|read_table|read_pandas)\(|read_parquet\(")
    found = {str(path.relative_to(root)) for path in root.rglob("*.py")
             if reads.search(path.read_text())}  # fmt: skip
    assert found == {"data/parquet_files.py"}
