"""A dataset together with its scores: scored now, or taken from a scores file as they are.

What `compare`, `select` and `audit` begin with.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ifdkit.data.dataset import Dataset
from ifdkit.data.options import ReadOptions
from ifdkit.errors import InputError, UsageError
from ifdkit.records import Example, Reject, Status
from ifdkit.scoring.inputs import SCORES_SCHEMA, manifest_of, open_data, read_options_of, source_of
from ifdkit.scoring.run import EXAMPLES_A_BLOCK, Run
from ifdkit.scoring.scorer import Progress, Scorer, Work
from ifdkit.scoring.table import (
    ScoreTable,
    ScoreTableBuilder,
    from_arrow,
    has_score_columns,
    is_scores_file,
    read_scores,
)

if TYPE_CHECKING:
    from ifdkit.scoring.inputs import Data


@dataclass(frozen=True, slots=True)
class Texts:
    """What every example says, in the order of its scores."""

    instructions: list[str] = field(default_factory=list)
    responses: list[str] = field(default_factory=list)

    def append(self, example: Example) -> None:
        """Add the next example."""
        self.instructions.append(example.instruction)
        self.responses.append(example.response)


@dataclass(frozen=True, eq=False)
class GivenScores:
    """A scores file, or a DataFrame of scores."""

    name: str
    table: ScoreTable
    manifest: Mapping[str, Any] | None
    """None where none is there, or it describes another file."""
    path: Path | None

    def dataset(self, manifest: Mapping[str, Any]) -> Dataset:
        """The dataset that was scored, read as it was read then.

        Raises InputError where it is gone or has changed.
        """
        source = source_of(self.path or self.name, manifest)
        return open_data(source, read_options_of(manifest))


@dataclass(frozen=True, eq=False, kw_only=True)
class ScoredDataset:
    """Every example of a dataset: its place, its texts and its numbers, in one order."""

    dataset: Dataset
    scores: ScoreTable
    texts: Texts
    rejects: Sequence[Reject]
    """Rows that could not be read, in the order of the file."""
    manifest: Mapping[str, Any]
    """Of the scores."""

    def __len__(self) -> int:
        return len(self.scores)


def given_scores(data: Data) -> GivenScores | None:
    """The scores that `data` holds; None for a dataset. Raises InputError."""
    if isinstance(data, (str, PathLike)):
        path = Path(data)
        if is_scores_file(path):
            return GivenScores(str(data), read_scores(path), manifest_of(data), path)
        return None
    return _scores_in_memory(data)


def score_dataset(
    dataset: Dataset,
    read_options: ReadOptions,
    scorer: Scorer,
    progress: Progress,
    *,
    token_nlls: bool = False,
) -> ScoredDataset:
    """Score a dataset; what the store knows costs nothing. Raises IfdkitError.

    `token_nlls` keeps the NLL of every response token too.
    """
    begin = time.perf_counter()
    scorer.work = Work()
    run, table, texts = Run(dataset, read_options, scorer), ScoreTableBuilder(), Texts()
    for examples, rows in run.scored(progress):
        stored = scorer.stored_token_nlls(examples) if token_nlls else [{} for _ in examples]
        for example, row, nlls in zip(examples, rows, stored, strict=True):
            table.append(row, nlls)
            texts.append(example)
    manifest = run.summary(elapsed_s=time.perf_counter() - begin).manifest
    return ScoredDataset(
        dataset=dataset,
        scores=table.finish(),
        texts=texts,
        rejects=run.rejects,
        manifest=asdict(manifest),
    )


def open_scored(
    data: Data,
    read_options: ReadOptions,
    scorer: Scorer,
    progress: Progress,
    *,
    needed: Sequence[str] = (),
) -> ScoredDataset:
    """A dataset with its scores, which are taken from a scores file where `data` is one.

    `needed` are the fields that must be there.  Of a scores file `read_options` takes the limit and
    the sample; its columns and turns are those of the scores.  Raises InputError where the dataset
    behind the scores is gone or has changed, UsageError where they lack a field.
    """
    given = given_scores(data)
    if given is None:
        dataset = open_data(data, read_options)
        progress.note(f"{dataset.name}: {dataset.columns.describe()}, {dataset.n_rows:,} rows")
        return score_dataset(dataset, read_options, scorer, progress)
    return scored_before(given, read_options, progress, needed=needed)


def scored_before(
    given: GivenScores, read_options: ReadOptions, progress: Progress, *, needed: Sequence[str] = ()
) -> ScoredDataset:
    """The dataset behind a scores file, with its scores as they are: no model is asked.

    Arguments and errors as of :func:`open_scored`.
    """
    if given.manifest is None:
        raise InputError(
            f"{given.name} holds scores without texts, and no manifest that fits names their"
            " dataset: give the dataset itself"
        )
    lacking = [name for name in needed if name not in given.table.numbers]
    if lacking:
        raise UsageError(
            f"{given.name} holds no {lacking[0]}: score its dataset with the metric that gives it,"
            " or name the dataset itself"
        )
    progress.note(f"{given.name}: {len(given.table):,} rows of scores")
    return _with_texts(given, given.manifest, read_options)


def _with_texts(
    given: GivenScores, manifest: Mapping[str, Any], read_options: ReadOptions
) -> ScoredDataset:
    whole = given.dataset(manifest)
    dataset = read_options.narrow(whole)
    chosen = set(dataset.rows)
    kept = [i for i, row in enumerate(given.table.rows.tolist()) if row in chosen]
    scores = given.table if len(kept) == len(given.table) else given.table.take(kept)
    texts, rejects = Texts(), []
    places: list[tuple[int, int]] = []
    for found in dataset:
        if isinstance(found, Reject):
            rejects.append(found)
            continue
        for example in found:
            texts.append(example)
            places.append((example.row, example.turn))
    if places != list(zip(scores.rows.tolist(), scores.turns.tolist(), strict=True)):
        raise InputError(
            f"{given.name}: {dataset.name} reads otherwise than when it was scored; score it again"
        )
    return ScoredDataset(
        dataset=dataset, scores=scores, texts=texts, rejects=rejects, manifest=manifest
    )


def without_scores(dataset: Dataset, scorer: Scorer | None = None) -> ScoredDataset:
    """A dataset with its texts alone, or with its tokens counted too: no model is asked."""
    collected = _Unscored()
    block: list[Example] = []
    for found in dataset:
        if isinstance(found, Reject):
            collected.rejects.append(found)
        else:
            block += found
        if len(block) >= EXAMPLES_A_BLOCK:
            collected.add(block, scorer)
            block = []
    collected.add(block, scorer)
    return collected.finish(dataset)


class _Unscored:
    """Collects examples with no more than can be told without a model."""

    def __init__(self) -> None:
        self.rejects: list[Reject] = []
        self._texts = Texts()
        self._ids: list[str] = []
        self._statuses: list[str] = []
        self._places: list[tuple[int, int]] = []
        self._counts: dict[str, list[int]] = {}

    def add(self, block: Sequence[Example], scorer: Scorer | None) -> None:
        for example in block:
            self._texts.append(example)
            self._ids.append(example.id)
            self._places.append((example.row, example.turn))
        if scorer is None:
            self._statuses += [str(_emptiness(example)) for example in block]
            return
        for passes in scorer.align(block):
            self._statuses.append(str(passes.status))
            for name in _COUNTED:
                self._counts.setdefault(name, []).append(getattr(passes, name))

    def finish(self, dataset: Dataset) -> ScoredDataset:
        places = np.array(self._places, dtype=np.int64).reshape(-1, 2)
        counts = {name: np.array(n, dtype=np.float64) for name, n in self._counts.items()}
        table = ScoreTable(
            ids=self._ids,
            rows=places[:, 0],
            turns=places[:, 1],
            statuses=self._statuses,
            numbers=counts,
        )
        return ScoredDataset(
            dataset=dataset, scores=table, texts=self._texts, rejects=self.rejects, manifest={}
        )


_COUNTED = ("instruction_tokens", "response_tokens", "truncated_tokens")


def _emptiness(example: Example) -> Status:
    if not example.response.strip():
        return Status.EMPTY_RESPONSE
    return Status.OK if example.instruction.strip() else Status.EMPTY_INSTRUCTION


def blocks_of(dataset: Dataset) -> Iterator[Sequence[Example]]:
    """The examples of a dataset, some thousand at a time."""
    block: list[Example] = []
    for found in dataset:
        block += [] if isinstance(found, Reject) else found
        if len(block) >= EXAMPLES_A_BLOCK:
            yield block
            block = []
    if block:
        yield block


def _scores_in_memory(data: Any) -> GivenScores | None:
    """A DataFrame that `ifdkit.score` made."""
    pandas = sys.modules.get("pandas")  # where it is not loaded, nothing is a DataFrame
    if not (pandas and isinstance(data, pandas.DataFrame) and has_score_columns(list(data))):
        return None
    import pyarrow as pa

    made = data.attrs.get("manifest")
    is_ours = isinstance(made, Mapping) and made.get("schema") == SCORES_SCHEMA
    try:
        table = from_arrow(pa.Table.from_pandas(data, preserve_index=False))
    except (pa.ArrowException, ValueError) as error:
        raise InputError(f"this DataFrame of scores cannot be read: {error}") from error
    return GivenScores("scores in memory", table, made if is_ours else None, None)
