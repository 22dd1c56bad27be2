"""`ifdkit card`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ifdkit.cli.flags import echo_json, start
from ifdkit.cli.options import output_options


@click.command("card")
@click.argument("scores", type=click.Path(path_type=Path))
@output_options
@click.pass_context
def card(context: click.Context, /, scores: Path, **flags: Any) -> None:
    """Print a section for a dataset card: the numbers of SCORES, how they were measured, limits.

    \b
    Example:
      ifdkit card data.scores.jsonl >> README.md
    """
    from ifdkit.report.card import render_card
    from ifdkit.scoring.card import card_of

    start(context, flags)
    found = card_of(scores)
    if flags["as_json"]:
        echo_json(found.as_json())
    else:
        click.echo(render_card(found), nl=False)
