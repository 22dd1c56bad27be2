"""`ifdkit view`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ifdkit.cli.flags import read_options_of, settings_given, start
from ifdkit.cli.options import call_option, model_options, option, quiet_options


@click.command("view")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@call_option(
    "--marks",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File of the rows starred or dropped.  [default: PATH.marks.jsonl]",
)
@option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="N",
    help="Port on 127.0.0.1; if it is in use, another one.  [default: 8787]",
)
@call_option("--no-open", is_flag=True, help="Print the address, and open no browser.")
@call_option(
    "--model-on-demand",
    is_flag=True,
    help="Load the model for the tokens of a row that are not stored.",
)
@call_option(
    "--export",
    type=click.Choice(["atlas"]),
    help="Serve nothing; write PATH.atlas.parquet with the map, for embedding-atlas.",
)
@option("--map", "map_layout", type=click.Choice(["pca", "umap"]),
        help="Layout of the map; umap needs an extra, and takes the place of pca once it is ready."
        "  [default: pca]")  # fmt: skip
@model_options
@quiet_options
@click.pass_context
def view(context: click.Context, /, paths: tuple[str, ...], **flags: Any) -> None:
    """Browse every row of a dataset, a scores file or a comparison folder in the local browser.

    Several datasets, or several scores files, are shown as one with a column `source`. The data are
    only read; rows that are starred or dropped on the page are kept in a file of marks, which
    `ifdkit select --ids` takes. Ctrl-C stops the server.

    \b
    Example:
      ifdkit view data.scores.jsonl
      ifdkit view reports/before-vs-after
    """
    from ifdkit.viewing.run import view as view_paths

    start(context, flags)
    view_paths(
        paths,
        marks=flags["marks"],
        port=flags["port"],
        is_opened=not flags["no_open"],
        on_demand=flags["model_on_demand"],
        export=flags["export"] == "atlas",
        map_layout=flags["map_layout"] or "pca",
        settings=settings_given(flags),
        read_options=read_options_of(flags),
        say=click.echo,
    )
