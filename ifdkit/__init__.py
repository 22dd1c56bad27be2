"""ifdkit: see what is in your training data before you spend GPU hours on it.

    import ifdkit
    scores = ifdkit.score("data.json", model="gpt2")      # pandas DataFrame
    result = ifdkit.compare("before.json", "after.json")  # .summary, .rows, .save("reports/x")
    audit = ifdkit.audit("data.json")                     # .passed, .rules, .save("reports/y")
    found = ifdkit.predict("annotations.json")            # .scores, .verdict, .save("reports/z")
    found = ifdkit.predict_training(["runs-a", "runs-b"]) # .runs, .scores, .verdict
    done = ifdkit.reflect("data.json", "recycled.json", oracle="local")
    done = ifdkit.select("data.json", "best.json", by="ifd", top="5%")
    done = ifdkit.train("best.json", "tuned", preset="laptop", eval="held-out.json")
    done = ifdkit.generate("data.json", "answers.json", model="tuned")

Nothing heavy is imported until it is used.
"""

from __future__ import annotations

# Loaded before any program. `signal` is not: while it is imported, Ctrl-C would be a traceback.
import _signal  # type: ignore[import-not-found]
import os
import sys


def _end_interrupted(*_: object) -> None:
    """End at once: what a signal does before the command line has begun."""
    try:
        os.write(2, b"ifdkit: Interrupted before anything was done.\n")
    finally:
        os._exit(130)


# The word that started this process: a script, or a module after -m.  Programs that import ifdkit
# keep their own handlers, and so do processes that a program starts with its own `sys.argv`.
_STARTED = "".join(sys.orig_argv[-len(sys.argv) :][:1]).replace("\\", "/").rpartition("/")[2]
if (
    _STARTED in ("ifdkit", "ifdkit.exe", "-mifdkit")
    and _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler
):
    _signal.signal(_signal.SIGINT, _end_interrupted)

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ifdkit.version import VERSION as __version__

if TYPE_CHECKING:
    from ifdkit.auditing.result import Audit as Audit
    from ifdkit.auditing.run import audit as audit
    from ifdkit.comparison.overview import Comparisons as Comparisons
    from ifdkit.comparison.result import Comparison as Comparison
    from ifdkit.comparison.run import compare as compare
    from ifdkit.comparison.run import compare_several as compare_several
    from ifdkit.errors import IfdkitError as IfdkitError
    from ifdkit.generation.result import Generated as Generated
    from ifdkit.generation.run import generate as generate
    from ifdkit.judging.result import Judgement as Judgement
    from ifdkit.judging.run import judge as judge
    from ifdkit.prediction.from_training import predict_training as predict_training
    from ifdkit.prediction.result import Prediction as Prediction
    from ifdkit.prediction.run import predict as predict
    from ifdkit.prediction.training_prediction import TrainingPrediction as TrainingPrediction
    from ifdkit.reflection.result import Recycled as Recycled
    from ifdkit.reflection.run import reflect as reflect
    from ifdkit.scoring.frames import score as score
    from ifdkit.scoring.frames import summary as summary
    from ifdkit.scoring.metric import Measured as Measured
    from ifdkit.scoring.metrics import register_metric as register_metric
    from ifdkit.scoring.progress import Progress as Progress
    from ifdkit.scoring.settings import Settings as Settings
    from ifdkit.selection.result import Selected as Selected
    from ifdkit.selection.run import select as select
    from ifdkit.training.result import Trained as Trained
    from ifdkit.training.run import train as train
    from ifdkit.tuning.options import Tuning as Tuning

_MODULES = {
    "audit": "ifdkit.auditing.run",
    "Audit": "ifdkit.auditing.result",
    "compare": "ifdkit.comparison.run",
    "compare_several": "ifdkit.comparison.run",
    "Comparison": "ifdkit.comparison.result",
    "Comparisons": "ifdkit.comparison.overview",
    "generate": "ifdkit.generation.run",
    "Generated": "ifdkit.generation.result",
    "judge": "ifdkit.judging.run",
    "Judgement": "ifdkit.judging.result",
    "predict": "ifdkit.prediction.run",
    "predict_training": "ifdkit.prediction.from_training",
    "Prediction": "ifdkit.prediction.result",
    "TrainingPrediction": "ifdkit.prediction.training_prediction",
    "reflect": "ifdkit.reflection.run",
    "Recycled": "ifdkit.reflection.result",
    "score": "ifdkit.scoring.frames",
    "select": "ifdkit.selection.run",
    "summary": "ifdkit.scoring.frames",
    "Selected": "ifdkit.selection.result",
    "train": "ifdkit.training.run",
    "Trained": "ifdkit.training.result",
    "Tuning": "ifdkit.tuning.options",
    "Settings": "ifdkit.scoring.settings",
    "Progress": "ifdkit.scoring.progress",
    "Measured": "ifdkit.scoring.metric",
    "register_metric": "ifdkit.scoring.metrics",
    "IfdkitError": "ifdkit.errors",
}
_WITHOUT_REPORTS = {
    *("Settings", "Progress", "Measured", "register_metric", "IfdkitError", "Tuning"),
}

__all__ = [
    "Audit",
    "Comparison",
    "Comparisons",
    "Generated",
    "IfdkitError",
    "Judgement",
    "Measured",
    "Prediction",
    "Progress",
    "Recycled",
    "Selected",
    "Settings",
    "Trained",
    "TrainingPrediction",
    "Tuning",
    "__version__",
    "audit",
    "compare",
    "compare_several",
    "generate",
    "judge",
    "predict",
    "predict_training",
    "reflect",
    "register_metric",
    "score",
    "select",
    "summary",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'ifdkit' has no attribute {name!r}")
    if name not in _WITHOUT_REPORTS:
        # Results save and show themselves, in formats that the report layer above them registers,
        # and so does progress in a notebook.
        import_module("ifdkit.report")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return __all__
