"""`ifdkit models`."""

from __future__ import annotations

import click

from ifdkit.cli.flags import echo_json
from ifdkit.cli.options import option


@click.command("models")
@option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def models(as_json: bool) -> None:
    """List the models that resolve here without a network, and to which weights.

    \b
    Example:
      ifdkit models --json
    """
    from ifdkit.engine.models import available
    from ifdkit.report.terminal.scores import models_as_json, print_models

    found = list(available())
    if as_json:
        echo_json({"models": models_as_json(found)})
    else:
        print_models(found)
