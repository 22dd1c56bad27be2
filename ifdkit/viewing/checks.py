"""Text checks of every row, for the filter by finding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ifdkit.findings import TITLES
from ifdkit.findings.checks import TextCheck
from ifdkit.findings.incomplete import cut_off, empty_response, unclosed_code_block
from ifdkit.findings.rewrites import exact_duplicate, exact_duplicate_instruction
from ifdkit.findings.stock_phrases import ai_disclaimer, prompt_leak, refusal
from ifdkit.findings.texts import Corpus
from ifdkit.viewing.query import Findings
from ifdkit.viewing.texts import TextStore

BY_EXAMPLE: tuple[TextCheck, ...] = (
    refusal,
    ai_disclaimer,
    prompt_leak,
    empty_response,
    unclosed_code_block,
)
"""Checks that look at one example at a time."""
BY_CORPUS: tuple[TextCheck, ...] = (cut_off, exact_duplicate, exact_duplicate_instruction)
"""Checks that need all texts at once."""
MAX_CORPUS_ROWS = 200_000
"""Of more rows not all texts are kept in memory, and BY_CORPUS is left out."""


def check_texts(texts: TextStore, findings: Findings, is_stopped: Callable[[], bool]) -> None:
    """Add what the checks find in the texts of one side."""
    instructions: list[str] = []
    responses: list[str] = []
    keeps = texts.n <= MAX_CORPUS_ROWS
    for start, one, other in texts.texts():
        if is_stopped():
            return
        corpus = Corpus(("",) * len(one), tuple(one), tuple(other))
        for check in BY_EXAMPLE:
            _add(findings, check, (start + hit.index for hit in check(corpus)))
        if keeps:
            instructions += one
            responses += other
    if keeps:
        corpus = Corpus(("",) * len(responses), tuple(instructions), tuple(responses))
        for check in BY_CORPUS:
            if is_stopped():
                return
            _add(findings, check, (hit.index for hit in check(corpus)))


def _add(findings: Findings, check: TextCheck, rows: Iterable[int]) -> None:
    findings.add(check.kind, check.title[:1].upper() + check.title[1:], list(rows))


def add_summarized(
    findings: Findings, summary: Mapping[str, Any], ids: Mapping[str, Mapping[str, list[int]]]
) -> None:
    """Add the findings of a comparison; `ids` are the positions of each id, by side."""
    for one in summary.get("findings", ()):
        side = "before" if one["side"] == "before" else "after"
        rows = [position for name in one["row_ids"] for position in ids[side].get(name, ())]
        title = TITLES.get(one["kind"], one["kind"].replace("_", " "))
        where = "" if one["side"] == "both" else f" ({one['side']})"
        findings.add(f"{one['kind']}:{one['side']}", title[:1].upper() + title[1:] + where, rows,
                     one["count"])  # fmt: skip
