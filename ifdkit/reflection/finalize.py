"""From drafts to the output: choose a variant of each example and put it into its row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import IO, Any

from ifdkit.data.atomic import OutputFiles, json_line
from ifdkit.data.dataset import Dataset
from ifdkit.data.part_files import dataset_file
from ifdkit.data.raw import Raw
from ifdkit.data.rewriting import with_texts
from ifdkit.data.rows_writer import RowsWriter
from ifdkit.records import Example, Reject
from ifdkit.reflection.choosing import Variant, VariantScores, choose
from ifdkit.reflection.drafting import (
    Draft,
    available_variants,
    chosen_texts,
    most_rewritten,
    reread,
)
from ifdkit.reflection.outcomes import Stage
from ifdkit.reflection.provenance import (
    PROVENANCE,
    FinalExample,
    Source,
    Tally,
    provenance_lines,
)
from ifdkit.scoring.progress import Progress
from ifdkit.scoring.scorer import Scorer
from ifdkit.scoring.settings import Settings

_ROWS_PER_BLOCK = 256
"""Rows whose variants the student scores together."""


@dataclass(frozen=True, slots=True)
class _Row:
    """One row to be written."""

    raw: Raw
    found: list[Example] | Reject
    drafts: list[Draft]


class Finalizer:
    """Writes the output and its provenance, and counts."""

    def __init__(
        self, dataset: Dataset, source: Source, stages: tuple[Stage, ...], progress: Progress
    ) -> None:
        self._dataset, self._source, self._stages = dataset, source, stages
        self._progress = progress
        self.tally = Tally()
        self.rejects: list[Reject] = []
        self.student: str | None = None
        self.student_hash: str | None = None

    def write(
        self,
        files: OutputFiles,
        drafts: Iterable[list[Draft]],
        student: Settings | None = None,
    ) -> None:
        """Write every row with its chosen variant.

        The student chooses if there is one; otherwise everything that was rewritten is accepted.
        """
        with ExitStack() as stack:
            # It contains people's texts, also those that are no longer in the output.
            provenance_file = files.open(PROVENANCE, mode=0o600)
            writer = stack.enter_context(dataset_file(files, self._dataset))
            scorer = stack.enter_context(self._scorer(student)) if student else None
            if scorer is not None:
                self._progress.start(self._dataset.n_rows)
            for block in self._blocks(drafts):
                self._write_block(block, scorer, writer, provenance_file)

    def _scorer(self, settings: Settings) -> Scorer:
        scorer = Scorer(replace(settings, metrics=("ifd", "rifd")), self._progress)
        self.student, self.student_hash = scorer.weights.name, scorer.weights_hash
        return scorer

    def _blocks(self, drafts: Iterable[list[Draft]]) -> Iterator[list[_Row]]:
        block: list[_Row] = []
        for raw, found, row in zip(self._dataset.raw_rows(), self._dataset, drafts, strict=True):
            block.append(_Row(raw, found, row))
            if len(block) == _ROWS_PER_BLOCK:
                yield block
                block = []
        if block:
            yield block

    def _write_block(
        self, block: list[_Row], scorer: Scorer | None, writer: RowsWriter, file: IO[bytes]
    ) -> None:
        scores = self._scores(block, scorer) if scorer is not None else {}
        for row in block:
            value = self._final_value(row, scores.get(row.raw.row), file)
            self.tally.rows += 1
            self.tally.rows_changed += value is not row.raw.value
            self.tally.rows_left_out += not writer.write(row.raw, value)

    def _final_value(
        self, row: _Row, scores: dict[Variant, VariantScores] | None, file: IO[bytes]
    ) -> Any:
        """The row with the chosen texts; each turn sees the rewritten turns before it."""
        value = row.raw.value
        if isinstance(row.found, Reject):
            self.rejects.append(row.found)
            self.tally.rows_rejected += 1
            return value
        columns = self._dataset.columns_of(row.raw.row)
        for example, draft in zip(row.found, row.drafts, strict=True):
            current = example if value is row.raw.value else reread(example, value, columns)
            variants = available_variants(current, draft.answers, self._stages)
            choice = choose(scores) if scores else most_rewritten(draft.answers, variants)
            final = FinalExample(current, draft.answers, variants, choice, scores)
            self.tally.add(final)
            for line in provenance_lines(self._source, final):
                file.write(json_line(line))
            if texts := chosen_texts(draft.answers, choice):
                value = with_texts(value, columns, current, **texts)
        return value

    def _scores(
        self, block: Sequence[_Row], scorer: Scorer
    ) -> dict[int, dict[Variant, VariantScores]]:
        """The student's scores of each row that has more than one variant, by row."""
        found: list[tuple[int, Variant, Example]] = []
        for row in block:
            if isinstance(row.found, Reject):
                continue
            for example, draft in zip(row.found, row.drafts, strict=True):
                variants = available_variants(example, draft.answers, self._stages)
                if len(variants) > 1:
                    found += [(row.raw.row, name, one) for name, one in variants.items()]
        self._progress.begin_block(len(block), len(found))
        rows = scorer.score([example for *_, example in found]) if found else []
        self._progress.end_block()
        scores: dict[int, dict[Variant, VariantScores]] = {}
        for (number, name, _), one in zip(found, rows, strict=True):
            scores.setdefault(number, {})[name] = VariantScores(one["ifd"], one["rifd"])
        return scores
