"""Results in a notebook: figures with matplotlib, and tables in HTML.

A table is what the terminal shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ifdkit.format import fixed, interval, number, percent, plural, sentences, signed
from ifdkit.generation.result import Generated
from ifdkit.judging.result import Judgement
from ifdkit.prediction.result import Prediction
from ifdkit.prediction.training_prediction import TrainingPrediction
from ifdkit.reflection.result import Recycled
from ifdkit.report.comparison.wording import metric_of
from ifdkit.report.notebook_html import paragraph, table, view
from ifdkit.report.plotting import new_panels
from ifdkit.report.prediction.training import (
    RUN_HEADERS,
    SCORE_HEADERS,
    run_cells,
    run_names,
    score_cells,
    score_rows,
    training_basis,
)
from ifdkit.report.prediction.wording import area, basis, partial, table_rows
from ifdkit.report.terminal.generation import headline
from ifdkit.report.terminal.reflection import outcome_table
from ifdkit.stats.columns import Interval
from ifdkit.stats.win_rates import Rate
from ifdkit.training.evaluation import Evaluated
from ifdkit.training.result import Trained
from ifdkit.visible import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NLL = "nll_response_conditional"


def training_figure(done: Trained) -> Figure:
    """The loss of each model, and what training did to held-out NLL."""
    evaluated = [one for one in done.evaluated if one.metric == _NLL]
    figure, panels = new_panels(2 if evaluated else 1)
    for model in done.models:
        steps, losses = [p.step for p in model.losses], [p.loss for p in model.losses]
        panels[0].plot(
            steps, losses, marker="." if len(steps) < 20 else "", label=_name(model.name)
        )
    panels[0].set_xlabel("step")
    panels[0].locator_params("x", integer=True)
    panels[0].set_ylabel("loss, nats per trained token")
    if len(done.models) > 1:
        panels[0].legend(frameon=False, fontsize=8)
    if evaluated:
        rows = [
            (f"{one.side}: {_name(one.file)}", one.change.mean, _ends(one)) for one in evaluated
        ]
        draw_whiskers(panels[1], rows, "change of held-out NLL, nats per token", null=0.0)
    return figure


def judgement_figure(result: Judgement) -> Figure:
    """The win rates with their intervals."""
    figure, (axes,) = new_panels(1)
    rows = [(name, one.value, one.ci95) for name, one in _rates(result)]
    draw_whiskers(axes, rows, f"win rate of {_name(result.second)}", null=0.5)
    axes.set_xlim(0, 1)
    return figure


def prediction_figure(prediction: Prediction) -> Figure:
    """The AUC of every score with its interval; dashed: that of length."""
    figure, (axes,) = new_panels(1, height=1.2 + 0.3 * len(table_rows(prediction)))
    rows = [(row.short, row.predictor.auc, row.predictor.ci95) for row in table_rows(prediction)]
    draw_whiskers(axes, rows, "AUC on all pairs", null=0.5)
    if prediction.baseline.auc is not None:
        axes.axvline(prediction.baseline.auc, color="0.4", linewidth=1, linestyle="--")
    return figure


def training_prediction_figure(prediction: TrainingPrediction) -> Figure:
    """The held-out change of each dataset against the strongest score."""
    figure, (axes,) = new_panels(1)
    name = next(iter(prediction.scores), None)
    for place, (run, label) in enumerate(
        zip(prediction.runs, run_names(prediction.runs), strict=True)
    ):
        x = run.scores.get(name) if name else place
        if x is not None:
            axes.plot(x, run.change, "o", color="C0")
            axes.annotate(label, (x, run.change), (0, 6), textcoords="offset points", ha="center",
                          fontsize=8, parse_math=False)  # fmt: skip
    axes.margins(0.25)
    axes.axhline(0, color="0.7", linewidth=1)
    axes.set_xlabel(f"{metric_of(name).label}, mean of the dataset" if name else "dataset")
    axes.set_ylabel("change of held-out NLL")
    return figure


def training_html(done: Trained) -> str:
    """The models, and held-out metrics before and after."""
    models = [
        (
            _name(one.output), f"{one.examples:,}", f"{one.steps:,}", f"{one.tokens_trained:,}",
            fixed(one.loss_first, 3), fixed(one.loss_last, 3),
        )
        for one in done.models
    ]  # fmt: skip
    held_out = [
        (
            f"{_name(one.file)}, {one.side}: {metric_of(one.metric).short}", number(one.before, 4),
            number(one.after, 4), signed(one.change.mean, 4), interval(_ends(one)),
        )
        for one in done.evaluated
    ]  # fmt: skip
    parts = [table(("model", "examples", "steps", "tokens", "loss, first", "last"), models)]
    if held_out:
        parts.append(table(("held out", "before", "after", "change", "95 % CI"), held_out))
    return view("", parts)


def reflection_figure(result: Recycled) -> Figure:
    """The calls of each stage by their outcome."""
    counts = {
        f"{stage}: {outcome}": n
        for stage, outcomes in result.outcomes.items()
        for outcome, n in outcomes.items()
    }
    return _bars(counts, "calls")


def generation_figure(done: Generated) -> Figure:
    """The rows with an answer, and those without by reason."""
    return _bars({"answered": done.answered, **done.left_out}, "rows")


def _bars(counts: Mapping[str, int], label: str) -> Figure:
    figure, (axes,) = new_panels(1, height=1.2 + 0.3 * len(counts))
    upwards = list(counts.items())[::-1]
    bars = axes.barh([one_line(name, 40) for name, _ in upwards], [n for _, n in upwards])
    axes.bar_label(bars, labels=[f"{n:,}" for _, n in upwards], padding=3)
    axes.margins(x=0.15)
    axes.set_xlabel(label)
    return figure


def reflection_html(result: Recycled) -> str:
    """How many rows were changed, and the outcome of every call."""
    lead = f"{result.rows_changed:,} of {plural(result.rows, 'row')} changed"
    return view(lead, [table(*outcome_table(result))])


def generation_html(done: Generated) -> str:
    """How many rows were answered, and why others were not."""
    rows = [(name, f"{n:,}") for name, n in {"answered": done.answered, **done.left_out}.items()]
    return view(headline(done), [table(("", "rows"), rows)])


def judgement_html(result: Judgement) -> str:
    """The win rates and the conclusion."""
    rows = [
        (name, percent(one.value, 3), interval(one.ci95, percent), f"{one.n:,}")
        for name, one in _rates(result)
    ]
    about = [paragraph(sentences(result.warnings))] if result.warnings else []
    return view(result.verdict, [*about, table(("win rate", "", "95 % CI", "pairs"), rows)])


def prediction_html(prediction: Prediction) -> str:
    """The table of scores and the conclusion."""
    rows = [
        (row.label, area(one.auc, one.ci95), area(one.auc_length_matched), partial(one))
        for row in table_rows(prediction)
        for one in (row.predictor,)
    ]
    headers = ("score", "AUC", "length-matched", "partial, length removed")
    return view(prediction.verdict, [paragraph(basis(prediction)), table(headers, rows)])


def training_prediction_html(prediction: TrainingPrediction) -> str:
    """The datasets, the scores and the conclusion."""
    runs = [
        (name, *run_cells(run))
        for name, run in zip(run_names(prediction.runs), prediction.runs, strict=True)
    ]
    scores = [(label, *score_cells(one)) for label, one in score_rows(prediction, short=False)]
    tables = [table(RUN_HEADERS, runs), table(SCORE_HEADERS, scores)]
    return view(prediction.verdict, [paragraph(training_basis(prediction)), *tables])


def _rates(result: Judgement) -> tuple[tuple[str, Rate], ...]:
    rates = result.win_rates
    return (
        ("all pairs", rates.raw),
        ("decided pairs", rates.decided),
        ("at equal length, characters", rates.length_controlled_characters),
        ("at equal length, tokens", rates.length_controlled_tokens),
    )


def _ends(one: Evaluated) -> Interval | None:
    return one.change.ci95 if one.change.n_seeds > 1 else one.change.ci95_rows


def _name(path: str) -> str:
    return one_line(Path(path).name or path, 60)


def draw_whiskers(
    axes: Axes,
    rows: Sequence[tuple[str, float | None, Interval | None]],
    label: str,
    *,
    null: float,
) -> None:
    """Values from top to bottom, with intervals, and a line at the null hypothesis."""
    axes.axvline(null, color="0.7", linewidth=1)
    for place, (_, value, ends) in enumerate(rows):
        if value is not None:
            axes.plot(value, place, "o", color="C0")
            axes.plot(ends or (value, value), (place, place), color="C0", linewidth=2)
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows], parse_math=False)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(label, parse_math=False)
