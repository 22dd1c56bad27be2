"""How flags are made, and those that commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])
Flag = Callable[[Any], Any]


def option(*names: str, **attributes: Any) -> Callable[[Command], Command]:
    """An option that `IFDKIT_<NAME>` sets too."""
    long = next(name for name in names if name.startswith("--")).split("/")[0]
    variable = "IFDKIT_" + long.removeprefix("--").replace("-", "_").upper()
    return click.option(*names, envvar=variable, **attributes)


def together(*flags: Flag) -> Callable[[Command], Command]:
    """One decorator of several options, which `--help` shows in this order."""

    def decorate(command: Command) -> Command:
        for flag in reversed(flags):
            command = flag(command)
        return command

    return decorate


measuring_options = together(
    option(
        "--metrics",
        help="Of ppl,ifd,rifd,coherence, or all.  [default: all but rifd; compare: all]",
    ),
    option("--embedder", help="Folder or hub id of a sentence-embedding model."),
    option("--window", type=int, help="Response tokens that ifd_window looks at.  [default: 64]"),
    option(
        "--drift",
        type=int,
        help="Examples scored again in float32 where --dtype is less, to"
        " tell what that costs; 0: none.  [default: 2 %, 12 to 64]",
    ),
)
"""The flags of the commands whose result is scores: what to measure."""

common_options = together(
    option("--model", "-m", help="Folder, GGUF file or hub id of a causal language model."),
    option("--protocol", help="aligned (default), superfiltering, reflection or cherry."),
    option("--template", help="plain, alpaca, vicuna, wizardlm, chat, or a Jinja file."),
    option("--dtype", help="auto, float32, bfloat16 or float16."),
    option("--device", help="auto, cpu, cuda, cuda:N or mps."),
    option("--max-length", type=int, help="Tokens of the longest pass."),
    option("--columns", help="What is where: instruction=q,response=a,…"),
    option("--turns", type=click.Choice(["all", "last"]), help="Assistant turns to work on."),
    option("--store", help="Path of the score store, or off."),
    option("--allow-pickle", is_flag=True, help="Open pickled weights, which can run code."),
    option("--trust-remote-code", is_flag=True, help="Run code that comes with a model."),
    option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout."),
    option("--quiet", "-q", is_flag=True, help="No progress and no notes."),
    option("--verbose", "-v", is_flag=True, help="Say what was resolved; show tracebacks."),
)
"""The flags that every command which uses a model takes."""
