"""`ifdkit judge`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ifdkit.cli.flags import echo_json, given_fields, progress_of, read_options_of, start
from ifdkit.cli.options import call_option, option, output_option, output_options, together
from ifdkit.cli.oracle import check_key, oracle_address_options, oracle_limit_options

judge_options = together(
    option("--oracle", help="Model name on the server, or local: the embedded model on this"
           " machine."),
    call_option("--from", metavar="ANNOTATIONS", help="Take the preferences of a"
                " file in AlpacaEval's format instead of asking an oracle."),
    oracle_address_options,
    option("--pair-by", type=click.Choice(["id", "row", "instruction"]),
           help="How rows are paired.  [default: the best key available]"),
    oracle_limit_options("1024"),
    option("--limit", type=int, metavar="N", help="Only the first N rows of each side."),
    option("--sample", type=int, metavar="N", help="Only N random rows, the same ones of both"
           " sides."),
    option("--seed", type=int, default=0, help="Seed of sample and bootstrap.  [default: 0]"),
    option("--model", "-m", help="Model whose tokenizer measures the length in tokens."),
    option("--columns", help="Which column is which: instruction=q,response=a,…"),
    option("--turns", type=click.Choice(["all", "last"]), help="Assistant turns to use."
           "  [default: last]"),
    option("--reasoning", type=click.Choice(["keep", "drop"]), help="Reasoning before answers."),
)  # fmt: skip
"""The flags of `ifdkit judge`."""


@click.command("judge")
@click.argument("first", required=False)
@click.argument("second", required=False)
@output_option("File for the judged pairs, as annotations.  [default: FIRST-vs-SECOND.judged.json]")
@judge_options
@output_options
@click.pass_context
def judge(
    context: click.Context,
    /,
    first: str | None,
    second: str | None,
    output: Path | None,
    **flags: Any,
) -> None:
    """Ask an oracle which answers are better: those of FIRST, or those of SECOND.

    Both files answer the same instructions. Every pair is asked about in both orders, and a side
    wins only if it wins in both; ties, answers that are not understood and failures count half and
    are shown. Win rates are those of SECOND: of all pairs, of decided pairs, and at equal length.
    Replies are kept next to OUT: re-running the same command asks, and pays for, nothing twice.

    \b
    Example:
      ifdkit judge base.json tuned.json --oracle local
      ifdkit judge --from annotations.json
    """
    from ifdkit.engine.models import DEFAULT_MODEL
    from ifdkit.judging.options import JudgeOptions
    from ifdkit.judging.run import default_output, judge_annotations, judge_files
    from ifdkit.report.terminal.judgement import print_judgement

    start(context, flags)
    model = flags["model"] or DEFAULT_MODEL
    names = ("columns", "reasoning", "limit", "sample", "seed")
    read_options = read_options_of(
        {**{name: flags[name] for name in names}, "turns": flags["turns"] or "last"}
    )
    if flags["from"] is not None:
        if first is not None or flags["oracle"] is not None or output is not None:
            raise click.UsageError("--from takes no FIRST, SECOND, --oracle or --output", context)
        done = judge_annotations(flags["from"], read_options, model=model)
    else:
        if first is None or second is None or flags["oracle"] is None:
            raise click.UsageError("give FIRST, SECOND and --oracle, or --from", context)
        check_key(context, flags)
        options = JudgeOptions(**given_fields(JudgeOptions, flags))
        place = output or default_output(first, second)
        with progress_of(flags) as progress:
            done = judge_files(first, second, place, options, read_options, model, progress)
    if flags["as_json"]:
        echo_json(done.as_json())
    else:
        print_judgement(done)
