"""The flags of `ifdkit reflect`, and the options made from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ifdkit.cli.flags import echo_json, progress_of, read_options_of, settings_of, start
from ifdkit.cli.options import common_options, option, output_option, rows_options, together
from ifdkit.cli.oracle import check_key, oracle_address_options, oracle_limit_options

if TYPE_CHECKING:
    from ifdkit.data.options import ReadOptions
    from ifdkit.reflection.options import ReflectOptions


reflect_options = together(
    option("--oracle", required=True, help="Model name on the server, or local: the embedded"
           " model on this machine."),
    oracle_address_options,
    option("--stages", help="instruction, response or both.  [default: both]"),
    option("--select", is_flag=True, help="Let --model choose: accept a new instruction if its"
           " IFD is higher, a new response if its r-IFD is lower."),
    option("--prompts", trusted=True, type=click.Path(path_type=Path), help="Folder of custom"
           " prompts."),
    oracle_limit_options("2048"),
    option("--dry-run", is_flag=True, help="Show three prompts and an estimate of the cost; ask"
           " nothing."),
)  # fmt: skip
"""The flags of `ifdkit reflect`."""


def reflection_options(flags: Mapping[str, Any]) -> ReflectOptions:
    """Options from flags; a flag that was not given keeps its default."""
    from ifdkit.reflection.options import ReflectOptions, parse_stages

    given = {f.name: flags[f.name] for f in fields(ReflectOptions) if flags.get(f.name) is not None}
    if "stages" in given:
        given["stages"] = parse_stages(given["stages"])
    return ReflectOptions(**given)


def dry_run(
    data: Sequence[str], flags: Mapping[str, Any], read_options: ReadOptions
) -> dict[str, Any] | None:
    """Print the estimate of a run, or return it for --json."""
    from ifdkit.reflection.run import estimate_run

    found = estimate_run(data, reflection_options(flags), read_options)
    if flags["as_json"]:
        return found.as_json()
    from ifdkit.report.terminal.reflection import print_estimate

    print_estimate(found)
    return None


@click.command("reflect")
@click.argument("data", nargs=-1, required=True)
@output_option(
    "File for the recycled dataset, in the format of DATA.  [required without --dry-run]"
)
@reflect_options
@rows_options()
@common_options
@click.pass_context
def reflect(
    context: click.Context, /, data: tuple[str, ...], output: Path | None, **flags: Any
) -> None:
    """Rewrite the instructions of DATA, then the responses, with an oracle.

    A text that the oracle does not rewrite cleanly stays unchanged. Replies are kept next to OUT:
    re-running the same command asks, and pays for, nothing twice. The API key is read from the
    environment only.

    \b
    Example:
      ifdkit reflect data.json -o recycled.json --oracle local --limit 10
    """
    from ifdkit.reflection.run import reflect_to_file

    start(context, flags)
    flags["turns"] = flags["turns"] or "last"
    if flags["dry_run"]:
        if (found := dry_run(data, flags, read_options_of(flags))) is not None:
            echo_json(found)
        return
    if output is None:
        raise click.MissingParameter(
            param_type="option", param_hint="'--output' / '-o'", ctx=context
        )
    check_key(context, flags)
    options = reflection_options(flags)
    with progress_of(flags) as progress:
        settings, read_options = settings_of(flags), read_options_of(flags)
        done = reflect_to_file(data, output, options, settings, read_options, progress)
    if flags["as_json"]:
        echo_json(done.as_json())
    else:
        from ifdkit.report.terminal.reflection import print_reflection

        print_reflection(done)
