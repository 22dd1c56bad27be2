"""`ifdkit completion`, and the requests of a shell that completes a command."""

from __future__ import annotations

import os

import click

VARIABLE = "_IFDKIT_COMPLETE"
"""Set by the shell while it completes a command line: what it asks for, such as `bash_complete`."""
SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS), metavar="SHELL")
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that completes commands and flags in SHELL: bash, zsh or fish.

    \b
    Example:
      ifdkit completion bash >> ~/.bashrc
      ifdkit completion zsh >> ~/.zshrc
      ifdkit completion fish > ~/.config/fish/completions/ifdkit.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None, "click completes in each of SHELLS"
    click.echo(kind(context.find_root().command, {}, "ifdkit", VARIABLE).source())


def answer_shell(command: click.Command) -> int | None:
    """Print what a shell asks for, and give the exit code; None if no shell asks."""
    instruction = os.environ.get(VARIABLE)
    if not instruction:
        return None
    from click.shell_completion import shell_complete

    return shell_complete(command, {}, "ifdkit", VARIABLE, instruction)
