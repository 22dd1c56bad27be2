"""The options of a training run, and the presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, get_args

from ifdkit.engine.recipe import Recipe
from ifdkit.errors import UsageError, unknown
from ifdkit.scoring.settings import ModelKeywords
from ifdkit.tracking import TrackerName
from ifdkit.training.schedule import Budget

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "laptop": {
        "lora": True,
        "learning_rate": 5e-4,
        "epochs": 1.0,
        "batch_size": 8,
        "max_length": 512,
    },
}
"""Name → what differs from the defaults of Recipe; `max_length` is a field of Settings."""
MAX_SEEDS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """Everything about a training run but the data, the model and the protocol."""

    recipe: Recipe
    seed: int = 0
    """Of the order of the rows and the adapter's first weights."""
    seeds: int = 1
    """Runs, with the seeds `seed`, `seed + 1`, …"""
    budget: Budget = "examples"
    """What is equal on both sides of `--versus`, besides the steps."""
    checkpoint_minutes: float = 5.0
    log: TrackerName | None = None
    """Where the loss of each step goes while it trains."""

    def __post_init__(self) -> None:
        """Raise UsageError for invalid values."""
        if not 1 <= self.seeds <= MAX_SEEDS:
            raise UsageError(f"--seeds {self.seeds}: 1 to {MAX_SEEDS}")
        if self.seed < 0:
            raise UsageError(f"--seed {self.seed}: not negative")
        if self.checkpoint_minutes < 0:
            raise UsageError(f"--checkpoint-minutes {self.checkpoint_minutes}: not negative")
        if self.budget not in get_args(Budget):
            raise UsageError(unknown("budget", self.budget, get_args(Budget)))

    @property
    def all_seeds(self) -> range:
        """The seed of each run."""
        return range(self.seed, self.seed + self.seeds)


def train_options(given: Mapping[str, Any]) -> tuple[TrainOptions, dict[str, Any]]:
    """Options from keywords, over those of the preset; and the settings that the preset has.

    Keywords that are None, or fields of neither class, are ignored.  Raises UsageError.
    """
    known = {name: value for name, value in given.items() if value is not None}
    name = known.get("preset", "paper")
    if name not in PRESETS:
        raise UsageError(unknown("preset", name, PRESETS))
    values = {**PRESETS[name], **known}
    of_recipe, own = ({one.name for one in fields(kind)} for kind in (Recipe, TrainOptions))
    recipe = Recipe(**{k: v for k, v in values.items() if k in of_recipe})
    options = {k: v for k, v in values.items() if k in own - {"recipe"}}
    settings = {k: v for k, v in PRESETS[name].items() if k not in of_recipe | own | known.keys()}
    return TrainOptions(recipe=recipe, **options), settings


class TrainKeywords(ModelKeywords, total=False):
    """Keywords of `ifdkit.train`: fields of :class:`Recipe` and :class:`TrainOptions`, and of the
    model.
    """

    lora: bool
    lora_rank: int
    lora_alpha: int
    learning_rate: float
    epochs: float
    steps: int | None
    batch_size: int
    warmup: float
    weight_decay: float
    micro_batch: int | None
    seed: int
    seeds: int
    budget: Budget
    checkpoint_minutes: float
    log: TrackerName | None
