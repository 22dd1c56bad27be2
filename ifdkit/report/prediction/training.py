"""The report of a prediction from training results, as Markdown, as a page and as a figure."""

from __future__ import annotations

from collections.abc import Sequence

from ifdkit.format import (
    correlation,
    fixed,
    interval,
    number,
    p_value,
    plural,
    sentences,
    signed,
)
from ifdkit.prediction.training_prediction import RunPredictor, RunScores, TrainingPrediction
from ifdkit.report.comparison.figures import empty_panel
from ifdkit.report.comparison.markdown import bound, code, prose
from ifdkit.report.comparison.svg import FONT_SIZE, Ink, inline_svg
from ifdkit.report.comparison.wording import metric_of
from ifdkit.report.page import manifest_value, render_page, safe
from ifdkit.visible import one_line

TRAINING_METHOD = (
    "A dataset is one observation: its mean scores (geometric means of perplexities and of IFD),"
    " and the change of the NLL of held-out responses after training on it, averaged over seeds."
    " The correlation is Spearman's: below zero, a higher score goes with a larger fall. p-values"
    " are by permutation of datasets, corrected over the scores by Holm's method. For partial"
    " correlations, mean response length and the number of trained tokens are removed."
)
RUN_HEADERS = ("trained on", "change of NLL", "95 % CI", "seeds", "steps", "tokens trained")
SCORE_HEADERS = ("score", "correlation", "p", "p, Holm", "partial", "p, Holm")


def training_basis(prediction: TrainingPrediction) -> str:
    """How many datasets, and what they were tested on."""
    files = ", ".join(
        f"{one_line(name, 80)} ({plural(n, 'example')}, NLL {fixed(nll, 3)} before training)"
        for name, nll, n in prediction.held_out
    )
    whole = f"{plural(prediction.n, 'dataset')} trained on; held out: {files}."
    return f"{sentences(prediction.warnings)} {whole}".lstrip()


def run_names(runs: Sequence[RunScores]) -> list[str]:
    """What to call each run: its input, with a number if several have one name."""
    names = [_shortened(one_line(run.input, 4096)) for run in runs]
    return [
        f"{name} ({names[: place + 1].count(name)})" if names.count(name) > 1 else name
        for place, name in enumerate(names)
    ]


def _shortened(path: str) -> str:
    """At most 60 characters, with the name of the file, which comes last."""
    return path if len(path) <= 60 else f"…{path[-59:]}"


def run_cells(run: RunScores) -> tuple[str, ...]:
    """The numbers of one run, as under RUN_HEADERS."""
    return (
        signed(run.change, 4),
        interval(run.ci95),
        f"{len(run.per_seed):,}",
        f"{run.steps:,}",
        f"{run.tokens_trained:,.0f}",
    )


def score_rows(prediction: TrainingPrediction, *, short: bool) -> list[tuple[str, RunPredictor]]:
    """The baselines, then the scores."""
    return [
        ("length, tokens" if short else "Length in tokens", prediction.baseline),
        ("trained tokens" if short else "Trained tokens", prediction.baseline_tokens),
        *(
            (metric_of(name).short if short else metric_of(name).label, one)
            for name, one in prediction.scores.items()
        ),
    ]


def score_cells(one: RunPredictor) -> tuple[str, ...]:
    """The numbers of one score, as under SCORE_HEADERS."""
    return (
        correlation(one.correlation),
        p_value(one.p),
        p_value(one.p_holm),
        correlation(one.partial),
        p_value(one.partial_p_holm),
    )


