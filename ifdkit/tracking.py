"""`--log`: settings and dataset-level numbers of a run, in an experiment tracker.

A tracker is one function, an entry of `TRACKERS`.  Outputs are written before anything is logged,
and a tracker that fails costs one warning.  No text of a dataset is logged.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from ifdkit.errors import UsageError, brief, unknown
from ifdkit.visible import one_line

log = logging.getLogger(__name__)

TrackerName = Literal["trackio", "wandb", "tensorboard", "mlflow"]
PROJECT = "ifdkit"
MAX_SETTING_CHARS = 500
"""Of a text: MLflow refuses parameters of more than 6,000 characters."""

Setting = str | int | float | bool


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """What is logged of a run."""

    command: str
    """`score` or `compare`."""
    name: str
    """The data, as the command calls them."""
    settings: Mapping[str, Setting]
    """What decided the numbers."""
    numbers: Mapping[str, float]
    """Such as `ifd/mean`; all finite."""

    @property
    def title(self) -> str:
        """The name of the run in a tracker."""
        return one_line(f"{self.command} {self.name}", 100)


def flat_settings(value: Mapping[str, Any]) -> dict[str, Setting]:
    """A JSON object as one level, `columns/response` → `output`; nulls are left out."""
    return {
        name: leaf[:MAX_SETTING_CHARS] if isinstance(leaf, str) else leaf
        for name, leaf in _leaves(value)
    }


def flat_numbers(value: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers of a JSON object, `ifd/change/mean` → 0.2; items of lists by position."""
    return {
        name: float(leaf)
        for name, leaf in _leaves(value)
        if isinstance(leaf, (int, float)) and not isinstance(leaf, bool) and math.isfinite(leaf)
    }


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Setting]]:
    items: Any = ()
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, Sequence) and not isinstance(value, str):
        items = enumerate(value)
    elif value is not None:
        yield path, value
    for key, one in items:
        yield from _leaves(one, f"{path}/{key}" if path else str(key))


def check_tracker(name: str) -> None:
    """Raise UsageError, before any work is done, for a tracker that is unknown or not installed."""
    if name not in TRACKERS:
        raise UsageError(f"--log: {unknown('tracker', name, TRACKERS)}")
    if find_spec(name) is None:
        raise UsageError(f"--log {name}: the package is not installed: run `pip install {name}`")


def track(name: str, run: TrackedRun) -> None:
    """Log a run whose output is complete. A tracker that fails is a warning, never an error."""
    try:
        with redirect_stdout(sys.stderr):  # trackers print, and stdout is for results
            where = TRACKERS[name](run)
    except Exception as error:  # noqa: BLE001  each tracker fails in its own way
        what = one_line(f"{type(error).__name__}: {brief(error)}", 300)
        log.error("--log %s failed, and the output is complete: %s", name, what)
    else:
        log.info("logged to %s: %s", name, where)


def tensorboard_folder(name: str) -> Path:
    """A new folder for the events of a run, in `TENSORBOARD_LOGGING_DIR`, or in `runs` here."""
    root = Path(os.environ.get("TENSORBOARD_LOGGING_DIR") or "runs")
    stem = "".join(one if one.isalnum() or one in "-_." else "-" for one in name)
    return root / f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{time.monotonic_ns()}"


def _trackio(run: TrackedRun) -> str:
    import trackio

    trackio.init(
        project=os.environ.get("TRACKIO_PROJECT") or PROJECT,
        name=run.title,
        config=dict(run.settings),
    )
    trackio.log(dict(run.numbers))
    trackio.finish()
    return run.title


def _wandb(run: TrackedRun) -> str:
    import wandb

    with wandb.init(
        project=os.environ.get("WANDB_PROJECT") or PROJECT,
        name=run.title,
        job_type=run.command,
        config=dict(run.settings),
    ) as started:
        started.log(dict(run.numbers))
    return run.title


def _tensorboard(run: TrackedRun) -> str:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    folder = tensorboard_folder(run.title)
    values = [Summary.Value(tag=name, simple_value=n) for name, n in run.numbers.items()]
    writer = EventFileWriter(str(folder))
    try:
        for summary in (hparams_pb(dict(run.settings)), Summary(value=values)):
            writer.add_event(Event(summary=summary, wall_time=time.time(), step=0))
    finally:
        writer.close()
    return str(folder)


def _mlflow(run: TrackedRun) -> str:
    import mlflow

    if not os.environ.get("MLFLOW_EXPERIMENT_NAME"):
        mlflow.set_experiment(PROJECT)
    with mlflow.start_run(run_name=run.title, nested=mlflow.active_run() is not None):
        mlflow.log_params(dict(run.settings))
        mlflow.log_metrics(dict(run.numbers))
    return str(mlflow.get_tracking_uri())


TRACKERS: dict[str, Callable[[TrackedRun], str]] = {
    "trackio": _trackio,
    "wandb": _wandb,
    "tensorboard": _tensorboard,
    "mlflow": _mlflow,
}
"""Name of the package, which is also that of `--log` → what logs a run, and says where."""
