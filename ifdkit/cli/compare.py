"""`ifdkit compare`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from ifdkit.cli.options import common_options, log_option, metric_options, option, output_option

if TYPE_CHECKING:
    from ifdkit.comparison.gate import Gated
    from ifdkit.comparison.options import CompareOptions
    from ifdkit.comparison.overview import Comparisons
    from ifdkit.comparison.result import Comparison
    from ifdkit.data.options import ReadOptions


@click.command("compare")
@click.argument("before")
@click.argument("after")
@click.argument("others", nargs=-1)
@output_option("Folder of the report.  [default: reports/BEFORE-vs-AFTER]")
@option("--unpaired", is_flag=True,
        help="Compare distributions: rows do not belong together, sizes may differ.")  # fmt: skip
@option("--pair-by", type=click.Choice(["id", "row", "instruction"]),
        help="How rows are paired.  [default: the best key available]")  # fmt: skip
@option("--group-by", metavar="COLUMN",
        help="Also the changes by the values of a column, or by input: source.")  # fmt: skip
@option("--force", is_flag=True, help="Compare even if the sides were scored differently.")
@option("--no-text", is_flag=True, help="Omit dataset text from the report.")
@click.option("--fail-if", "fail_if", multiple=True, metavar="CONDITION",
              help="Exit with 1 if it is true, as in 'ifd.median_change < 0'; may be repeated.",
              )  # fmt: skip
@option("--limit", type=int, metavar="N", help="Only the first N rows of each side.")
@option("--sample", type=int, metavar="N",
        help="Only N random rows, the same ones of both sides.")  # fmt: skip
@option("--seed", type=int, default=0, help="Seed of sample and bootstrap.  [default: 0]")
@option("--min-tokens", type=int, metavar="N",
        help="Shortest response used for length control.  [default: 8]")  # fmt: skip
@option("--map", "map_layout", type=click.Choice(["pca", "umap"]),
        help="Layout of the map of topics; umap needs an extra.  [default: pca]")  # fmt: skip
@metric_options
@log_option
@common_options
@click.pass_context
def compare(
    context: click.Context,
    /,
    before: str,
    after: str,
    others: tuple[str, ...],
    output: Path | None,
    **flags: Any,
) -> int:
    """Compare two datasets: what changed, whether it is real, and whether it is more than length.

    BEFORE and AFTER are datasets (a quoted glob or a folder of shards is one, too), which are
    scored first, or scores files, which are used as
    they are. With OTHERS, BEFORE is the baseline that each of them is compared with, and p is
    corrected for all tests.

    \b
    Example:
      ifdkit compare before.json after.json --fail-if 'ifd.median_change < 0'
      ifdkit compare base.json a.json b.json
      ifdkit compare mine.json theirs.json --unpaired
    """
    from ifdkit.comparison.folders import check_default_folder, check_folder, default_folder
    from ifdkit.comparison.gate import parse_condition
    from ifdkit.comparison.options import CompareOptions
    from ifdkit.tracking import check_tracker

    start(context, flags)
    if flags["log"] is not None:
        check_tracker(flags["log"])
    conditions = [parse_condition(text) for text in flags["fail_if"]]
    data = (before, after, *others)
    is_overview = bool(others) or flags["unpaired"]
    folder = output or default_folder(*data, unpaired=flags["unpaired"])
    check_folder(folder, is_overview=is_overview)
    if output is None:
        check_default_folder(folder, *data)
    needed = tuple(dict.fromkeys(name for one in conditions for name in one.metrics))
    names = ("pair_by", "group_by", "min_tokens", "unpaired", "map_layout")
    given = {name: flags[name] for name in names if flags[name] is not None}
    options = CompareOptions(force=flags["force"], seed=flags["seed"], needed=needed, **given)
    compare_data = _compare_several if is_overview else _compare_two
    compared = compare_data(data, options, flags, folder)
    failures = [
        f"{name}{why}"
        for name, one in compared.items()
        for condition in conditions
        if (why := condition.check(one))
    ]
    for why in failures:
        click.echo(f"ifdkit: gate failed: {why}", err=True)
    return EXIT_GATE if failures else EXIT_DONE


def _compare_two(
    data: tuple[str, ...], options: CompareOptions, flags: Mapping[str, Any], folder: Path
) -> dict[str, Gated]:
    """Save and print the comparison of two; the result is what the gate is about."""
    from ifdkit.comparison.run import compare_sides
    from ifdkit.report.terminal.comparison import print_comparison

    before, after = data
    with progress_of(flags) as progress:
        result = compare_sides(
            before, after, settings_given(flags), _read_options(flags), options, progress
        )
    result = result.without_text() if flags["no_text"] else result
    result.save(folder)
    if flags["as_json"]:
        echo_json(result.as_json())
    else:
        print_comparison(result.summary, folder)
    _log(flags, result)
    return {"": result.summary}


def _compare_several(
    data: tuple[str, ...], options: CompareOptions, flags: Mapping[str, Any], folder: Path
) -> dict[str, Gated]:
    """Save and print an overview; the gate is about each of the datasets."""
    from ifdkit.comparison.run import compare_with_baseline
    from ifdkit.report.terminal.overview import print_overview

    baseline, *others = data
    with progress_of(flags) as progress:
        result = compare_with_baseline(
            baseline, others, settings_given(flags), _read_options(flags), options, progress
        )
    result = result.without_text() if flags["no_text"] else result
    result.save(folder)
    if flags["as_json"]:
        echo_json(result.as_json())
    else:
        print_overview(result.overview, folder)
    _log(flags, result)
    return {f"{i} {one.name}: ": one for i, one in enumerate(result.overview.others, 1)}


def _log(flags: Mapping[str, Any], result: Comparison | Comparisons) -> None:
    from ifdkit.comparison.tracked import tracked
    from ifdkit.tracking import track

    if flags["log"] is not None:
        track(flags["log"], tracked(result))


def _read_options(flags: Mapping[str, Any]) -> ReadOptions:
    names = ("columns", "turns", "reasoning", "limit", "sample", "seed")
    return read_options_of({name: flags[name] for name in names})
