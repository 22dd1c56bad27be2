"""The result of `ifdkit predict` for training results.

`prediction.json` is :class:`TrainingPrediction` field by field (schema
"ifdkit.prediction-of-training/1"): renaming a field breaks scripts of users.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ifdkit.data.atomic import json_file
from ifdkit.data.report_folder import renders
from ifdkit.data.views import NotebookView
from ifdkit.prediction.result import save_prediction
from ifdkit.scoring.manifest import Manifest
from ifdkit.stats.columns import Interval

TRAINING_PREDICTION_SCHEMA = "ifdkit.prediction-of-training/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunScores:
    """One dataset that was trained on: its scores, and what training on it does."""

    input: str
    training: str
    """The training results that it came from."""
    examples: int
    steps: int
    tokens_trained: float
    """Response tokens with a loss, over all steps; mean over seeds."""
    change: float
    """Of the NLL of held-out responses, nats per token, mean over seeds; below zero is better."""
    per_seed: tuple[float, ...]
    ci95: Interval | None
    scores: Mapping[str, float | None]
    """Score → its mean over the dataset's examples; a geometric mean for perplexities and IFD."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPredictor:
    """How one score of the datasets goes along with the held-out change. None if undefined."""

    n: int
    """Datasets with this score."""
    correlation: float | None = None
    """Spearman's, −1…1. Below zero, a higher score goes with a larger fall of held-out NLL."""
    p: float | None = None
    """By permutation."""
    p_holm: float | None = None
    """With Holm's correction over the scores; None for what is a baseline."""
    partial: float | None = None
    """With response length and the number of trained tokens removed; None for few datasets."""
    partial_p: float | None = None
    partial_p_holm: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPrediction(NotebookView):
    """What `ifdkit.predict_training` returns."""

    schema: str = TRAINING_PREDICTION_SCHEMA
    version: str
    created: str
    command: str
    n: int
    """Datasets: the unit of observation. Seeds are repetitions."""
    n_needed: int
    """Datasets from which a rank correlation can differ from chance, for as many scores."""
    held_out: tuple[tuple[str, float, int], ...]
    """File, mean NLL before training, rows."""
    runs: tuple[RunScores, ...]
    """The largest fall of held-out NLL first."""
    baseline: RunPredictor
    """Mean response length in tokens."""
    baseline_tokens: RunPredictor
    """The number of trained tokens."""
    scores: Mapping[str, RunPredictor]
    """Score → how well it predicts, the strongest correlation first."""
    verdict: str
    """The conclusion in one sentence."""
    seed: int
    manifest: Manifest
    """Of the scores of the first dataset; the others have the same model and protocol."""
    elapsed_s: float
    limit: int | None = None
    """Only so many rows of each dataset were scored, the first; None for all of them."""
    sample: int | None = None
    """Rows of each dataset that were drawn at random; None if none were."""
    warnings: tuple[str, ...] = ()
    """What a reader must know of the limit and the sample."""

    def as_json(self) -> dict[str, Any]:
        """The object of `prediction.json`."""
        return asdict(self)

    def save(self, folder: str | Path) -> Path:
        """Write index.html, prediction.json and report.md into `folder`, and return the folder.

        If it ends in `.md`, only the Markdown report is written, to that file.  Raises OutputError.
        """
        return save_prediction(self, folder)


@renders(TrainingPrediction, "prediction.json")
def _prediction_json(prediction: TrainingPrediction) -> bytes:
    return json_file(prediction.as_json())
