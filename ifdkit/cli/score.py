"""`ifdkit score`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ifdkit.cli.flags import echo_json, progress_of, read_options_of, settings_of, start
from ifdkit.cli.options import common_options, metric_options, option, output_option, rows_options


@click.command("score")
@click.argument("data")
@output_option("Scores file ending in .jsonl, .parquet or .csv.  [default: DATA.scores.jsonl here]")
@rows_options()
@option("--token-nll", is_flag=True, help="Add the NLL of every response token.")
@metric_options
@common_options
@click.pass_context
def score(context: click.Context, /, data: str, output: Path | None, **flags: Any) -> None:
    """Score every example of DATA: one row of numbers per example.

    DATA is a .json, .jsonl, .parquet or .csv file (also .gz, .zst), a folder saved by `datasets`,
    a hub id, or - for standard input.

    \b
    Example:
      ifdkit score data.json -o scores.parquet --model gpt2
    """
    from ifdkit.errors import InputError
    from ifdkit.report.terminal.scores import print_summary
    from ifdkit.scoring.run import score_to_file

    start(context, flags)
    with progress_of(flags) as progress:
        summary = score_to_file(data, output, settings_of(flags), read_options_of(flags), progress)
    if flags["as_json"]:
        echo_json(summary.as_json())
    else:
        print_summary(summary)
    if not summary.has_scores:
        counts = ", ".join(f"{n:,} {status}" for status, n in summary.status_counts.items())
        raise InputError(f"no example of {data} could be scored: {counts or 'no examples'}")
