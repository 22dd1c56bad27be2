"""The report of an audit as one HTML file that makes no network request."""

from __future__ import annotations

from ifdkit.auditing.result import Audit, ExploredExample, Place
from ifdkit.format import plural
from ifdkit.report.audit.figures import distribution, shares
from ifdkit.report.audit.wording import (
    LABELS,
    advice,
    basis,
    headline,
    in_state,
    settings,
    status_sentence,
    template_sentence,
    title,
    where,
)
from ifdkit.report.comparison.wording import metric_of
from ifdkit.report.explorer import ExplorerData, ExplorerRow, explorer_data
from ifdkit.report.page import EXPLORER_SCRIPTS, manifest_value, render_page, safe
from ifdkit.visible import one_line

_MAX_GROUPS = 40


def render_audit_html(audit: Audit) -> str:
    """The whole page, of at most about 3 MB."""
    check = audit.template_check
    scores = audit.manifest.as_json() if audit.manifest else {}
    to_fix = in_state(audit, "failed") + in_state(audit, "warns")
    passed = in_state(audit, "passed")
    figure = shares([*to_fix, *passed])
    explorer = _explorer(audit)
    return render_page(
        "audit.html",
        EXPLORER_SCRIPTS,
        a=audit,
        version=audit.version,
        headline=headline(audit),
        basis=f"{basis(audit)} {status_sentence(audit)}".rstrip(),
        advice=advice(audit),
        has_text=audit.has_text,
        labels=LABELS,
        # Those to fix come first, here as in the table: their links are numbers.
        to_fix=to_fix,
        figure=safe(figure.svg) if figure else "",
        figure_note=figure.note if figure else "",
        distributions=[
            (metric_of(one.field).label, drawing.note, safe(drawing.svg))
            for one in audit.measured
            for drawing in (distribution(one),)
        ],
        data=safe(explorer.json),
        explorer_note=_explorer_note(explorer, audit),
        has_tokens=explorer.has_tokens,
        groups=list(audit.group_rows.items())[:_MAX_GROUPS],
        passed=passed,
        with_hits=tuple(rule for rule in passed if rule.count),
        clean=tuple(rule for rule in passed if not rule.count),
        not_applied=in_state(audit, "skipped", "off"),
        has_intervals=any(rule.share_ci95 for rule in audit.rules),
        template_sentence=template_sentence(check) if check else "",
        settings=settings(in_state(audit, "failed", "warns")),
        scores=[(one_line(name, 60), manifest_value(value)) for name, value in scores.items()],
    )


def _explorer(audit: Audit) -> ExplorerData:
    titles = {rule.name: title(rule) for rule in audit.rules}
    rows = [
        ExplorerRow(
            sides={"example": one.side},
            reasons=one.reasons,
            findings=one.findings,
            place=_where(one),
        )
        for one in audit.explored
    ]
    fields = list(dict.fromkeys(name for one in audit.explored for name in one.side.numbers))
    return explorer_data(rows, fields, titles, noun="row", has_text=audit.has_text)


def _where(one: ExploredExample) -> str:
    side = one.side
    return where(Place(id=side.id, row=side.row, turn=side.turn, line=one.line, source=one.source))


def _explorer_note(explorer: ExplorerData, audit: Audit) -> str:
    """What the explorer contains, in a sentence or two."""
    n = max(audit.examples, explorer.n_rows)
    which = plural(explorer.n_rows, "row")
    if explorer.n_rows < n:
        which = (
            f"{explorer.n_rows:,} of {plural(n, 'example')}: the first that each check found, those"
            " with the most unusual numbers, and some at random"
        )
    if not audit.has_text:
        return f"{which}. Numbers and ids only: dataset text was omitted."
    return f"{which}. Texts longer than {explorer.characters:,} characters are cut."
