"""Fine-tuning with TRL's SFTTrainer, on rows that are token ids and labels already.

TRL's own preparation is skipped: its prompt masks rest on a prefix that it only warns about, and it
drops rows that truncation has masked fully without a count.  Here a row is a Request: the loss is
on the tokens of its span, and on no other.

The order of the rows is decided by the caller.  The trainer reads them in sequence, so a run that
resumes from a checkpoint sees the very batches that an uninterrupted one sees.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ifdkit.engine.loading import DTYPES, load_model
from ifdkit.engine.models import Weights
from ifdkit.engine.quiet import quiet_libraries
from ifdkit.engine.recipe import LossPoint, Recipe
from ifdkit.errors import ModelError, UsageError, brief
from ifdkit.records import Request
from ifdkit.tracking import check_tracker, tensorboard_folder

if TYPE_CHECKING:
    from transformers import Trainer

IGNORED = -100
"""The label of a token without loss."""
MICRO_BATCH = {"cpu": 4}
DEFAULT_MICRO_BATCH = 8
_COMPLETE = "ifdkit-complete"
"""A file in a checkpoint that was written to its end."""
_NEEDED = ("trl", "peft", "datasets", "accelerate")


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuning:
    """One fine-tuning run."""

    weights: Weights
    recipe: Recipe
    batch_size: int
    """Examples per optimizer step; it divides the number of rows."""
    seed: int
    """Of the adapter's first weights."""
    device: str
    dtype: str
    folder: Path
    """Where the model is written, and its checkpoints meanwhile."""
    trust_remote_code: bool = False
    checkpoint_every_s: float = 300.0
    log: str | None = None
    """Name of a tracker."""

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints, which is deleted once the model is saved."""
        return self.folder / "checkpoints"


def check_packages(log: str | None = None) -> None:
    """Raise UsageError if a package is missing that training needs, or that `log` names."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise UsageError(f"training needs {', '.join(missing)}: run `pip install 'ifdkit[train]'`")
    if log is not None:
        check_tracker(log)


def labels_of(request: Request) -> list[int]:
    """The label of each token: its id inside the span, IGNORED outside."""
    ids = request.ids.tolist()
    inside = range(request.start, request.stop)
    return [token if place in inside else IGNORED for place, token in enumerate(ids)]


def micro_batch_of(batch_size: int, recipe: Recipe, device: str) -> int:
    """Examples in memory at once: the largest divisor of the batch size up to the limit."""
    kind = device.partition(":")[0]
    limit = recipe.micro_batch or MICRO_BATCH.get(kind, DEFAULT_MICRO_BATCH)
    return next(n for n in range(min(limit, batch_size), 0, -1) if batch_size % n == 0)


def fine_tune(
    run: FineTuning,
    rows: Sequence[Request],
    order: Sequence[int],
    *,
    on_step: Callable[[LossPoint], None] = lambda _: None,
    stops: Callable[[], bool] = lambda: False,
) -> list[LossPoint] | None:
    """Train on `rows[i] for i in order`, in that order, and save the model in `run.folder`.

    Resumes from the last complete checkpoint in the folder.  `stops` is asked after each step;
    if it is true, a checkpoint is saved and the result is None.  Returns the loss of every step.
    Raises ModelError.
    """
    device, dtype = torch.device(run.device), DTYPES[run.dtype]
    is_mixed = dtype != torch.float32 and not run.recipe.lora
    # All weights train in float32 with 16-bit products (mixed precision): an update of 2e-5 is
    # smaller than the spacing of bfloat16 at most weights.  A frozen base needs 16 bits only.
    held = torch.float32 if is_mixed else dtype
    model = load_model(run.weights, held, device, trust_remote_code=run.trust_remote_code)
    model.requires_grad_(not run.recipe.lora)  # merging an adapter leaves the base frozen
    checkpoint = _last_complete(run.checkpoints)
    reporter = _Reporter(run.checkpoint_every_s, on_step, stops)
    # Not `fast_float32`: oneDNN's backward products take many times as long as MKL's.
    with quiet_libraries(), _quiet_trl():
        trainer = _trainer(run, model, rows, order, reporter)
        try:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        except torch.OutOfMemoryError as error:
            raise ModelError(
                f"training {run.weights.name} does not fit on {device}: lower --micro-batch or"
                " --max-length, or try --lora"
            ) from error
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"training {run.weights.name} failed: {brief(error)}") from error
        if reporter.is_stopped:
            return None
        points = _points(trainer.state.log_history)
        bad = next((p for p in points if not math.isfinite(p.loss)), None)
        if bad is not None:
            raise ModelError(
                f"the loss of step {bad.step} is {bad.loss}: lower --learning-rate, or use"
                " --dtype float32"
            )
        _save(trainer.model, run)
    shutil.rmtree(run.checkpoints, ignore_errors=True)
    return points


