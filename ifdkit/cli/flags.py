"""From flags to the arguments of the library, and from results to stdout."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from ifdkit.visible import masked, visible_json

if TYPE_CHECKING:
    from ifdkit.cli.config import Config
    from ifdkit.data.options import ReadOptions
    from ifdkit.scoring.progress import Progress
    from ifdkit.scoring.settings import Settings


EXIT_DONE, EXIT_GATE, EXIT_ERROR, EXIT_INTERRUPTED = 0, 1, 2, 130


def given_fields(kind: type, flags: Mapping[str, Any]) -> dict[str, Any]:
    """The flags that are fields of a dataclass and were given: the rest keeps its default."""
    from dataclasses import fields

    return {one.name: flags[one.name] for one in fields(kind) if flags.get(one.name) is not None}


def settings_given(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that were given, as keywords."""
    from ifdkit.scoring.metrics import parse_metrics
    from ifdkit.scoring.settings import Settings

    given = given_fields(Settings, flags)
    if "metrics" in given:
        given["metrics"] = parse_metrics(given["metrics"])
    return given


def settings_of(flags: Mapping[str, Any]) -> Settings:
    """Flags → Settings."""
    from ifdkit.scoring.settings import Settings

    return Settings(**settings_given(flags))


def read_options_of(flags: Mapping[str, Any]) -> ReadOptions:
    """Flags → which rows to read, and how."""
    from ifdkit.data.columns import parse_columns
    from ifdkit.data.options import ReadOptions
    from ifdkit.data.where import expression_of

    given = given_fields(ReadOptions, flags)
    if "columns" in given:
        given["columns"] = parse_columns(given["columns"])
    if "where" in given:
        given["where"] = expression_of(given["where"])
    return ReadOptions(**given)


def start(context: click.Context, flags: Mapping[str, Any]) -> None:
    """Set the log level; with --verbose, print every option and where it came from."""
    if not flags["quiet"]:
        level = logging.INFO if flags["verbose"] else logging.WARNING
        logging.getLogger("ifdkit").setLevel(level)
    if not flags["verbose"]:
        return
    config: Config = context.obj
    for file in config.files:
        whose = "user" if file.is_users else "working folder"
        click.echo(f"settings file: {file.path}  ({whose})", err=True)
    for name, value in sorted(flags.items()):
        source = context.get_parameter_source(name)
        if value is not None and source is not None:
            is_file = source.name == "DEFAULT_MAP"
            where = config.source_of(name) if is_file else source.name.lower()
            click.echo(f"{name.replace('_', '-')} = {masked(str(value))}  ({where})", err=True)


@contextmanager
def progress_of(flags: Mapping[str, Any]) -> Iterator[Progress | None]:
    """A bar on a terminal, lines elsewhere, nothing with --quiet."""
    if flags["quiet"]:
        yield None
        return
    from ifdkit.report.terminal.progress import BarProgress, LineProgress

    if not sys.stderr.isatty():
        yield LineProgress()
        return
    bar = BarProgress()
    try:
        yield bar
    finally:
        bar.close()


def echo_json(value: Any) -> None:
    """One JSON object on stdout."""
    from ifdkit.data.atomic import dumps

    click.echo(visible_json(dumps(value, indent=2)))
