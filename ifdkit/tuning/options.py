"""The options of `select --tune`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ifdkit.data.options import ReadOptions
from ifdkit.errors import UsageError, unknown
from ifdkit.scoring.inputs import open_data
from ifdkit.scoring.metrics import METRICS
from ifdkit.stats.columns import MIN_PAIRS
from ifdkit.training.options import TrainOptions, train_options

if TYPE_CHECKING:
    from ifdkit.selection.ranking import Places
    from ifdkit.selection.tuned import TunedWeights, TuningInput

MIN_RANDOM, MAX_RANDOM = 3, 1_000
"""Student's t of two exceeds 12, which no selection would."""
REPEATS = 3
"""Seeds with which weights are trained in the comparison."""
MAX_TRIALS = 10_000


@dataclass(frozen=True, slots=True)
class Tuning:
    """The scores whose weights `ifdkit.select` finds by small training runs, and how.

        ifdkit.select("data.json", "best.json", top=200, tune=ifdkit.Tuning("ifd,coherence"))

    The rows are divided into two halves, each with held-out rows of its own. The trials work in the
    first. What they find, each score alone and random selections are then compared in the second.
    Raises UsageError for invalid values.
    """

    scores: str | Sequence[str]
    """Metrics, as `"ifd,coherence"` or a list."""
    _: KW_ONLY
    trials: int = 20
    """Combinations to try. The first are each score alone, its highest and its lowest values."""
    holdout: int = 64
    """Held-out rows of each half, which are never selected."""
    eval: str | os.PathLike[str] | None = None
    """A dataset that the held-out rows are from, as an example of what the trained model is to
    learn; None: the input itself."""
    random: int = 10
    """Random selections to compare with in the second half, each trained with its own seed. The
    more there are, the smaller is the gain that can be told from chance."""
    model: str | os.PathLike[str] | None = None
    """The small model that is trained; None: the model of the selection."""
    preset: str = "laptop"
    """The recipe of `ifdkit train`: an adapter (`laptop`) or all weights (`paper`)."""
    steps: int = 25
    """Optimizer steps of each run."""
    batch_size: int | None = None
    """Examples per step; None: that of the preset."""
    learning_rate: float | None = None
    """None: that of the preset."""

    def __post_init__(self) -> None:
        """Raise UsageError for invalid values."""
        names = self.fields
        for name in names:
            if name not in METRICS:
                raise UsageError(f"--tune: {unknown('metric', name, METRICS)}")
            if names.count(name) > 1:
                raise UsageError(f"--tune: {name} is given twice: give each score once")
        if len(names) < 2:
            raise UsageError(
                f"--tune {','.join(names)}: give at least two scores, such as ifd,coherence"
            )
        if not 2 * len(names) < self.trials <= MAX_TRIALS:
            raise UsageError(
                f"--tune-trials {self.trials}: {2 * len(names) + 1} to {MAX_TRIALS:,}, as the first"
                f" {2 * len(names)} are each score alone, highest and lowest"
            )
        if self.holdout < MIN_PAIRS:
            raise UsageError(f"--tune-holdout {self.holdout}: at least {MIN_PAIRS} rows")
        if not MIN_RANDOM <= self.random <= MAX_RANDOM:
            raise UsageError(f"--tune-random {self.random}: {MIN_RANDOM} to {MAX_RANDOM:,}")
        self._check_recipe()

    def _check_recipe(self) -> None:
        for name in ("steps", "batch_size", "learning_rate"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise UsageError(f"--tune-{name.replace('_', '-')} {value}: must be above 0")
        _ = self.training  # which raises for an unknown preset

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the scores."""
        given = self.scores.split(",") if isinstance(self.scores, str) else self.scores
        return tuple(name.strip() for name in given)

    @property
    def training(self) -> tuple[TrainOptions, dict[str, Any]]:
        """The recipe of each run, and the settings of its preset."""
        names = ("preset", "steps", "batch_size", "learning_rate")
        return train_options({name: getattr(self, name) for name in names})

    def check(self, read_options: ReadOptions) -> None:
        """Raise IfdkitError if a package is missing, or if `eval` cannot be read."""
        from ifdkit.engine.finetuning import check_packages  # which loads torch

        if find_spec("optuna") is None:
            raise UsageError("--tune needs optuna: run `pip install 'ifdkit[tune]'`")
        check_packages()
        if self.eval is not None:
            open_data(self.eval, reading_of_held_out(read_options))

    def search(self, found: TuningInput) -> tuple[TunedWeights, Places]:
        """As :class:`ifdkit.selection.tuned.WeightSearch`."""
        from ifdkit.tuning.run import find_weights

        return find_weights(self, found)


def reading_of_held_out(read_options: ReadOptions) -> ReadOptions:
    """How `eval` is read: as the input, but all of it."""
    return replace(read_options, limit=None, sample=None, where=None)
