"""Rows of CSV, Parquet and Arrow files, as dictionaries."""

from __future__ import annotations

import csv
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ifdkit.errors import InputError
from ifdkit.reading.raw import MAX_ROW_BYTES, Raw
from ifdkit.reading.sources import COMPRESSED, open_bytes

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS_A_BATCH = 256


class _CountedLines:
    """Text lines of a binary stream, with the place of the last one."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.offset = 0
        self.line = 0

    def __iter__(self) -> _CountedLines:
        return self

    def __next__(self) -> str:
        line = self._stream.readline(MAX_ROW_BYTES + 1)
        if not line:
            raise StopIteration
        self.offset += len(line)
        self.line += 1
        if self.line == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        # Bytes that are not UTF-8 become lone surrogates, which reject their own row later.
        return line.decode("utf-8", errors="surrogateescape")


def csv_rows(stream: BinaryIO, *, delimiter: str = ",") -> Iterator[Raw]:
    """Rows of a CSV file with a header line."""
    csv.field_size_limit(MAX_ROW_BYTES)
    lines = _CountedLines(stream)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header = next(reader, None)
    if header is None:
        return
    row = 0
    while True:
        line, offset = lines.line + 1, lines.offset
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Raw(row, error=f"not CSV: {error}", line=line, byte_offset=offset)
        else:
            if not cells:
                continue
            value = dict(zip(header, cells, strict=False))
            problem = (
                None
                if len(cells) == len(header)
                else f"has {len(cells)} cells where the header has {len(header)}"
            )
            yield Raw(row, value, problem, line=line, byte_offset=offset)
        row += 1


def parquet_rows(path: Path) -> Iterator[Raw]:
    """Rows of a Parquet file, a few at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with tempfile.TemporaryFile() as plain, open_bytes(path) as stream:
        source = stream
        if path.suffix in COMPRESSED:
            # Parquet is read from its end, which a compressed stream does not have.
            shutil.copyfileobj(stream, plain)
            source = plain
        try:
            with pq.ParquetFile(source) as file:
                yield from _from_batches(file.iter_batches(batch_size=_ROWS_A_BATCH))
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{path}: not a readable Parquet file: {_first(error)}") from error


def saved_dataset_rows(folder: Path) -> Iterator[Raw]:
    """Rows of a folder written by `datasets.Dataset.save_to_disk`."""
    import pyarrow as pa

    if (folder / "dataset_dict.json").is_file():
        splits = json.loads((folder / "dataset_dict.json").read_bytes())["splits"]
        choices = " or ".join(str(folder / split) for split in splits)
        raise InputError(f"{folder} holds several splits: choose {choices}")
    try:
        state = json.loads((folder / "state.json").read_bytes())
        files = [folder / entry["filename"] for entry in state["_data_files"]]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{folder} is a folder, but not one saved by `datasets`: give a file"
        ) from error
    start = 0
    for file in files:
        try:
            with pa.memory_map(str(file)) as source, pa.ipc.open_stream(source) as batches:
                for raw in _from_batches(iter(batches), start):
                    yield raw
                    start = raw.row + 1
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{file}: not a readable Arrow file: {_first(error)}") from error


def _from_batches(batches: Iterator[pa.RecordBatch], start: int = 0) -> Iterator[Raw]:
    row = start
    for batch in batches:
        for position in range(0, batch.num_rows, _ROWS_A_BATCH):
            for value in batch.slice(position, _ROWS_A_BATCH).to_pylist():
                yield Raw(row, value)
                row += 1


def _first(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
