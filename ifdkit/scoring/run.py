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
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ifdkit.data.atomic import write_json, write_rejects
from ifdkit.data.dataset import Dataset, Turns
from ifdkit.data.options import ReadOptions
from ifdkit.data.sources import DATA_ENDINGS, sha256
from ifdkit.errors import OutputError
from ifdkit.prompting.omissions import omission_notes
from ifdkit.records import Example, Passes, Reject
from ifdkit.scoring.formats import check_output, row_writer
from ifdkit.scoring.inputs import describe as describe_dataset
from ifdkit.scoring.inputs import open_data
from ifdkit.scoring.manifest import SCORES_SCHEMA, Manifest, PrecisionCheck
from ifdkit.scoring.metrics import METRICS
from ifdkit.scoring.precision import PrecisionSample, check_precision
from ifdkit.scoring.progress import Progress
from ifdkit.scoring.reasons import ReasonCounter, StatusReason
from ifdkit.scoring.rows import ScoreRow, score_columns
from ifdkit.scoring.scorer import Scorer
from ifdkit.scoring.settings import Settings, given_settings
from ifdkit.stats.columns import Description, describe, spearman
from ifdkit.version import VERSION

if TYPE_CHECKING:
    import pandas as pd

    from ifdkit.scoring.inputs import Data

_Item = TypeVar("_Item")
EXAMPLES_PER_BLOCK = 2048
"""Examples planned together: enough for tight batches, few enough for memory."""


