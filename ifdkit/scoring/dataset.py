"""A dataset together with its scores: scored now, or taken from a scores file as they are.

`compare`, `select` and `audit` begin with it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ifdkit.data.dataset import Dataset
from ifdkit.data.options import ReadOptions
from ifdkit.data.read_log import ReadLog
from ifdkit.data.spilling import TextColumn
from ifdkit.data.unchanged import Unchanged
from ifdkit.errors import InputError, UsageError
from ifdkit.records import Example, Reject, Status
from ifdkit.scoring.comparability import contradictions
from ifdkit.scoring.inputs import open_data, read_options_of, source_of
from ifdkit.scoring.manifest import Manifest, manifest_beside
from ifdkit.scoring.progress import Progress
from ifdkit.scoring.ragged import RaggedBuilder
from ifdkit.scoring.run import Run, blocks, note_reading
from ifdkit.scoring.scorer import Scorer
from ifdkit.scoring.table import (
    ScoreTable,
    ScoreTableBuilder,
    from_arrow,
    has_score_columns,
    is_scores_file,
    read_scores,
)
from ifdkit.scoring.work import Work
from ifdkit.visible import is_blank

if TYPE_CHECKING:
    from ifdkit.scoring.inputs import Data


@dataclass(frozen=True, slots=True)
class Texts:
    """Instruction and response of every example, in the order of its scores."""

    instructions: Sequence[str] = field(default_factory=TextColumn)
    responses: Sequence[str] = field(default_factory=TextColumn)
    inputs: Sequence[str] = field(default_factory=TextColumn)
    """The instruction's `input`, which `instructions` contain too; empty without one."""

    def append(self, example: Example) -> None:
        """Add the next example."""
        user = example.last_user_turn
        texts = example.instruction, example.response, user.input if user else ""
        for column, text in zip(
            (self.instructions, self.responses, self.inputs), texts, strict=True
        ):
            assert isinstance(column, (TextColumn, list)), "a column that can grow"
            column.append(text)


