"""A prediction from training results on a terminal: the datasets, the scores, the verdict."""

from __future__ import annotations

from pathlib import Path

from rich.text import Text

from ifdkit.prediction.training_prediction import TrainingPrediction
from ifdkit.report.prediction.training import (
    RUN_HEADERS,
    SCORE_HEADERS,
    run_cells,
    run_names,
    score_cells,
    score_matrix,
    score_rows,
    training_basis,
)
from ifdkit.report.terminal.screen import Screen, number_table
from ifdkit.visible import one_line


def print_training_prediction(prediction: TrainingPrediction, folder: Path) -> None:
    """Print what `ifdkit predict` ends with for training results."""
    console = Screen()
    console.print(one_line(training_basis(prediction), 1000))
    runs = [
        (name, *run_cells(run))
        for name, run in zip(run_names(prediction.runs), prediction.runs, strict=True)
    ]
    console.print(number_table(RUN_HEADERS, runs, console.width))
    if any(one.correlation is not None for one in prediction.scores.values()):
        scores = [(label, *score_cells(one)) for label, one in score_rows(prediction, short=True)]
        console.print(number_table(SCORE_HEADERS, scores, console.width))
    else:  # too few datasets for correlations: their mean scores are all there is
        console.print(number_table(*score_matrix(prediction), console.width))
    console.print(Text(one_line(prediction.verdict, 1500), "bold"))
    console.print(Text(f"→ {one_line(str(folder), 4096)}"), soft_wrap=True)
