"""`ifdkit models`."""

from __future__ import annotations

from typing import Any

import click

from ifdkit.cli.flags import echo_json, start
from ifdkit.cli.options import output_options


@click.command("models")
@output_options
@click.pass_context
def models(context: click.Context, /, **flags: Any) -> None:
    """List the models that resolve here without a network, and to which weights.

    \b
    Example:
      ifdkit models --json
    """
    from ifdkit.engine.models import available
    from ifdkit.report.terminal.scores import models_as_json, print_models

    start(context, flags)
    found = list(available())
    if flags["as_json"]:
        echo_json({"models": models_as_json(found)})
    else:
        print_models(found)
