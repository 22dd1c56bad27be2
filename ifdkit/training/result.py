"""What `ifdkit.train` returns."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ifdkit.data.atomic import json_file
from ifdkit.data.report_folder import write_file
from ifdkit.data.views import NotebookView
from ifdkit.training.evaluation import Contrast, Evaluated
from ifdkit.training.trained_model import TrainedModel

TRAINING_SCHEMA = "ifdkit.training/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained(NotebookView):
    """The models of one call, and what training did to held-out responses."""

    schema: str
    version: str
    created: str
    command: str
    output: str
    budget: str | None
    """What both sides have in common besides the number of steps; None without `versus`."""
    models: tuple[TrainedModel, ...]
    """Those of `data` by seed, then those of `versus`."""
    evaluated: tuple[Evaluated, ...]
    """Held-out metrics before and after training; empty without `eval`."""
    contrasts: tuple[Contrast, ...]
    """`versus` minus `data`; empty without both `versus` and `eval`."""
    also_trained: dict[str, int]
    """Held-out file → examples that are in the training data too."""
    elapsed_s: float

    def as_json(self) -> dict[str, Any]:
        """The object of `training.json` and of `--json`."""
        return {**asdict(self), "models": [model.as_json() for model in self.models]}

    def save(self) -> Path:
        """Write `training.json` into the output folder, and return its path."""
        path = Path(self.output) / "training.json"
        write_file(path, json_file(self.as_json()))
        return path
