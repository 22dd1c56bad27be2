"""`ifdkit card`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("card")
@click.argument("scores", type=click.Path(path_type=Path))
def card(scores: Path) -> None:
    """Print a section for a dataset card: the numbers of SCORES, how they were measured, limits.

    \b
    Example:
      ifdkit card data.scores.jsonl >> README.md
    """
    from ifdkit.report.card import render_card
    from ifdkit.scoring.card import card_of

    click.echo(render_card(card_of(scores)), nl=False)
