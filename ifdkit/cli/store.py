"""`ifdkit store`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ifdkit.cli.flags import echo_json, start
from ifdkit.cli.options import Commands, call_option, option, output_option, output_options
from ifdkit.format import plural, size

if TYPE_CHECKING:
    from ifdkit.scoring.store_management import ManagedStore


@click.group("store", cls=Commands)
def store() -> None:
    """Look after the score store, in which scores are kept between runs.

    \b
    Example:
      ifdkit store info
      ifdkit store prune --older-than 90d --max-size 10G
    """


_path_option = option(
    "--store", "path", trusted=True, help="Path of the score store.  [default: in the user's cache]"
)


def _file_of(path: str | None) -> Path:
    from ifdkit.scoring.store import default_store

    return Path(path) if path else default_store()


def _opened(path: str | None) -> ManagedStore:
    from ifdkit.scoring.store_management import ManagedStore

    return ManagedStore(_file_of(path))


@store.command("path")
@_path_option
@output_options
@click.pass_context
def path_(context: click.Context, /, path: str | None, **flags: Any) -> None:
    """Print where the score store is.

    \b
    Example:
      ifdkit store path
    """
    start(context, flags)
    file = _file_of(path)
    if flags["as_json"]:
        echo_json({"path": str(file), "exists": file.exists()})
    else:
        click.echo(str(file))


@store.command("info")
@_path_option
@output_options
@click.pass_context
def info(context: click.Context, /, path: str | None, **flags: Any) -> None:
    """Print the size of the store, and what it has of each model.

    \b
    Example:
      ifdkit store info
    """
    start(context, flags)
    with _opened(path) as opened:
        found = opened.info()
    if flags["as_json"]:
        echo_json(asdict(found))
        return
    click.echo(f"{found.path}: {size(found.size_bytes)}")
    for one in found.models:
        days = " … ".join(dict.fromkeys(filter(None, (one.oldest_day, one.newest_day))))
        click.echo(
            f"  {one.model}: {plural(one.rows, 'row')} ({one.kind}), {size(one.size_bytes)},"
            f" {days or 'day not known'}"
        )


@store.command("prune")
@_path_option
@call_option("--model", "-m", help="Only rows of this model, as `store info` names it.")
@call_option("--older-than", metavar="DAYS", help="Only rows written before that: 90d, 8w.")
@call_option("--max-size", metavar="SIZE", help="The oldest, until the file is not larger: 10G.")
@output_options
@click.pass_context
def prune(context: click.Context, /, path: str | None, **flags: Any) -> None:
    """Delete rows of the store, and give their space back.

    What is deleted is scored again when it is needed.

    \b
    Example:
      ifdkit store prune --older-than 90d --max-size 10G
    """
    from ifdkit.scoring.store_management import parse_days, parse_size

    start(context, flags)
    older, largest = flags["older_than"], flags["max_size"]
    days = None if older is None else parse_days(older)
    max_bytes = None if largest is None else parse_size(largest)
    with _opened(path) as opened:
        done = opened.prune(model=flags["model"], older_than_days=days, max_bytes=max_bytes)
    if flags["as_json"]:
        echo_json({"path": str(_file_of(path)), **asdict(done)})
    else:
        click.echo(
            f"{_file_of(path)}: {plural(done.rows, 'row')} deleted,"
            f" {size(done.size_before_bytes)} → {size(done.size_bytes)}"
        )


@store.command("export")
@_path_option
@output_option("Parquet file: key, model, nats.", required=True)
@output_options
@click.pass_context
def export(context: click.Context, /, path: str | None, output: Path, **flags: Any) -> None:
    """Write the NLLs of the store as Parquet.

    \b
    Example:
      ifdkit store export -o store.parquet
    """
    start(context, flags)
    with _opened(path) as opened:
        n_rows = opened.export(output)
    if flags["as_json"]:
        echo_json({"output": str(output), "rows": n_rows})
    else:
        click.echo(f"{plural(n_rows, 'row')} → {output}")


@store.command("verify")
@_path_option
@output_options
@click.pass_context
def verify(context: click.Context, /, path: str | None, **flags: Any) -> None:
    """Check every row of the store, and delete those that are damaged.

    Deleted rows are scored again when they are needed.

    \b
    Example:
      ifdkit store verify
    """

    start(context, flags)
    file = _file_of(path)
    with _opened(path) as opened:
        found = opened.verify()
    if flags["as_json"]:
        echo_json({"path": str(file), **asdict(found)})
    else:
        damage = f"{plural(found.damaged, 'damaged row')} deleted" if found.damaged else "no damage"
        click.echo(f"{file}: {plural(found.rows, 'row')}, {size(found.size_bytes)}, {damage}")
