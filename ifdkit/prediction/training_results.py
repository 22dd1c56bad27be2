"""Training results read back: what was trained on, and what that did to held-out responses.

The input is `training.json`, which `ifdkit train --eval` writes.  A run is one dataset with all
seeds that were trained on it under one recipe; its outcome is the change of the NLL of held-out
responses.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from ifdkit.data.parts import InputRecord
from ifdkit.data.report_folder import read_report
from ifdkit.errors import InputError
from ifdkit.stats.columns import Interval
from ifdkit.visible import one_line

OUTCOME = "nll_response_conditional"
"""The metric of held-out responses whose change is predicted."""
_FILE = "training.json"
_SCHEMA = "ifdkit.training/1"
_READ: Mapping[str, Any] = {
    "input": str,
    "input_sha256": str | None,
    "columns": dict,
    "turns": str,
    "reasoning": str,
    "limit": int | None,
    "sample": int | None,
    "where": str | None,
}
"""How a dataset was read: field of a model → its type."""
_SAME_IN_ALL: Mapping[str, Any] = {
    **dict.fromkeys(("model", "weights_hash", "tokenizer_hash", "protocol"), str),
    **dict.fromkeys(("template", "template_text", "dtype"), str),
    "template_date": str | None,
    "max_length": int,
    "recipe": dict,
}
"""Fields of a trained model that all runs must share, with their types: otherwise more than the
data differs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedOn:
    """A dataset that was trained on, and how it was read: enough to score it."""

    place: str
    """The file of the training results."""
    input: str
    input_sha256: str | None
    inputs: Sequence[InputRecord]
    columns: Mapping[str, str]
    turns: str
    reasoning: str
    lines: bool
    limit: int | None
    sample: int | None
    seed: int | None
    where: str | None
    until: None = None
    """`train` takes all rows or a sample of a given size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRun:
    """One dataset, and what training on it does."""

    data: TrainedOn
    setup: Mapping[str, Any]
    """What all runs must share, under the names of the manifest."""
    held_out: tuple[tuple[str, float, int], ...]
    """File, mean NLL before training and number of rows; the same for all runs."""
    examples: int
    steps: int
    tokens_trained: float
    """Mean over seeds."""
    per_seed: tuple[float, ...]
    """Change of held-out NLL by seed, nats per token; below zero, responses became likelier."""
    ci95: Interval | None
    """Of the mean change; None for several held-out files."""

    @property
    def change(self) -> float:
        """Mean over seeds."""
        return sum(self.per_seed) / len(self.per_seed)


def is_training_result(path: str) -> bool:
    """Whether a path is a `training.json`, or a folder with one."""
    place = Path(path)
    if place.is_dir():
        return (place / _FILE).is_file()
    return place.suffix == ".json" and _opens_object(place) and _schema(place).startswith(_SCHEMA)


def read_training(paths: Sequence[str | PathLike[str]]) -> list[TrainingRun]:
    """All runs of some training results; runs on the same data are one run with more seeds.

    Raises InputError if a file has no held-out results, or if more than the data differs.
    """
    found: dict[Any, TrainingRun] = {}
    for path in paths:
        place = Path(path)
        place = place / _FILE if place.is_dir() else place
        content = read_report(place)
        if not str(content.get("schema")).startswith(_SCHEMA):
            raise InputError(f"{place} is not a {_FILE} of `ifdkit train`")
        try:
            keyed = [(_key(run), run) for run in _runs(fspath(place), content)]
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            problem = one_line(repr(error), 100)
            raise InputError(f"{place} is not a complete {_FILE}: {problem}") from error
        if not keyed:
            raise InputError(f"{place} has no held-out results: train with --eval FILE")
        for key, run in keyed:
            found[key] = _joined(found[key], run) if key in found else run
    runs = list(found.values())
    _check_comparable(runs)
    return runs


def _opens_object(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(64).lstrip().startswith(b"{")
    except OSError:
        return False


def _schema(path: Path) -> str:
    return str(read_report(path).get("schema"))


def _runs(place: str, content: Mapping[str, Any]) -> Iterator[TrainingRun]:
    """One for `data`, one for `versus`: models are listed side by side, seeds within a side."""
    evaluated = [one for one in content["evaluated"] if one["metric"] == OUTCOME]
    sides = list(dict.fromkeys(one["side"] for one in evaluated))
    models = content["models"]
    n_seeds = len(models) // max(1, len(sides))
    for number, side in enumerate(sides):
        own = models[number * n_seeds : (number + 1) * n_seeds]
        files = [one for one in evaluated if one["side"] == side]
        if any(one["change"]["mean"] is None for one in files):
            continue
        changes = [one["change"] for one in files]
        rows = [_of_type(change["n_rows"], int, minimum=1) for change in changes]
        per_seed = tuple(
            sum(
                _number(change["per_seed"][seed]) * n
                for change, n in zip(changes, rows, strict=True)
            )
            / sum(rows)
            for seed in range(n_seeds)
        )
        ends = changes[0]["ci95" if n_seeds > 1 else "ci95_rows"] if len(files) == 1 else None
        first = own[0]
        yield TrainingRun(
            data=_trained_on(place, first),
            setup={name: _of_type(first[name], kind) for name, kind in _SAME_IN_ALL.items()},
            held_out=tuple(
                (_of_type(one["file"], str), _number(one["before"]), n)
                for one, n in zip(files, rows, strict=True)
            ),
            examples=_of_type(first["examples"], int, minimum=1),
            steps=_of_type(first["steps"], int, minimum=1),
            tokens_trained=sum(_number(one["tokens_trained"]) for one in own) / n_seeds,
            per_seed=per_seed,
            ci95=None if ends is None else (_number(ends[0]), _number(ends[1])),
        )


def _trained_on(place: str, model: Mapping[str, Any]) -> TrainedOn:
    """Raises the errors of a field that is missing or of another type."""
    found = {name: _of_type(model[name], kind) for name, kind in _READ.items()}
    for name, value in found["columns"].items():
        _of_type(name, str), _of_type(value, str)
    records = []
    for one in _of_type(model.get("inputs", []), list):
        record = InputRecord(**one)
        _of_type(record.path, str), _of_type(record.source, str)
        records.append(record)
    return TrainedOn(
        place=place,
        seed=None if found["sample"] is None else _of_type(model["seed"], int),
        lines=_of_type(model.get("lines", False), bool),
        inputs=tuple(records),
        **found,
    )


def _of_type(value: Any, kind: Any, *, minimum: int | None = None) -> Any:
    """The value. Raises TypeError for another type, ValueError for a number that is too small."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{str(value)[:40]!r} has the wrong type")
    if minimum is not None and not minimum <= value < 2**53:
        raise ValueError(f"{value} is out of range")
    return value