def render_training_markdown(prediction: TrainingPrediction) -> str:
    """The report, ending in a line feed."""
    runs = [
        (name, *run_cells(run))
        for name, run in zip(run_names(prediction.runs), prediction.runs, strict=True)
    ]
    scores = [
        (label, *map(bound, score_cells(one))) for label, one in score_rows(prediction, short=False)
    ]
    setup = prediction.manifest
    parts = (
        "# Which score predicts what training does?",
        f"**{prose(prediction.verdict, 1500)}**",
        prose(training_basis(prediction), 2000),
        _markdown_table(RUN_HEADERS, runs),
        "## Each score",
        _markdown_table(SCORE_HEADERS, scores),
        TRAINING_METHOD,
        "## Mean scores of each dataset",
        _markdown_table(*score_matrix(prediction)),
        f"Scores: model {code(setup.model, 80)}, protocol {code(setup.protocol, 40)}, template"
        f" {code(setup.template, 40)}, maximum length {setup.max_length:,}. Seed"
        f" {prediction.seed}. Made by ifdkit {prose(prediction.version, 40)}:"
        f" {code(prediction.command, 300)}",
    )
    return "\n\n".join(parts) + "\n"


def score_matrix(
    prediction: TrainingPrediction,
) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Datasets as columns, scores as rows."""
    names = list(dict.fromkeys(name for run in prediction.runs for name in run.scores))
    rows = [
        (metric_of(name).label, *(number(run.scores.get(name)) for run in prediction.runs))
        for name in names
    ]
    return ("score", *run_names(prediction.runs)), rows


def _markdown_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    titles = [prose(header, 60) for header in headers]
    lines = [f"| {' | '.join(titles)} |", "|:--|" + "--:|" * (len(headers) - 1)]
    for label, *cells in rows:
        lines.append(f"| {' | '.join([prose(label, 60), *cells])} |")
    return "\n".join(lines)


def render_training_html(prediction: TrainingPrediction) -> str:
    """The whole page."""
    names = run_names(prediction.runs)
    matrix_headers, matrix = score_matrix(prediction)
    return render_page(
        "prediction_training.html",
        ("theme.js",),
        p=prediction,
        version=prediction.version,
        basis=training_basis(prediction),
        method=TRAINING_METHOD,
        figure=safe(changes_figure(prediction)),
        run_headers=RUN_HEADERS,
        runs=[(name, run_cells(run)) for name, run in zip(names, prediction.runs, strict=True)],
        score_headers=SCORE_HEADERS,
        scores=[(label, score_cells(one)) for label, one in score_rows(prediction, short=False)],
        matrix_headers=matrix_headers,
        matrix=matrix,
        setup=[
            (one_line(name, 60), manifest_value(value))
            for name, value in prediction.manifest.as_json().items()
        ],
    )


def changes_figure(prediction: TrainingPrediction) -> str:
    """The change after training on each dataset, against the strongest score."""
    name = next(iter(prediction.scores), None)
    points = [
        (run.scores.get(name) if name else place, run.change, label)
        for place, (run, label) in enumerate(
            zip(prediction.runs, run_names(prediction.runs), strict=True)
        )
    ]
    known = [(x, y, label) for x, y, label in points if x is not None]
    label = metric_of(name).label if name else "dataset"
    figure, axes = empty_panel(3.4, left_in=0.62)
    axes.axhline(0, color=Ink.MUTED, linewidth=1, linestyle=(0, (4, 3)))
    for x, y, text in known:
        axes.plot(x, y, "o", color=Ink.AFTER, markersize=6)
        axes.annotate(
            text, (x, y), (0, 7), textcoords="offset points", ha="center", color=Ink.TEXT,
            fontsize=FONT_SIZE, parse_math=False,
        )  # fmt: skip
    axes.margins(0.25)
    axes.set_xlabel(f"{label}, mean of the dataset")
    axes.text(0, 1.025, "change of held-out NLL", transform=axes.transAxes, color=Ink.TEXT,
              fontsize=FONT_SIZE)  # fmt: skip
    texts = "; ".join(f"{text}: {number(x)}, {signed(y, 3)}" for x, y, text in known)
    return inline_svg(
        figure,
        key="changes",
        title=f"Change of held-out NLL against {label}",
        description=f"One point per dataset. {texts}.",
    )
