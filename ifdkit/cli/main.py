"""The command line: flags → one call → echo. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ifdkit.cli.audit import asked_of_audit, audit_options, failure
from ifdkit.cli.config import TABLES, load_config
from ifdkit.cli.options import common_options, measuring_options, option
from ifdkit.cli.reflection import dry_run, reflect_options, reflection_options
from ifdkit.cli.selection import select_options, selection_options
from ifdkit.errors import IfdkitError
from ifdkit.version import VERSION

if TYPE_CHECKING:
    from ifdkit.scoring.inputs import Selection
    from ifdkit.scoring.scorer import Progress, Settings

EXIT_DONE, EXIT_GATE, EXIT_ERROR, EXIT_INTERRUPTED = 0, 1, 2, 130
_TABLES = "ifdkit.tables"
"""Where a click context keeps the tables of the settings file."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(VERSION, prog_name="ifdkit", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Tell what is in instruction-tuning data before you spend GPU hours on it.

    \b
    ifdkit score data.json              one row of numbers per example
    ifdkit compare old.json new.json    what changed, and whether it is real
    ifdkit show data.json 12            one example, its tokens coloured by surprise
    ifdkit reflect data.json -o new.json --oracle local     rewrite it through an oracle
    ifdkit select data.json -o best.json --by ifd --top 5%  keep what is worth training on
    ifdkit audit data.json              a gate: pass, or fail with reasons

    Flags beat IFDKIT_… variables, which beat ifdkit.toml or [tool.ifdkit] in pyproject.toml.
    """
    options = (p for c in cli.commands.values() for p in c.params if isinstance(p, click.Option))
    names = dict.fromkeys(one.name for one in options)
    path, settings = load_config(Path.cwd(), (name for name in names if name))
    context.obj = path
    context.meta[_TABLES] = {name: settings.pop(name, {}) for name in TABLES}
    context.default_map = {
        name: {k: v for k, v in settings.items() if k in {p.name for p in command.params}}
        for name, command in cli.commands.items()
    }


@cli.command("score")
@click.argument("data")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="File of scores, by ending"
              " .jsonl, .parquet or .csv.  [default: DATA.scores.jsonl here]")  # fmt: skip
@option("--limit", type=int, help="Only the first N rows.")
@option("--sample", type=int, help="Only N rows at random, in the order of the file.")
@option("--seed", type=int, default=0, help="Seed of the sample.  [default: 0]")
@option("--token-nll", is_flag=True, help="Add the NLL of every response token.")
@measuring_options
@common_options
@click.pass_context
def score_command(context: click.Context, /, data: str, output: Path | None, **flags: Any) -> None:
    """Score every example of DATA: one row of numbers per example.

    DATA is a .json, .jsonl, .parquet or .csv file (also .gz, .zst), a folder saved by `datasets`,
    a hub id, or - for standard input.

    \b
    Example:
      ifdkit score data.json -o scores.parquet --model gpt2
    """
    from ifdkit.scoring.run import default_output, score_to_file

    _explain(context, flags)
    output = output or default_output(data)
    with _progress(flags) as progress:
        summary = score_to_file(data, output, _settings(flags), _selection(flags), progress)
    if flags["as_json"]:
        _echo_json(summary.as_json())
    else:
        from ifdkit.report.terminal.scores import print_summary

        print_summary(summary)


@cli.command("compare")
@click.argument("before")
@click.argument("after")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Folder of the report."
              "  [default: reports/BEFORE-vs-AFTER]")  # fmt: skip
@option("--pair-by", type=click.Choice(["id", "row", "instruction"]), help="What tells which row"
         " stands against which.  [default: the best there is]")  # fmt: skip
@option("--force", is_flag=True, help="Compare even what was not scored alike.")
@option("--no-text", is_flag=True, help="No word of the datasets in the report.")
@click.option("--fail-if", "fail_if", multiple=True, metavar="CONDITION", help="Exit with 1 where"
              " it holds, as in 'ifd.median_change < 0'; may be repeated.")  # fmt: skip
@option("--seed", type=int, default=0, help="Seed of the bootstrap.  [default: 0]")
@option("--min-tokens", type=int, help="Shortest response where length is held fixed."
         "  [default: 8]")  # fmt: skip
@measuring_options
@common_options
@click.pass_context
def compare_command(
    context: click.Context, /, before: str, after: str, output: Path | None, **flags: Any
) -> None:
    """Compare two datasets: what changed, whether it is real, and whether it is more than length.

    BEFORE and AFTER are datasets, which are scored first (all metrics unless --metrics says
    which), or scores files, which are taken as they are.

    \b
    Example:
      ifdkit compare before.json after.json --fail-if 'ifd.median_change < 0'
    """
    from ifdkit.comparison.gate import parse_condition
    from ifdkit.report.comparison.save import check_folder, compare, default_folder

    _explain(context, flags)
    conditions = [parse_condition(text) for text in flags["fail_if"]]
    folder = output or default_folder(before, after)
    check_folder(folder)
    own = {n: flags[n] for n in ("pair_by", "min_tokens") if flags[n] is not None}
    selection = _selection({n: flags[n] for n in ("columns", "turns")})
    with _progress(flags) as progress:
        result = compare(
            before,
            after,
            force=flags["force"],
            seed=flags["seed"],
            columns=selection.columns,
            turns=selection.turns,
            progress=progress,
            **own,
            **_given(flags),
        )
    has_text = not flags["no_text"]
    result.save(folder, text=has_text)
    with _reader_may_leave():
        if flags["as_json"]:
            _echo_json(result.as_json(text=has_text))
        else:
            from ifdkit.report.terminal.comparison import print_comparison

            print_comparison(result.summary if has_text else result.without_text(), folder)
    failures = [why for why in (one.check(result.summary) for one in conditions) if why]
    for why in failures:
        click.echo(f"ifdkit: gate failed: {why}", err=True)
    if failures:
        context.exit(EXIT_GATE)


@cli.command("show")
@click.argument("data")
@click.argument("row")
@click.option("--turn", type=int, help="Assistant turn of a conversation.  [default: the last]")
@measuring_options
@common_options
@click.pass_context
def show_command(
    context: click.Context, /, data: str, row: str, turn: int | None, **flags: Any
) -> None:
    """Show one example of DATA: its numbers, and its response tokens coloured by surprise.

    ROW is a position from 0 or an id.

    \b
    Example:
      ifdkit show data.json 12
    """
    from dataclasses import asdict

    from ifdkit.scoring.inspect import find_example, inspect
    from ifdkit.scoring.scorer import Scorer

    _explain(context, flags)
    with _progress(flags) as progress:
        example = find_example(_selection(flags).open(data), row, turn)
        with Scorer(_settings(flags), progress) as scorer:
            inspection = inspect(example, scorer)
    if flags["as_json"]:
        _echo_json(asdict(inspection))
    else:
        from ifdkit.report.terminal.scores import print_inspection

        print_inspection(inspection)


@cli.command("reflect")
@click.argument("data")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Where the recycled dataset"
              " goes, in the format of DATA.")  # fmt: skip
@reflect_options
@option("--limit", type=int, help="Only the first N rows.")
@option("--sample", type=int, help="Only N rows at random, in the order of the file.")
@option("--seed", type=int, default=0, help="Seed of the sample.  [default: 0]")
@common_options
@click.pass_context
def reflect_command(
    context: click.Context, /, data: str, output: Path | None, **flags: Any
) -> None:
    """Rewrite the instructions of DATA, then the responses, with an oracle.

    A text that the oracle does not rewrite cleanly stays unchanged. Replies are kept next to OUT:
    re-running the same command asks, and pays for, nothing twice. The API key is read from the
    environment only.

    \b
    Example:
      ifdkit reflect data.json -o recycled.json --oracle local --limit 10
    """
    from ifdkit.reflection.run import reflect_to_file

    _explain(context, flags)
    flags["turns"] = flags["turns"] or "last"
    if flags["dry_run"]:
        if (found := dry_run(data, flags, _selection(flags))) is not None:
            _echo_json(found)
        return
    if output is None:
        raise click.MissingParameter(
            param_type="option", param_hint="'--output' / '-o'", ctx=context
        )
    options = reflection_options(flags)
    with _progress(flags) as progress:
        settings, selection = _settings(flags), _selection(flags)
        done = reflect_to_file(data, output, options, settings, selection, progress)
    if flags["as_json"]:
        _echo_json(done.as_json())
    else:
        from ifdkit.report.terminal.reflection import print_reflection

        print_reflection(done)


@cli.command("select")
@click.argument("data")
@click.option("--output", "-o", type=click.Path(path_type=Path), required=True, help="Where the"
              " rows kept go, in the format of DATA.")  # fmt: skip
@select_options
@option("--limit", type=int, help="Only the first N rows.")
@option("--sample", type=int, help="Only N rows at random, in the order of the file.")
@option("--seed", type=int, default=0, help="Seed of all that is drawn.  [default: 0]")
@common_options
@click.pass_context
def select_command(context: click.Context, /, data: str, output: Path, **flags: Any) -> None:
    """Keep the rows of DATA that are worth training on, as they stand in it and in their order.

    DATA is a dataset, of which only what is ranked by is measured, or a scores file. A share such
    as 5% is one of all its rows; of equal numbers the one that comes first in the file wins. The
    last turn of a conversation speaks for all of it, or with --turns all the mean over its turns.

    \b
    Methods:
      cherry              highest ifd_loss below 1 (as published: --protocol cherry)
      superfiltering      highest ifd below 1 (as published: --protocol superfiltering -m gpt2)
      selective           what the student took of the output of `ifdkit reflect --select`
      length-controlled   highest ifd within bands of response length
      random              the baseline; asks no model

    \b
    Example:
      ifdkit select data.json -o best.json --by ifd --top 5%
    """
    from ifdkit.report.terminal.selection import print_selection
    from ifdkit.selection.run import select_to_file

    _explain(context, flags)
    flags["turns"] = flags["turns"] or "last"
    options = selection_options(flags)
    with _progress(flags) as progress:
        done = select_to_file(data, output, options, _given(flags), _selection(flags), progress)
    if flags["as_json"]:
        _echo_json(done.as_json())
    else:
        print_selection(done)


@cli.command("audit")
@click.argument("data")
@audit_options
@option("--limit", type=int, help="Only the first N rows.")
@option("--sample", type=int, help="Only N rows at random: shares get their 95 % intervals.")
@option("--seed", type=int, default=0, help="Seed of the samples.  [default: 0]")
@measuring_options
@common_options
@click.pass_context
def audit_command(context: click.Context, /, data: str, output: Path | None, **flags: Any) -> None:
    """Hold DATA against rules: a gate for CI, and a look before GPU hours are spent.

    DATA is a dataset, which is scored first unless --no-model says otherwise, or a scores file.
    Exits with 1 where a rule of severity error fails. Rules are set in ifdkit.toml, in tables such
    as [audit.refusal], or by --rule.

    \b
    Example:
      ifdkit audit data.json --against eval.json -o reports/audit
    """
    from ifdkit.auditing.run import audit_dataset
    from ifdkit.report.audit.save import audit_as_json, check_folder, save_audit

    _explain(context, flags)
    options = asked_of_audit(flags, context.meta[_TABLES]["audit"], context.obj)
    if output is not None:
        check_folder(output)
    with _progress(flags) as progress:
        found = audit_dataset(data, _settings(flags), _selection(flags), options, progress)
    has_text = not flags["no_text"]
    if output is not None:
        save_audit(found, output, text=has_text)
    with _reader_may_leave():
        if flags["as_json"]:
            _echo_json(audit_as_json(found, text=has_text))
        else:
            from ifdkit.report.terminal.audit import print_audit

            print_audit(found, output, text=has_text)
    for rule in found.errors:
        click.echo(f"ifdkit: audit failed: {failure(rule)}", err=True)
    if found.errors:
        context.exit(EXIT_GATE)


@cli.command("models")
@option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def models_command(as_json: bool) -> None:
    """List the models that resolve here without a network, and to which weights.

    \b
    Example:
      ifdkit models --json
    """
    from ifdkit.engine.models import available
    from ifdkit.report.terminal.scores import models_as_json, print_models

    models = list(available())
    if as_json:
        _echo_json({"models": models_as_json(models)})
    else:
        print_models(models)


def _echo_json(value: Any) -> None:
    from ifdkit.data.writing import dumps

    click.echo(dumps(value, indent=2))


def _given(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the Settings that were asked for."""
    from dataclasses import fields

    from ifdkit.scoring.scorer import Settings, parse_metrics

    given = {f.name: flags[f.name] for f in fields(Settings) if flags.get(f.name) is not None}
    if "metrics" in given:
        given["metrics"] = parse_metrics(given["metrics"])
    return given


