"""`ifdkit compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ifdkit.cli.flags import (
    EXIT_DONE,
    EXIT_GATE,
    echo_json,
    progress_of,
    read_options_of,
    settings_given,
    start,
)
from ifdkit.cli.options import common_options, metric_options, option, output_option


@click.command("compare")
@click.argument("before")
@click.argument("after")
@output_option("Folder of the report.  [default: reports/BEFORE-vs-AFTER]")
@option("--pair-by", type=click.Choice(["id", "row", "instruction"]),
        help="How rows are paired.  [default: the best key available]")  # fmt: skip
@option("--force", is_flag=True, help="Compare even if the sides were scored differently.")
@option("--no-text", is_flag=True, help="Omit dataset text from the report.")
@click.option("--fail-if", "fail_if", multiple=True, metavar="CONDITION",
              help="Exit with 1 if it is true, as in 'ifd.median_change < 0'; may be repeated.",
              )  # fmt: skip
@option("--sample", type=int, metavar="N",
        help="Only N random rows, the same ones of both sides.")  # fmt: skip
@option("--seed", type=int, default=0, help="Seed of sample and bootstrap.  [default: 0]")
@option("--min-tokens", type=int, metavar="N",
        help="Shortest response used for length control.  [default: 8]")  # fmt: skip
@metric_options
@common_options
@click.pass_context
def compare(
    context: click.Context, /, before: str, after: str, output: Path | None, **flags: Any
) -> int:
    """Compare two datasets: what changed, whether it is real, and whether it is more than length.

    BEFORE and AFTER are datasets (a quoted glob or a folder of shards is one, too), which are
    scored first (all metrics unless --metrics says otherwise), or scores files, which are used as
    they are.

    \b
    Example:
      ifdkit compare before.json after.json --fail-if 'ifd.median_change < 0'
    """
    from ifdkit.comparison.gate import parse_condition
    from ifdkit.comparison.options import CompareOptions
    from ifdkit.comparison.run import (
        check_default_folder,
        check_folder,
        compare_sides,
        default_folder,
    )
    from ifdkit.report.terminal.comparison import print_comparison

    start(context, flags)
    conditions = [parse_condition(text) for text in flags["fail_if"]]
    folder = output or default_folder(before, after)
    check_folder(folder)
    if output is None:
        check_default_folder(folder, before, after)
    needed = tuple(dict.fromkeys(name for one in conditions for name in one.metrics))
    given = {name: flags[name] for name in ("pair_by", "min_tokens") if flags[name] is not None}
    options = CompareOptions(force=flags["force"], seed=flags["seed"], needed=needed, **given)
    read_options = read_options_of(
        {name: flags[name] for name in ("columns", "turns", "reasoning", "sample", "seed")}
    )
    with progress_of(flags) as progress:
        result = compare_sides(
            before, after, settings_given(flags), read_options, options, progress
        )
    result = result.without_text() if flags["no_text"] else result
    result.save(folder)
    if flags["as_json"]:
        echo_json(result.as_json())
    else:
        print_comparison(result.summary, folder)
    failures = [why for why in (one.check(result.summary) for one in conditions) if why]
    for why in failures:
        click.echo(f"ifdkit: gate failed: {why}", err=True)
    return EXIT_GATE if failures else EXIT_DONE