def _number(value: Any) -> float:
    """A finite number. Raises TypeError or ValueError for anything else."""
    number = float(_of_type(value, int | float))
    if not math.isfinite(number):
        raise ValueError(f"{number} is not finite")
    return number


def _key(run: TrainingRun) -> str:
    """Equal for runs on the same rows for as many steps."""
    one = run.data
    digests = [one.input_sha256 or one.input, *(part.sha256 or part.path for part in one.inputs)]
    chosen = (one.turns, one.reasoning, one.lines, one.limit, one.sample, one.seed, one.where)
    return repr((digests, sorted(one.columns.items()), chosen, run.steps, run.examples))


def _joined(one: TrainingRun, other: TrainingRun) -> TrainingRun:
    n, m = len(one.per_seed), len(other.per_seed)
    tokens = (n * one.tokens_trained + m * other.tokens_trained) / (n + m)
    return TrainingRun(
        data=one.data,
        setup=one.setup,
        held_out=one.held_out,
        examples=one.examples,
        steps=one.steps,
        tokens_trained=tokens,
        per_seed=one.per_seed + other.per_seed,
        ci95=None,
    )


def _check_comparable(runs: Sequence[TrainingRun]) -> None:
    first = runs[0]
    for run in runs[1:]:
        for name in _SAME_IN_ALL:
            a, b = first.setup[name], run.setup[name]
            if a != b and name != "model":
                raise InputError(
                    f"{run.data.place} and {first.data.place} differ in {name.replace('_', ' ')}"
                    f" ({_short(b, a)} and {_short(a, b)}): only the data may differ"
                )
        if [(n, round(x, 4)) for _, x, n in run.held_out] != [
            (n, round(x, 4)) for _, x, n in first.held_out
        ]:
            raise InputError(
                f"{run.data.place} and {first.data.place} have other held-out rows: use one --eval"
                " FILE for all"
            )


def _short(value: Any, other: Any) -> str:
    """The value, or what of a recipe is not the same in the other one."""
    if isinstance(value, Mapping) and isinstance(other, Mapping):
        value = ", ".join(f"{k} {v}" for k, v in value.items() if other.get(k) != v)
    return str(value)[:60]
