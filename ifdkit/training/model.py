"""One model: the folder that it is trained into, and its manifest.

OUT has the model as any program loads it, `manifest.json`, `loss.csv` and `loss.png`.  While the
training is under way it has `run.json`, which identifies the run, and checkpoints.  The same call
resumes it; another call is refused.
"""

from __future__ import annotations

import csv
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ifdkit.data.atomic import json_file
from ifdkit.data.report_folder import save_report, write_file
from ifdkit.engine.finetuning import FineTuning, fine_tune
from ifdkit.engine.recipe import LossPoint, Recipe
from ifdkit.errors import ModelError, OutputError
from ifdkit.records import Request
from ifdkit.regular import read_regular
from ifdkit.scoring.progress import Progress
from ifdkit.scoring.run import command_line
from ifdkit.scoring.scorer import Scorer
from ifdkit.training.interrupts import interrupts
from ifdkit.training.options import TrainOptions
from ifdkit.training.rows import TrainingRows
from ifdkit.training.schedule import Schedule, order_of
from ifdkit.training.trained_model import FILES, MODEL_SCHEMA, TrainedModel
from ifdkit.version import VERSION

_RUN_FILE, _MANIFEST_FILE = "run.json", "manifest.json"
_MAX_JSON_BYTES = 2**24
_STEPS_PER_NOTE = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSide:
    """A dataset that is trained on, ready for any number of seeds."""

    name: str
    """`data` or `versus`."""
    read_fields: dict[str, Any]
    """Fields of the manifest about the file and how it was read."""
    found: TrainingRows
    schedule: Schedule