def _settings(flags: Mapping[str, Any]) -> Settings:
    """Flags → Settings; what was not given keeps its default."""
    from ifdkit.scoring.scorer import Settings

    return Settings(**_given(flags))


def _selection(flags: Mapping[str, Any]) -> Selection:
    from dataclasses import fields

    from ifdkit.data.layouts import parse_columns
    from ifdkit.scoring.inputs import Selection

    given = {f.name: flags[f.name] for f in fields(Selection) if flags.get(f.name) is not None}
    if "columns" in given:
        given["columns"] = parse_columns(given["columns"])
    return Selection(**given)


def _explain(context: click.Context, flags: dict[str, Any]) -> None:
    """With --verbose, say what every option is and where it came from."""
    level = logging.INFO if flags["verbose"] else logging.WARNING
    if not flags["quiet"]:
        logging.getLogger("ifdkit").setLevel(level)
    if not flags["verbose"]:
        return
    for name, value in sorted(flags.items()):
        source = context.get_parameter_source(name)
        if value is not None and source is not None:
            where = {"DEFAULT_MAP": str(context.obj)}.get(source.name, source.name.lower())
            click.echo(f"{name.replace('_', '-')} = {value}  ({where})", err=True)


@contextmanager
def _progress(flags: dict[str, Any]) -> Iterator[Progress | None]:
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


