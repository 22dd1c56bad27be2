"""The options of `ifdkit audit`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ifdkit.cli.options import option, together

if TYPE_CHECKING:
    from ifdkit.auditing.result import RuleResult
    from ifdkit.auditing.run import AuditOptions


audit_options = together(
    click.option("--output", "-o", type=click.Path(path_type=Path), help="Folder for the"
                 " report, report.md and audit.sarif.  [default: write none]"),
    option("--against", multiple=True, type=click.Path(), metavar="FILE", help="An evaluation"
           " set whose instructions must not be in DATA; may be repeated."),
    option("--template-check", metavar="TEMPLATE", help="Also score up to 200 rows under this"
           " template, to see whether the results depend on it."),
    option("--rule", "rules", multiple=True, metavar="RULE.KEY=VALUE", help="Change a"
                 " rule, such as refusal.severity=error; keys: severity (error, warning, off),"
                 " most (largest share that passes), threshold; may be repeated."),
    option("--no-model", is_flag=True, help="Use no model: apply only the rules about texts."),
    option("--no-text", is_flag=True, help="Omit dataset text from the terminal and the report."),
)  # fmt: skip
"""The options of `ifdkit audit`."""


def asked_of_audit(
    flags: Mapping[str, Any], tables: Mapping[str, Any], file: Path | None
) -> AuditOptions:
    """Flags and the `[audit]` table of the settings file → AuditOptions. Raises UsageError."""
    from ifdkit.auditing.rule_settings import configured, from_flags, from_tables
    from ifdkit.auditing.run import AuditOptions

    settings = from_tables(tables, file.name if file else "settings") + from_flags(flags["rules"])
    return AuditOptions(
        rules=configured(settings),
        against=tuple(flags["against"]),
        template_check=flags["template_check"],
        scores=not flags["no_model"],
    )


def failure(rule: RuleResult) -> str:
    """Why a rule fails, on one line: `refusal: 12 of 400 examples (3 %), at most 1 % allowed`."""
    from ifdkit.report.audit.wording import allowed, counted, rate

    if rule.share is not None and rule.share <= rule.most:
        return f"{rule.name}: {rule.found}"  # it fails by something other than its share
    most = allowed(rule) if rule.most <= 0 else f"at most {allowed(rule)}"
    return f"{rule.name}: {counted(rule)} ({rate(rule.share)}), {most} allowed"
