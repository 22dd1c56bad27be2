"""What a selection works on: the dataset with the numbers it needs, and embeddings.

Only what the method ranks by is measured: nothing for a scores file, and `random` and `selective`
use no model at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ifdkit.data.dataset import Dataset
from ifdkit.data.many_inputs import expand
from ifdkit.data.options import ReadOptions
from ifdkit.data.part_files import check_dataset_output
from ifdkit.data.where import check_names
from ifdkit.errors import UsageError
from ifdkit.format import plural
from ifdkit.scoring.dataset import (
    ScoredDataset,
    ScoresFile,
    check_flags,
    open_scores,
    score_dataset,
    without_scores,
)
from ifdkit.scoring.documents import check_applicable
from ifdkit.scoring.inputs import note_dataset, open_data
from ifdkit.scoring.per_row import WORD_FIELDS, narrow
from ifdkit.scoring.progress import Progress
from ifdkit.scoring.scorer import Scorer
from ifdkit.scoring.settings import Settings
from ifdkit.scoring.where import score_fields
from ifdkit.selection.ids import read_ids
from ifdkit.selection.methods import Task
from ifdkit.selection.options import SelectOptions
from ifdkit.selection.tuned import TuningInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ifdkit.scoring.inputs import Data


class Inputs:
    """Opens a dataset, and scores or embeds it as far as the options require."""

    def __init__(
        self,
        options: SelectOptions,
        given: Mapping[str, Any],
        read_options: ReadOptions,
        progress: Progress,
    ) -> None:
        """`given`: the fields of `Settings` that the caller has set. Raises UsageError."""
        self._options, self._given = options, given
        condition = options.condition
        self._ids = read_ids(Path(options.ids)) if options.ids is not None else None
        self._where = condition.scores if condition else None
        columns = condition.columns if condition else None
        self._read_options, self._progress = replace(read_options, where=columns), progress
        metrics = {"metrics": options.metrics} if options.metrics else {}
        self._settings = Settings(**{**given, **metrics})
        options.check_turns(read_options.turns)

    def open(self, data: Data, output: Path) -> tuple[ScoredDataset, ScoredDataset]:
        """The dataset with everything that the method needs: the rows it may keep, and all rows.

        They differ by the rows that a condition on scores leaves out. Raises IfdkitError, and
        checks `output` before any work is done.
        """
        data = expand(data)
        scored = self._scored(data, output)
        if self._ids is not None:
            scored = self._ids.narrow(scored, self._progress)
        if self._where is None:
            return scored, scored
        return narrow(scored, self._where, self._read_options.turns), scored

    def for_tuning(self, scored: ScoredDataset, task: Task, output: Path) -> TuningInput:
        """What a search for weights works on."""
        return TuningInput(
            scored=scored,
            task=task,
            read_options=self._read_options,
            given=self._given,
            output=output,
            progress=self._progress,
        )

    def _scored(self, data: Data, output: Path) -> ScoredDataset:
        if self._options.metrics or self._options.needs_tokens:
            scores = open_scores(data)
            if scores is not None:
                return self._read(scores, output)
        dataset = open_data(data, self._read_options)
        self._check(dataset, output)
        note_dataset(dataset, self._progress)
        if not (self._options.metrics or self._options.needs_tokens):
            return without_scores(dataset, progress=self._progress)
        settings = self._settings
        if dataset.has_documents:  # the only pass of a document gives all that it has
            settings = replace(settings, metrics=("ppl",))
        with Scorer(settings, self._progress) as scorer:
            if self._options.needs_tokens:
                return without_scores(dataset, scorer, self._progress)
            return score_dataset(dataset, self._read_options, scorer, self._progress)

    def _read(self, scores: ScoresFile, output: Path) -> ScoredDataset:
        self._progress.note(f"{scores.name}: {plural(len(scores.scores), 'row')} of scores")
        for field in self._options.needed:
            if field not in scores.scores.numbers and field not in WORD_FIELDS:
                raise UsageError(
                    f"{scores.name} has no {field}: score its dataset with --metrics {field}, or"
                    " give the dataset itself"
                )
        dataset = self._read_options.narrow(scores.open_dataset(), score_fields())
        self._check(dataset, output)
        check_flags(scores, self._given, turns=self._read_options.turns)
        return scores.join(dataset)

    def _check(self, dataset: Dataset, output: Path) -> None:
        """Raise IfdkitError, before the dataset is scored, for what would fail afterwards."""
        method = self._options.method
        ranking = "--weights" if self._options.weights else "--by"
        flag = f"--method {method}" if method else ranking if self._options.is_ranked else "--where"
        check_applicable(dataset, self._options.needed, flag)
        check_dataset_output(output, dataset)
        if self._where is not None:
            check_names(dataset, self._where, score_fields())

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Sentence embeddings, shape (texts, dimensions), each of length 1, or 0 if it is zero."""
        self._progress.note(f"embedding {plural(len(texts), 'row')}")
        settings = replace(self._settings, metrics=("coherence",))
        with Scorer(settings, self._progress) as scorer:
            assert scorer.embeddings is not None, "coherence needs them"
            found = scorer.embeddings.embed(texts)
        vectors = np.stack([found[text] for text in texts])
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit: NDArray[np.float32] = np.divide(
            vectors, norms, out=np.zeros_like(vectors), where=norms > 0
        )
        return unit
