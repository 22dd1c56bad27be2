"""The report of an audit as one HTML file that makes no network request."""

from __future__ import annotations

from ifdkit.auditing.result import Audit
from ifdkit.report.audit.wording import (
    LABELS,
    advice,
    basis,
    headline,
    in_state,
    settings,
    template_sentence,
)
from ifdkit.report.page import manifest_value, render_page
from ifdkit.visible import one_line


def render_audit_html(audit: Audit, *, has_text: bool = True) -> str:
    """The whole page; `has_text` says whether it may quote the dataset."""
    check, scores = audit.template_check, audit.manifest or {}
    return render_page(
        "audit.html",
        ("theme.js",),
        a=audit,
        version=audit.version,
        has_text=has_text,
        headline=headline(audit),
        basis=basis(audit),
        advice=advice(audit),
        labels=LABELS,
        # Those to fix come first, here as in the table: their links are numbers.
        to_fix=in_state(audit, "failed") + in_state(audit, "warns"),
        passed=in_state(audit, "passed"),
        not_applied=in_state(audit, "skipped", "off"),
        has_intervals=any(rule.share_ci95 for rule in audit.rules),
        template_sentence=template_sentence(check) if check else "",
        settings=settings(in_state(audit, "failed", "warns")),
        scores=[(one_line(name, 60), manifest_value(value)) for name, value in scores.items()],
    )
