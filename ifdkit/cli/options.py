"""How flags and groups of commands are made, and the flags that commands share."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])
Flag = Callable[[Any], Any]


class Trust(IntEnum):
    """Who may set an option, besides flags and variables."""

    FOLDER = 0
    """Any settings file, also that of a working folder whose author is unknown."""
    USER = 1
    """The user-level file: it lets code run, or decides where data, keys and scores go."""
    CALL = 2
    """No file: it belongs to one call, such as the name of an output."""


class OnceOption(click.Option):
    """An option that is refused if it is given twice: click takes the last and drops the others."""

    trust = Trust.FOLDER

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """Register the option, with a check before its value is stored."""
        super().add_to_parser(parser, ctx)
        if self.multiple or self.is_flag:
            return
        parsed = parser._long_opt.get(self.opts[-1]) or parser._short_opt.get(self.opts[-1])
        store = parsed.process

        def process(value: Any, state: Any) -> None:
            if parsed.dest in state.opts:
                raise click.UsageError(f"{self.opts[-1]} is given twice", ctx)
            store(value, state)

        parsed.process = process


class UserOption(OnceOption):
    """An option that a file of the working folder cannot set."""

    trust = Trust.USER


class CallOption(OnceOption):
    """An option that belongs to one call."""

    trust = Trust.CALL


class Commands(click.Group):
    """A group whose help lists its commands in their own order, each with a whole sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, as they were added: click sorts them."""
        del ctx
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list: click cuts a sentence that does not fit into a line."""
        names = self.list_commands(ctx)
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, self.commands[name].get_short_help_str(limit=1000)) for name in names]
            )


def trust_of(parameter: click.Option) -> Trust:
    """Who may set an option."""
    return getattr(parameter, "trust", Trust.FOLDER)


def call_option(*names: str, **attributes: Any) -> Callable[[Command], Command]:
    """An option that belongs to one call: no variable and no settings file sets it."""
    return click.option(*names, cls=CallOption, **attributes)


def option(*names: str, trusted: bool = False, **attributes: Any) -> Callable[[Command], Command]:
    """An option that the variable `IFDKIT_<NAME>` and a settings file set too.

    `trusted` is for one that runs code, sends something or names a file that is written: the file
    of a working folder cannot set it.
    """
    long = next(name for name in names if name.startswith("--")).split("/")[0]
    variable = "IFDKIT_" + long.removeprefix("--").replace("-", "_").upper()
    kind = UserOption if trusted else OnceOption
    return click.option(*names, cls=kind, envvar=variable, **attributes)


def together(*flags: Flag) -> Callable[[Command], Command]:
    """One decorator for several options, which `--help` shows in this order."""

    def decorate(command: Command) -> Command:
        for flag in reversed(flags):
            command = flag(command)
        return command

    return decorate


def output_option(help: str, **attributes: Any) -> Callable[[Command], Command]:  # noqa: A002
    """`--output`."""
    path = click.Path(path_type=Path)
    return call_option("--output", "-o", type=path, help=help, **attributes)


def rows_options(
    sample: str = "Only N random rows, in file order.",
    seed: str = "Seed of the sample.",
    where: str = "Only rows for which it is true, by their columns: \"lang == 'de' and n > 2\".",
) -> Callable[[Command], Command]:
    """Which rows of DATA to read; the arguments are help texts."""
    return together(
        option("--where", metavar="EXPR", help=where),
        option("--limit", type=int, metavar="N", help="Only the first N rows."),
        option("--sample", type=int, metavar="N", help=sample),
        option("--seed", type=int, default=0, help=f"{seed}  [default: 0]"),
    )


WHERE_SCORES = (
    "Only rows for which it is true, by scores and their columns: \"ifd < 1 and lang == 'de'\"."
)
"""The help of `--where` for commands that also choose rows by scores."""

