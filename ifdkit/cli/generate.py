"""`ifdkit generate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ifdkit.cli.flags import (
    echo_json,
    given_fields,
    progress_of,
    read_options_of,
    settings_of,
    start,
)
from ifdkit.cli.options import common_options, option, output_option, rows_options, together

generate_options = together(
    option("--max-new-tokens", type=int, help="Maximum tokens of an answer.  [default: 512]"),
    option("--temperature", type=float, help="Sampling temperature; 0 is greedy.  [default: 0]"),
    option("--top-p", type=float, help="Nucleus sampling.  [default: 1]"),
    option("--batch-size", type=int, help="Prompts per batch.  [default: 8 on a CPU, 32"
           " elsewhere]"),
)  # fmt: skip
"""The flags of `ifdkit generate`."""


@click.command("generate")
@click.argument("data", nargs=-1, required=True)
@output_option("File for the answers, in the format of DATA.", required=True)
@generate_options
@rows_options(seed="Seed of the sample, and of sampled answers.")
@common_options
@click.pass_context
def generate(context: click.Context, /, data: tuple[str, ...], output: Path, **flags: Any) -> None:
    """Write DATA with a model's answers in place of the last response of each row.

    The prompt is what the protocol puts before a response. Answers are kept next to OUT:
    re-running the same command resumes and generates nothing twice. A row that cannot be answered
    is left out and counted.

    \b
    Example:
      ifdkit generate held-out.json --model tuned -o answers.json
    """
    from ifdkit.generation.options import GenerateOptions
    from ifdkit.generation.run import generate_to_file
    from ifdkit.report.terminal.generation import print_generation

    start(context, flags)
    flags["turns"] = flags["turns"] or "last"
    options = GenerateOptions(**given_fields(GenerateOptions, flags))
    with progress_of(flags) as progress:
        done = generate_to_file(
            data, output, options, settings_of(flags), read_options_of(flags), progress
        )
    if flags["as_json"]:
        echo_json(done.as_json())
    else:
        print_generation(done)
