"""`ifdkit select`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ifdkit.cli.flags import (
    echo_json,
    given_fields,
    progress_of,
    read_options_of,
    settings_given,
    start,
)
from ifdkit.cli.options import (
    WHERE_SCORES,
    call_option,
    common_options,
    on_request_options,
    option,
    output_option,
    rows_options,
    together,
)

if TYPE_CHECKING:
    from ifdkit.tuning.options import Tuning

select_options = together(
    option("--by", metavar="METRIC", help="Rank by a metric: ifd, rifd, coherence,"
           " response_tokens, …"),
    option("--weights", metavar="FIELD=W,…", help="Rank by a weighted sum of z-scores:"
           " ifd=1,coherence=0.5."),
    option("--method", metavar="NAME", help="cherry, superfiltering, selective,"
           " length-controlled, diverse, quality-diverse or random."),
    option("--top", metavar="N|N%", help="Rows to keep: a number, or a share of all rows of"
           " DATA, rounded down."),
    option("--min", type=float, metavar="X", help="Drop rows with a smaller value."),
    option("--max", type=float, metavar="X", help="Drop rows with a larger value."),
    option("--lowest", is_flag=True, help="With --by: keep the smallest values, not the largest."),
    option("--keep-misaligned", is_flag=True, help="Keep rows whose ratio (IFD, r-IFD) is 1 or"
           " more when ranking by it."),
    option("--diversity", is_flag=True, help="With superfiltering: of the best rows, keep those"
           " that represent the others."),
    option("--pool", metavar="N|N%", help="The best rows that --diversity chooses from."
           "  [default: 20%]"),
    option("--bands", type=int, metavar="N", help="With length-controlled: bands of response"
           " length.  [default: 10]"),
    option("--per", metavar="FIELD", help="Divide --top among the groups of a column, of `source`,"
           " or of `cluster`: clusters of embeddings."),
    option("--quota", type=click.Choice(["proportional", "equal"]), help="With --per: by the size"
           " of a group, or the same for all.  [default: proportional]"),
    option("--show-diversity", is_flag=True, help="Embed all rows, and show how diverse the"
           " selection is."),
    option("--provenance", type=click.Path(path_type=Path), help="With selective: what"
           " `ifdkit reflect --select` chose.  [default: DATA.provenance.jsonl]"),
    option("--embedder", help="Folder or hub id of a sentence-embedding model."),
    call_option("--ids", type=click.Path(path_type=Path), metavar="FILE", help="Only the rows with"
           " these ids, one per line, or those that the marks of `ifdkit view` keep."),
    option("--to", type=click.Choice(["alpaca", "trl", "llamafactory"]), help="Form of the output:"
           " llamafactory also adds it to dataset_info.json.  [default: as DATA]"),
    option("--window", type=int, help="Response tokens of ifd_window.  [default: 64]"),
    option("--tune", metavar="FIELD,…", help="Rank by a weighted sum of z-scores whose weights are"
           " found by training small models: ifd,coherence."),
    option("--tune-trials", type=int, metavar="N", help="Combinations to try.  [default: 20]"),
    option("--tune-holdout", type=int, metavar="N", help="Held-out rows for the trials, and as many"
           " for the comparison after them.  [default: 64]"),
    call_option("--tune-eval", type=click.Path(path_type=Path), metavar="FILE", help="Dataset of"
                " the held-out rows.  [default: DATA]"),
    option("--tune-random", type=int, metavar="N", help="Random selections to compare with."
           "  [default: 10]"),
    option("--tune-model", metavar="MODEL", help="The small model.  [default: that of --model]"),
    option("--tune-preset", help="laptop (default): train an adapter; or paper: all weights."),
    option("--tune-steps", type=int, metavar="N", help="Optimizer steps of each run."
           "  [default: 25]"),
    option("--tune-batch-size", type=int, metavar="N", help="Examples per step.  [default: 8;"
           " paper: 128]"),
    option("--tune-learning-rate", type=float, metavar="X", help="Highest learning rate."
           "  [default: 5e-4; paper: 2e-5]"),
)  # fmt: skip
"""The flags of `ifdkit select`."""


@click.command("select")
@click.argument("data", nargs=-1, required=True)
@output_option("File for the rows kept, in the format of DATA.", required=True)
@select_options
@rows_options(seed="Seed of everything random.", where=WHERE_SCORES)
@on_request_options
@common_options
@click.pass_context
def select(context: click.Context, /, data: tuple[str, ...], output: Path, **flags: Any) -> None:
    """Keep the rows of DATA that are worth training on, unchanged and in their order.

    DATA is a dataset, of which only the ranking metric is measured, or a scores file. A share such
    as 5% is a share of all its rows; of equal values the first in the file wins. The last turn of a
    conversation represents it, or with --turns all the mean over its turns. With --where or
    --ids, which also work alone, shares are of the rows that these choose.

    \b
    Methods:
      cherry              highest ifd_loss below 1 (as published: --protocol cherry)
      superfiltering      highest ifd below 1 (as published: --protocol superfiltering -m gpt2)
      diverse             the rows that represent all others, by their embeddings
      quality-diverse     with --by or --weights: the best rows that are unlike each other
      selective           what the student accepted in the output of `ifdkit reflect --select`
      length-controlled   highest ifd within bands of response length
      random              the baseline; uses no model

    --tune needs `pip install 'ifdkit[tune]'`. It tries weights in one half of the rows, and
    compares the best with random selections in the other. Re-running the same command resumes.

    \b
    Example:
      ifdkit select data.json -o best.json --by ifd --top 5%
      ifdkit select data.json -o mixed.json --by ifd --top 1000 --per source
      ifdkit select data.json -o good.json --where "ifd < 1 and response_tokens >= 20"
      ifdkit select data.json -o tuned.json --tune ifd,coherence --top 200
    """
    from ifdkit.report.terminal.selection import print_selection
    from ifdkit.selection.options import SelectOptions
    from ifdkit.selection.run import select_to_file
    from ifdkit.selection.tuned import options_with

    start(context, flags)
    flags["turns"] = flags["turns"] or "last"
    tune = _tuning_of(flags)
    options = options_with(given_fields(SelectOptions, flags), tune)
    settings = settings_given(flags)
    read_options = read_options_of({**flags, "where": None})  # the options have it
    with progress_of(flags) as progress:
        done = select_to_file(data, output, options, settings, read_options, progress, tune=tune)
    if flags["as_json"]:
        echo_json(done.as_json())
    else:
        print_selection(done)


def _tuning_of(flags: Mapping[str, Any]) -> Tuning | None:
    """The flags that begin with --tune. Raises UsageError."""
    given = {
        name.removeprefix("tune_"): value
        for name, value in flags.items()
        if name.startswith("tune_") and value is not None
    }
    if flags["tune"] is not None:
        from ifdkit.tuning.options import Tuning

        return Tuning(flags["tune"], **given)
    if given:
        from ifdkit.errors import UsageError

        name = next(iter(given)).replace("_", "-")
        raise UsageError(
            f"--tune-{name} is for --tune: give --tune too, such as --tune ifd,coherence"
        )
    return None
