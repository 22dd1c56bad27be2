"""The verb *select*: a dataset in, the rows worth training on out, as they stand in it.

    DATA ─ scored: numbers, texts ─▶ rows ─ methods ─▶ verdict ─ row_files ─▶ OUT
                                                  └─ effect ─▶ what the selection did

OUT has the rows, the format and the order of DATA.  Beside it stand `OUT.rows.jsonl`, one line for
every row of the input with what became of it, and `OUT.manifest.json`.  Only what a selection ranks
by is measured: of a scores file nothing, and `random` and `selective` ask no model at all.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from dataclasses import field as dataclass_field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ifdkit.data.atomic import write_json
from ifdkit.data.dataset import Dataset, Turns
from ifdkit.data.options import ReadOptions
from ifdkit.data.row_files import RowsWriter, rows_file
from ifdkit.data.sources import sha256
from ifdkit.errors import UsageError
from ifdkit.records import Status
from ifdkit.scoring.dataset import ScoredDataset
from ifdkit.scoring.manifest import Manifest
from ifdkit.scoring.progress import Progress
from ifdkit.scoring.run import command_line
from ifdkit.scoring.settings import Settings
from ifdkit.selection.effect import Effect, effect_of
from ifdkit.selection.methods import Verdict
from ifdkit.selection.options import METHODS, SelectOptions
from ifdkit.selection.pipeline import Work, provenance_of
from ifdkit.selection.ranking import Band
from ifdkit.selection.row_log import write_account
from ifdkit.selection.rows import Rows, rows_of
from ifdkit.selection.sources import Labels, SourceColumns
from ifdkit.version import VERSION

if TYPE_CHECKING:
    from ifdkit.scoring.inputs import Data

SCHEMA = "ifdkit.selection/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """What a selection has done: the manifest beside the output, and what `ifdkit.select` gives."""

    schema: str
    version: str
    created: str
    command: str
    input: str
    input_sha256: str | None
    columns: dict[str, str]
    turns: str
    limit: int | None
    sample: int | None
    seed: int
    """Of the sample, of `random`, and of the random choices that the effect is measured against."""
    output: str
    output_sha256: str
    rows: str
    """The file with one line for every row of the input."""
    method: str | None
    """None where a field was ranked by."""
    method_source: str | None
    """The paper that a method is from."""
    field: str | None
    """What was ranked by; None where nothing was."""
    parameters: dict[str, Any]
    wanted: int | None
    """Rows that were asked for; None for all that qualify."""
    rows_in: int
    """Kept and dropped together."""
    kept: int
    dropped: dict[str, int]
    """Reason → rows."""
    undefined: dict[str, int]
    """Status → rows among those dropped as undefined."""
    bands: tuple[Band, ...]
    """Of response length; empty but for `length-controlled`."""
    effect: Effect
    scores: Manifest | None
    """The manifest of the scores; None if no scores were used."""
    elapsed_s: float
    kept_rows: tuple[int, ...] = dataclass_field(repr=False)
    """0-based positions in the input, ascending; not in the manifest, but in the file of rows."""

    def as_json(self) -> dict[str, Any]:
        """Plain data for `--json`: the manifest."""
        found = asdict(replace(self, kept_rows=()))
        del found["kept_rows"]
        return found


def select_to_file(
    data: Data,
    output: Path,
    options: SelectOptions,
    settings: Mapping[str, Any] | None = None,
    read_options: ReadOptions | None = None,
    progress: Progress | None = None,
) -> Selected:
    """Write the rows of a dataset that are worth training on into a file of its own format.

    `data` is a dataset or a scores file; `settings` are those of :class:`ifdkit.Settings` that were
    asked for.  The output appears whole or not at all, and not where no row is kept.  Raises
    IfdkitError; what was scored before stays in the store.
    """
    begin = time.perf_counter()
    read_options = read_options or ReadOptions(turns="last")
    work = Work(options, settings or {}, read_options, progress or Progress())
    scored = work.open(data, output)
    dataset, rows = scored.dataset, rows_of(scored, read_options.turns)
    verdict = work.judge(rows, dataset)
    beside, manifest = Path(f"{output}.rows.jsonl"), Path(f"{output}.manifest.json")
    with rows_file(output, dataset.path) as writer:
        labels = _copy(dataset, rows, verdict, writer)
        effect = effect_of(rows, verdict, options.field, labels, read_options.seed)
        for old in (manifest, beside):  # which could only describe another selection
            old.unlink(missing_ok=True)
    write_account(beside, rows, verdict, scored.rejects)
    done = Selected(
        schema=SCHEMA,
        version=VERSION,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command_line("select"),
        **{
            **read_options.manifest_fields(dataset),
            "seed": read_options.seed,
        },  # draws by it, sample or not
        output=str(output),
        output_sha256=sha256(output),
        rows=str(beside),
        **_asked(options, dataset),
        wanted=verdict.wanted,
        **_counts(rows, verdict, scored, options.field),
        bands=verdict.bands,
        effect=effect,
        scores=scored.manifest,
        elapsed_s=round(time.perf_counter() - begin, 3),
    )
    write_json(manifest, done.as_json())
    return done


def _copy(dataset: Dataset, rows: Rows, verdict: Verdict, writer: RowsWriter) -> Labels | None:
    """Write the rows kept as they stand in the file; what all rows say of their sources."""
    readable = dict(zip(rows.positions.tolist(), verdict.kept.tolist(), strict=True))
    sources = SourceColumns({name for name in asdict(dataset.columns).values() if name})
    for raw in dataset.raw_rows():
        stays = readable.get(raw.row)
        if stays is None:
            continue  # it could not be read
        sources.add(raw.value)
        if stays:
            writer.write(raw, raw.value)
    return sources.labels()


def _asked(options: SelectOptions, dataset: Dataset) -> dict[str, Any]:
    method = METHODS[options.method] if options.method else None
    parameters = {k: v for k, v in asdict(options).items() if k not in ("by", "method")}
    if options.diversity:
        parameters["pool"] = options.pool_rows.text
    if options.method == "length-controlled":
        parameters["bands"] = options.n_bands
    if options.method == "selective":
        parameters["provenance"] = provenance_of(options, dataset)
    return {
        "method": options.method,
        "method_source": method.source if method else None,
        "field": options.field,
        "parameters": {k: str(v) if isinstance(v, Path) else v for k, v in parameters.items()},
    }


def _counts(
    rows: Rows, verdict: Verdict, scored: ScoredDataset, field: str | None
) -> dict[str, Any]:
    """How many rows were kept and dropped, and why. Every row of the input is one of them."""
    dropped = Counter(verdict.reasons[~verdict.kept].tolist())
    dropped["rejected"] = len(scored.rejects)
    places = np.flatnonzero(verdict.reasons == "undefined").tolist()
    undefined = Counter(rows.statuses[place] for place in places)
    if no_such := undefined.pop(Status.OK, 0):  # as of `ifd_window`, where a response is short
        undefined[f"no_{field}"] = no_such
    kept = rows.positions[verdict.kept]
    assert len(kept) + dropped.total() == scored.dataset.n_rows, "every row is accounted for"
    return {
        "rows_in": scored.dataset.n_rows,
        "kept": len(kept),
        "dropped": {reason: n for reason, n in dropped.most_common() if n},
        "undefined": dict(undefined.most_common()),
        "kept_rows": tuple(kept.tolist()),
    }


def select(
    data: Data,
    output: str | Path,
    *,
    by: str | None = None,
    method: str | None = None,
    top: str | int | None = None,
    columns: Mapping[str, str] | None = None,
    turns: Turns = "last",
    limit: int | None = None,
    sample: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Selected:
    """Keep the rows of a dataset that are worth training on, and say what that did.

    `data` is a path, `-`, any iterable of dictionaries, or scores that `ifdkit.score` made.  `by`
    is a field of a row of scores, `method` a way by name; `top` a number of rows or a share such as
    `"5%"`.  Further keywords are those of :class:`ifdkit.selection.run.Options` (`min`, `max`,
    `lowest`, `diversity`, …) and of :class:`ifdkit.Settings` (`model`, `protocol`, …).  Raises
    IfdkitError.
    """
    own, known = _names(SelectOptions), _names(Settings) - {"metrics"}
    if unknown := options.keys() - own - known:
        raise UsageError(f"select() has no option {sorted(unknown)[0]!r}")
    chosen = {name: value for name, value in options.items() if name in own}
    return select_to_file(
        data,
        Path(output),
        SelectOptions(by=by, method=method, top=top, **chosen),
        {name: value for name, value in options.items() if name in known},
        ReadOptions(columns=columns, turns=turns, limit=limit, sample=sample, seed=seed),
        progress,
    )


def _names(kind: type) -> set[str]:
    found: Iterable[Any] = fields(kind)
    return {one.name for one in found}
