"""An audit on disk: the page, its numbers, a summary for a pull request, and SARIF."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ifdkit.auditing.result import Audit
from ifdkit.data.atomic import dumps
from ifdkit.report.audit.html import render_audit_html
from ifdkit.report.audit.markdown import render_audit_markdown
from ifdkit.report.audit.sarif import as_sarif
from ifdkit.report.confidential import audit_without_text
from ifdkit.report.folder import check_holds, make_folder, write_text


def audit_as_json(audit: Audit, *, text: bool = True) -> dict[str, Any]:
    """The object of `audit.json`; with `text=False` without a word of the dataset."""
    return asdict(audit if text else audit_without_text(audit))


def save_audit(audit: Audit, folder: Path, *, text: bool = True) -> None:
    """Write index.html, audit.json, report.md and audit.sarif into `folder`.

    Each file appears whole or not at all.  With `text=False` no word of the dataset is in any of
    them: numbers, ids and verdicts only.  Raises OutputError where something cannot be written.
    """
    audit = audit if text else audit_without_text(audit)
    # All of them are made before the first is written, so that they always tell of one audit.
    files = {
        "index.html": render_audit_html(audit, has_text=text),
        "audit.json": _json(audit_as_json(audit)),
        "report.md": render_audit_markdown(audit),
        "audit.sarif": _json(as_sarif(audit)),
    }
    make_folder(folder)
    for name, content in files.items():
        write_text(folder / name, content)


def _json(value: dict[str, Any]) -> str:
    return dumps(value, indent=2) + "\n"


def check_folder(folder: Path) -> None:
    """Refuse, before any work is done, a folder whose files are not an audit of ours.

    Raises OutputError.
    """
    check_holds(folder, "audit", file="audit.json", schema="ifdkit.audit/")
