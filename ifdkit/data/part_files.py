"""One output file for the rows of a dataset, whether they come from one input or from several.

    output        inputs
    JSON          any
    CSV           all of them CSV, with the same columns
    Parquet       all of them Parquet, with the same schema, and each readable to its end

What does not fit is refused before any work is done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ifdkit.data.atomic import OutputFiles
from ifdkit.data.dataset import Dataset
from ifdkit.data.parquet_rows import parquet_schema
from ifdkit.data.parts import Part
from ifdkit.data.raw import Raw
from ifdkit.data.row_files import check_rows_output, csv_columns, rows_file
from ifdkit.data.rows_writer import Appended, RowsWriter
from ifdkit.data.sources import DELIMITERS, suffix
from ifdkit.data.text_files import TEXT_ENDING
from ifdkit.errors import UsageError


def check_dataset_output(path: Path, dataset: Dataset, *, appends: bool = False) -> None:
    """Check, before any work is done, that the rows of a dataset can be written to `path`.

    `appends` says whether columns are appended. Raises UsageError or OutputError.
    """
    for part in dataset.parts:
        if part.n_readable:
            _check_part(path, part, dataset, appends=appends)
    if not dataset.has_sources:
        return
    ending = suffix(path)
    if ending == TEXT_ENDING:
        raise UsageError(f"-o {path}: documents of several files need a row each; end it in .jsonl")
    if ending in DELIMITERS:
        _check_alike(path, dataset, [set(csv_columns(one)) for one in _paths(dataset)])
    if ending == ".parquet":
        broken = next((one for one in dataset.parts if one.problem and one.n_readable), None)
        if broken is not None:
            raise UsageError(
                f"-o {path}: {broken.source} can be read only in part, so it cannot be copied to"
                " Parquet; end it in .jsonl"
            )
        _check_alike(path, dataset, list(map(parquet_schema, _paths(dataset))))


def _check_part(path: Path, part: Part, dataset: Dataset, *, appends: bool) -> None:
    try:
        check_rows_output(path, part.path, appends=appends)
    except UsageError as error:
        if not dataset.has_sources:
            raise
        raise UsageError(f"{error} ({part.source} is not)") from None


def _paths(dataset: Dataset) -> list[Path]:
    return [one.path for one in dataset.parts if one.n_readable and one.path is not None]


def _check_alike(path: Path, dataset: Dataset, found: Sequence[Any]) -> None:
    readable = [one.source for one in dataset.parts if one.n_readable]
    other = next((i for i, one in enumerate(found) if one != found[0]), None)
    if other is not None:
        raise UsageError(
            f"-o {path}: {readable[other]} has other columns than {readable[0]}, so they do not"
            " fit into one file of this format; end it in .jsonl"
        )


@contextmanager
def dataset_file(
    files: OutputFiles, dataset: Dataset, appended: Appended | None = None
) -> Iterator[RowsWriter]:
    """Open the output of `files` for rows of a dataset; it has passed `check_dataset_output`."""
    first = next(part for part in dataset.parts if part.n_readable)
    with rows_file(files, first.path, appended) as writer:
        yield _PartsWriter(writer, dataset, first) if dataset.has_sources else writer


class _PartsWriter:
    """Writes the rows of several inputs with one writer, which is told where a next one begins."""

    def __init__(self, writer: RowsWriter, dataset: Dataset, first: Part) -> None:
        """`first` is the input whose rows the writer expects."""
        self._writer, self._dataset, self._part = writer, dataset, first
        writer.next_source(first.path, first.first_row)

    def write(self, raw: Raw, value: Any, cells: Sequence[Any] = ()) -> bool:
        part = self._part
        if not part.first_row <= raw.row < part.first_row + part.n_rows:
            part = self._dataset.part_of(raw.row)
        if raw.row >= part.first_row + part.n_readable:
            return False  # it stands for what could not be read
        if part is not self._part:
            self._part = part
            self._writer.next_source(part.path, part.first_row)
        return self._writer.write(raw, value, cells)

    def next_source(self, source: Path | None, first_row: int) -> None:
        self._writer.next_source(source, first_row)

    def finish(self) -> None:
        self._writer.finish()
