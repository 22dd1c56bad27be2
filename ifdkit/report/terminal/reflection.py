"""A reflection on a terminal: what became of every call, and what a run would ask."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from ifdkit.format import duration, number, plural
from ifdkit.reflection.estimate import Estimate
from ifdkit.reflection.limits import Usage
from ifdkit.reflection.outcomes import Outcome
from ifdkit.reflection.run import Recycled
from ifdkit.report.terminal.screen import Screen, number_table
from ifdkit.visible import visible


def print_reflection(done: Recycled) -> None:
    """What `ifdkit reflect` ends with."""
    console = Screen()
    there = [o for o in Outcome if any(o in counts for counts in done.outcomes.values())]
    rows = []
    for stage, counts in done.outcomes.items():
        cells = [f"{counts.get(outcome, 0):,}" for outcome in there]
        rows.append((stage, *cells, f"{done.in_output.get(stage, 0):,}"))
    if rows:
        headers = ("", *map(str, there), "in the output")
        console.print(number_table(headers, rows, console.width))
    for line in _lines(done):
        console.print(line, soft_wrap=True)


def _lines(done: Recycled) -> Iterator[str]:
    rejected = f"; {plural(done.rows_rejected, 'row')} rejected" if done.rows_rejected else ""
    yield f"{plural(done.rows, 'row')}: {done.rows_changed:,} changed{rejected}"
    if done.rows_rejected:
        left = f", {done.rows_left_out:,} of them left out" if done.rows_left_out else ""
        yield f"  why: {done.output}.rejects.jsonl{left}"
    if done.student is not None:
        chosen = ", ".join(f"{n:,} {variant}" for variant, n in done.variants.items())
        yield f"chosen by {done.student}: {chosen}"
    if done.stopped is not None:
        yield f"stopped early: {done.stopped}"
        yield "  rows that were not asked about stand as they were; the same command goes on"
    yield f"oracle {done.oracle}, prompts {done.prompt_version} · {_spent(done)}"
    yield f"→ {done.output}  (and {done.output}.provenance.jsonl)"
    if done.limit is None and done.sample is None:
        yield f"next: ifdkit compare {shlex.join([done.input, done.output])}"


def _spent(done: Recycled) -> str:
    tokens = _tokens(Usage(done.prompt_tokens, done.completion_tokens))
    cost = "" if done.cost is None else f", cost {number(done.cost)}"
    return f"{tokens}{cost} · {duration(done.elapsed_s)}"


def _tokens(usage: Usage) -> str:
    return f"{usage.prompt_tokens:,} tokens in, {usage.completion_tokens:,} out"


def print_estimate(found: Estimate) -> None:
    """What `ifdkit reflect --dry-run` prints: prompts as they would be sent, then the estimate."""
    console = Screen()
    for number_, (stage, text) in enumerate(found.prompts, start=1):
        console.rule(f"prompt {number_}: {stage}", align="left")
        console.print(visible(text), soft_wrap=True)
    console.rule()
    calls = ", ".join(f"{n:,} for the {stage}" for stage, n in found.calls.items())
    console.print(f"{plural(found.rows, 'row')}: calls {calls or 'none'}", soft_wrap=True)
    console.print(f"about {_tokens(found.likely)}; answers of at most"
                  f" {found.most_completion_tokens:,} tokens in all", soft_wrap=True)  # fmt: skip
    if found.likely_cost is not None:
        console.print(f"about {number(found.likely_cost)}, or {number(found.most_cost)} were every"
                      " answer as long as it may be, in the currency of the prices",
                      soft_wrap=True)  # fmt: skip
    console.print("Nothing was asked, and nothing was written.", soft_wrap=True)
