"""The manifest of a trained model, and the loss of its steps."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from typing import Any

from ifdkit.data.parts import InputRecord
from ifdkit.data.report_folder import renders
from ifdkit.engine.recipe import LossPoint
from ifdkit.records import plain

MODEL_SCHEMA = "ifdkit.trained-model/1"
FILES = ("loss.csv", "loss.png")
"""Beside the manifest in the folder of a model; the picture is made by the report layer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedModel:
    """The manifest of a trained model."""

    schema: str
    version: str
    created: str
    command: str
    fingerprint: str
    """Of everything that the weights depend on."""
    output: str
    input: str
    input_sha256: str | None
    columns: dict[str, str]
    turns: str
    reasoning: str
    limit: int | None
    sample: int | None
    where: str | None
    model: str
    model_source: str
    weights_hash: str
    tokenizer_hash: str
    protocol: str
    template: str
    template_text: str
    template_date: str | None
    max_length: int
    dtype: str
    device: str
    recipe: dict[str, Any]
    seed: int
    steps: int
    batch_size: int
    """Examples per step."""
    examples: int
    """Examples to train on."""
    passes_over_data: float
    dropped: dict[str, int]
    """Why other examples were not trained on, with counts."""
    truncated: int
    unended: int
    merged: int
    """As in :class:`ifdkit.training.rows.TrainingRows`; likewise `truncated` and `unended`."""
    tokens_trained: int
    """Tokens with a loss, over all steps."""
    tokens_prompt: int
    """Tokens without a loss, over all steps."""
    loss_first: float
    """Mean loss of the first tenth of the steps, nats per trained token."""
    loss_last: float
    """Of the last tenth."""
    elapsed_s: float
    """Of the call that finished it."""
    losses: tuple[LossPoint, ...] = field(repr=False)
    """One per step; in `loss.csv`, not in the manifest."""
    lines: bool = False
    """Whether each line of a text file was a row."""
    inputs: list[InputRecord] = field(default_factory=list)
    """Every input, if there are several; `columns` are then those that they have in common."""

    @property
    def name(self) -> str:
        """What to give as `--model`."""
        return self.output

    def as_json(self) -> dict[str, Any]:
        """The object of the manifest."""
        found = plain(self)
        del found["losses"]
        return found

    def loss_csv(self) -> bytes:
        """The loss of each step as CSV."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["step", "loss", "learning_rate", "gradient_norm"])
        writer.writerows([p.step, p.loss, p.learning_rate, p.gradient_norm] for p in self.losses)
        return text.getvalue().encode()


@renders(TrainedModel, "loss.csv")
def _loss_csv(model: TrainedModel) -> bytes:
    return model.loss_csv()
