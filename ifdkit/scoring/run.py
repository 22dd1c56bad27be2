"""`ifdkit score`: one row of numbers per example of a dataset.

Rows are scored in blocks, so that memory does not grow with the dataset, and written to a file that
appears when it is complete.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from ifdkit.data.atomic import OutputFiles, json_file
from ifdkit.data.dataset import Dataset
from ifdkit.data.many_inputs import expand
from ifdkit.data.options import ReadOptions
from ifdkit.data.places import check_different
from ifdkit.data.read_log import ReadLog
from ifdkit.data.spilling import NumberColumns
from ifdkit.prompting.omissions import omission_notes
from ifdkit.records import Example, Reject
from ifdkit.scoring.documents import settings_for
from ifdkit.scoring.finished import BlockScorer, Prepared
from ifdkit.scoring.formats import check_output, row_writer
from ifdkit.scoring.inputs import check_not_input, note_dataset, open_data
from ifdkit.scoring.manifest import MANIFEST, SCORES_SCHEMA, Manifest, PrecisionCheck
from ifdkit.scoring.metrics import computed_metrics
from ifdkit.scoring.output_names import REJECTS, check_default_output, default_output
from ifdkit.scoring.precision import PrecisionSample, check_precision
from ifdkit.scoring.prefetching import in_order, prefetched
from ifdkit.scoring.progress import Progress, default_progress
from ifdkit.scoring.reasons import ReasonCounter
from ifdkit.scoring.rows import ScoreRow
from ifdkit.scoring.sampled import SampleTally
from ifdkit.scoring.scorer import Scorer
from ifdkit.scoring.settings import Settings
from ifdkit.scoring.shards import Block, ChosenBlocks, Shard
from ifdkit.scoring.sources import SourceTally
from ifdkit.scoring.summary import ScoreSummary
from ifdkit.scoring.token_metrics import DatasetRatio
from ifdkit.stats.columns import describe, spearman
from ifdkit.version import VERSION
from ifdkit.visible import masked

if TYPE_CHECKING:
    from ifdkit.scoring.inputs import Data

Narrow = Callable[[Dataset, ReadOptions, Scorer, Progress], tuple[Dataset, ReadOptions]]
EXAMPLES_PER_BLOCK = 2048
"""Examples batched together: enough for full batches, few enough to fit into memory."""
CHARS_PER_BLOCK = 2**24
"""Characters of the responses, or documents, of a block: some four million tokens."""
_IFD_LENGTHS = "lengths of responses with an IFD"


def score_to_file(
    data: Data,
    output: Path | None,
    settings: Settings,
    read_options: ReadOptions,
    progress: Progress | None = None,
    shard: Shard | None = None,
    narrow: Narrow | None = None,
) -> ScoreSummary:
    """Score a dataset, or a shard of it, into a file, with its manifest and its rejects beside it.

    Without `output`, the file is named after the dataset; scores of another dataset are not
    overwritten then.  The files appear together or not at all.  Raises IfdkitError; what was scored
    before stays in the store.  `narrow` chooses the rows, when the scorer is there.
    """
    begin = time.perf_counter()
    data = expand(data)
    progress = progress or default_progress()
    is_named, output = output is not None, output or default_output(data, shard)
    check_output(output)
    with OutputFiles(output, REJECTS, MANIFEST) as files:
        check_not_input(data, files)
        dataset = open_data(data, read_options)
        if not is_named:
            check_default_output(output, dataset)
        check_different(files.paths, [] if dataset.path is None else [dataset.path])
        note_dataset(dataset, progress)
        settings = settings_for(dataset, settings, progress)
        with Scorer(settings, progress) as scorer:
            if narrow is not None:
                dataset, read_options = narrow(dataset, read_options, scorer, progress)
            run = Run(dataset, read_options, scorer, shard=shard)
            with row_writer(
                files,
                token_nll=settings.token_nll,
                documents=dataset.has_documents,
                has_sources=dataset.has_sources,
                optional=settings.optional,
            ) as writer:
                for rows in run.blocks(progress):
                    writer.write(rows)
            summary = run.summary(elapsed_s=time.perf_counter() - begin, files=files)
        files.write_lines(REJECTS, (one.as_json() for one in run.rejects))
        files.write(MANIFEST, json_file(summary.manifest.as_json()))
    return summary


class Run:
    """Scores one dataset block by block, and counts what it sees."""

    def __init__(
        self,
        dataset: Dataset,
        read_options: ReadOptions,
        scorer: Scorer,
        *,
        notes_reading: bool = True,
        shard: Shard | None = None,
    ) -> None:
        """`notes_reading`: whether the progress is told what was not read."""
        self._dataset, self._read_options, self._scorer = dataset, read_options, scorer
        self._log, self._notes_reading = ReadLog(), notes_reading
        self.rejects: list[Reject] = []
        self._rows_in = 0
        self._statuses: Counter[str] = Counter()
        self._reasons = ReasonCounter()
        self._omissions: Counter[str] = Counter()
        computed = computed_metrics(scorer.settings.optional)
        self._described = [name for name, metric in computed.items() if metric.in_summary]
        self._values = NumberColumns([*self._described, _IFD_LENGTHS])
        self._sources = SourceTally(dataset, self._described)
        drawn_from = read_options.drawn_from(dataset)
        self._tally = (
            None
            if drawn_from is None
            else SampleTally(self._described, drawn_from, read_options.seed)
        )
        self._ratio = DatasetRatio()
        self._sample = PrecisionSample(scorer.settings.drift)
        self._precision: PrecisionCheck | None = None
        self._chosen = ChosenBlocks(shard, dataset.name)

    def blocks(self, progress: Progress) -> Iterator[list[ScoreRow]]:
        """The rows of scores in file order, one list per block."""
        return (rows for _, rows in self.scored(progress))

    def scored(self, progress: Progress) -> Iterator[tuple[list[Example], list[ScoreRow]]]:
        """Examples with their rows of scores in file order, one pair of lists per block."""
        start_progress(self._dataset, progress)
        self._scorer.further.read(self._scorer, blocks(self._dataset))
        scorer = BlockScorer(self._scorer, self._chosen.share(self._dataset.n_rows))
        with closing(
            prefetched(self._prepared(scorer), scorer.close, lambda one: scorer.is_slow(one[1]))
        ) as found:
            for block, prepared in found:
                progress.begin_block(block.n_rows, len(block.examples))
                rows = scorer.score(block.examples, prepared)
                if self._dataset.has_sources:
                    rows = [replace(row, source=self._dataset.source_of(row.row)) for row in rows]
                self._count(block, rows)
                self._omissions.update(kind for one in rows for kind in one.omitted)
                yield block.examples, rows
                progress.end_block()
            scorer.wait()
        if self._notes_reading:
            note_reading(self._dataset, self._log, progress)
        for note in omission_notes(
            self._scorer.template.name, self._omissions, self._statuses.total()
        ):
            progress.note(note)
        self._precision = check_precision(self._scorer, self._sample, progress)

    def _prepared(self, scorer: BlockScorer) -> Iterator[tuple[Block, Prepared]]:
        def begun() -> Iterator[tuple[Block, Callable[[], Prepared]]]:
            for block in self._chosen.of(blocks(self._dataset, self._log)):
                is_cut = is_cut_from(self._dataset, block)
                yield block, scorer.begin(block.examples, block.n_rows, provisional=is_cut)

        return in_order(begun(), lambda: scorer.ahead)

    def _count(self, block: Block, rows: Sequence[ScoreRow]) -> None:
        self._rows_in += block.n_rows
        self.rejects += block.rejects
        self._reasons.add((row.status, row.reason) for row in rows)
        self._sources.add(rows, block.rejects)
        if self._tally is not None:
            self._tally.add(rows)
        self._statuses.update([row.status for row in rows])
        numbers = [row.numbers for row in rows]
        self._ratio.add(numbers)
        for name in self._described:
            self._values.extend(name, [n for one in numbers if (n := one[name]) is not None])
        lengths = [one["response_tokens"] or 0 for one in numbers if one["ifd"] is not None]
        self._values.extend(_IFD_LENGTHS, lengths)
        if self._scorer.dtype != "float32":  # nothing is compared with float32 itself
            for example, row in zip(block.examples, rows, strict=True):
                self._sample.add(example, row)

    def summary(self, *, elapsed_s: float, files: OutputFiles | None = None) -> ScoreSummary:
        """The summary of the blocks so far.

        `elapsed_s` is the time of the whole run; `files` has the complete output, if there is one.
        """
        return ScoreSummary(
            metrics={
                name: known
                for name in self._described
                if (known := describe(self._values.numbers(name))).n
            },
            ifd_length_spearman=spearman(
                self._values.numbers("ifd"), self._values.numbers(_IFD_LENGTHS)
            ),
            status_counts=dict(self._statuses.most_common()),
            reasons=self._reasons.most_common(),
            manifest=self._manifest(elapsed_s, files),
            output=files.output if files else None,
            sources=self._sources.summaries(),
            sample=self._tally.summary(self._rows_in) if self._tally else None,
            rank_surprisal=self._ratio.value,
        )

    def _manifest(self, elapsed_s: float, files: OutputFiles | None) -> Manifest:
        scorer, settings, work = self._scorer, self._scorer.settings, self._scorer.work
        return Manifest(
            schema=SCORES_SCHEMA,
            version=VERSION,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            command=command_line("score"),
            **self._read_options.manifest_fields(self._dataset),
            **asdict(scorer.setup_of(self._dataset)),
            model_source=scorer.weights.source,
            embedder_source=scorer.embeddings.source if scorer.embeddings else None,
            metrics=list(settings.metrics),
            dtype_asked=settings.dtype,
            drift=self._precision,
            device=scorer.device,
            threads=scorer.thread_limit.in_use if scorer.device == "cpu" else None,
            rows_in=self._rows_in,
            rows_scored=self._rows_in - len(self.rejects),
            rows_rejected=len(self.rejects),
            examples=sum(self._statuses.values()),
            status_counts=dict(self._statuses.most_common()),
            unread=dict(self._log.unread.most_common()),
            reading={str(fact): n for fact, n in self._log.facts.items()},
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
            output=str(files.output) if files else None,
            output_sha256=files.sha256() if files else None,
            rows_left_out=len(self._dataset.left_out),
            template_omissions=dict(self._omissions.most_common()),
            shard=self._chosen.record(),
            until=self._read_options.until,
        )


def blocks(dataset: Dataset, log: ReadLog | None = None) -> Iterator[Block]:
    """The rows of a dataset in blocks of about EXAMPLES_PER_BLOCK examples; fills the log.

    A block of long texts is smaller: it ends with the row that reaches CHARS_PER_BLOCK.
    """
    n_rows, n_chars, examples, rejects = 0, 0, [], []
    for found in dataset.read(log):
        n_rows += 1
        if isinstance(found, Reject):
            rejects.append(found)
        else:
            examples += found
            n_chars += sum(len(one.response) for one in found)
        if len(examples) >= EXAMPLES_PER_BLOCK or n_chars >= CHARS_PER_BLOCK:
            yield Block(n_rows, examples, rejects, is_full=True)
            n_rows, n_chars, examples, rejects = 0, 0, [], []
    if n_rows:
        yield Block(n_rows, examples, rejects, is_full=False)


def is_cut_from(dataset: Dataset, block: Block) -> bool:
    """Whether a run over the whole dataset would make another block of these examples."""
    if dataset.n_rows == dataset.n_rows_in_all:
        return False
    return not (dataset.is_beginning and block.is_full)


def start_progress(dataset: Dataset, progress: Progress) -> None:
    """Tell the progress how many rows follow, and in which of several inputs they are."""
    progress.start(dataset.n_rows)
    if dataset.has_sources:
        progress.sources(list(accumulate(dataset.rows_per_source().values())))


def note_reading(dataset: Dataset, log: ReadLog, progress: Progress) -> None:
    """Tell the user what was not read of a dataset, such as fields that are not used."""
    for note in log.notes():
        progress.note(f"{dataset.name}: {note}")


def command_line(verb: str) -> str:
    """The command as the user typed it, or `ifdkit.score(…)` if it was called from Python."""
    program = Path(sys.argv[0])
    is_command = program.stem == "ifdkit" or program.parts[-2:] == ("ifdkit", "__main__.py")
    typed = shlex.join(["ifdkit", *map(masked, sys.argv[1:])])
    return typed if is_command else f"ifdkit.{verb}(…)"
