"""A reflection on a terminal: the outcome of every call, or the estimate of a dry run."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from ifdkit.format import duration, number, plural
from ifdkit.oracle.limits import Usage
from ifdkit.reflection.estimate import CallEstimate
from ifdkit.reflection.outcomes import Outcome
from ifdkit.reflection.result import Recycled
from ifdkit.report.terminal.screen import Screen, number_table
from ifdkit.visible import visible


def print_reflection(result: Recycled) -> None:
    """Print the result of a run."""
    console = Screen()
    headers, rows = outcome_table(result)
    if rows:
        console.print(number_table(headers, rows, console.width))
    for line in _lines(result):
        console.print(line, soft_wrap=True)


def outcome_table(result: Recycled) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headers and rows: the calls of each stage by their outcome, and what is in the output."""
    outcomes = [o for o in Outcome if any(o in counts for counts in result.outcomes.values())]
    rows = []
    for stage, counts in result.outcomes.items():
        cells = [f"{counts.get(outcome, 0):,}" for outcome in outcomes]
        rows.append((stage, *cells, f"{result.in_output.get(stage, 0):,}"))
    return ("", *map(str, outcomes), "in the output"), rows


def _lines(result: Recycled) -> Iterator[str]:
    rejected = f"; {plural(result.rows_rejected, 'row')} rejected" if result.rows_rejected else ""
    yield f"{plural(result.rows, 'row')}: {result.rows_changed:,} changed{rejected}"
    if result.rows_rejected:
        left_out = f", {result.rows_left_out:,} of them left out" if result.rows_left_out else ""
        yield f"  reasons: {result.output}.rejects.jsonl{left_out}"
    if result.student is not None:
        chosen = ", ".join(f"{n:,} {variant}" for variant, n in result.variants.items())
        yield f"chosen by {result.student}: {chosen}"
    if result.stopped is not None:
        yield f"stopped early: {result.stopped}"
        yield "  rows that were not asked about are unchanged; re-run the same command to resume"
    spent = _tokens(Usage(result.prompt_tokens, result.completion_tokens))
    cost = "" if result.cost is None else f", cost {number(result.cost)}"
    yield (
        f"oracle {result.oracle}, prompts {result.prompt_version} · {spent}{cost}"
        f" · {duration(result.elapsed_s)}"
    )
    yield f"→ {result.output}  (and {result.output}.provenance.jsonl)"
    if result.limit is None and result.sample is None:
        yield f"next: ifdkit compare {shlex.join([result.input, result.output])}"


def _tokens(usage: Usage) -> str:
    return f"{usage.prompt_tokens:,} tokens in, {usage.completion_tokens:,} out"


def print_estimate(estimate: CallEstimate) -> None:
    """Print the first prompts and the estimate of `ifdkit reflect --dry-run`."""
    console = Screen()
    for position, (stage, text) in enumerate(estimate.prompts, start=1):
        console.rule(f"prompt {position}: {stage}", align="left")
        console.print(visible(text), soft_wrap=True)
    console.rule()
    calls = ", ".join(f"{n:,} for the {stage}" for stage, n in estimate.calls.items())
    console.print(f"{plural(estimate.rows, 'row')}: calls {calls or 'none'}", soft_wrap=True)
    console.print(f"about {_tokens(estimate.likely)}; at most"
                  f" {estimate.most_completion_tokens:,} out", soft_wrap=True)  # fmt: skip
    if estimate.likely_cost is not None:
        console.print(f"about {number(estimate.likely_cost)}, at most {number(estimate.most_cost)},"
                      " in the currency of the prices", soft_wrap=True)  # fmt: skip
    console.print("Nothing was asked, and nothing was written.", soft_wrap=True)
