"""`ifdkit score`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from ifdkit.cli.flags import echo_json, progress_of, read_options_of, settings_of, start
from ifdkit.cli.options import (
    call_option,
    common_options,
    log_option,
    metric_options,
    option,
    output_option,
    rows_options,
    worker_options,
)


@click.command("score")
@click.argument("data", nargs=-1, required=True)
@output_option(
    "Scores file ending in .jsonl, .parquet or .csv, or the joined file."
    "  [default: DATA.scores.jsonl here, or DATA.scored with its own ending]"
)
@option(
    "--join",
    is_flag=True,
    help="Write the rows of DATA, in its format, with their scores as"
    " more columns; of a conversation the last turn's, or lists with --turns all.",
)
@call_option(
    "--shard",
    metavar="I/N",
    help="Only part I of N, by text length; `ifdkit merge` puts the parts together.",
)
@call_option("--plan", is_flag=True, help="Only say what it would cost: tokens, store, time.")
@rows_options()
@call_option(
    "--until",
    metavar="RULE",
    help="Random rows until the mean of a metric is known that well, as in 'ifd ± 0.005'.",
)
@option("--token-nll", is_flag=True, help="Add the NLL of every response token.")
@metric_options
@worker_options
@log_option
@common_options
@click.pass_context
def score(
    context: click.Context, /, data: tuple[str, ...], output: Path | None, **flags: Any
) -> None:
    """Score every example of DATA: one row of numbers per example.

    DATA is a .json, .jsonl, .parquet or .csv file (also .gz, .zst), a folder saved by `datasets`,
    a hub id, or - for standard input. Several of these, a quoted glob or a folder of shards are one
    dataset, whose rows have a source.

    \b
    Example:
      ifdkit score data.json -o scores.parquet --model gpt2
      ifdkit score data.json --plan
      ifdkit score "shards/*.jsonl.gz" more.parquet -o scores.parquet
    """
    from ifdkit.errors import InputError, UsageError
    from ifdkit.report.terminal.scores import print_summary
    from ifdkit.scoring.joining import score_into_rows
    from ifdkit.scoring.run import score_to_file
    from ifdkit.scoring.shards import parse_shard
    from ifdkit.scoring.summary import ScoreSummary
    from ifdkit.scoring.until import parse_until, score_until
    from ifdkit.tracking import check_tracker, track

    start(context, flags)
    if flags["plan"]:
        _plan(data, flags)
        return
    if flags["log"] is not None:
        check_tracker(flags["log"])
    shard = parse_shard(flags["shard"], join=flags["join"])
    write: Callable[..., ScoreSummary] = partial(score_to_file, shard=shard)
    if flags["join"]:
        write = score_into_rows
        flags["turns"] = flags["turns"] or "last"
    rule = flags.pop("until")  # a field of ReadOptions has the same name
    if rule is not None:
        if shard or flags["join"]:
            raise UsageError("--until chooses the rows: leave out --shard and --join")
        write = partial(score_until, until=parse_until(rule))
    with progress_of(flags) as progress:
        summary = write(data, output, settings_of(flags), read_options_of(flags), progress)
    if flags["as_json"]:
        echo_json(summary.as_json())
    else:
        print_summary(summary)
    if flags["log"] is not None:
        track(flags["log"], summary.tracked())
    if not summary.has_scores and shard is None:
        counts = ", ".join(f"{n:,} {status}" for status, n in summary.status_counts.items())
        name = summary.manifest.input
        raise InputError(f"no example of {name} could be scored: {counts or 'no examples'}")


def _plan(data: tuple[str, ...], flags: dict[str, Any]) -> None:
    """Print what a run would cost."""
    from ifdkit.report.terminal.cost import print_cost
    from ifdkit.scoring.cost import cost_plan

    with progress_of(flags) as progress:
        found = cost_plan(data, settings_of(flags), read_options_of(flags), progress)
    if flags["as_json"]:
        echo_json(found.as_json())
    else:
        print_cost(found)
