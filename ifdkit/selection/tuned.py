"""What `select --tune` asks for and gets: weights of scores, and how they were found.

The search itself trains models, which is not for this package: a :class:`WeightSearch` is handed
in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from ifdkit.data.options import ReadOptions
from ifdkit.errors import UsageError
from ifdkit.scoring.dataset import ScoredDataset
from ifdkit.scoring.progress import Progress
from ifdkit.selection.groups import CLUSTER
from ifdkit.selection.methods import Task
from ifdkit.selection.options import SelectOptions
from ifdkit.selection.ranking import Places
from ifdkit.stats.columns import Interval

Distinguished = Literal["better", "worse", "not distinguishable"]
"""Of a way to select, against random selections."""
HELD_OUT = "held_out"
"""Why a row is dropped on which selections were measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightTrial:
    """One combination that was tried in the first half."""

    number: int
    """1-based."""
    weights: dict[str, float]
    """Field → weight, without those of 0."""
    nll: float
    """Mean over the held-out rows of the first half, nats per response token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One way to select, measured in the second half, which no trial saw."""

    name: str
    """`tuned`, `random`, or the field that it ranks by alone."""
    weights: dict[str, float]
    """Empty for `random`."""
    nlls: tuple[float, ...]
    """Mean over the held-out rows by seed, nats per response token."""
    nll: float
    """Mean over seeds."""
    versus_random: float | None = None
    """Its mean minus that of random selections; None for `random`."""
    margin: float | None = None
    """A random selection differs from the mean of the others by more in 5 % of cases only
    (Student's t, over seeds)."""
    ci95_rows: Interval | None = None
    """Of `versus_random`, over the held-out rows."""
    verdict: Distinguished | None = None
    """`better` if it is below random by more than the margin, and the interval leaves out 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TunedWeights:
    """The weights that trials found, and what they are worth. In the manifest of a selection."""

    fields: tuple[str, ...]
    weights: dict[str, float]
    """Those of the best trial, without those of 0."""
    best_trial: int
    verdict: Distinguished
    """The tuned weights against random selections, in the second half."""
    remarks: tuple[str, ...]
    """Sentences for the user; the first is the verdict."""
    trials: tuple[WeightTrial, ...]
    contenders: tuple[Contender, ...]
    """The tuned weights, each field alone, and random selections."""
    seeds: tuple[int, ...]
    """Of the random selections: of their rows, of the order in training, and of an adapter's first
    weights. Weights are trained with the first few of them, in the trials with the first."""
    held_out_from: str
    """The dataset that the held-out rows are from."""
    held_out_trials: tuple[int, ...]
    """Positions in it of the held-out rows of the first half, ascending."""
    held_out_verdict: tuple[int, ...]
    """Those of the second half."""
    candidates: tuple[int, int]
    """Rows to select from in each half."""
    selected: int
    """Rows that each run selects from them."""
    sampler: str
    """What drew the weights."""
    model: str
    """What each run trains."""
    weights_hash: str
    protocol: str
    template: str
    max_length: int
    dtype: str
    device: str
    recipe: dict[str, Any]
    steps: int
    batch_size: int
    """Examples per step."""
    runs: str
    """The file with the held-out NLLs of every run, from which a repetition resumes."""

    @property
    def text(self) -> str:
        """What to give as `--weights`."""
        return weights_text(self.weights)


@dataclass(frozen=True, eq=False, kw_only=True)
class TuningInput:
    """What a search works on."""

    scored: ScoredDataset
    """The rows that may be selected."""
    task: Task
    """The same as one entry per row; its options rank by equal weights of all fields."""
    read_options: ReadOptions
    given: Mapping[str, Any]
    """The fields of `Settings` that the caller has set."""
    output: Path
    progress: Progress


class WeightSearch(Protocol):
    """Finds the weights of a selection. :class:`ifdkit.Tuning` is one."""

    @property
    def fields(self) -> tuple[str, ...]:
        """The scores to combine."""
        ...

    def check(self, read_options: ReadOptions) -> None:
        """Raise IfdkitError, before anything is scored, for what would fail afterwards."""
        ...

    def search(self, found: TuningInput) -> tuple[TunedWeights, Places]:
        """The weights, and the positions of the rows that may not be kept, ascending.

        Raises IfdkitError, and KeyboardInterrupt, after which the same call resumes.
        """
        ...


def weights_text(weights: Mapping[str, float]) -> str:
    """`ifd=1,coherence=-0.5`."""
    return ",".join(f"{name}={weight:g}" for name, weight in weights.items())


_CONFLICTS = ("by", "weights", "method", "min", "max", "lowest")


def options_with(own: Mapping[str, Any], tune: WeightSearch | None) -> SelectOptions:
    """The options of a selection; with `tune` they rank by equal weights until it has found some.

    Raises UsageError.
    """
    if tune is None:
        return SelectOptions(**own)
    if not hasattr(tune, "search"):
        raise UsageError(
            f"select(): tune={tune!r} must be an ifdkit.Tuning, such as"
            " ifdkit.Tuning('ifd,coherence')"
        )
    for name in _CONFLICTS:
        if own.get(name) not in (None, False):
            raise UsageError(f"--tune finds what to rank by: leave --{name} out")
    if own.get("per") == CLUSTER:
        raise UsageError("--tune selects many times, and --per cluster embeds: name a column")
    return SelectOptions(**{**own, "weights": weights_text(dict.fromkeys(tune.fields, 1.0))})
