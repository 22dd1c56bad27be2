"""`ifdkit predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ifdkit.cli.flags import echo_json, progress_of, settings_given, start
from ifdkit.cli.options import metric_options, model_options, option, output_option, output_options


@click.command("predict")
@click.argument("annotations")
@output_option(
    "Folder of the report, or a single .md file.  [default: reports/ANNOTATIONS-prediction]"
)
@option("--seed", type=int, default=0, help="Seed of the folds.  [default: 0]")
@metric_options
@model_options
@output_options
@click.pass_context
def predict(context: click.Context, /, annotations: str, output: Path | None, **flags: Any) -> None:
    """Measure which score predicts the preferences of ANNOTATIONS, and whether length does better.

    ANNOTATIONS is a file in AlpacaEval's format (instruction, output_1, output_2, preference) or
    the output of `ifdkit judge`. Both answers of every pair are scored, with all metrics unless
    --metrics says otherwise, and the change of each score is related to the preference: on all
    pairs, on pairs of equal length, and with length removed.

    \b
    Example:
      ifdkit predict annotations.json
    """
    from ifdkit.prediction.run import check_folder, default_folder, predict_preferences
    from ifdkit.report.terminal.prediction import print_prediction

    start(context, flags)
    folder = output or default_folder(annotations)
    check_folder(folder)
    with progress_of(flags) as progress:
        found = predict_preferences(
            annotations, settings_given(flags), seed=flags["seed"], progress=progress
        )
    found.save(folder)
    if flags["as_json"]:
        echo_json(found.as_json())
    else:
        print_prediction(found, folder)