@dataclass(frozen=True, slots=True)
class ScoreSummary:
    """The numbers at the end of a run."""

    metrics: dict[str, Description]
    """Field → its description over the rows where it is defined."""
    ifd_length_spearman: float | None
    """Rank correlation of IFD with response tokens: how much of a ranking by IFD is length."""
    status_counts: dict[str, int]
    reasons: tuple[StatusReason, ...]
    """Why rows are not ok, the most frequent reason first."""
    manifest: Manifest
    output: Path | None

    def as_json(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return {
            "metrics": {name: asdict(one) for name, one in self.metrics.items()},
            "ifd_length_spearman": self.ifd_length_spearman,
            "status_counts": self.status_counts,
            "reasons": [asdict(one) for one in self.reasons],
            "output": str(self.output) if self.output else None,
            "manifest": self.manifest.as_json(),
        }


class Run:
    """One dataset going through a Scorer block by block, and the counts of the run."""

    def __init__(self, dataset: Dataset, read_options: ReadOptions, scorer: Scorer) -> None:
        self._dataset, self._read_options, self._scorer = dataset, read_options, scorer
        self.rejects: list[Reject] = []
        self._rows_in = 0
        self._statuses: Counter[str] = Counter()
        self._reasons = ReasonCounter()
        self._omissions: Counter[str] = Counter()
        described = (name for name, metric in METRICS.items() if metric.in_summary)
        self._values = {name: array("d") for name in described}
        self._ifd_lengths = array("d")
        self._sample = PrecisionSample(scorer.settings.drift)
        self._precision: PrecisionCheck | None = None

    def blocks(self, progress: Progress) -> Iterator[list[ScoreRow]]:
        """Rows of scores, in the order of the dataset."""
        return (rows for _, rows in self.scored(progress))

    def scored(self, progress: Progress) -> Iterator[tuple[list[Example], list[ScoreRow]]]:
        """Examples with their rows of scores, in the order of the dataset."""
        progress.start(self._dataset.n_rows)
        for block, passes in _ahead(self._aligned()):
            progress.begin_block(block.n_rows, len(block.examples))
            rows = self._scorer.score(block.examples, passes)
            self._count(block, rows)
            self._omissions.update(kind for one in passes for kind in one.omitted)
            yield block.examples, rows
            progress.end_block()
        for note in omission_notes(
            self._scorer.template.name, self._omissions, self._statuses.total()
        ):
            progress.note(note)
        self._precision = check_precision(self._scorer, self._sample, progress)

    def _aligned(self) -> Iterator[tuple[Block, list[Passes]]]:
        for block in blocks(self._dataset):
            yield block, self._scorer.align(block.examples)

    def _count(self, block: Block, rows: Sequence[ScoreRow]) -> None:
        self._rows_in += block.n_rows
        self.rejects += block.rejects
        self._reasons.add(rows)
        for example, row in zip(block.examples, rows, strict=True):
            self._sample.add(example, row)
            self._statuses[row.status] += 1
            for name, values in self._values.items():
                if (value := row[name]) is not None:
                    values.append(value)
            if row["ifd"] is not None:
                self._ifd_lengths.append(row["response_tokens"] or 0)

    def summary(self, *, elapsed_s: float, output: Path | None = None) -> ScoreSummary:
        """The counts so far."""
        return ScoreSummary(
            metrics={
                name: describe(values) for name, values in self._values.items() if len(values)
            },
            ifd_length_spearman=spearman(self._values["ifd"], self._ifd_lengths),
            status_counts=dict(self._statuses.most_common()),
            reasons=self._reasons.most_common(),
            manifest=self._manifest(elapsed_s, output),
            output=output,
        )

    def _manifest(self, elapsed_s: float, output: Path | None) -> Manifest:
        scorer, settings, work = self._scorer, self._scorer.settings, self._scorer.work
        return Manifest(
            schema=SCORES_SCHEMA,
            version=VERSION,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            command=command_line("score"),
            **self._read_options.manifest_fields(self._dataset),
            **asdict(scorer.setup),
            model_source=scorer.weights.source,
            embedder_source=scorer.embeddings.weights.source if scorer.embeddings else None,
            metrics=list(settings.metrics),
            dtype_asked=settings.dtype,
            drift=self._precision,
            device=scorer.device,
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
            template_omissions=dict(self._omissions.most_common()),
        )


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows of a dataset that are worked on together."""

    n_rows: int
    examples: list[Example]
    rejects: list[Reject]


def blocks(dataset: Dataset) -> Iterator[Block]:
    """The rows of a dataset, some thousand examples at a time."""
    n_rows, examples, rejects = 0, [], []
    for found in dataset:
        n_rows += 1
        if isinstance(found, Reject):
            rejects.append(found)
        else:
            examples += found
        if len(examples) >= EXAMPLES_PER_BLOCK:
            yield Block(n_rows, examples, rejects)
            n_rows, examples, rejects = 0, [], []
    if n_rows:
        yield Block(n_rows, examples, rejects)


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
) -> ScoreSummary:
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
    progress.note(describe_dataset(dataset))
    with Scorer(settings, progress) as scorer:
        run = Run(dataset, read_options, scorer)
        with row_writer(output, token_nll=settings.token_nll) as writer:
            for rows in run.blocks(progress):
                writer.write(rows)
            manifest.unlink(missing_ok=True)
            write_rejects(Path(f"{output}.rejects.jsonl"), run.rejects)
        summary = run.summary(elapsed_s=time.perf_counter() - begin, output=output)
        write_json(manifest, summary.manifest.as_json())
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

    begin = time.perf_counter()
    progress = progress or Progress()
    read_options = ReadOptions(columns=columns, turns=turns, limit=limit, sample=sample, seed=seed)
    chosen = Settings(**given_settings("score", settings))
    dataset = open_data(data, read_options)
    with Scorer(chosen, progress) as scorer:
        run = Run(dataset, read_options, scorer)
        rows = [row for block in run.blocks(progress) for row in block]
        summary = run.summary(elapsed_s=time.perf_counter() - begin)
    names = score_columns(token_nll=chosen.token_nll)
    frame = pd.DataFrame([[row.column(name) for name in names] for row in rows], columns=names)
    floats = [name for name, metric in METRICS.items() if not metric.is_integer]
    frame = frame.astype(dict.fromkeys(floats, "float64"))
    frame.attrs["manifest"] = summary.manifest.as_json()
    frame.attrs["rejects"] = [asdict(reject) for reject in run.rejects]
    return frame
