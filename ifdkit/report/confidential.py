"""Reports without a word of the datasets: `--no-text`. Numbers, ids and verdicts stay."""

from __future__ import annotations

from dataclasses import replace

from ifdkit.auditing.result import Audit, RuleResult
from ifdkit.comparison.result import ExploredPair, ExploredSide, Summary
from ifdkit.findings.finding import Finding

WITHHELD = "(text withheld by --no-text)"


def without_text(summary: Summary) -> Summary:
    """The summary with quotations removed from its findings."""
    return replace(summary, findings=tuple(_without_quotation(one) for one in summary.findings))


def numbers_only(explored: tuple[ExploredPair, ...]) -> tuple[ExploredPair, ...]:
    """The pairs with their ids and numbers, but no instruction, response or token."""
    return tuple(
        replace(pair, before=_numbers_of(pair.before), after=_numbers_of(pair.after))
        for pair in explored
    )


def audit_without_text(audit: Audit) -> Audit:
    """The audit with quotations removed from its rules and places."""
    return replace(audit, rules=tuple(map(_without_quotes, audit.rules)))


def _without_quotation(finding: Finding) -> Finding:
    text = WITHHELD if finding.quotes_text else finding.text
    return replace(finding, text=text, examples=(), quotes_text=False)


def _numbers_of(side: ExploredSide) -> ExploredSide:
    return replace(side, instruction="", response="", tokens=())


def _without_quotes(rule: RuleResult) -> RuleResult:
    found, details = rule.found, rule.details
    if rule.quotes_text:
        found = WITHHELD
        details = tuple(replace(one, text=WITHHELD) for one in details)
    places = tuple(replace(place, quote="") for place in rule.places)
    return replace(rule, found=found, details=details, places=places, quotes_text=False)
