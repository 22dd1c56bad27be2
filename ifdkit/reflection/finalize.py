"""From drafts to the output: which variant of each example stands, put into its row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from ifdkit.data.dataset import Dataset
from ifdkit.data.raw import Raw
from ifdkit.data.rewriting import with_texts
from ifdkit.data.row_files import RowsWriter, rows_file
from ifdkit.data.writing import atomic, json_line
from ifdkit.records import Example, Reject
from ifdkit.reflection.choosing import Marks, Variant, choose
from ifdkit.reflection.drafting import (
    Draft,
    available,
    chosen_texts,
    most_rewritten,
    reread,
)
from ifdkit.reflection.outcomes import Stage
from ifdkit.reflection.provenance import Settled, Source, Tally, lines
from ifdkit.scoring.scorer import Progress, Scorer, Settings

_ROWS_A_BLOCK = 256
"""Rows scored together where a student chooses."""


@dataclass(frozen=True, slots=True)
class _Row:
    """One row on its way out."""

    raw: Raw
    found: list[Example] | Reject
    drafts: list[Draft]


class Settler:
    """Writes the output and its provenance, and keeps the account."""

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
        output: Path,
        provenance: Path,
        drafts: Iterable[list[Draft]],
        student: Settings | None = None,
    ) -> None:
        """Write every row with what stands in it, chosen by the student where there is one."""
        with ExitStack() as stack:
            # It contains people's texts, those that were replaced too.
            lines_file = stack.enter_context(atomic(provenance, mode=0o600))
            writer = stack.enter_context(rows_file(output, self._dataset.path))
            scorer = stack.enter_context(self._scorer(student)) if student else None
            if scorer is not None:
                self._progress.start(self._dataset.n_rows)
            for block in self._blocks(drafts):
                self._block(block, scorer, writer, lines_file)

    def _scorer(self, settings: Settings) -> Scorer:
        scorer = Scorer(replace(settings, metrics=("ifd", "rifd")), self._progress)
        self.student, self.student_hash = scorer.weights.name, scorer.weights_hash
        return scorer

    def _blocks(self, drafts: Iterable[list[Draft]]) -> Iterator[list[_Row]]:
        block: list[_Row] = []
        for raw, found, row in zip(self._dataset.raw_rows(), self._dataset, drafts, strict=True):
            block.append(_Row(raw, found, row))
            if len(block) == _ROWS_A_BLOCK:
                yield block
                block = []
        if block:
            yield block

    def _block(
        self, block: list[_Row], scorer: Scorer | None, writer: RowsWriter, file: IO[bytes]
    ) -> None:
        marks = self._marks(block, scorer) if scorer is not None else {}
        for row in block:
            value = self._settle(row, marks.get(row.raw.row), file)
            self.tally.rows += 1
            self.tally.rows_changed += value is not row.raw.value
            self.tally.rows_left_out += not writer.write(row.raw, value)

    def _settle(self, row: _Row, marks: dict[Variant, Marks] | None, file: IO[bytes]) -> Any:
        """The row's value with what stands in it; each turn sees those before it rewritten."""
        value = row.raw.value
        if isinstance(row.found, Reject):
            self.rejects.append(row.found)
            self.tally.rows_rejected += 1
            return value
        columns = self._dataset.columns
        for example, draft in zip(row.found, row.drafts, strict=True):
            current = example if value is row.raw.value else reread(example, value, columns)
            variants = available(current, draft.answers, self._stages)
            choice = choose(marks) if marks else most_rewritten(draft.answers, variants)
            settled = Settled(current, draft.answers, variants, choice, marks)
            self.tally.add(settled)
            _write_lines(file, self._source, settled)
            if texts := chosen_texts(draft.answers, choice):
                value = with_texts(value, columns, current, **texts)
        return value

    def _marks(self, block: Sequence[_Row], scorer: Scorer) -> dict[int, dict[Variant, Marks]]:
        """The student's scores of each row that has more than one variant, by row."""
        found: list[tuple[int, Variant, Example]] = []
        for row in block:
            if isinstance(row.found, Reject):
                continue
            for example, draft in zip(row.found, row.drafts, strict=True):
                variants = available(example, draft.answers, self._stages)
                if len(variants) > 1:
                    found += [(row.raw.row, name, one) for name, one in variants.items()]
        self._progress.begin_block(len(block), len(found))
        rows = scorer.score([example for *_, example in found]) if found else []
        self._progress.end_block()
        marks: dict[int, dict[Variant, Marks]] = {}
        for (number, name, _), row_scores in zip(found, rows, strict=True):
            marks.setdefault(number, {})[name] = Marks(row_scores.ifd, row_scores.rifd)
        return marks


def _write_lines(file: IO[bytes], source: Source, settled: Settled) -> None:
    for line in lines(source, settled):
        file.write(json_line(line))
