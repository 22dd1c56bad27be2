"""A training run on a terminal: the loss of each model, and held-out metrics before and after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from ifdkit.format import duration, fixed, interval, number, plural, signed
from ifdkit.report.terminal.screen import Screen, number_table
from ifdkit.stats.crossed import CrossedMean
from ifdkit.training.evaluation import Contrast, Evaluated
from ifdkit.training.result import Trained
from ifdkit.visible import one_line

_LABELS = {
    "nll_response_conditional": "NLL",
    "bits_per_byte_conditional": "bits/byte",
    "ifd": "IFD",
}
"""NLL and bits per byte are those of the response given the instruction."""


def print_training(done: Trained, *, console: Console | None = None) -> None:
    """Print what `ifdkit train` ends with."""
    console = console or Screen()
    is_single = len(done.models) == 1
    rows = [
        (
            "model" if is_single else Path(model.output).name,
            f"{model.examples:,}",
            f"{model.steps:,}",
            f"{model.batch_size:,}",
            f"{model.tokens_trained:,}",
            fixed(model.loss_first, 3),
            fixed(model.loss_last, 3),
        )
        for model in done.models
    ]
    headers = ("", "examples", "steps", "batch", "tokens", "loss, first", "last tenth")
    console.print(number_table(headers, rows, console.width))
    for file in dict.fromkeys(one.file for one in done.evaluated):
        evaluated = [one for one in done.evaluated if one.file == file]
        console.print(_heading(file, evaluated[0].change.n_rows), soft_wrap=True)
        _print_evaluated(console, evaluated)
        _print_contrasts(console, [one for one in done.contrasts if one.file == file])
    for line in _lines(done):
        console.print(line, soft_wrap=True)


def _heading(file: str, n_rows: int) -> Text:
    return Text(f"held out: {one_line(file, 200)}, {plural(n_rows, 'example')}", "bold")


def _print_evaluated(console: Console, evaluated: Sequence[Evaluated]) -> None:
    sides = {one.side for one in evaluated}
    rows = [
        (
            _LABELS[one.metric] if len(sides) == 1 else f"{one.side} {_LABELS[one.metric]}",
            number(one.before, 4),
            number(one.after, 4),
            signed(one.change.mean, 4),
            interval(_interval(one.change)),
        )
        for one in evaluated
    ]
    over = "rows" if evaluated[0].change.n_seeds == 1 else "seeds and rows"
    headers = ("", "before", "after", "change", f"95 % CI, {over}")
    console.print(number_table(headers, rows, console.width))


def _print_contrasts(console: Console, contrasts: Sequence[Contrast]) -> None:
    if not contrasts:
        return
    rows = [
        (
            _LABELS[one.metric],
            signed(one.difference.mean, 4),
            interval(one.difference.ci95),
            interval(one.difference.ci95_rows),
            interval(one.difference.ci95_seeds),
        )
        for one in contrasts
    ]
    headers = ("versus − data", "difference", "95 % CI, both", "rows", "seeds")
    console.print(number_table(headers, rows, console.width))


def _interval(change: CrossedMean) -> tuple[float, float] | None:
    return change.ci95 if change.n_seeds > 1 else change.ci95_rows


def _lines(done: Trained) -> Iterator[str]:
    for side in dict.fromkeys(model.input for model in done.models):
        model = next(one for one in done.models if one.input == side)
        if dropped := sum(model.dropped.values()):
            why = ", ".join(f"{n:,} {reason}" for reason, n in model.dropped.items())
            yield f"{one_line(side, 200)}: {plural(dropped, 'example')} not trained on: {why}"
    if done.budget is not None:
        yield f"budget: the same number of steps and of {done.budget} on both sides"
    for file, n in done.also_trained.items():
        yield f"! {plural(n, 'example')} of {one_line(file, 200)} in the training data too"
    yield f"→ {done.output}  · {duration(done.elapsed_s)}"
