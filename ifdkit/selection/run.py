"""`ifdkit select`: keep the rows of a dataset that are worth training on, unchanged.

    DATA ─ Inputs ─▶ rows with numbers ─ method ─▶ verdict ─ part_files ─▶ OUT
                                                       └─ effect ─▶ how OUT differs from DATA

OUT has the rows, the format and the order of DATA.  Beside it are `OUT.rows.jsonl`, the row log
with one line for every row of the input, and `OUT.manifest.json`.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

import numpy as np

from ifdkit.data.atomic import OutputFiles, json_file
from ifdkit.data.dataset import Dataset, Reasoning, Turns
from ifdkit.data.frames import OtherFrame, kind_of
from ifdkit.data.options import ReadKeywords, ReadOptions
from ifdkit.data.part_files import dataset_file
from ifdkit.data.rows_writer import RowsWriter
from ifdkit.errors import UsageError
from ifdkit.records import Status
from ifdkit.scoring.dataset import ScoredDataset, open_scores
from ifdkit.scoring.inputs import check_not_input
from ifdkit.scoring.manifest import MANIFEST
from ifdkit.scoring.per_row import Places, only_rows
from ifdkit.scoring.progress import Progress, default_progress
from ifdkit.scoring.run import command_line
from ifdkit.scoring.settings import split_keywords
from ifdkit.selection.effect import effect_of
from ifdkit.selection.inputs import Inputs
from ifdkit.selection.methods import Task
from ifdkit.selection.options import DEFAULT_QUOTA, SelectKeywords, SelectOptions
from ifdkit.selection.reflected import provenance_of
from ifdkit.selection.result import ROW_LOG, SELECTION_SCHEMA, Selected
from ifdkit.selection.rows import Rows, rows_of
from ifdkit.selection.sources import Labels, SourceColumns
from ifdkit.selection.training_formats import add_to_info, check_format, write_converted
from ifdkit.selection.tuned import HELD_OUT, WeightSearch, options_with
from ifdkit.selection.verdict import Verdict, row_log
from ifdkit.version import VERSION

if TYPE_CHECKING:
    import pandas as pd

    from ifdkit.scoring.inputs import Data


Frame = TypeVar("Frame", bound=OtherFrame)


class SelectCall(ReadKeywords, SelectKeywords, total=False):
    """All keywords of `ifdkit.select`, for its overloads."""

    tune: WeightSearch | None
    progress: Progress | None


# They overlap, because any `Data` may be a table of another library.
@overload
def select(  # type: ignore[overload-overlap]
    data: Frame, output: None = None, **keywords: Unpack[SelectCall]
) -> Frame: ...


@overload
def select(data: Data, output: None = None, **keywords: Unpack[SelectCall]) -> pd.DataFrame: ...


@overload
def select(data: Data, output: str | Path, **keywords: Unpack[SelectCall]) -> Selected: ...


def select(
    data: Data,
    output: str | Path | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    turns: Turns = "last",
    reasoning: Reasoning = "keep",
    lines: bool = False,
    limit: int | None = None,
    sample: int | None = None,
    seed: int = 0,
    tune: WeightSearch | None = None,
    progress: Progress | None = None,
    **options: Unpack[SelectKeywords],
) -> Any:
    """Write the rows of a dataset that are worth training on to `output`, and describe them.

    Without `output` no file is kept, and the rows are returned: of a table as one of the same kind
    with its own types (a DataFrame, whose index is kept, a polars DataFrame, a `datasets.Dataset`,
    an Arrow table), of anything else, or with `to`, as a DataFrame.  `frame.attrs["selection"]` of
    a DataFrame is the manifest.

    `data` is a path, `-`, a table, any iterable of dictionaries, or scores made by `ifdkit.score`.
    `options` are those of :class:`ifdkit.selection.options.SelectOptions`: `by` is a metric, or
    `method` the name of a published method; `top` is a number of rows or a share such as `"5%"`;
    then `where`, `min`, `max`, `lowest`, `diversity`, …; and those of :class:`ifdkit.Settings`
    (`model`, `protocol`, …), except `metrics`.  `tune`, an :class:`ifdkit.Tuning`, finds the
    weights of several scores by training small models; without `output` it cannot resume.  Raises
    IfdkitError.
    """
    own, settings = split_keywords("select", options, SelectKeywords)
    select_options = options_with(own, tune)
    read_options = ReadOptions(
        columns=columns,
        turns=turns,
        reasoning=reasoning,
        lines=lines,
        limit=limit,
        sample=sample,
        seed=seed,
    )
    if output is not None:
        return select_to_file(
            data, Path(output), select_options, settings, read_options, progress, tune=tune
        )
    with TemporaryDirectory(prefix="ifdkit-select-") as folder:
        path = Path(folder, "kept.jsonl")
        done = select_to_file(
            data, path, select_options, settings, read_options, progress, tune=tune
        )
        return _as_frame(data, done, path)


def _as_frame(data: Any, done: Selected, path: Path) -> Any:
    """The kept rows: those of a table as they are there, others as they were written."""
    import pandas as pd

    kind = kind_of(data)
    if kind is not None and done.parameters["to"] is None and open_scores(data) is None:
        frame = kind.take(data, done.kept_rows)
    else:
        lines = path.read_text(encoding="utf-8").splitlines()
        frame = pd.DataFrame([json.loads(line) for line in lines])
    if isinstance(frame, pd.DataFrame):
        frame.attrs["selection"] = done.as_json()
    return frame


def select_to_file(
    data: Data,
    output: Path,
    options: SelectOptions,
    settings: Mapping[str, Any] | None = None,
    read_options: ReadOptions | None = None,
    progress: Progress | None = None,
    *,
    tune: WeightSearch | None = None,
) -> Selected:
    """Write the rows of a dataset that are worth training on to a file of the same format.

    `data` is a dataset or a scores file; `settings` are the fields of :class:`ifdkit.Settings` that
    the caller has set.  With `tune` the weights of the options are replaced by those that it finds,
    and the rows that it holds out are not kept.  The output appears whole or not at all; if no row
    is kept, there is none.  Raises IfdkitError; what was scored before stays in the store.
    """
    begin = time.perf_counter()
    read_options = read_options or ReadOptions(turns="last")
    if tune is not None:
        tune.check(read_options)
    inputs = Inputs(options, settings or {}, read_options, progress or default_progress())
    if options.to is not None:
        check_format(options.to, output)
    with OutputFiles(output, ROW_LOG, MANIFEST) as files:
        check_not_input(data, files)
        selected = _select(data, files, options, read_options, inputs, tune)
        elapsed_s = round(time.perf_counter() - begin, 3)
        selected = replace(selected, elapsed_s=elapsed_s)
        files.write(MANIFEST, json_file(selected.as_json()))
    if options.to == "llamafactory":
        add_to_info(output)
    return selected


def _select(
    data: Data,
    files: OutputFiles,
    options: SelectOptions,
    read_options: ReadOptions,
    inputs: Inputs,
    tune: WeightSearch | None,
) -> Selected:
    """Write the rows and the row log, and describe them but for the time."""
    scored, unconditional = inputs.open(data, files.output)
    dataset, rows = scored.dataset, rows_of(scored, read_options.turns)
    seed = read_options.seed
    task = Task(dataset=dataset, rows=rows, options=options, seed=seed, embed=inputs.embed)
    tuned = None
    if tune is None:
        verdict = _judge(task)
    else:
        tuned, left_out = tune.search(inputs.for_tuning(scored, task, files.output))
        options = replace(options, weights=tuned.text)
        task = replace(task, options=options)
        verdict = _judge_others(scored, task, read_options.turns, left_out)
    with nullcontext() if options.to else dataset_file(files, dataset) as writer:
        # The effect is that of the method and of the condition on scores.
        of_all = rows if unconditional is scored else rows_of(unconditional, read_options.turns)
        on_all = verdict.among(rows, of_all)
        labels = _copy_kept(unconditional.dataset, of_all, on_all, writer)
        if of_all is not rows:
            task = replace(task, rows=of_all)  # which embeds those that were left out too
        vectors = task.vectors if options.embeds_all else None
        effect = effect_of(of_all, on_all, options.field, labels, seed, vectors)
    if options.to is not None:
        kept = frozenset(rows.positions[verdict.kept].tolist())
        write_converted(unconditional.dataset, kept, files, options.to)
    files.write_lines(ROW_LOG, row_log(rows, verdict, scored.rejects, dataset.left_out))
    # Unlike that of a scores file, this manifest always has the seed: the effect depends on it.
    read_fields = {
        **read_options.manifest_fields(dataset),
        "seed": seed,
        "where": options.where,
    }
    return Selected(
        schema=SELECTION_SCHEMA,
        version=VERSION,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command_line("select"),
        **read_fields,
        output=str(files.output),
        output_sha256=files.sha256(),
        rows=f"{files.output}{ROW_LOG}",
        method=options.method,
        method_source=options.entry.source,
        field=options.field,
        parameters=_parameters(options, dataset),
        wanted=verdict.wanted,
        **_counts(rows, verdict, scored, options.field),
        bands=verdict.bands,
        groups=verdict.groups,
        effect=effect,
        tuning=tuned,
        scores=scored.manifest,
        elapsed_s=0.0,
    )


def _judge(task: Task) -> Verdict:
    """Which rows are kept. Raises UsageError if none is."""
    verdict = task.options.entry.choose(task)
    if not verdict.kept.any():
        counts = Counter(verdict.reasons.tolist()).most_common()
        why = ", ".join(f"{n:,} {reason}" for reason, n in counts) or "none can be read"
        raise UsageError(f"no row of {task.dataset.name} would be kept: {why}; relax the options")
    return verdict


def _judge_others(scored: ScoredDataset, task: Task, turns: Turns, left_out: Places) -> Verdict:
    """Which rows are kept, if those at the positions `left_out` may not be."""
    others = only_rows(scored, np.setdiff1d(task.rows.positions, left_out))
    rows = rows_of(others, turns)
    options = replace(task.options, top=task.n_wanted)  # a share is one of all rows
    found = _judge(replace(task, dataset=others.dataset, rows=rows, options=options))
    return found.among(rows, task.rows, HELD_OUT)


def _copy_kept(
    dataset: Dataset, rows: Rows, verdict: Verdict, writer: RowsWriter | None
) -> Labels | None:
    """Write the kept rows as they are in the input; return the sources of all readable rows.

    Without a writer nothing is written.
    """
    is_kept = dict(zip(rows.positions.tolist(), verdict.kept.tolist(), strict=True))
    sources = SourceColumns(set(dataset.columns.filled.values()) if not dataset.has_sources else ())
    for raw in dataset.raw_rows():
        if raw.row not in is_kept:
            continue  # it could not be read
        # The inputs are the sources if there are several.
        name = dataset.source_of(raw.row)
        sources.add(raw.value if name is None else {"source": name})
        if is_kept[raw.row] and writer is not None:
            writer.write(raw, raw.value)
    return sources.labels()


def _parameters(options: SelectOptions, dataset: Dataset) -> dict[str, Any]:
    """The options for the manifest, with the defaults that were used filled in."""
    found = {k: v for k, v in asdict(options).items() if k not in ("by", "method", "where")}
    if options.diversity:
        found["pool"] = options.pool_rows.text
    if options.per is not None:
        found["quota"] = options.quota or DEFAULT_QUOTA
    if "bands" in options.entry.options:
        found["bands"] = options.n_bands
    if "provenance" in options.entry.options:
        found["provenance"] = provenance_of(options.provenance, dataset)
    return {k: str(v) if isinstance(v, Path) else v for k, v in found.items()}


def _counts(
    rows: Rows, verdict: Verdict, scored: ScoredDataset, field: str | None
) -> dict[str, Any]:
    """How many rows were kept and dropped, and why. Every row of the input is counted once."""
    dropped = Counter(verdict.reasons[~verdict.kept].tolist())
    dropped["rejected"] = len(scored.rejects)
    dropped["where"] = len(scored.dataset.left_out)
    rows_in = scored.dataset.n_rows + len(scored.dataset.left_out)
    places = np.flatnonzero(verdict.reasons == "undefined").tolist()
    undefined = Counter(rows.statuses[place] for place in places)
    # A metric can be undefined for an example that is ok, as `ifd_window` for a short response.
    if n_ok := undefined.pop(Status.OK, 0):
        undefined[f"no_{field or 'score'}"] = n_ok
    kept = rows.positions[verdict.kept]
    assert len(kept) + dropped.total() == rows_in, "every row is counted once"
    return {
        "rows_in": rows_in,
        "kept": len(kept),
        "dropped": {reason: n for reason, n in dropped.most_common() if n},
        "undefined": dict(undefined.most_common()),
        "kept_rows": tuple(kept.tolist()),
    }
