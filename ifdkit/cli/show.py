"""`ifdkit show`."""

from __future__ import annotations

from typing import Any

import click

from ifdkit.cli.flags import echo_json, progress_of, read_options_of, settings_of, start
from ifdkit.cli.options import call_option, common_options, metric_options


@click.command("show")
@click.argument("data", nargs=-1, metavar="DATA...")
@click.argument("row", required=False, metavar="ROW")
@call_option(
    "--turn",
    type=int,
    help="Assistant turn of a conversation.  [default: the last]",
)
@metric_options
@common_options
@click.pass_context
def show(
    context: click.Context,
    /,
    data: tuple[str, ...],
    row: str | None,
    turn: int | None,
    **flags: Any,
) -> None:
    """Show one example of DATA: its numbers, and its response tokens coloured by surprise.

    ROW is the id of a row, else its position, counted from 0.

    \b
    Example:
      ifdkit show data.json 12
    """
    from ifdkit.report.terminal.scores import print_inspection
    from ifdkit.scoring.documents import settings_for
    from ifdkit.scoring.inputs import open_data
    from ifdkit.scoring.inspect import find_example, inspect
    from ifdkit.scoring.scorer import Scorer

    if row is None or not data:
        raise click.UsageError("give DATA, then ROW: the id of a row, or its position", context)
    start(context, flags)
    with progress_of(flags) as progress:
        dataset = open_data(data, read_options_of(flags))
        example = find_example(dataset, row, turn)
        if progress and row.isdecimal() and example.row != int(row):
            progress.note(f"id {row} is row {example.row}; row {row} has another id")
        with Scorer(settings_for(dataset, settings_of(flags), progress), progress) as scorer:
            inspection = inspect(example, scorer)
    if flags["as_json"]:
        echo_json(inspection.as_json())
    else:
        print_inspection(inspection)
