"""The command line: the group of commands, and how errors become exit codes.

Nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import click

from ifdkit.cli import INTERRUPTED
from ifdkit.cli.audit import audit
from ifdkit.cli.card import card
from ifdkit.cli.compare import compare
from ifdkit.cli.completion import answer_shell, completion
from ifdkit.cli.config import load_config
from ifdkit.cli.flags import EXIT_DONE, EXIT_ERROR, EXIT_INTERRUPTED
from ifdkit.cli.generate import generate
from ifdkit.cli.judge import judge
from ifdkit.cli.merge import merge
from ifdkit.cli.models import models
from ifdkit.cli.options import Commands
from ifdkit.cli.predict import predict
from ifdkit.cli.reflect import reflect
from ifdkit.cli.score import score
from ifdkit.cli.select import select
from ifdkit.cli.show import show
from ifdkit.cli.store import store
from ifdkit.cli.streams import safe_streams
from ifdkit.cli.train import train
from ifdkit.cli.view import view
from ifdkit.errors import IfdkitError, brief
from ifdkit.version import VERSION
from ifdkit.visible import one_line, visible

COMMANDS = (
    *(score, compare, show, reflect, select, audit, view),
    *(train, generate, judge, predict, merge, card, models, store, completion),
)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(VERSION, prog_name="ifdkit", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """See what's in your training data before you spend GPU hours on it.

    \b
    ifdkit score data.json              one row of numbers per example
    ifdkit compare old.json new.json    what changed, and whether it is real
    ifdkit COMMAND --help               the options of a command, with examples

    Flags override IFDKIT_… variables, which override ifdkit.toml or [tool.ifdkit] in
    pyproject.toml, which override ifdkit/config.toml in the user's folder of settings.
    """
    commands = cli.commands.items()
    config = load_config(Path.cwd(), (p for _, command in commands for p in command.params))
    context.obj = config
    context.default_map = {
        name: config.defaults(p.name for p in command.params) for name, command in commands
    }


for command in COMMANDS:
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code, whatever becomes of stdout and stderr.

    0 done, 1 gate failed, 2 error, 130 interrupted.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    with safe_streams():
        return _run(arguments)


def _run(arguments: list[str]) -> int:
    logging.basicConfig(level=logging.ERROR, handlers=[_StderrHandler()])
    signal.signal(signal.SIGTERM, _interrupt)
    if (answered := answer_shell(cli)) is not None:
        return answered
    try:
        # Not cli.main(), which exits with 1 for errors of its own: here 1 is a failed gate.
        with cli.make_context("ifdkit", arguments) as context:
            return int(cli.invoke(context) or EXIT_DONE)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return EXIT_ERROR
    except click.ClickException as error:
        return _fail(_usage_problem(error))
    except (KeyboardInterrupt, click.Abort):
        return _interrupted()
    except IfdkitError as error:
        return _interrupted() if _is_interrupt(error) else _traced(str(error), arguments)
    except Exception as error:
        if _is_interrupt(error):
            return _interrupted()
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        problem = f"internal error: {what} (--verbose shows where; please report it)"
        return _traced(problem, arguments)
    except BaseException as error:
        # A panic of a library in Rust is no Exception, and would end like a failed gate, with 1.
        if isinstance(error, SystemExit):
            raise
        return _traced(f"internal error: {brief(error)} (please report it)", arguments)


def _interrupted() -> int:
    sys.stderr.write(INTERRUPTED)
    return EXIT_INTERRUPTED


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether an error comes from Ctrl-C: modules in C turn one during their import into others."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _usage_problem(error: click.ClickException) -> str:
    """What is wrong with the words of a command, in one line, and where its help is."""
    close = getattr(error, "possibilities", None)  # most similar first
    problem = f"{error.message.rstrip('.')}: did you mean {close[0]!r}?" if close else ""
    problem = problem or error.format_message().rstrip(".")
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "ifdkit"
    return f"{problem[:1].lower()}{problem[1:]} (see {command} --help)"


def _traced(message: str, arguments: Sequence[str]) -> int:
    """Fail, with the traceback if --verbose is among the arguments."""
    short = [a[1:] for a in arguments if a.startswith("-") and not a.startswith("--")]
    is_verbose = "--verbose" in arguments or any("v" in letters for letters in short)
    if is_verbose or os.environ.get("IFDKIT_VERBOSE"):
        traceback.print_exc()
    return _fail(message)


def _fail(message: str) -> int:
    # Escaped first: `split` also splits at separators that are not line ends to a terminal.
    click.echo(f"ifdkit: {' '.join(visible(message).split())}", err=True)
    return EXIT_ERROR


class _StderrHandler(logging.Handler):
    """Log lines on the stderr of the moment, which a command may have replaced."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record. What a library logs below a warning may quote headers of a server."""
        if not record.name.startswith("ifdkit") and record.levelno < logging.WARNING:
            return
        sys.stderr.write(f"ifdkit: {one_line(record.getMessage(), 2000)}\n")


def _interrupt(*_: object) -> None:
    """Treat SIGTERM like Ctrl-C: leave no half-written file behind."""
    raise KeyboardInterrupt