@dataclass(frozen=True, eq=False)
class ScoresFile:
    """Scores without texts: a scores file, or a DataFrame of scores."""

    name: str
    scores: ScoreTable
    manifest: Manifest | None
    """None if there is none, or if it describes another file."""
    path: Path | None
    n_chosen: int | None = None
    """Rows that the scores are from, if they are a part of the file's."""

    @property
    def n_rows(self) -> int:
        """The rows that the scores are from, rejected ones included if a manifest counts them."""
        if self.n_chosen is not None:
            return self.n_chosen
        return self.manifest.rows_in if self.manifest else int(self.scores.rows.max(initial=-1)) + 1

    def open_dataset(self) -> Dataset:
        """The dataset that was scored, read as it was read then.

        Raises InputError if no manifest names it, or if it is gone or has changed.
        """
        if self.manifest is None:
            raise InputError(
                f"{self.name} contains scores without texts, and no matching manifest names their"
                " dataset: give the dataset itself"
            )
        source = source_of(self.path or self.name, self.manifest)
        return open_data(source, read_options_of(self.manifest))

    def join(self, dataset: Dataset, scorer: Scorer | None = None) -> ScoredDataset:
        """These scores with the dataset behind them, or with some of its rows: no model is used.

        `scorer` looks NLLs of tokens up in its store if the file has none; None leaves them out.
        Raises InputError if the dataset parses differently than when it was scored.
        """
        chosen = set(dataset.rows)
        kept = [i for i, row in enumerate(self.scores.rows.tolist()) if row in chosen]
        scores = self.scores if len(kept) == len(self.scores) else self.scores.take(kept)
        if scores.token_nll_direct is not None and scores.token_nll_conditional is not None:
            scorer = None
        texts, rejects, direct, conditional = Texts(), [], RaggedBuilder(), RaggedBuilder()
        positions: list[tuple[int, int]] = []
        for block in blocks(dataset):
            rejects += block.rejects
            for example in block.examples:
                texts.append(example)
                positions.append((example.row, example.turn))
            for nlls in scorer.stored_token_nlls(block.examples) if scorer else ():
                direct.append(nlls.get("response_direct"))
                conditional.append(nlls.get("response_conditional"))
        if positions != list(zip(scores.rows.tolist(), scores.turns.tolist(), strict=True)):
            raise InputError(
                f"{self.name}: {dataset.name} parses differently than when it was scored; score it"
                " again"
            )
        if scorer is not None:
            scores = replace(
                scores,
                token_nll_direct=direct.finish().unless_empty(),
                token_nll_conditional=conditional.finish().unless_empty(),
            )
        return ScoredDataset(
            dataset=dataset, scores=scores, texts=texts, rejects=rejects, manifest=self.manifest
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class ScoredDataset:
    """Every example of a dataset: its position, its texts and its numbers, in one order."""

    dataset: Dataset
    scores: ScoreTable
    texts: Texts
    rejects: Sequence[Reject]
    """Rows that could not be read, in the order of the file."""
    manifest: Manifest | None
    """Of the scores; None if no model was used."""

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def has_documents(self) -> bool:
        """Whether its examples are text documents."""
        return self.dataset.has_documents

    @property
    def name(self) -> str:
        """What to call it."""
        return self.dataset.name


def open_scores(data: Data) -> ScoresFile | None:
    """The scores in `data`; None if it is a dataset. Raises InputError."""
    if isinstance(data, (str, PathLike)):
        path = Path(data)
        if is_scores_file(path):
            unchanged = Unchanged(path)
            found = ScoresFile(str(data), read_scores(path), manifest_beside(path), path)
            unchanged.check()
            return found
        return None
    return _scores_in_memory(data)


def check_flags(scores: ScoresFile, given: Mapping[str, Any], *, turns: str) -> None:
    """Refuse flags that contradict how the scores were made. Raises UsageError."""
    if scores.manifest is None:
        return
    found = contradictions(scores.manifest, given)
    if turns == "all" and scores.manifest.turns == "last":
        found.append("scored with --turns last, and has no other turns")
    if found:
        raise UsageError(
            f"{scores.name} was {found[0]}: score the dataset again, or leave the flag out"
        )


def score_dataset(
    dataset: Dataset,
    read_options: ReadOptions,
    scorer: Scorer,
    progress: Progress,
    *,
    token_nlls: bool = False,
    notes_reading: bool = True,
) -> ScoredDataset:
    """Score a dataset; what is in the store is not computed again. Raises IfdkitError.

    `token_nlls` keeps the NLL of every response token too; `notes_reading` tells the progress what
    was not read.
    """
    begin = time.perf_counter()
    scorer.work = Work()
    run = Run(dataset, read_options, scorer, notes_reading=notes_reading)
    table, texts = ScoreTableBuilder(), Texts()
    for examples, rows in run.scored(progress):
        stored = scorer.stored_token_nlls(examples) if token_nlls else [{} for _ in examples]
        for example, row, nlls in zip(examples, rows, stored, strict=True):
            table.append(row, nlls)
            texts.append(example)
    summary = run.summary(elapsed_s=time.perf_counter() - begin)
    return ScoredDataset(
        dataset=dataset,
        scores=table.finish(),
        texts=texts,
        rejects=run.rejects,
        manifest=summary.manifest,
    )


def without_scores(
    dataset: Dataset, scorer: Scorer | None = None, progress: Progress | None = None
) -> ScoredDataset:
    """A dataset with its texts alone, or with its tokens counted too: no model is used.

    The progress is told what was not read.
    """
    log, texts, rejects = ReadLog(), Texts(), []
    ids: list[str] = []
    statuses: list[str] = []
    positions: list[tuple[int, int]] = []
    counts: dict[str, list[int]] = {name: [] for name in _COUNTED} if scorer else {}
    for block in blocks(dataset, log):
        rejects += block.rejects
        for example in block.examples:
            texts.append(example)
            ids.append(example.id)
            positions.append((example.row, example.turn))
        if scorer is None:
            statuses += [str(_status_of_texts(example)) for example in block.examples]
            continue
        for passes in scorer.align(block.examples):
            statuses.append(str(passes.status))
            for name, column in counts.items():
                column.append(getattr(passes, name))
    note_reading(dataset, log, progress or Progress())
    places = np.array(positions, dtype=np.int64).reshape(-1, 2)
    scores = ScoreTable(
        ids=ids,
        rows=places[:, 0],
        turns=places[:, 1],
        statuses=statuses,
        sources=[dataset.source_of(row) for row, _ in positions] if dataset.has_sources else None,
        numbers={name: np.array(n, dtype=np.float64) for name, n in counts.items()},
    )
    return ScoredDataset(
        dataset=dataset, scores=scores, texts=texts, rejects=rejects, manifest=None
    )


_COUNTED = ("instruction_tokens", "response_tokens", "truncated_tokens")
"""Metrics that the tokenizer alone gives."""


def _status_of_texts(example: Example) -> Status:
    if is_blank(example.response):
        return Status.EMPTY_RESPONSE
    is_pair = not example.is_document
    return Status.EMPTY_INSTRUCTION if is_pair and is_blank(example.instruction) else Status.OK


def _scores_in_memory(data: Any) -> ScoresFile | None:
    """A DataFrame that `ifdkit.score` made."""
    pandas = sys.modules.get("pandas")  # if it is not loaded, nothing is a DataFrame
    if not (pandas and isinstance(data, pandas.DataFrame) and has_score_columns(list(data))):
        return None
    import pyarrow as pa

    name, made = "scores in memory", data.attrs.get("manifest")
    manifest = Manifest.from_json(made, name) if isinstance(made, Mapping) else None
    try:
        table = from_arrow(pa.Table.from_pandas(data, preserve_index=False))
    except (pa.ArrowException, ValueError) as error:
        raise InputError(f"this DataFrame of scores cannot be read: {error}") from error
    return ScoresFile(name, table, manifest, None)
