"""A judgement on a terminal: win rates, outcomes, position bias, the verdict."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from ifdkit.format import duration, fixed, interval, number, percent, plural, sentences
from ifdkit.judging.result import Judgement
from ifdkit.report.terminal.screen import Screen, number_table
from ifdkit.stats.win_rates import Rate
from ifdkit.visible import one_line


def print_judgement(result: Judgement) -> None:
    """Print what `ifdkit judge` ends with."""
    console = Screen()
    rates = result.win_rates
    rows = [
        (name, percent(one.value, 3), interval(one.ci95, percent), f"{one.n:,}")
        for name, one in (
            ("all pairs", rates.raw),
            ("decided pairs", rates.decided),
            ("at equal length, characters", rates.length_controlled_characters),
            ("at equal length, tokens", rates.length_controlled_tokens),
        )
    ]
    console.print(one_line(f"{result.second} against {result.first}", 400))
    console.print(number_table(("win rate", "", "95 % CI", "pairs"), rows, console.width))
    for line in _lines(result):
        console.print(line, soft_wrap=True)
    console.print(Text(one_line(result.verdict, 1500), "bold"))
    if result.output is not None:
        console.print(f"→ {one_line(result.output, 4096)}", soft_wrap=True)


def _lines(result: Judgement) -> Iterator[str]:
    if result.warnings:
        yield sentences(result.warnings)
    rates = result.win_rates
    yield f"{rates.wins:,} won, {rates.losses:,} lost, {plural(rates.ties, 'tie')}"
    yield f"the second answer is longer in {percent(rates.longer_share)} of the pairs"
    if result.published is not None:
        one = result.published
        yield (
            f"AlpacaEval's formula: win rate {fixed(one.win_rate, 2)}, standard error"
            f" {fixed(one.standard_error, 2)}, discrete win rate {fixed(one.discrete_win_rate, 2)}"
        )
    if result.n_missing:
        yield f"{plural(result.n_missing, 'pair')} without a preference left out"
    if result.n_different:
        yield f"{plural(result.n_different, 'pair')} with different instructions not asked about"
    if result.n_rejected:
        yield f"{plural(result.n_rejected, 'row')} could not be read"
    if result.answers:
        yield "pairs: " + ", ".join(f"{n:,} {name}" for name, n in result.outcomes.items())
        yield "answers: " + ", ".join(f"{n:,} {name}" for name, n in result.answers.items())
    bias = result.position_bias
    if bias is not None:
        yield (
            f"position: in {_rate(bias.inconsistent)} of {bias.n:,} pairs with two winners the same"
            f" position won twice; the first position won {_rate(bias.first)}"
        )
    if result.stopped is not None:
        yield f"stopped early: {result.stopped}; re-run the same command to resume"
    if result.oracle is not None:
        cost = "" if result.cost is None else f", cost {number(result.cost)}"
        yield (
            f"oracle {one_line(result.oracle, 80)}, prompts {result.prompt_version} ·"
            f" {result.prompt_tokens:,} tokens in, {result.completion_tokens:,} out{cost} ·"
            f" {duration(result.elapsed_s)}"
        )


def _rate(rate: Rate) -> str:
    return f"{percent(rate.value)} ({interval(rate.ci95, percent)})"
