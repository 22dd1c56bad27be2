"""The verb *score*: a dataset in, one row of numbers per example out.

Rows go through in blocks, so memory does not grow with the dataset, and straight into a file that
appears when it is complete.
"""

from __future__ import annotations

import shlex
import sys
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ifdkit.data.atomic import write_json, write_rejects
from ifdkit.data.dataset import Dataset, Turns
from ifdkit.data.options import ReadOptions
from ifdkit.data.sources import DATA_ENDINGS, sha256
from ifdkit.errors import OutputError, UsageError
from ifdkit.records import METRIC_FIELDS, Example, Passes, Reject, ScoreRow
from ifdkit.scoring.inputs import SCORES_SCHEMA, open_data
from ifdkit.scoring.precision import Drift, DriftSample, measure_drift
from ifdkit.scoring.scorer import Progress, Scorer, Settings, parse_metrics
from ifdkit.scoring.writers import check_output, row_writer, score_columns
from ifdkit.stats.columns import Description, describe, spearman
from ifdkit.version import VERSION

if TYPE_CHECKING:
    import pandas as pd

    from ifdkit.scoring.inputs import Data

_Item = TypeVar("_Item")
EXAMPLES_A_BLOCK = 2048
"""Examples planned together: enough for tight batches, few enough to hold."""
_SUMMARY_FIELDS = (
    "instruction_tokens",
    "response_tokens",
    *(name for name in METRIC_FIELDS if not name.startswith("nll_")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What made a scores file: enough to make it again, and to tell whether two compare."""

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
    seed: int | None
    model: str
    model_source: str
    weights_hash: str
    tokenizer_hash: str
    embedder: str | None
    embedder_source: str | None
    embedder_hash: str | None
    protocol: str
    template: str
    template_text: str
    metrics: list[str]
    dtype: str
    dtype_asked: str
    """`auto`, or the same."""
    drift: Drift | None
    """Distance from float32, where `dtype` is less."""
    device: str
    window: int
    max_length: int
    rows_in: int
    rows_scored: int
    rows_rejected: int
    examples: int
    status_counts: dict[str, int]
    requests: int
    requests_from_store: int
    requests_scored: int
    texts_embedded: int
    tokens_scored: int
    elapsed_s: float
    model_load_s: float
    scoring_s: float
    embedding_s: float
    tokens_per_s: float | None
    output: str | None = None
    output_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """The numbers at the end of a run."""

    metrics: dict[str, Description]
    """Field → its description over the rows where it is defined."""
    ifd_length_spearman: float | None
    """Rank correlation of IFD with response tokens: how much of a ranking by IFD is length."""
    status_counts: dict[str, int]
    manifest: Manifest
    output: Path | None

    def as_json(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return {
            "metrics": {name: asdict(one) for name, one in self.metrics.items()},
            "ifd_length_spearman": self.ifd_length_spearman,
            "status_counts": self.status_counts,
            "output": str(self.output) if self.output else None,
            "manifest": asdict(self.manifest),
        }


class Run:
    """One dataset going through a Scorer, block by block, and the account of it."""

    def __init__(self, dataset: Dataset, read_options: ReadOptions, scorer: Scorer) -> None:
        self._dataset, self._read_options, self._scorer = dataset, read_options, scorer
        self.rejects: list[Reject] = []
        self._rows_in = 0
        self._statuses: Counter[str] = Counter()
        self._values = {name: array("d") for name in _SUMMARY_FIELDS}
        self._ifd_lengths = array("d")
        self._drift_sample = DriftSample(scorer.settings.drift)
        self._drift: Drift | None = None

    def blocks(self, progress: Progress) -> Iterator[list[ScoreRow]]:
        """Rows of scores, in the order of the dataset."""
        return (rows for _, rows in self.scored(progress))

    def scored(self, progress: Progress) -> Iterator[tuple[list[Example], list[ScoreRow]]]:
        """Examples with their rows of scores, in the order of the dataset."""
        progress.start(self._dataset.n_rows)
        for n_rows, examples, passes in _ahead(self._aligned()):
            progress.begin_block(n_rows, len(examples))
            rows = self._scorer.score(examples, passes)
            self._account(examples, rows)
            yield examples, rows
            progress.end_block()
        self._drift = measure_drift(self._scorer, self._drift_sample, progress)

    def _aligned(self) -> Iterator[tuple[int, list[Example], list[Passes]]]:
        """Blocks of examples with their passes, and how many rows each was made from."""
        for n_rows, examples in self._examples():
            yield n_rows, examples, self._scorer.align(examples)

    def _examples(self) -> Iterator[tuple[int, list[Example]]]:
        """Blocks of examples, and how many rows each was made from."""
        block: list[Example] = []
        begin = 0
        for found in self._dataset:
            self._rows_in += 1
            if isinstance(found, Reject):
                self.rejects.append(found)
            else:
                block += found
            if len(block) >= EXAMPLES_A_BLOCK:
                yield self._rows_in - begin, block
                block, begin = [], self._rows_in
        if block:
            yield self._rows_in - begin, block

    def _account(self, examples: Sequence[Example], rows: Sequence[ScoreRow]) -> None:
        for example, row in zip(examples, rows, strict=True):
            self._drift_sample.add(example, row)
            self._statuses[row.status] += 1
            for name, values in self._values.items():
                if (value := getattr(row, name)) is not None:
                    values.append(value)
            if row.ifd is not None:
                self._ifd_lengths.append(row.response_tokens)

    def summary(self, *, elapsed_s: float, output: Path | None = None) -> Summary:
        """The account so far."""
        return Summary(
            metrics={
                name: describe(values) for name, values in self._values.items() if len(values)
            },
            ifd_length_spearman=spearman(self._values["ifd"], self._ifd_lengths),
            status_counts=dict(self._statuses.most_common()),
            manifest=self._manifest(elapsed_s, output),
            output=output,
        )

    def _manifest(self, elapsed_s: float, output: Path | None) -> Manifest:
        scorer, settings, work = self._scorer, self._scorer.settings, self._scorer.work
        embedder = scorer.embedder_weights
        return Manifest(
            schema=SCORES_SCHEMA,
            version=VERSION,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            command=command_line("score"),
            **self._read_options.manifest_fields(self._dataset),
            model=scorer.weights.name,
            model_source=scorer.weights.source,
            weights_hash=scorer.weights_hash,
            tokenizer_hash=scorer.tokenizer.fingerprint,
            embedder=embedder.name if embedder else None,
            embedder_source=embedder.source if embedder else None,
            embedder_hash=scorer.embedder_hash,
            protocol=scorer.protocol.name,
            template=scorer.template.name,
            template_text=scorer.template.source,
            metrics=list(settings.metrics),
            dtype=scorer.dtype,
            dtype_asked=settings.dtype,
            drift=self._drift,
            device=scorer.device,
            window=settings.window,
            max_length=scorer.max_length,
            rows_in=self._rows_in,
            rows_scored=self._rows_in - len(self.rejects),
            rows_rejected=len(self.rejects),
            examples=sum(self._statuses.values()),
            status_counts=dict(self._statuses.most_common()),
            requests=work.requests,
            requests_from_store=work.requests_from_store,
            requests_scored=work.requests_scored,
            texts_embedded=work.texts_embedded,
            tokens_scored=work.tokens_scored,
            elapsed_s=round(elapsed_s, 3),
            model_load_s=round(work.model_load_s, 3),
            scoring_s=round(work.scoring_s, 3),
            embedding_s=round(work.embedding_s, 3),
            tokens_per_s=(
                round(work.tokens_scored / (work.scoring_s - work.embedding_s), 1)
                if work.tokens_scored
                else None
            ),
            output=str(output) if output else None,
            output_sha256=sha256(output) if output else None,
        )


def _ahead(items: Iterator[_Item]) -> Iterator[_Item]:
    """The items, each made in the background while the one before it is worked on."""
    with ThreadPoolExecutor(1, "ahead") as background:
        coming = background.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = background.submit(next, items, None)
            yield item


def command_line(verb: str) -> str:
    """What the user typed, or `ifdkit.score(…)` where that was Python."""
    program = Path(sys.argv[0])
    is_command = program.stem == "ifdkit" or program.parts[-2:] == ("ifdkit", "__main__.py")
    return shlex.join(["ifdkit", *sys.argv[1:]]) if is_command else f"ifdkit.{verb}(…)"


def default_output(data: Data) -> Path:
    """`data.scores.jsonl` in the working folder for `anywhere/data.json.gz`."""
    path = Path("stdin" if data == "-" else str(data).rstrip("/"))
    while path.suffix.lower() in DATA_ENDINGS:
        path = path.with_suffix("")
    return Path(f"{path.name}.scores.jsonl")


def score_to_file(
    data: Data,
    output: Path,
    settings: Settings,
    read_options: ReadOptions,
    progress: Progress | None = None,
) -> Summary:
    """Score a dataset into a file, with its manifest and its rejects beside it.

    Every file appears whole or not at all.  A manifest of an earlier run goes before the scores
    appear, so that it can never describe these.  Raises IfdkitError; what was scored before stays
    in the store.
    """
    begin = time.perf_counter()
    progress = progress or Progress()
    check_output(output)
    manifest = Path(f"{output}.manifest.json")
    dataset = open_data(data, read_options)
    if dataset.path is not None and output.exists() and output.samefile(dataset.path):
        raise OutputError(f"-o {output} is the dataset itself: choose another name")
    progress.note(f"{dataset.name}: {dataset.columns.describe()}, {dataset.n_rows:,} rows")
    with Scorer(settings, progress) as scorer:
        run = Run(dataset, read_options, scorer)
        with row_writer(output, token_nll=settings.token_nll) as writer:
            for rows in run.blocks(progress):
                writer.write(rows)
            manifest.unlink(missing_ok=True)
            write_rejects(Path(f"{output}.rejects.jsonl"), run.rejects)
        summary = run.summary(elapsed_s=time.perf_counter() - begin, output=output)
        write_json(manifest, asdict(summary.manifest))
    return summary


def score(
    data: Data,
    *,
    columns: Mapping[str, str] | None = None,
    turns: Turns = "all",
    limit: int | None = None,
    sample: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    **settings: Any,
) -> pd.DataFrame:
    """Score a dataset into a DataFrame, one row per example, columns as in a scores file.

    `data` is a path, `-`, or any iterable of dictionaries; `settings` are those of
    :class:`ifdkit.Settings` (`model`, `protocol`, …), metrics also as `"ifd,rifd"` or `"all"`.
    `frame.attrs` holds the `manifest` and the `rejects`.  Raises IfdkitError.
    """
    import pandas as pd

    unknown = settings.keys() - {f.name for f in fields(Settings)}
    if unknown:
        raise UsageError(f"score() has no setting {sorted(unknown)[0]!r}")
    begin = time.perf_counter()
    progress = progress or Progress()
    read_options = ReadOptions(columns=columns, turns=turns, limit=limit, sample=sample, seed=seed)
    if isinstance(settings.get("metrics"), str):
        settings["metrics"] = parse_metrics(settings["metrics"])
    chosen = Settings(**settings)
    dataset = open_data(data, read_options)
    with Scorer(chosen, progress) as scorer:
        run = Run(dataset, read_options, scorer)
        rows = [row for block in run.blocks(progress) for row in block]
        summary = run.summary(elapsed_s=time.perf_counter() - begin)
    names = score_columns(token_nll=chosen.token_nll)
    frame = pd.DataFrame([[getattr(row, name) for name in names] for row in rows], columns=names)
    numeric = dict.fromkeys(METRIC_FIELDS, "float64")
    frame = frame.astype(numeric)
    frame.attrs["manifest"] = asdict(summary.manifest)
    frame.attrs["rejects"] = [asdict(reject) for reject in run.rejects]
    return frame