def train_model(
    side: TrainingSide,
    scorer: Scorer,
    options: TrainOptions,
    seed: int,
    folder: Path,
    progress: Progress,
) -> TrainedModel:
    """Train one model into a folder, or resume, or return what is there already.

    Raises KeyboardInterrupt after a checkpoint is saved, OutputError or ModelError.
    """
    begin = time.perf_counter()
    requests = side.found.requests
    order = order_of(requests, side.schedule, seed)
    fingerprint = run_fingerprint(
        scorer, options.recipe, requests, order, batch_size=side.schedule.batch_size, seed=seed
    )
    if finished := _finished(folder, fingerprint):
        progress.note(f"{folder} is already trained")
        return finished
    _claim(folder, fingerprint)
    run = FineTuning(
        weights=scorer.weights,
        recipe=options.recipe,
        batch_size=side.schedule.batch_size,
        seed=seed,
        device=scorer.device,
        dtype=scorer.dtype,
        folder=folder,
        trust_remote_code=scorer.settings.trust_remote_code,
        checkpoint_every_s=options.checkpoint_minutes * 60,
        log=options.log,
    )
    report = _StepReport(requests, order, side.schedule, progress)
    progress.start(len(order))
    with interrupts(progress) as is_interrupted:
        losses = fine_tune(run, requests, order, on_step=report, stops=is_interrupted)
    if losses is None:
        raise KeyboardInterrupt
    trained = [requests[i] for i in order]
    scored, setup = sum(one.n_scored for one in trained), scorer.setup
    model = TrainedModel(
        schema=MODEL_SCHEMA,
        version=VERSION,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command_line("train"),
        fingerprint=fingerprint,
        output=str(folder),
        **side.read_fields,
        model=setup.model,
        model_source=scorer.weights.source,
        weights_hash=setup.weights_hash,
        tokenizer_hash=setup.tokenizer_hash,
        protocol=setup.protocol,
        template=setup.template,
        template_text=setup.template_text,
        template_date=setup.template_date,
        max_length=setup.max_length,
        dtype=scorer.dtype,
        device=scorer.device,
        recipe=asdict(options.recipe),
        seed=seed,
        steps=side.schedule.steps,
        batch_size=side.schedule.batch_size,
        examples=len(requests),
        passes_over_data=round(len(order) / len(requests), 4),
        dropped=dict(side.found.dropped.most_common()),
        truncated=side.found.truncated,
        unended=side.found.unended,
        merged=side.found.merged,
        tokens_trained=scored,
        tokens_prompt=sum(one.start for one in trained),
        loss_first=_mean_loss(losses[: max(1, len(losses) // 10)]),
        loss_last=_mean_loss(losses[-max(1, len(losses) // 10) :]),
        elapsed_s=round(time.perf_counter() - begin, 3),
        losses=tuple(losses),
    )
    save_report(model, folder, FILES)
    write_file(folder / _MANIFEST_FILE, json_file(model.as_json()))
    (folder / _RUN_FILE).unlink(missing_ok=True)
    return model


class _StepReport:
    """Progress after each step; a note with the loss after every few."""

    def __init__(
        self, requests: Sequence[Request], order: Sequence[int], schedule: Schedule, to: Progress
    ) -> None:
        size = schedule.batch_size
        self._tokens = [
            sum(requests[i].stop for i in order[begin : begin + size])
            for begin in range(0, len(order), size)
        ]
        self._schedule, self._progress, self._seen = schedule, to, 0

    def __call__(self, point: LossPoint) -> None:
        progress, size = self._progress, self._schedule.batch_size
        # The first point of a resumed run stands for the steps of the run before.
        steps = range(self._seen, point.step)
        self._seen = point.step
        tokens = sum(self._tokens[step] for step in steps)
        progress.begin_block(size * len(steps), size * len(steps))
        progress.missing(tokens)
        progress.scored(tokens)
        progress.end_block()
        if point.step % _STEPS_PER_NOTE == 0 or point.step in (1, self._schedule.steps):
            progress.note(f"step {point.step} of {self._schedule.steps}: loss {point.loss:.3f}")


def _mean_loss(points: Sequence[LossPoint]) -> float:
    return sum(point.loss for point in points) / len(points)


def run_fingerprint(
    scorer: Scorer,
    recipe: Recipe,
    requests: Sequence[Request],
    order: Sequence[int],
    *,
    batch_size: int,
    seed: int,
) -> str:
    """Of everything that the weights after training depend on."""
    digest = hashlib.sha256()
    kind = scorer.device.partition(":")[0]
    parts = [scorer.weights_hash, asdict(recipe), seed, scorer.dtype, kind, batch_size]
    digest.update(json.dumps([*parts, list(order)], sort_keys=True).encode())
    for request in requests:
        digest.update(request.content)
    return digest.hexdigest()


def check_trainable(scorer: Scorer, recipe: Recipe) -> None:
    """Raise ModelError if the recipe would put an adapter on top of another."""
    if recipe.lora and scorer.weights.adapter is not None:
        raise ModelError(
            f"model {scorer.weights.name} is an adapter: an adapter on top of it could not be"
            " loaded again; merge it first, or train all weights with --full"
        )


def _finished(folder: Path, fingerprint: str) -> TrainedModel | None:
    """The model in the folder if it is complete and of this run."""
    try:
        found = json.loads(read_regular(folder / _MANIFEST_FILE, _MAX_JSON_BYTES))
        if found["fingerprint"] != fingerprint:
            return None
        with (folder / FILES[0]).open(newline="", encoding="utf-8") as file:
            lines = list(csv.reader(file))[1:]
        points = [LossPoint(int(step), *map(float, rest)) for step, *rest in lines]
        return TrainedModel(**found, losses=tuple(points))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _claim(folder: Path, fingerprint: str) -> None:
    """Make the folder that of this run. Raises OutputError if it is that of anything else."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not any(folder.iterdir()):
            write_file(folder / _RUN_FILE, json_file({"fingerprint": fingerprint}))
            return
        found = read_regular(folder / _RUN_FILE, _MAX_JSON_BYTES)
        is_own = json.loads(found)["fingerprint"] == fingerprint
    except FileNotFoundError:
        is_own = False
    except (ValueError, KeyError, TypeError, RecursionError):
        is_own = False
    except OSError as error:
        raise OutputError(f"cannot write {folder}: {error.strerror or error}") from error
    if not is_own:
        raise OutputError(
            f"-o {folder} has files of something else, or of a run with other data or options:"
            " choose another folder, or delete this one"
        )
