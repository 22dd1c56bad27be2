"""`ifdkit store`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ifdkit.cli.flags import echo_json, start
from ifdkit.cli.options import option, output_options


@click.group("store")
def store() -> None:
    """Look after the score store, in which scores are kept between runs.

    \b
    Example:
      ifdkit store verify
    """


@store.command("verify")
@option(
    "--store", "path", trusted=True, help="Path of the score store.  [default: in the user's cache]"
)
@output_options
@click.pass_context
def verify(context: click.Context, /, path: str | None, **flags: Any) -> None:
    """Check every row of the store, and delete those that are damaged.

    Deleted rows are scored again when they are needed.

    \b
    Example:
      ifdkit store verify
    """
    from ifdkit.errors import StoreError
    from ifdkit.format import plural
    from ifdkit.scoring.store import Store, default_store

    start(context, flags)
    file = Path(path) if path else default_store()
    if not file.exists():
        raise StoreError(f"there is no score store {file}")
    with Store(file) as opened:
        found = opened.verify()
    if flags["as_json"]:
        echo_json({"path": str(file), **asdict(found)})
    else:
        damage = f"{plural(found.damaged, 'damaged row')} deleted" if found.damaged else "no damage"
        rows, size = plural(found.rows, "row"), found.size_bytes / 2**20
        click.echo(f"{file}: {rows}, {size:,.1f} MiB, {damage}")
