"""`ifdkit train`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ifdkit.cli.flags import echo_json, progress_of, read_options_of, settings_given, start
from ifdkit.cli.options import (
    call_option,
    common_options,
    option,
    output_option,
    rows_options,
    together,
)

train_options = together(
    option("--preset", help="paper (default): all weights, batch 128, three epochs; or laptop: an"
           " adapter, batch 8, one epoch, 512 tokens."),
    option("--lora/--full", default=None, help="Train a LoRA adapter, or all weights."),
    option("--epochs", type=float, help="Passes over DATA.  [default: 3]"),
    option("--steps", type=int, help="Optimizer steps, instead of --epochs."),
    option("--batch-size", type=int, help="Examples per optimizer step.  [default: 128]"),
    option("--micro-batch", type=int, help="Examples in memory at once.  [default: 4 on a CPU,"
           " 8 elsewhere]"),
    option("--learning-rate", type=float, help="Highest learning rate.  [default: 2e-5]"),
    option("--warmup", type=float, help="Share of the steps with a rising learning rate."
           "  [default: 0.03]"),
    option("--weight-decay", type=float, help="Weight decay of AdamW.  [default: 0]"),
    option("--lora-rank", type=int, help="Rank of the adapter.  [default: 16]"),
    option("--lora-alpha", type=int, help="Scale of the adapter, times the rank.  [default: 32]"),
    call_option("--eval", multiple=True, metavar="FILE", help="Held-out file to score"
                " before and after; repeatable."),
    call_option("--versus", metavar="OTHER", help="Train on OTHER too, under the same budget."),
    option("--budget", help="What is the same with --versus, besides the steps: examples"
           " (default), or tokens that are trained on."),
    option("--seeds", type=int, help="Seeds to train with, from --seed on.  [default: 1]"),
    option("--checkpoint-minutes", type=float, help="Minutes between checkpoints.  [default: 5]"),
    option("--log", trusted=True, metavar="TRACKER", help="Log the loss of each step too: to"
           " trackio, wandb, tensorboard or mlflow."),
)  # fmt: skip
"""The flags of `ifdkit train`."""


@click.command("train")
@click.argument("data", nargs=-1, required=True)
@output_option("Folder for the model.", required=True)
@train_options
@rows_options(seed="Seed of the sample, of the order of rows and of an adapter's first weights.")
@common_options
@click.pass_context
def train(context: click.Context, /, data: tuple[str, ...], output: Path, **flags: Any) -> None:
    """Fine-tune a model on the responses of DATA.

    The loss is on the tokens that the protocol scores, and on those that end a response. OUT is
    what other commands take as --model; it has the loss of each step as loss.csv and loss.png. With
    --versus or --seeds there is one folder per model in OUT. Re-running the same command resumes.

    \b
    Example:
      ifdkit train best.json -o tuned --preset laptop --eval held-out.json
    """
    import ifdkit.report  # noqa: F401  draws loss.png
    from ifdkit.report.terminal.training import print_training
    from ifdkit.scoring.settings import Settings
    from ifdkit.training.options import train_options as options_of
    from ifdkit.training.run import train_to_folder

    start(context, flags)
    options, preset = options_of(flags)
    with progress_of(flags) as progress:
        done = train_to_folder(
            data,
            output,
            options,
            Settings(**{**preset, **settings_given(flags)}),
            read_options_of(flags),
            versus=flags["versus"],
            held_out_data=flags["eval"],
            progress=progress,
        )
    if flags["as_json"]:
        echo_json(done.as_json())
    else:
        print_training(done)
