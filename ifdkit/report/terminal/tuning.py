"""Tuned weights on a terminal: what they are worth beside random selections and single scores."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from ifdkit.format import interval, number, plural, signed
from ifdkit.report.terminal.screen import number_table
from ifdkit.selection.tuned import Contender, TunedWeights
from ifdkit.visible import one_line

_DIGITS = 4
_STYLES = {"better": "green", "worse": "red", "not distinguishable": "yellow"}


def print_tuning(found: TunedWeights, console: Console) -> None:
    """Print the comparison, and what it says."""
    console.print(_heading(found), soft_wrap=True)
    rows = [_row(one) for one in found.contenders]
    headers = ("held-out NLL", "mean", "lowest", "highest", "− random", "± chance", "95 % CI, rows")
    console.print(number_table(headers, rows, console.width))
    for line in _remarks(found):
        console.print(line, soft_wrap=not console.is_terminal)


def described(one: Contender) -> str:
    """What a contender ranks by."""
    if one.name not in one.weights or len(one.weights) > 1:
        return one.name
    return f"{one.name}, {'highest' if one.weights[one.name] > 0 else 'lowest'}"


def _heading(found: TunedWeights) -> Text:
    return Text(
        f"tuned: --weights {one_line(found.text, 200)} (trial {found.best_trial} of"
        f" {len(found.trials)}); {len(found.seeds)} random selections,"
        f" {plural(len(found.held_out_verdict), 'held-out row')} that no trial saw",
        "bold",
    )


def _row(one: Contender) -> tuple[str, ...]:
    return (
        described(one),
        number(one.nll, _DIGITS),
        number(min(one.nlls), _DIGITS),
        number(max(one.nlls), _DIGITS),
        signed(one.versus_random, _DIGITS),
        number(one.margin, 2),
        interval(one.ci95_rows),
    )


def _remarks(found: TunedWeights) -> Iterator[Text]:
    first, *others = found.remarks
    mark = "" if found.verdict == "better" else "! "
    yield Text(f"{mark}{first}", _STYLES[found.verdict])
    yield from (Text(f"! {one}", "yellow") for one in others)
