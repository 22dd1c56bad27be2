"""Small files that expand to enormous counts of tiny things are refused in one line."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from ifdkit.data import expansion
from ifdkit.data.dataset import open_dataset
from ifdkit.data.expansion import (
    FREE_BYTES,
    FREE_MARKS,
    MAX_BYTES_RATIO,
    MAX_MARKS_RATIO,
    MAX_RATIO,
    MAX_ROWS,
    MAX_ROWS_RATIO,
    MAX_VALUES,
)
from ifdkit.data.sources import open_bytes
from ifdkit.errors import InputError
from tests.limits import PEAK_BYTES, needs_proc, time_limit
from tests.refusals import error_of

pytestmark = pytest.mark.long

ROW = {"id": "r", "instruction": "Add 2 and 3", "output": "It is 5, as 2 and 3 are 5."}
LINE = json.dumps(ROW).encode() + b"\n"
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": lambda data: gzip.compress(data, 6),
    ".zst": lambda data: zstandard.compress(data, 3),
}
TINY: dict[str, tuple[str, bytes, bytes, int]] = {
    "blank lines": ("x.jsonl", LINE, b"\n", 10**8),
    "blank lines of a text": ("x.txt", b"A text.\n", b"\n", 10**8),
    "opened lists": ("x.json", b"", b"[", 10**8),
    "opened objects": ("x.json", b"[" + LINE + b",", b'{"', 10**8),
    "closed lists": ("x.json", b"[1]", b"]", 10**8),
    "empty lists": ("x.json", b"[" + LINE, b",[]", 2 * 10**7),
    "empty texts": ("x.json", b"[" + LINE, b'""', 2 * 10**7),
    "empty objects": ("x.jsonl", LINE, b"{}\n", 2 * 10**7),
    "objects of a line": ("x.jsonl", LINE, b"{} ", 2 * 10**7),
    "numbers": ("x.jsonl", LINE, b"1\n", 2 * 10**7),
    "rows of cells": ("x.csv", b"instruction,output\n", b"a,b\n", 2 * 10**7),
    "blank rows of cells": ("x.csv", b"instruction,output\na,b\n", b"\n", 10**8),
    "quoted rows": ("x.csv", b"instruction,output\n", b'"a\n', 2 * 10**7),
}
"""Name → name of the file, how it begins, what is repeated and how often."""


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(COMPRESS[path.suffix](data))
    return path


@pytest.mark.parametrize("ending", COMPRESS)
@pytest.mark.parametrize("name", TINY)
def test_tiny_things_are_refused_at_the_limit(
    name: str,
    ending: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With a limit that a test reaches quickly: the mechanism for every reader."""
    monkeypatch.setattr(expansion, "FREE_MARKS", 20_000)
    file, begin, repeated, n = TINY[name]
    path = write(tmp_path / f"{file}{ending}", begin + repeated * (n // 500))
    flags = ["--lines"] if path.name.startswith("x.txt") else []
    last = error_of(capsys, "audit", str(path), "--no-model", *flags)
    assert "expands to more than 50 times its size and 20,000 line breaks" in last
    assert "decompress it first if that is right" in last


ATTACK = f"""{PEAK_BYTES}
import sys
from ifdkit.cli.main import main
code = main(["audit", sys.argv[1], "--no-model", "-q"])
print(code, peak_bytes())
"""


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("ending", COMPRESS)
@pytest.mark.parametrize("name", TINY)
def test_files_of_the_attack_are_refused_in_bounded_time_and_memory(
    name: str, ending: str, tmp_path: Path
) -> None:
    file, begin, repeated, n = TINY[name]
    path = write(tmp_path / f"{file}{ending}", begin + repeated * n)
    assert path.stat().st_size < 500_000
    done = subprocess.run(
        [sys.executable, "-c", ATTACK, str(path)], capture_output=True, text=True, timeout=60
    )
    code, peak = done.stdout.split()[-2:]
    assert code == "2", done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert int(peak) < 10**9


@pytest.mark.parametrize("ending", COMPRESS)
def test_bytes_beyond_the_limit_are_refused(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expansion, "FREE_BYTES", 10**6)
    monkeypatch.setattr(expansion, "MAX_BYTES_RATIO", 100)
    path = write(tmp_path / f"x.txt{ending}", b"x" * 50_000_000)
    with pytest.raises(InputError, match=r"times its size and \d,\d+,\d+ bytes: decompress"):
        open_dataset(path)


@pytest.mark.parametrize("ending", COMPRESS)
def test_the_limit_is_exact(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Marks up to the ratio do not count, however dense they are."""
    path = write(tmp_path / f"x{ending}", b"\n" * 1_000_000)
    n_free = 1_000_000 - MAX_RATIO * path.stat().st_size
    assert n_free > 0
    for limit, is_refused in ((n_free, False), (n_free - 1, True)):
        monkeypatch.setattr(expansion, "FREE_MARKS", limit)
        with open_bytes(path) as stream:
            if is_refused:
                with pytest.raises(InputError):
                    stream.read()
            else:
                assert stream.read() == b"\n" * 1_000_000


@pytest.mark.parametrize("ending", COMPRESS)
def test_the_same_file_decompressed_is_read(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expansion, "FREE_MARKS", 1000)
    data = LINE * 10_000
    with pytest.raises(InputError, match="decompress it first"):
        open_dataset(write(tmp_path / f"x.jsonl{ending}", data))
    (tmp_path / "x.jsonl").write_bytes(data)
    assert open_dataset(tmp_path / "x.jsonl").n_rows == 10_000


def honest_rows(n: int) -> list[dict[str, str]]:
    draw = random.Random(0)
    words = ["the", "sea", "is", "wide", "and", "green", "a", "cat", "list", "three", "facts"]
    return [{"id": str(i), "instruction": " ".join(draw.choices(words, k=20)),
             "output": " ".join(draw.choices(words, k=40))} for i in range(n)]  # fmt: skip


@pytest.mark.parametrize("ending", COMPRESS)
def test_an_honest_file_is_far_from_the_limit(ending: str, tmp_path: Path) -> None:
    data = b"".join(json.dumps(row).encode() + b"\n" for row in honest_rows(2000))
    path = write(tmp_path / f"x.jsonl{ending}", data)
    assert len(data) * 5 < MAX_RATIO * path.stat().st_size
    assert open_dataset(path).n_rows == 2000


def test_a_file_that_repeats_a_long_prompt_in_each_row_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of tools, for example. It expands far, with many brackets, in proportion to its size."""
    for name in ("FREE_MARKS", "FREE_BYTES"):
        monkeypatch.setattr(expansion, name, 0)
    tools = json.dumps([{"name": f"tool_{i}", "parameters": {"a": "int"}} for i in range(400)])
    draw = random.Random(1)
    rows = [row | {"tools": tools, "output": draw.randbytes(150).hex()} for row in honest_rows(300)]
    data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    path = write(tmp_path / "x.jsonl.zst", data)
    assert len(data) > 1.5 * MAX_RATIO * path.stat().st_size
    assert open_dataset(path).n_rows == 300


@pytest.mark.parametrize("ending", COMPRESS)
def test_a_file_of_one_row_repeated_is_read(ending: str, tmp_path: Path) -> None:
    """It expands hundreds of times, as only the file of a test does."""
    path = write(tmp_path / f"x.jsonl{ending}", LINE * 50_000)
    assert len(LINE) * 50_000 > 2 * MAX_RATIO * path.stat().st_size
    assert open_dataset(path).n_rows == 50_000


def null_rows(path: Path, n: int, columns: tuple[str, ...] = ("instruction", "output")) -> Path:
    table = pa.table({name: pa.nulls(n, pa.string()) for name in columns})
    pq.write_table(table, path, compression="zstd")
    return path


def test_parquet_of_many_empty_rows_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = null_rows(tmp_path / "x.parquet", 30_000_000)
    assert path.stat().st_size < 200_000
    with time_limit(60):
        last = error_of(capsys, "audit", str(path), "--no-model")
    assert "has more than 1,000,000 rows, 4 per byte of its size: write it as JSON Lines" in last


def test_parquet_of_many_empty_columns_is_refused(tmp_path: Path) -> None:
    path = null_rows(tmp_path / "x.parquet", 900_000, tuple(f"c{i}" for i in range(30)))
    with pytest.raises(InputError, match=r"has more than 16,777,216 values"):
        open_dataset(path)


def test_parquet_of_many_lists_is_refused(tmp_path: Path) -> None:
    """Below the limit of each row group, and of each row."""
    masks = pa.array([[True] * 900_000] * 8)
    table = pa.table({"instruction": ["u"] * 8, "output": ["a"] * 8, "mask": masks})
    with pq.ParquetWriter(tmp_path / "x.parquet", table.schema, compression="zstd") as writer:
        for _ in range(5):
            writer.write_table(table)
    assert (tmp_path / "x.parquet").stat().st_size < 50_000
    with pytest.raises(InputError, match=r"has more than 16,777,216 values"):
        open_dataset(tmp_path / "x.parquet")


def test_parquet_of_dictionaries_is_read(tmp_path: Path) -> None:
    """Several rows per byte, as in a table of labels."""
    n = 600_000
    table = pa.table({"instruction": ["Add 2 and 3"] * n, "output": ["5", "five"] * (n // 2),
                      "label": ["good"] * n})  # fmt: skip
    pq.write_table(table, tmp_path / "x.parquet", compression="zstd")
    assert n > 20 * (tmp_path / "x.parquet").stat().st_size
    assert open_dataset(tmp_path / "x.parquet").n_rows == n


def test_parquet_of_rows_with_texts_of_their_own_has_no_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expansion, "MAX_ROWS", 1000)
    monkeypatch.setattr(expansion, "MAX_VALUES", 1000)
    rows = honest_rows(20_000)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet", compression="zstd")
    assert len(rows) * 50 < MAX_ROWS_RATIO * (tmp_path / "x.parquet").stat().st_size
    assert open_dataset(tmp_path / "x.parquet").n_rows == len(rows)


def test_empty_rows_of_a_saved_dataset_are_refused(tmp_path: Path) -> None:
    """A column of nulls takes no bytes in an Arrow file."""
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "state.json").write_text('{"_data_files": [{"filename": "a.arrow"}]}')
    table = pa.table({"instruction": pa.nulls(10_000_000), "output": pa.nulls(10_000_000)})
    with pa.ipc.new_stream(str(folder / "a.arrow"), table.schema) as writer:
        writer.write_table(table)
    assert (folder / "a.arrow").stat().st_size < 10_000
    with pytest.raises(InputError, match=r"has more than 1,000,000 rows"):
        open_dataset(folder)


def test_the_limits_are_those_of_the_documentation() -> None:
    page = (Path(__file__).parents[1] / "docs" / "security.md").read_text()
    for number in (
        MAX_RATIO,
        MAX_BYTES_RATIO,
        FREE_MARKS,
        MAX_MARKS_RATIO,
        FREE_BYTES // 2**20,
        MAX_ROWS,
        MAX_ROWS_RATIO,
        MAX_VALUES,
    ):
        assert f"{number:,}" in page
