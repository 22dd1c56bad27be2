"""`ifdkit predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ifdkit.cli.flags import echo_json, progress_of, read_options_of, settings_given, start
from ifdkit.cli.options import metric_options, model_options, option, output_option, output_options


@click.command("predict")
@click.argument("data", nargs=-1, required=True)
@output_option("Folder of the report, or a single .md file.  [default: reports/DATA-prediction]")
@option("--limit", type=int, metavar="N",
        help="Only the first N pairs, or rows of each dataset.")  # fmt: skip
@option("--sample", type=int, metavar="N", help="Only N random pairs, or rows of each dataset.")
@option("--seed", type=int, default=0,
        help="Seed of samples, folds and permutations.  [default: 0]")  # fmt: skip
@metric_options
@model_options
@output_options
@click.pass_context
def predict(
    context: click.Context, /, data: tuple[str, ...], output: Path | None, **flags: Any
) -> None:
    """Measure which score predicts preferences, or what training does, and whether length does too.

    DATA is a file of annotations in AlpacaEval's format (instruction, output_1, output_2,
    preference) or the output of `ifdkit judge`. Both answers of every pair are scored, and the
    change of each score is related to the preference: on all pairs, on pairs of equal length, and
    with length removed.

    Or DATA is one or more results of `ifdkit train --eval`. Then every dataset that was trained on
    is scored, and its mean scores are related to the change of held-out NLL.

    \b
    Example:
      ifdkit predict annotations.json
      ifdkit predict runs-a runs-b runs-c
    """
    from ifdkit.prediction.from_training import predict_from_training
    from ifdkit.prediction.run import check_folder, default_folder, predict_preferences
    from ifdkit.prediction.training_results import is_training_result
    from ifdkit.report.terminal.prediction import print_prediction
    from ifdkit.report.terminal.training_prediction import print_training_prediction

    start(context, flags)
    n_results = sum(map(is_training_result, data))
    if n_results not in (0, len(data)) or (n_results == 0 and len(data) > 1):
        raise click.UsageError(
            "give one file of annotations, or any number of results of `ifdkit train`", context
        )
    folder = output or default_folder(data[0])
    check_folder(folder)
    settings = settings_given(flags)
    read_options = read_options_of({name: flags[name] for name in ("limit", "sample", "seed")})
    with progress_of(flags) as progress:
        if n_results:
            trained = predict_from_training(data, settings, read_options, progress)
            trained.save(folder)
        else:
            found = predict_preferences(data[0], settings, read_options, progress)
            found.save(folder)
    if flags["as_json"]:
        echo_json(trained.as_json() if n_results else found.as_json())
    elif n_results:
        print_training_prediction(trained, folder)
    else:
        print_prediction(found, folder)
