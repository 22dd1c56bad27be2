"""A prediction on a terminal: the table, the combination, the verdict."""

from __future__ import annotations

from pathlib import Path

from rich.text import Text

from ifdkit.format import correlation, p_value
from ifdkit.prediction.result import Prediction
from ifdkit.report.prediction.wording import area, basis, combination_sentence, partial, table_rows
from ifdkit.report.terminal.screen import Screen, number_table
from ifdkit.visible import one_line

_WIDE = 110
"""Columns from which there is room for intervals."""


def print_prediction(prediction: Prediction, folder: Path) -> None:
    """Print what `ifdkit predict` ends with; `folder` has the report."""
    console = Screen()
    is_wide = console.width >= _WIDE
    console.print(one_line(basis(prediction), 1000))
    headers = ("", "AUC", "length-matched", "partial", "p, Holm", "matched", "p, Holm")
    rows = []
    for row in table_rows(prediction):
        one = row.predictor
        cells = (
            (area(one.auc, one.ci95), area(one.auc_length_matched, one.ci95_length_matched),
             partial(one))
            if is_wide
            else (area(one.auc), area(one.auc_length_matched), partial(one).split(" ")[0])
        )  # fmt: skip
        matched = correlation(one.partial_length_matched)
        tests = (p_value(one.partial_p_holm), matched, p_value(one.partial_length_matched_p_holm))
        rows.append((row.short, *cells, *tests))
    console.print(number_table(headers, rows, console.width))
    if prediction.combination is not None:
        console.print(combination_sentence(prediction.combination))
        console.print()
    console.print(Text(one_line(prediction.verdict, 1500), "bold"))
    console.print(Text(f"→ {one_line(str(folder), 4096)}"), soft_wrap=True)
