"""A dataset on its way to a verdict: what has to be measured is measured, and no more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ifdkit.data.dataset import Dataset
from ifdkit.data.options import ReadOptions
from ifdkit.data.row_files import check_rows_output
from ifdkit.errors import OutputError, UsageError
from ifdkit.scoring.dataset import (
    ScoredDataset,
    ScoresFile,
    check_flags,
    open_scores,
    score_dataset,
    without_scores,
)
from ifdkit.scoring.inputs import describe, open_data
from ifdkit.scoring.progress import Progress
from ifdkit.scoring.scorer import Scorer
from ifdkit.scoring.settings import Settings
from ifdkit.selection.methods import Embed, Verdict, draw, rank
from ifdkit.selection.options import WORD_FIELDS, SelectOptions
from ifdkit.selection.reflected import taken
from ifdkit.selection.rows import Rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ifdkit.scoring.inputs import Data


class Work:
    """What is asked of which rows, and with which model."""

    def __init__(
        self,
        options: SelectOptions,
        settings: Mapping[str, Any],
        read_options: ReadOptions,
        progress: Progress,
    ) -> None:
        self.read_options = read_options
        self._options, self._given, self._progress = options, settings, progress
        metrics = {"metrics": options.metrics} if options.metrics else {}
        self._settings = Settings(**{**settings, **metrics})
        if options.method == "selective" and read_options.turns != "last":
            raise UsageError("selective looks at the last turn of a conversation: use --turns last")

    def open(self, data: Data, output: Path) -> ScoredDataset:
        """The dataset with all that the method looks at; the output is checked before the work."""
        if _is_same_file(data, output):
            raise OutputError(f"-o {output} is the input itself: choose another name")
        if self._options.field not in (None, *WORD_FIELDS):
            given = open_scores(data)
            if given is not None:
                return self._read(given, output)
        dataset = open_data(data, self.read_options)
        check_rows_output(output, dataset.path)
        self._progress.note(describe(dataset))
        if not (self._options.metrics or self._options.needs_tokens):
            return without_scores(dataset)
        with Scorer(self._settings, self._progress) as scorer:
            if self._options.needs_tokens:
                return without_scores(dataset, scorer)
            return score_dataset(dataset, self.read_options, scorer, self._progress)

    def _read(self, given: ScoresFile, output: Path) -> ScoredDataset:
        self._progress.note(f"{given.name}: {len(given.scores):,} rows of scores")
        field = self._options.field
        if field is not None and field not in given.scores.numbers:
            raise UsageError(
                f"{given.name} has no {field}: score its dataset with --metrics {field}, or name"
                " the dataset itself"
            )
        dataset = self.read_options.narrow(given.open_dataset())
        check_rows_output(output, dataset.path)
        check_flags(given, self._given, turns=self.read_options.turns)
        return given.join(dataset)

    def judge(self, rows: Rows, dataset: Dataset) -> Verdict:
        """What becomes of each row. Raises UsageError where none is kept."""
        options, seed = self._options, self.read_options.seed
        if options.method == "random":
            verdict = draw(rows, options, dataset.n_rows, seed)
        elif options.method == "selective":
            verdict = taken(rows, provenance_of(options, dataset))
        else:
            verdict = rank(rows, options, dataset.n_rows, self._embedder())
        if not verdict.kept.any():
            counts = Counter(verdict.reasons.tolist()).most_common()
            why = ", ".join(f"{n:,} {reason}" for reason, n in counts) or "none can be read"
            raise UsageError(f"no row of {dataset.name} would be kept: {why}; ask for less")
        return verdict

    def _embedder(self) -> Embed:
        settings = replace(self._settings, metrics=("coherence",))

        def embed(texts: Sequence[str]) -> NDArray[np.float32]:
            self._progress.note(f"embedding {len(texts):,} rows")
            with Scorer(settings, self._progress) as scorer:
                assert scorer.embeddings is not None, "coherence needs them"
                found = scorer.embeddings.embed(texts)
            vectors = np.stack([found[text] for text in texts])
            norms = np.linalg.norm(vectors, axis=1, keepdims=True)
            unit: NDArray[np.float32] = np.divide(
                vectors, norms, out=np.zeros_like(vectors), where=norms > 0
            )
            return unit

        return embed


def _is_same_file(data: Data, output: Path) -> bool:
    try:
        return isinstance(data, (str, PathLike)) and output.samefile(data)
    except OSError:
        return False  # one of them is not there


def provenance_of(options: SelectOptions, dataset: Dataset) -> Path:
    """Where the student's choices stand: beside the dataset, unless another file was named."""
    if options.provenance is not None:
        return Path(options.provenance)
    if dataset.path is None:
        raise UsageError(f"{dataset.name} lies nowhere: name its provenance with --provenance FILE")
    return Path(f"{dataset.path}.provenance.jsonl")
