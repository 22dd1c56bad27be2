"""What is viewed: datasets, scores files or one comparison, as chunks of rows.

dataset       texts, their words, the rows' own columns
scores file   its numbers, and the texts and columns of the dataset behind it if it is there
comparison    the numbers of `rows.parquet`, and the texts of both datasets if they are there
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ifdkit.data.dataset import Dataset
from ifdkit.data.options import ReadOptions
from ifdkit.data.parquet_files import parquet_table
from ifdkit.errors import InputError, UsageError
from ifdkit.format import plural
from ifdkit.records import Example, Reject
from ifdkit.regular import read_regular
from ifdkit.scoring.dataset import ScoresFile, open_scores
from ifdkit.scoring.inputs import open_data, read_options_of, source_of
from ifdkit.scoring.manifest import Manifest
from ifdkit.scoring.ragged import Ragged
from ifdkit.viewing.folders import check_viewable
from ifdkit.viewing.table import Chunk

_FIRST_CHUNK, _MAX_CHUNK = 2048, 65_536
"""Rows of the first chunk, which is shown at once, and of the largest one."""
MAX_OWN_COLUMNS = 50
MAX_VALUE_CHARACTERS = 200
"""A column with a longer text is no label: it is left to the full-text search."""
_NO_CHANGE = ("row", "turn", "map_x", "map_y")
"""Columns with a before and an after whose difference means nothing."""
COMPARISON_SCHEMA = "ifdkit.comparison/"
_MAX_SUMMARY_BYTES = 2**28


@dataclass(eq=False, kw_only=True)
class ViewedSide:
    """How the texts of one side were scored."""

    name: str
    """`before` or `after` in a comparison, else empty."""
    manifest: Manifest | None = None
    direct: Ragged | None = None
    """NLLs of tokens that a scores file has itself, by position."""
    conditional: Ragged | None = None


@dataclass(eq=False, kw_only=True)
class ViewedData:
    """What is viewed."""

    title: str
    kind: str
    """`dataset`, `scores` or `comparison`."""
    n_rows: int
    """Rows to read, for progress."""
    sides: tuple[ViewedSide, ...]
    chunks: Callable[[], Iterator[Chunk]]
    notes: list[str] = field(default_factory=list)
    """For the reader of the page; reading adds to them."""
    summary: Mapping[str, Any] = field(default_factory=dict)
    """`summary.json` of a comparison."""


def open_source(paths: Sequence[Path | str], read_options: ReadOptions) -> ViewedData:
    """Open what is to be viewed, without reading all of it. Raises IfdkitError."""
    for path in paths:
        check_viewable(Path(path))
    folders = [one for one in paths if (Path(one) / "summary.json").is_file()]
    if folders and len(paths) > 1:
        raise UsageError(f"{folders[0]} is a comparison: view it alone")
    if folders:
        return _comparison(Path(folders[0]))
    if len(set(map(str, paths))) < len(paths):
        raise UsageError("a path is given twice")
    parts = [_part(str(one), read_options) for one in paths]
    if len(parts) == 1:
        return parts[0]
    return _joined([str(one) for one in paths], parts)


def _part(path: str, read_options: ReadOptions) -> ViewedData:
    scores = open_scores(path)
    if scores is None:
        dataset = open_data(path, read_options)
        source = ViewedData(
            title=path,
            kind="dataset",
            n_rows=dataset.n_rows,
            sides=(ViewedSide(name=""),),
            chunks=lambda: _read(dataset, None, source.notes),
        )
        return source
    side = ViewedSide(name="", manifest=scores.manifest, direct=scores.scores.token_nll_direct,
                conditional=scores.scores.token_nll_conditional)  # fmt: skip
    notes: list[str] = []
    try:
        behind: Dataset | None = scores.open_dataset()
    except InputError as error:
        behind = None
        notes.append(f"Numbers only: {error}")
    return ViewedData(
        title=path,
        kind="scores",
        n_rows=len(scores.scores),
        sides=(side,),
        chunks=lambda: _scored(scores) if behind is None else _read(behind, scores, notes),
        notes=notes,
    )


def _joined(paths: Sequence[str], parts: Sequence[ViewedData]) -> ViewedData:
    """Several files as one, each row with the path that it is from."""

    def chunks() -> Iterator[Chunk]:
        for path, part in zip(paths, parts, strict=True):
            for one in part.chunks():
                values = {"source": [path] * len(one.ids)} | dict(one.values)
                yield Chunk(ids=one.ids, numbers=one.numbers, values=values, examples=one.examples)

    if any(not part.sides[0].manifest for part in parts) and any(
        p.sides[0].manifest for p in parts
    ):
        raise UsageError("datasets and scores files cannot be viewed together: score all of them")
    kind = parts[0].kind
    notes = [note for part in parts for note in part.notes]
    return ViewedData(
        title=plural(len(parts), "file"),
        kind=kind,
        sides=(ViewedSide(name=""),),
        n_rows=sum(part.n_rows for part in parts),
        chunks=chunks,
        notes=notes,
    )


def _sizes() -> Iterator[int]:
    size = _FIRST_CHUNK
    while True:
        yield size
        size = min(2 * size, _MAX_CHUNK)


def _score_columns(
    scores: ScoresFile, begin: int, end: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    table = scores.scores
    numbers: dict[str, Any] = {"row": table.rows[begin:end]}
    if len(table.turns) and table.turns.any():
        numbers["turn"] = table.turns[begin:end]
    numbers |= {name: column[begin:end] for name, column in table.numbers.items()}
    values: dict[str, Any] = {"status": table.statuses[begin:end]}
    if table.reasons is not None:
        values["reason"] = table.reasons[begin:end]
    return numbers, values


def _scored(scores: ScoresFile) -> Iterator[Chunk]:
    """Scores without texts."""
    numbers, values = _score_columns(scores, 0, len(scores.scores))
    yield Chunk(ids=scores.scores.ids, numbers=numbers, values=values)


def _read(dataset: Dataset, scores: ScoresFile | None, notes: list[str]) -> Iterator[Chunk]:
    """A dataset, with its scores if there are any. Raises InputError if they do not fit."""
    own, sizes, n_rejected, begin = _OwnColumns(dataset), _sizes(), 0, 0
    examples: list[Example] = []
    size = next(sizes)

    def chunk() -> Chunk:
        end = begin + len(examples)
        if scores is None:
            numbers: dict[str, Any] = {
                "row": [one.row for one in examples],
                "instruction_words": [len(one.instruction.split()) for one in examples],
                "response_words": [len(one.response.split()) for one in examples],
            }
            if any(one.turn for one in examples):
                numbers["turn"] = [one.turn for one in examples]
            values: dict[str, Any] = {}
        else:
            numbers, values = _score_columns(scores, begin, end)
            places = [(one.row, one.turn) for one in examples]
            table = scores.scores
            made = zip(table.rows[begin:end].tolist(), table.turns[begin:end].tolist(), strict=True)
            if places != list(made):
                raise InputError(
                    f"{scores.name}: {dataset.name} parses differently than when it was scored;"
                    " score it again"
                )
        taken = {name: column for name, column in own.take().items() if name not in numbers}
        return Chunk(ids=[one.id for one in examples], numbers=numbers, values={**taken, **values},
                     examples=(examples,))  # fmt: skip

    for raw, found in dataset.read_with_raw():
        if isinstance(found, Reject):
            n_rejected += 1
            continue
        for example in found:
            examples.append(example)
            own.add(raw.value)
        if len(examples) >= size:
            yield chunk()
            begin, examples, size = begin + len(examples), [], next(sizes)
    if examples:
        yield chunk()
    if n_rejected:
        notes.append(f"{plural(n_rejected, 'row')} of {dataset.name} cannot be read")
    if own.long:
        notes.append(f"Not listed as columns, because their texts are long: {', '.join(own.long)}")


class _OwnColumns:
    """The simple values of the rows as they are in the file; those of objects by `meta.lang`."""

    def __init__(self, dataset: Dataset) -> None:
        self._skipped = {*dataset.columns.filled.values(), "id"}
        self._rows: list[dict[str, Any]] = []
        self._names: dict[str, None] = {}
        self.long: dict[str, None] = {}

    def add(self, value: Any) -> None:
        found: dict[str, Any] = {}
        self._collect(value, "", found)
        self._rows.append(found)

    def _collect(self, value: Any, prefix: str, found: dict[str, Any]) -> None:
        if not isinstance(value, Mapping):
            return
        for key, one in value.items():
            name = f"{prefix}{key}"
            if name in self._skipped or name in self.long:
                continue
            if isinstance(one, Mapping) and prefix.count(".") < 2:
                self._collect(one, f"{name}.", found)
            elif isinstance(one, str) and len(one) > MAX_VALUE_CHARACTERS:
                self.long[name] = None
            elif name not in self._names and len(self._names) == MAX_OWN_COLUMNS:
                continue
            elif isinstance(one, (str, bool, int, float)) or hasattr(one, "isoformat"):
                self._names[name] = None
                found[name] = one.isoformat() if hasattr(one, "isoformat") else one

    def take(self) -> dict[str, list[Any]]:
        rows, self._rows = self._rows, []
        names = [name for name in self._names if name not in self.long]
        return {name: [row.get(name) for row in rows] for name in names}


def _comparison(folder: Path) -> ViewedData:
    import pyarrow as pa

    try:
        summary = json.loads(read_regular(folder / "summary.json", _MAX_SUMMARY_BYTES))
        if not str(summary["schema"]).startswith(COMPARISON_SCHEMA):
            raise InputError(f"{folder} is the folder of another report than a comparison")
        table = parquet_table(folder / "rows.parquet")
    except (
        *(OSError, ValueError, KeyError, TypeError),
        *(RecursionError, pa.ArrowException),
    ) as error:
        raise InputError(f"{folder} is not a readable comparison: {error}") from error
    if not {"id", "row_before", "row_after"} <= set(table.column_names):
        raise InputError(f"{folder}/rows.parquet is not that of a comparison")
    sides, datasets, notes = [], [], []
    for name in ("before", "after"):
        made = summary.get(name)
        manifest = Manifest.from_json(made, f"{folder}/summary.json") if made else None
        sides.append(ViewedSide(name=name, manifest=manifest))
        try:
            if manifest is None:
                raise InputError(f"nothing in the folder names the dataset {name}")
            source = source_of(folder, manifest)
            datasets.append(open_data(source, read_options_of(manifest)))
        except InputError as error:
            notes.append(f"Numbers only, {name}: {error}")
    return ViewedData(
        title=f"{summary.get('name_before')} → {summary.get('name_after')}",
        kind="comparison",
        n_rows=table.num_rows,
        sides=tuple(sides),
        chunks=lambda: _pairs(table, datasets if len(datasets) == 2 else []),
        notes=notes,
        summary=summary,
    )


def _pairs(table: Any, datasets: Sequence[Dataset]) -> Iterator[Chunk]:
    """The pairs of a comparison in one chunk. They were compared in memory, and fit there."""
    import pyarrow as pa

    examples = []
    for name, dataset in zip(("before", "after"), datasets, strict=False):
        turns = table[f"turn_{name}"].to_pylist()
        places = list(zip(table[f"row_{name}"].to_pylist(), turns, strict=True))
        wanted = set(places)
        found = {
            (one.row, one.turn): one
            for row in dataset
            if not isinstance(row, Reject)
            for one in row
            if (one.row, one.turn) in wanted
        }
        if len(found) < len(wanted):
            raise InputError(f"{dataset.name} parses differently than when it was compared")
        examples.append([found[place] for place in places])
    numbers: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for column in table.column_names:
        kind = table[column].type
        if pa.types.is_floating(kind) or pa.types.is_integer(kind):
            numbers[column] = table[column].cast("float64").to_numpy()
        elif column != "id":
            values[column] = table[column].to_pylist()
    for column in [one.removesuffix("_after") for one in numbers if one.endswith("_after")]:
        if f"{column}_before" in numbers and column not in _NO_CHANGE:
            change = numbers[f"{column}_after"] - numbers[f"{column}_before"]
            if not np.isnan(change).all():
                numbers[f"{column}_change"] = change
    ids = table["id"].to_pylist()
    yield Chunk(ids=ids, numbers=numbers, values=values, examples=tuple(examples))
