"""A generation on a terminal: how many answers, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator

from ifdkit.format import duration, plural
from ifdkit.generation.result import Generated
from ifdkit.report.terminal.screen import Screen


def print_generation(done: Generated) -> None:
    """Print what `ifdkit generate` ends with."""
    console = Screen()
    for line in _lines(done):
        console.print(line, soft_wrap=True)


def headline(done: Generated) -> str:
    """How many rows were answered, by which model and how."""
    how = f"temperature {done.temperature:g}, seed {done.seed}" if done.temperature else "greedy"
    return f"{done.model}: {done.answered:,} of {plural(done.rows, 'row')} answered ({how})"


def _lines(done: Generated) -> Iterator[str]:
    yield headline(done)
    if done.left_out:
        why = ", ".join(f"{n:,} {reason}" for reason, n in done.left_out.items())
        yield f"left out: {why}; reasons: {done.output}.rejects.jsonl"
    if done.cut:
        yield f"{plural(done.cut, 'answer')} cut at {done.max_new_tokens:,} tokens"
    if done.empty:
        yield f"{plural(done.empty, 'answer')} without text"
    known = f", {done.from_journal:,} from the journal" if done.from_journal else ""
    tokens = plural(done.tokens, "token")
    yield f"{done.generated:,} generated{known} · {tokens} · {duration(done.elapsed_s)}"
    yield f"→ {done.output}  (and {done.output}.manifest.json)"
