"""`ifdkit merge`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ifdkit.cli.flags import echo_json, start
from ifdkit.cli.options import output_option, output_options


@click.command("merge")
@click.argument("shards", nargs=-1, required=True, type=click.Path(path_type=Path))
@output_option("Scores file, with the ending of the shards.", required=True)
@output_options
@click.pass_context
def merge(context: click.Context, /, shards: tuple[Path, ...], output: Path, **flags: Any) -> None:
    """Put the SHARDS of a run together, which `ifdkit score --shard I/N` wrote.

    The result has the bytes of a run without --shard. It is refused if a shard is missing, there
    twice, incomplete, or of another run.

    \b
    Example:
      ifdkit merge data.scores.*-of-8.jsonl -o data.scores.jsonl
    """
    from ifdkit.format import plural
    from ifdkit.scoring import merging

    start(context, flags)
    done = merging.merge(shards, output)
    if flags["as_json"]:
        echo_json(done.as_json())
    else:
        counts = ", ".join(f"{n:,} {name}" for name, n in done.manifest.status_counts.items())
        click.echo(
            f"{plural(len(shards), 'shard')}, {plural(done.manifest.examples, 'example')}: {counts}"
        )
        click.echo(f"→ {done.output}  (and {done.output}.manifest.json)")
