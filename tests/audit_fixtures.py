"""A made-up audit for the tests of its reports, with rules in every state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ifdkit.auditing.result import (
    MAX_PLACES,
    Audit,
    AuditedColumn,
    Detail,
    ExploredExample,
    Place,
    RuleResult,
    TemplateCheck,
)
from ifdkit.scoring.explored import ExploredSide
from tests.report_fixtures import MANIFEST

OPENING = "Here is a new and more detailed answer:"


def _places(n: int, quote: str = "", *, value: float | None = None) -> tuple[Place, ...]:
    return tuple(
        Place(
            id=f"alpaca-{37 * i}",
            row=37 * i,
            turn=0,
            line=37 * i + 1,
            quote=quote,
            value=None if value is None else value + i / 100,
        )
        for i in range(n)
    )


FAILED = (
    RuleResult(
        name="unreadable_row",
        title="unreadable rows",
        severity="error",
        passed=False,
        unit="row",
        checked=1000,
        count=1,
        share=0.001,
        found="The row cannot be read as an example.",
        fix="Fix or remove the rows. Most trainers stop at the first one or skip it silently.",
        places=(Place(id="", row=411, line=412, quote="the row ends inside a string"),),
    ),
    RuleResult(
        name="prompt_leak",
        title="leaked prompts",
        severity="error",
        passed=False,
        checked=999,
        count=212,
        share=212 / 999,
        share_ci95=(0.188, 0.239),
        found="The text mentions its own rewriting: the prompt has leaked.",
        fix="Remove the framing or generate the text again. Otherwise the model learns it.",
        places=_places(MAX_PLACES, f"{OPENING} the moon does not change its shape at all"),
    ),
)
WARNS = (
    RuleResult(
        name="recurring_opening",
        title="recurring openings",
        severity="warning",
        passed=False,
        checked=999,
        count=240,
        share=240 / 999,
        share_ci95=(0.215, 0.268),
        most=0.02,
        threshold=0.01,
        found="The response starts with words that 1 % of the responses or more start with.",
        fix="Cut the phrase if it adds nothing. Otherwise the model learns to start with it.",
        places=_places(12, OPENING),
        details=(
            Detail(text=OPENING, count=212, row_ids=tuple(f"alpaca-{37 * i}" for i in range(9))),
            Detail(text="Sure, here are some", count=28, row_ids=("alpaca-5",)),
        ),
        quotes_text=True,
    ),
    RuleResult(
        name="ifd_above_one",
        title="IFD of 1 or more",
        severity="warning",
        passed=False,
        checked=980,
        count=61,
        share=61 / 980,
        share_ci95=(0.049, 0.079),
        most=0.05,
        threshold=1.0,
        found="IFD is 1 or more: the instruction does not make the response more likely.",
        fix="Check whether response and instruction belong together.",
        places=_places(3, value=1.04),
    ),
    RuleResult(
        name="unstable_verdict",
        title="template-dependent results",
        severity="warning",
        passed=False,
        checked=480,
        count=33,
        share=33 / 480,
        most=0.05,
        threshold=0.8,
        found="Under the other template, IFD is on the other side of 1.",
        fix="Score with the template that the model will be trained with.",
    ),
)
PASSED = (
    RuleResult(
        name="refusal",
        title="refusals",
        severity="warning",
        passed=True,
        checked=999,
        count=4,
        share=4 / 999,
        share_ci95=(0.0016, 0.0102),
        most=0.01,
        found="The response declines the request.",
        fix="Remove the rows, unless you want to train refusals.",
        places=_places(4, "I am sorry, but as an AI language model I cannot"),
    ),
    RuleResult(
        name="empty_response",
        title="empty responses",
        severity="error",
        passed=True,
        checked=999,
        count=0,
        share=0.0,
        share_ci95=(0.0, 0.0038),
        found="The response is empty.",
        fix="Remove the rows. They teach the model to stop immediately.",
    ),
    RuleResult(
        name="personal_data",
        title="personal data",
        severity="warning",
        passed=True,
        checked=999,
        count=2,
        share=2 / 999,
        most=0.01,
        found="The text contains what looks like a person's address or number.",
        details=(Detail(text="e-mail addresses", count=2, row_ids=("alpaca-9", "alpaca-12")),),
        places=_places(2, "write to jane@example.org"),
    ),
)
UNAPPLIED = (
    RuleResult(
        name="contamination",
        title="rows of an evaluation set",
        severity="error",
        passed=True,
        skipped="needs --against",
    ),
    RuleResult(name="cut_off", title="cut-off responses", severity="off", passed=True),
)
CHECK = TemplateCheck(
    templates=("plain", "vicuna"),
    n=480,
    spearman=0.91,
    above_one=(0.062, 0.114),
    agreement=0.931,
)


def _explored() -> tuple[ExploredExample, ...]:
    """One example per row that a rule lists, with a tag for each of its rules."""
    found: dict[int, dict[str, str]] = {}
    lines = {}
    for rule in FAILED + WARNS + PASSED:
        for place in rule.places:
            found.setdefault(place.row, {})[rule.name] = place.quote
            lines[place.row] = place.line
    return tuple(
        ExploredExample(
            side=ExploredSide(
                id=f"alpaca-{row}",
                row=row,
                turn=0,
                status="ok",
                instruction=f"Tell me about the moon, part {row}.",
                response="The moon does not change.\nIts light does. " * 4,
                numbers={"response_tokens": float(40 + row), "ifd": 0.5 + row / 4000},
                percentiles={"response_tokens": row / 20, "ifd": row / 20},
            ),
            reasons=("longest",) if row == 1813 else (),
            findings=findings,
            line=lines[row],
        )
        for row, findings in found.items()
    )


def _measured() -> tuple[AuditedColumn, ...]:
    rng = np.random.default_rng(0)
    is_found = rng.random(999) < 0.2
    return (
        AuditedColumn(field="ifd", values=rng.beta(5, 3, 999) * 1.2, is_found=is_found),
        AuditedColumn(
            field="response_tokens",
            values=np.round(rng.lognormal(4.5, 0.8, 999)) + 1,
            is_found=is_found,
        ),
    )


def make_audit(**changes: Any) -> Audit:
    """Two of eight applied rules fail, on a sample of a larger file."""
    audit = Audit(
        version="0.1.0",
        created="2025-11-22T17:00:00+00:00",
        command="ifdkit audit data/recycled.jsonl --sample 1000 --template-check vicuna",
        input="data/recycled.jsonl",
        input_sha256="5a" * 32,
        rows=1000,
        rows_in_file=52002,
        examples=999,
        sample=1000,
        seed=0,
        passed=False,
        rules=FAILED + WARNS + PASSED + UNAPPLIED,
        template_check=CHECK,
        against=("data/alpacaeval.json",),
        manifest=MANIFEST,
        elapsed_s=93.4,
        explored=_explored(),
        measured=_measured(),
    )
    return replace(audit, **changes)


def with_text_everywhere(audit: Audit, text: Callable[[str], str]) -> Audit:
    """The same audit with `text(field)` in place of all words of a dataset or a user."""

    def place(one: Place) -> Place:
        return replace(one, id=text("id"), quote=text("quote"))

    def rule(one: RuleResult) -> RuleResult:
        detail = "detail" if one.quotes_text else "pattern"
        return replace(
            one,
            found=text("found") if one.quotes_text else one.found,
            places=tuple(place(each) for each in one.places),
            details=tuple(
                replace(each, text=text(detail), row_ids=(text("id"),)) for each in one.details
            ),
        )

    def explored(one: ExploredExample) -> ExploredExample:
        side = replace(
            one.side,
            id=text("id"),
            instruction=text("instruction"),
            response=text("response"),
        )
        findings = {name: text("quote") for name in one.findings}
        return replace(one, side=side, findings=findings)

    check = audit.template_check
    return replace(
        audit,
        explored=tuple(map(explored, audit.explored)),
        command=text("command"),
        input=text("input"),
        rules=tuple(rule(one) for one in audit.rules),
        template_check=check and replace(check, templates=(text("template"), "plain")),
        against=(text("against"),),
        manifest=replace(MANIFEST, template_text=text("template")),
    )