@contextmanager
def _reader_may_leave() -> Iterator[None]:
    """Print within it: where whoever read our output has seen enough, the rest is dropped."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 gate failed, 2 error, 130 interrupted."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    short = [a[1:] for a in arguments if a.startswith("-") and not a.startswith("--")]
    verbose = (
        "--verbose" in arguments
        or any("v" in letters for letters in short)
        or bool(os.environ.get("IFDKIT_VERBOSE"))
    )
    logging.basicConfig(format="ifdkit: %(message)s", level=logging.ERROR)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        # Not cli.main(), which ends a closed pipe with exit code 1: that means a failed gate here.
        with _reader_may_leave(), cli.make_context("ifdkit", arguments) as context:
            cli.invoke(context)
        return EXIT_DONE
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return EXIT_ERROR
    except IfdkitError as error:
        return _fail(str(error), verbose)
    except (KeyboardInterrupt, click.Abort):
        click.echo("ifdkit: interrupted; finished work is kept: run the same command to go on",
                   err=True)  # fmt: skip
        return EXIT_INTERRUPTED
    except Exception as error:
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        return _fail(f"internal error: {what} (--verbose shows where; please report it)", verbose)


def _fail(message: str, verbose: bool) -> int:
    if verbose:
        import traceback

        traceback.print_exc()
    click.echo(f"ifdkit: {' '.join(message.split())}", err=True)
    return EXIT_ERROR


def _interrupt(*_: object) -> None:
    """Treat a polite kill like Ctrl-C: leave no half-written file behind."""
    raise KeyboardInterrupt