on_request_options = together(
    option("--reference-model", metavar="MODEL", help="The second model of --metrics reference."),
    option(
        "--informative-nats",
        type=float,
        metavar="NATS",
        help="s_ifd is over tokens whose NLL the instruction changes by more.  [default: 0.125]",
    ),
    option(
        "--noise-copies",
        type=int,
        metavar="N",
        help="Noisy copies of each example for"
        " --metrics noise: so many times the cost of IFD.  [default: 8]",
    ),
    option("--noise-seed", type=int, metavar="N", help="Seed of the noise.  [default: 0]"),
)
"""What some metrics on request need."""

metric_options = together(
    option(
        "--metrics",
        help="Of ppl,ifd,rifd,coherence, then tokens,demonstration,text,reference, single fields,"
        " or all.  [default: ppl,ifd,coherence; compare and predict: rifd too]",
    ),
    on_request_options,
    option("--embedder", help="Folder or hub id of a sentence-embedding model."),
    option("--window", type=int, help="Response tokens of ifd_window.  [default: 64]"),
    option(
        "--drift",
        type=int,
        metavar="N",
        help="Examples of the precision check, which scores a sample again in float32 if --dtype"
        " is less; 0 turns it off.  [default: 1 %, at most 64; none for fewer than 800]",
    ),
)
"""What to measure, for the commands whose result is scores."""

model_options = together(
    option("--model", "-m", help="Folder, GGUF file or hub id of a causal language model."),
    option("--protocol", help="aligned (default), superfiltering, reflection or cherry."),
    option("--template", help="plain, alpaca, vicuna, wizardlm, chat, chat:NAME, or a Jinja file."),
    option(
        "--template-date",
        metavar="YYYY-MM-DD",
        help="What a template takes for today.  [default: 2024-07-26]",
    ),
    option("--dtype", help="auto, float32, bfloat16 or float16."),
    option("--device", help="auto, cpu, cuda, cuda:N or mps."),
    option(
        "--threads",
        type=int,
        metavar="N",
        help="Threads on a CPU.  [default: the cores that the process may use]",
    ),
    option("--max-length", type=int, metavar="N", help="Tokens of the longest pass."),
    option(
        "--stride",
        type=int,
        metavar="N",
        help="Tokens from one window over a long document to the next.  [default: half a window]",
    ),
    option("--columns", help="Which column is which: instruction=q,response=a,…"),
    option("--lines", is_flag=True, help="Each line of a .txt file is a document."),
    option("--turns", type=click.Choice(["all", "last"]), help="Assistant turns to use."),
    option("--reasoning", type=click.Choice(["keep", "drop"]), help="Reasoning before answers."),
    option("--store", trusted=True, help="Path of the score store, or off."),
    option(
        "--store-limit",
        trusted=True,
        metavar="SIZE",
        help="Cut the store to it after a run, as 10G: what was not used for longest is deleted."
        "  [default: none]",
    ),
    option(
        "--allow-pickle",
        is_flag=True,
        trusted=True,
        help="Open pickled weights, which can run code.",
    ),
    option(
        "--trust-remote-code", is_flag=True, trusted=True, help="Run code that comes with a model."
    ),
)
"""The model, the protocol and how DATA is read."""

worker_options = together(
    option(
        "--workers",
        type=int,
        metavar="N",
        help="Processes with a copy of the model each: one per GPU, or per group of cores.",
    ),
    option("--device-map", help="auto: spread one copy of the model over all devices."),
    option("--backend", help="torch (default), or ray: a cluster."),
    option(
        "--ray-address",
        trusted=True,
        help="Address of the Ray cluster.  [default: RAY_ADDRESS, else this machine]",
    ),
)
"""What computes, and where."""

log_option = option(
    "--log",
    trusted=True,
    metavar="TRACKER",
    help="Log settings and dataset-level numbers too: trackio, wandb, tensorboard or mlflow.",
)
"""Of the commands whose result is numbers."""

quiet_options = together(
    option("--quiet", "-q", is_flag=True, help="No progress and no notes."),
    option("--verbose", "-v", is_flag=True, help="Print resolved options, and tracebacks."),
)
"""How much is said on stderr."""

output_options = together(
    option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout."),
    quiet_options,
)
"""What is printed."""

common_options = together(model_options, output_options)
"""The flags of every command that uses a model."""
