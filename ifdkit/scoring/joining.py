"""`score --join`: the rows of a dataset in their own format, with their scores as more columns.

    column       type per row: one example (`--turns last`)     several (`--turns all`)
    status       text; `rejected` if the row is not readable    list of text
    reason       text or null                                   list
    ifd, …       number or null, as in a scores file            list of numbers

With `--turns all` every row has lists, whatever the number of its turns, so that the types follow
from the options and not from the data. In CSV a list is JSON text in a cell.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ifdkit.data.atomic import OutputFiles, json_file
from ifdkit.data.dataset import Dataset
from ifdkit.data.many_inputs import expand
from ifdkit.data.options import ReadOptions
from ifdkit.data.part_files import check_dataset_output, dataset_file
from ifdkit.data.raw import Raw
from ifdkit.data.rows_writer import Appended, RowsWriter
from ifdkit.data.sources import suffix
from ifdkit.errors import InputError
from ifdkit.records import DOCUMENT_PASSES
from ifdkit.scoring.documents import settings_for
from ifdkit.scoring.formats import arrow_type
from ifdkit.scoring.inputs import check_not_input, note_dataset, open_data
from ifdkit.scoring.manifest import MANIFEST
from ifdkit.scoring.metrics import available_metrics
from ifdkit.scoring.output_names import REJECTS, check_default_output, default_joined_output
from ifdkit.scoring.progress import Progress, default_progress
from ifdkit.scoring.rows import PROFILE_FIELD, TOKEN_FIELDS, ScoreRow
from ifdkit.scoring.run import Run
from ifdkit.scoring.scorer import Scorer
from ifdkit.scoring.settings import Settings
from ifdkit.scoring.summary import ScoreSummary

if TYPE_CHECKING:
    import pyarrow as pa

    from ifdkit.scoring.inputs import Data

JOINED_SCHEMA = "ifdkit.joined/1"
"""Of the manifest: the file has its texts, so it is read as a dataset and not as scores."""
REJECTED = "rejected"
PREFIX = "ifdkit_"
"""Before the name of a score column if the dataset has a column of that name."""


def score_into_rows(
    data: Data,
    output: Path | None,
    settings: Settings,
    read_options: ReadOptions,
    progress: Progress | None = None,
) -> ScoreSummary:
    """Score a dataset, and write its rows with their scores to a file of the same format.

    The values of a row do not change. A malformed row, which has no columns, is copied to JSON
    Lines, and left out of other formats; the manifest counts those as `rows_not_written`. Beside
    the output are the manifest and the rejects, as for a scores file. Raises IfdkitError.
    """
    begin = time.perf_counter()
    data = expand(data)
    progress = progress or default_progress()
    is_named, output = output is not None, output or default_joined_output(data)
    with OutputFiles(output, REJECTS, MANIFEST) as files:
        check_not_input(data, files)
        dataset = open_data(data, read_options)
        check_dataset_output(output, dataset, appends=True)
        if not is_named:
            check_default_output(output, dataset)
        note_dataset(dataset, progress)
        settings = settings_for(dataset, settings, progress)
        names = column_names(score_names(settings, dataset), _keys_of(dataset))
        columns = _Columns(tuple(names), as_lists=read_options.turns == "all")
        appended = Appended(tuple(names.values()), columns.arrow_types)
        with Scorer(settings, progress) as scorer:
            run = Run(dataset, read_options, scorer)
            with dataset_file(files, dataset, appended) as writer:
                n_missing = _write(run, dataset, writer, columns, progress)
            summary = run.summary(elapsed_s=time.perf_counter() - begin, files=files)
        summary = replace(summary, manifest=replace(summary.manifest, schema=JOINED_SCHEMA))
        more = {"score_columns": names, "rows_not_written": n_missing}
        files.write_lines(REJECTS, (one.as_json() for one in run.rejects))
        files.write(MANIFEST, json_file({**summary.manifest.as_json(), **more}))
    if n_missing:
        progress.note(f"{n_missing:,} malformed rows cannot be written to {suffix(output)}: they"
                      f" are in {output}{REJECTS}")  # fmt: skip
    return summary


class Collected:
    """A writer of rows in memory: their positions, and the cells of the joined columns."""

    def __init__(self, n_columns: int) -> None:
        self.rows: list[int] = []
        self.columns: list[list[Any]] = [[] for _ in range(n_columns)]

    def write(self, raw: Raw, value: Any, cells: Sequence[Any] = ()) -> bool:
        """Collect the cells of a row. Always True: a row in memory is there."""
        del value
        self.rows.append(raw.row)
        for column, cell in zip(self.columns, cells, strict=True):
            column.append(cell)
        return True

    def next_source(self, source: Path | None, first_row: int) -> None:
        """Nothing to do: positions are those of the dataset."""

    def finish(self) -> None:
        """Nothing to do."""


def score_into_memory(
    dataset: Dataset, settings: Settings, read_options: ReadOptions, progress: Progress
) -> tuple[list[int], dict[str, pa.Array], Run, ScoreSummary]:
    """Score a dataset: the positions of its rows, and the columns of scores to join to them.

    Raises IfdkitError.
    """
    import pyarrow as pa

    begin = time.perf_counter()
    names = column_names(score_names(settings, dataset), _keys_of(dataset))
    columns = _Columns(tuple(names), as_lists=read_options.turns == "all")
    found = Collected(len(names))
    with Scorer(settings, progress) as scorer:
        run = Run(dataset, read_options, scorer)
        _write(run, dataset, found, columns, progress)
        summary = run.summary(elapsed_s=time.perf_counter() - begin)
    arrays = {
        name: pa.array(cells, type=kind)
        for name, cells, kind in zip(
            names.values(), found.columns, columns.arrow_types(), strict=True
        )
    }
    manifest = replace(summary.manifest, schema=JOINED_SCHEMA)
    return found.rows, arrays, run, replace(summary, manifest=manifest)


def score_names(settings: Settings, dataset: Dataset) -> list[str]:
    """The columns of a scores file that are joined: those that were measured.

    `id`, `row` and `turn` are not: the rows are there themselves.
    """
    documents = dataset.has_documents
    metrics = available_metrics(
        settings.passes,
        with_embedder=settings.needs_embedder,
        documents=documents,
        optional=settings.optional,
    )
    profile = [PROFILE_FIELD] if documents and settings.passes >= DOCUMENT_PASSES else []
    tokens = TOKEN_FIELDS[: 1 if documents else 2] if settings.token_nll else ()
    return ["status", "reason", *metrics, *profile, *tokens]


def column_names(names: Sequence[str], keys: Collection[str]) -> dict[str, str]:
    """Score column → its name in a file with these keys: prefixed if the name is taken.

    Raises InputError if the prefixed name is taken too.
    """
    # With these two, the columns of a scores file would be complete, and it would be read as one.
    is_like_scores = {"row", "turn"} <= set(keys)
    found = {n: f"{PREFIX}{n}" if is_like_scores or n in keys else n for n in names}
    for name, written in found.items():
        if written in keys:
            raise InputError(
                f"the dataset has columns {name!r} and {written!r}: scores were joined to it"
                " before; join them to the original, or rename the columns"
            )
    return found


def _keys_of(dataset: Dataset) -> set[str]:
    """The columns of all rows, not only of the chosen ones that come first."""
    keys: set[str] = set()
    for raw in dataset.raw_rows():
        if isinstance(raw.value, Mapping):
            keys.update(raw.value)
    return keys


@dataclass(frozen=True, slots=True)
class _Columns:
    """The appended columns: their cells in a row, and their types."""

    names: tuple[str, ...]
    """As in a scores file."""
    as_lists: bool

    def cells(self, scores: Sequence[ScoreRow]) -> list[Any]:
        """The cells of a row with these examples."""
        if self.as_lists:
            return [[one.column(name) for one in scores] for name in self.names]
        (only,) = scores
        return [only.column(name) for name in self.names]

    def rejected(self, reason: str) -> list[Any]:
        """The cells of a row without an example."""
        known = {"status": REJECTED, "reason": reason}
        cells = [known.get(name) for name in self.names]
        return [cell and [cell] for cell in cells] if self.as_lists else cells

    def arrow_types(self) -> list[pa.DataType]:
        """The types of the cells in Parquet."""
        import pyarrow as pa

        types = [arrow_type(name) for name in self.names]
        return [pa.list_(one) for one in types] if self.as_lists else types


def _write(
    run: Run,
    dataset: Dataset,
    writer: RowsWriter,
    columns: _Columns,
    progress: Progress,
) -> int:
    """Write every row while they are scored; how many could not be written."""
    n_missing = 0
    for raw, scores, reason in _rows(run, dataset, progress):
        cells = columns.cells(scores) if reason is None else columns.rejected(reason)
        n_missing += not writer.write(raw, raw.value, cells)
    return n_missing


def _rows(
    run: Run, dataset: Dataset, progress: Progress
) -> Iterator[tuple[Raw, list[ScoreRow], str | None]]:
    """Every row with its scores, or with the reason of its rejection."""
    raws, n_rejected = dataset.raw_rows(), 0
    by_row = groupby(chain.from_iterable(run.blocks(progress)), key=lambda one: one.row)
    no_more: tuple[int, Iterator[ScoreRow]] = (-1, iter(()))
    for row, scores in chain(by_row, [no_more]):
        for raw in raws:
            if raw.row == row:
                yield raw, list(scores), None
                break
            # The block of this row was counted before a later row came out of the run.
            reject = run.rejects[n_rejected]
            assert reject.row == raw.row, "a row is scored or rejected"
            n_rejected += 1
            yield raw, [], reject.reason
