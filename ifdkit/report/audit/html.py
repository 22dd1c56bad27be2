"""The report of an audit as one HTML file that asks nothing of any network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ifdkit.auditing.result import Audit, Place, RuleResult
from ifdkit.report.audit.wording import (
    State,
    advice,
    allowed,
    basis,
    decimal,
    headline,
    in_state,
    measured,
    rate,
    rate_interval,
    settings,
    state,
    template_sentence,
    title,
    where,
)
from ifdkit.report.format import duration, plural
from ifdkit.report.page import manifest_value, render_page
from ifdkit.report.visible import one_line

_UNFOLDED = 8
"""Places shown before the rest is folded."""
_OF_A_PASSED_RULE = 5
_MOST_DETAILS = 20
_MOST_AGAINST = 20
_VERDICTS: dict[State, str] = {
    "failed": "failed",
    "warns": "warns",
    "passed": "passed",
    "skipped": "not applied",
    "off": "off",
}


@dataclass(frozen=True, slots=True)
class _Place:
    where: str
    id: str
    value: str
    quote: str


@dataclass(frozen=True, slots=True)
class _Rule:
    """One rule as the page shows it; every string is in one line."""

    anchor: str
    name: str
    title: str
    state: State
    verdict: str
    severity: str
    count: str
    of: str
    share: str
    interval: str
    allowed: str
    measured: str
    found: str
    fix: str
    why_skipped: str
    details: tuple[tuple[str, str, str], ...]
    """Text, count, first ids."""
    more_details: int
    places: tuple[_Place, ...]
    more_places: tuple[_Place, ...]
    uncarried: str
    """What is said of places beyond those that the audit carries."""


def render_audit_html(audit: Audit) -> str:
    """The whole page."""
    rules = [_rule(i, rule) for i, rule in enumerate(audit.rules, start=1)]
    by_state = {one: [rule for rule in rules if rule.state == one] for one in _VERDICTS}
    return render_page(
        "audit.html",
        ("theme.js",),
        a=audit,
        version=audit.version,
        headline=headline(audit),
        basis=basis(audit),
        advice=advice(audit),
        has_text=audit.has_text,
        table=[rule for rule in rules if rule.state in {"failed", "warns", "passed"}],
        to_mend=by_state["failed"] + by_state["warns"],
        passed=by_state["passed"],
        unapplied=by_state["skipped"] + by_state["off"],
        has_intervals=any(rule.interval for rule in rules),
        template=_template(audit),
        settings=settings(in_state(audit, "failed", "warns")),
        made_from=list(_made_from(audit)),
        scores=[
            (one_line(name, 60), manifest_value(value))
            for name, value in (audit.manifest.as_json() if audit.manifest else {}).items()
        ],
    )


def _rule(number: int, rule: RuleResult) -> _Rule:
    places = tuple(_place(place) for place in rule.places)
    now = state(rule)
    shown = _UNFOLDED if now in {"failed", "warns"} else _OF_A_PASSED_RULE
    left = rule.count - len(places)
    return _Rule(
        anchor=f"rule-{number}",
        name=one_line(rule.name, 60),
        title=title(rule),
        state=now,
        verdict=_VERDICTS[now],
        severity=rule.severity,
        count=f"{rule.count:,}",
        of=f"of {rule.checked:,}",
        share=rate(rule.share),
        interval=rate_interval(rule.share_ci95),
        allowed=allowed(rule),
        measured=measured(rule),
        found=one_line(rule.found, 600),
        fix=one_line(rule.fix, 600),
        why_skipped=one_line(rule.skipped or "switched off"),
        details=tuple(
            (one_line(one.text, 200), f"{one.count:,}", _ids(one.row_ids))
            for one in rule.details[:_MOST_DETAILS]
        ),
        more_details=max(0, len(rule.details) - _MOST_DETAILS),
        places=places[:shown],
        more_places=places[shown:],
        uncarried=f"{left:,} more are not listed" if places and left > 0 else "",
    )


def _place(place: Place) -> _Place:
    return _Place(
        where=where(place),
        id=one_line(place.id, 80),
        value="" if place.value is None else decimal(place.value),
        quote=one_line(place.quote, 200),
    )


def _ids(ids: Iterable[str], most: int = 5) -> str:
    shown = [one_line(one, 60) for one in ids]
    return ", ".join(shown[:most]) + (" …" if len(shown) > most else "")


def _template(audit: Audit) -> dict[str, object] | None:
    check = audit.template_check
    if check is None:
        return None
    rows = zip(check.templates, check.above_one, strict=True)
    return {
        "sentence": template_sentence(check),
        "rows": [(one_line(name, 80), rate(share)) for name, share in rows],
    }


def _made_from(audit: Audit) -> Iterator[tuple[str, str]]:
    """Name and value of what the verdict rests on."""
    yield "input", one_line(audit.input)
    yield "SHA-256 of the input", one_line(audit.input_sha256 or "not a file")
    yield "rows", f"{audit.rows:,} of {audit.rows_in_file:,}; {plural(audit.examples, 'example')}"
    if audit.sample is not None:
        seed = "" if audit.seed is None else f", seed {audit.seed}"
        yield "sample", f"{plural(audit.sample, 'row')} at random{seed}"
    for name in audit.against[:_MOST_AGAINST]:
        yield "compared against", one_line(name)
    if len(audit.against) > _MOST_AGAINST:
        yield "compared against", f"{len(audit.against) - _MOST_AGAINST:,} more in audit.json"
    yield "command", one_line(audit.command, 600)
    yield "made", f"{one_line(audit.created, 40)}, in {duration(audit.elapsed_s)}"
