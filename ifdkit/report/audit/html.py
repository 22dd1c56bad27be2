"""The report of an audit as one HTML file that makes no network request."""

from __future__ import annotations

from ifdkit.auditing.result import Audit
from ifdkit.report.audit.figures import shares
from ifdkit.report.audit.wording import (
    LABELS,
    advice,
    basis,
    headline,
    in_state,
    settings,
    status_sentence,
    template_sentence,
)
from ifdkit.report.page import manifest_value, render_page, safe
from ifdkit.visible import one_line

_MAX_GROUPS = 40


def render_audit_html(audit: Audit) -> str:
    """The whole page."""
    check = audit.template_check
    scores = audit.manifest.as_json() if audit.manifest else {}
    to_fix = in_state(audit, "failed") + in_state(audit, "warns")
    figure = shares([*to_fix, *in_state(audit, "passed")])
    return render_page(
        "audit.html",
        ("theme.js", "tips.js", "places.js"),
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
        groups=list(audit.group_rows.items())[:_MAX_GROUPS],
        passed=in_state(audit, "passed"),
        not_applied=in_state(audit, "skipped", "off"),
        has_intervals=any(rule.share_ci95 for rule in audit.rules),
        template_sentence=template_sentence(check) if check else "",
        settings=settings(in_state(audit, "failed", "warns")),
        scores=[(one_line(name, 60), manifest_value(value)) for name, value in scores.items()],
    )