def _trainer(
    run: FineTuning, model: Any, rows: Sequence[Request], order: Sequence[int], reporter: _Reporter
) -> Trainer:
    from datasets import Dataset
    from transformers import AutoTokenizer, PrinterCallback, TrainerCallback
    from trl import SFTTrainer

    tokenizer = AutoTokenizer.from_pretrained(
        run.weights.tokenizer_folder, trust_remote_code=run.trust_remote_code
    )
    if tokenizer.pad_token is None and tokenizer.eos_token is None:
        # Padding is masked and has no label, so any token serves.
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(0)
    data = Dataset.from_dict(
        {
            "input_ids": [row.ids.tolist() for row in rows],
            "labels": [labels_of(row) for row in rows],
        }
    ).select(list(order))

    class InOrder(SFTTrainer):  # type: ignore[misc]  # untyped
        """Reads the rows in sequence: the order is part of the data."""

        def _get_train_sampler(self, *_: object) -> Any:
            return torch.utils.data.SequentialSampler(data)

    class Callback(TrainerCallback):  # type: ignore[misc]  # untyped
        """Hands the events of the trainer to the reporter."""

        def on_log(self, *event: Any, logs: Any = None, **_: Any) -> None:
            reporter.logged(event[1].global_step, logs or {})

        def on_step_end(self, *event: Any, **_: Any) -> None:
            _, state, control = event
            reporter.step_ended(control, is_last=state.global_step >= state.max_steps)

        def on_save(self, *event: Any, **_: Any) -> None:
            args, state, _control = event
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            (folder / _COMPLETE).touch()
            _remove_others(folder)

    trainer = InOrder(
        model=model,
        args=_arguments(run, n_steps=len(order) // run.batch_size),
        train_dataset=data,
        processing_class=tokenizer,
        peft_config=_adapter(run) if run.recipe.lora else None,
        callbacks=[Callback(), *_tensorboard(run)],
    )
    trainer.remove_callback(PrinterCallback)  # it prints to stdout
    return trainer


def _tensorboard(run: FineTuning) -> list[Any]:
    """The callback of TensorBoard: its default folder is that of the checkpoints, which goes."""
    if run.log != "tensorboard":
        return []
    from torch.utils.tensorboard import SummaryWriter
    from transformers.integrations import TensorBoardCallback

    folder = tensorboard_folder(f"train {run.folder.name}")
    return [TensorBoardCallback(SummaryWriter(str(folder)))]


def _arguments(run: FineTuning, n_steps: int) -> Any:
    from trl import SFTConfig

    recipe = run.recipe
    is_cpu = run.device == "cpu"
    micro = micro_batch_of(run.batch_size, recipe, run.device)
    # With an adapter the base is in `dtype` itself; else 16 bits are mixed precision.
    arguments = SFTConfig(
        output_dir=str(run.checkpoints),
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=run.batch_size // micro,
        max_steps=n_steps,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=round(recipe.warmup * n_steps),
        weight_decay=recipe.weight_decay,
        optim="adamw_torch",
        bf16=run.dtype == "bfloat16",
        fp16=run.dtype == "float16",
        gradient_checkpointing=not is_cpu,  # it trades time for GPU memory
        use_cpu=is_cpu,
        seed=run.seed,
        data_seed=run.seed,
        max_length=None,  # rows are truncated already
        dataset_kwargs={"skip_prepare_dataset": True},
        packing=False,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",  # the reporter decides, by time
        report_to=[run.log] if run.log not in (None, "tensorboard") else [],
        run_name=run.folder.name,
        disable_tqdm=True,
        dataloader_pin_memory=not is_cpu,
    )
    if arguments.n_gpu > 1:
        # One process on one GPU: DataParallel, which transformers would choose, is refused by TRL.
        arguments._n_gpu = 1
    return arguments


def _adapter(run: FineTuning) -> Any:
    from peft import LoraConfig

    path = Path(run.weights.name).expanduser()
    base = str(path.resolve()) if path.exists() else run.weights.name
    return LoraConfig(
        r=run.recipe.lora_rank,
        lora_alpha=run.recipe.lora_alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
        base_model_name_or_path=base,
    )


class _Reporter:
    """Decides when to save and to stop, and passes on the losses."""

    def __init__(
        self,
        every_s: float,
        on_step: Callable[[LossPoint], None],
        stops: Callable[[], bool],
    ) -> None:
        self.is_stopped = False
        self._every_s, self._on_step, self._stops = every_s, on_step, stops
        self._saved = time.monotonic()

    def logged(self, step: int, logs: dict[str, Any]) -> None:
        """Pass on the loss of a step; the summary at the end has none."""
        if point := _point({**logs, "step": step}):
            self._on_step(point)

    def step_ended(self, control: Any, *, is_last: bool) -> None:
        """Ask for a checkpoint if one is due, and for the end if the run is to stop."""
        if is_last:
            return
        if self._stops():
            self.is_stopped = control.should_training_stop = control.should_save = True
        elif time.monotonic() - self._saved >= self._every_s:
            control.should_save, self._saved = True, time.monotonic()


def _point(logs: dict[str, Any]) -> LossPoint | None:
    if "loss" not in logs or "learning_rate" not in logs:
        return None
    return LossPoint(
        int(logs["step"]),
        float(logs["loss"]),
        float(logs["learning_rate"]),
        float(logs.get("grad_norm", math.nan)),
    )


def _points(history: Sequence[dict[str, Any]]) -> list[LossPoint]:
    return [point for logs in history if (point := _point(logs))]


def _last_complete(checkpoints: Path) -> Path | None:
    """The last checkpoint that was written to its end; the others are deleted."""
    found = sorted(checkpoints.glob("checkpoint-*"), key=lambda path: int(path.name[11:]))
    complete = [path for path in found if (path / _COMPLETE).exists()]
    for path in found:
        if path not in complete[-1:]:
            shutil.rmtree(path, ignore_errors=True)
    return complete[-1] if complete else None


def _remove_others(kept: Path) -> None:
    for path in kept.parent.glob("checkpoint-*"):
        if path != kept:
            shutil.rmtree(path, ignore_errors=True)


def _save(model: Any, run: FineTuning) -> None:
    """The model in the folder: the adapter alone, or all weights with the tokenizer."""
    from transformers import AutoTokenizer

    if run.recipe.lora:
        # PEFT would name the folder that the base was unpacked to.
        model.peft_config["default"].base_model_name_or_path = _adapter(run).base_model_name_or_path
        model.save_pretrained(run.folder)
        (run.folder / "README.md").unlink(missing_ok=True)  # an empty model card
        return
    model.to(DTYPES[run.dtype]).save_pretrained(run.folder)
    AutoTokenizer.from_pretrained(
        run.weights.tokenizer_folder, trust_remote_code=run.trust_remote_code
    ).save_pretrained(run.folder)


@contextmanager
def _quiet_trl() -> Iterator[None]:
    """Silence TRL's and datasets' log messages inside the block."""
    import logging

    loggers = [logging.getLogger(name) for name in ("trl", "datasets", "accelerate", "peft")]
    levels = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)
