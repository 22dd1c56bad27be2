"""A training run on a terminal: the loss of each model, and held-out metrics before and after."""

from __future__ import annotations

from collections.abc import Iterator

from ifdkit.format import duration, fixed, interval, number, plural, signed
from ifdkit.report.terminal.screen import Screen, number_table
from ifdkit.stats.crossed import CrossedMean
from ifdkit.training.result import Trained

_LABELS = {
    "nll_response_conditional": "NLL given the instruction",
    "bits_per_byte_conditional": "bits per byte",
    "ifd": "IFD",
}


def print_training(done: Trained) -> None:
    """Print what `ifdkit train` ends with."""
    console = Screen()
    rows = [
        (
            model.output,
            f"{model.examples:,}",
            f"{model.steps:,} × {model.batch_size:,}",
            f"{model.tokens_trained:,}",
            fixed(model.loss_first, 3),
            fixed(model.loss_last, 3),
        )
        for model in done.models
    ]
    headers = ("model", "examples", "steps × batch", "tokens trained", "loss, first", "last tenth")
    console.print(number_table(headers, rows, console.width))
    if done.evaluated:
        held = [
            (
                one.file,
                one.side,
                _LABELS[one.metric],
                number(one.before, 4),
                number(one.after, 4),
                signed(one.change.mean, 4),
                interval(_interval(one.change)),
            )
            for one in done.evaluated
        ]
        headers = ("held out", "trained on", "metric", "before", "after", "change", "95 % CI")
        console.print(number_table(headers, held, console.width, n_labels=3))
    if done.contrasts:
        versus = [
            (
                one.file,
                _LABELS[one.metric],
                signed(one.difference.mean, 4),
                interval(one.difference.ci95),
                interval(one.difference.ci95_rows),
                interval(one.difference.ci95_seeds),
            )
            for one in done.contrasts
        ]
        headers = ("versus − data", "metric", "difference", "seeds and rows", "rows", "seeds")
        console.print(number_table(headers, versus, console.width, n_labels=2))
    for line in _lines(done):
        console.print(line, soft_wrap=True)


def _interval(change: CrossedMean) -> tuple[float, float] | None:
    return change.ci95 if change.n_seeds > 1 else change.ci95_rows


def _lines(done: Trained) -> Iterator[str]:
    for model in done.models[:1]:
        dropped = sum(model.dropped.values())
        if dropped:
            why = ", ".join(f"{n:,} {reason}" for reason, n in model.dropped.items())
            yield f"{plural(dropped, 'example')} not trained on: {why}"
    if done.budget is not None:
        yield f"both sides: the same number of steps and of {done.budget}"
    for file, n in done.also_trained.items():
        yield f"! {plural(n, 'example')} of {file} in the training data"
    yield f"→ {done.output}  (training.json) · {duration(done.elapsed_s)}"
