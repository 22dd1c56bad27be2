"""`ifdkit card`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ifdkit.cli.flags import start
from ifdkit.cli.options import quiet_options


@click.command("card")
@click.argument("scores", type=click.Path(path_type=Path))
@quiet_options
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
    click.echo(render_card(card_of(scores)), nl=False)
