"""The options of `ifdkit audit`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ifdkit.cli.flags import (
    EXIT_DONE,
    EXIT_GATE,
    echo_json,
    progress_of,
    read_options_of,
    settings_given,
    start,
)
from ifdkit.cli.options import (
    WHERE_SCORES,
    call_option,
    common_options,
    metric_options,
    option,
    output_option,
    rows_options,
    together,
)

if TYPE_CHECKING:
    from ifdkit.auditing.options import AuditOptions
    from ifdkit.auditing.result import RuleResult
    from ifdkit.cli.config import Config


audit_options = together(
    output_option("Folder for the report, report.md and audit.sarif.  [default: write none]"),
    option("--against", multiple=True, type=click.Path(), metavar="FILE", help="An evaluation"
           " set whose instructions must not be in DATA; may be repeated."),
    option("--template-check", metavar="TEMPLATE", help="Also score up to 200 rows under this"
           " template, to see whether the results depend on it."),
    option("--rule", "rules", multiple=True, metavar="RULE.KEY=VALUE", help="Change a"
                 " rule, such as refusal.severity=error; keys: severity (error, warning, off),"
                 " most (largest share that passes), threshold; may be repeated."),
    call_option("--clean", metavar="OUT", type=click.Path(path_type=Path), help="Write the rows"
                " that pass, in the format of DATA, and OUT.dropped.jsonl with the others and"
                " their rules."),
    option("--clean-rules", metavar="WHICH", help="Whose rows do not pass: those of failed rules,"
           " warnings too (failed), of failed errors only (errors), or of every rule (all)."
           "  [default: failed]"),
    option("--group-by", metavar="COLUMN", help="Also count what is found by the values of a"
           " column, or by input: source."),
    option("--text-workers", type=click.IntRange(min=1), metavar="N", help="Processes"
           " for the text rules of a large dataset; they change no result."
           "  [default: one per core]"),
    option("--no-model", is_flag=True, help="Use no model: apply only the rules about texts."),
    option("--no-text", is_flag=True, help="Omit dataset text from the terminal and the report."),
)  # fmt: skip
"""The options of `ifdkit audit`."""


def audit_options_of(flags: Mapping[str, Any], config: Config) -> AuditOptions:
    """Flags and the `[audit]` tables of the settings files → AuditOptions. Raises UsageError."""
    from ifdkit.auditing.options import AuditOptions
    from ifdkit.auditing.rule_settings import configured, from_flags, from_tables

    settings = [one for f in config.files for one in from_tables(f.table("audit"), f.name)]
    settings += from_flags(flags["rules"])
    return AuditOptions(
        rules=configured(settings),
        against=tuple(flags["against"]),
        template_check=flags["template_check"],
        scores=not flags["no_model"],
        **{
            name: flags[name]
            for name in ("where", "clean", "clean_rules", "group_by", "text_workers")
            if flags[name] is not None
        },
    )


def failure(rule: RuleResult) -> str:
    """Why a rule fails, on one line: `refusal: 12 of 400 examples (3 %), at most 1 % allowed`."""
    from ifdkit.report.audit.wording import allowed, counted, rate

    if rule.share is not None and rule.share <= rule.most:
        return f"{rule.name}: {rule.found}"  # it fails by something other than its share
    most = allowed(rule) if rule.most <= 0 else f"at most {allowed(rule)}"
    return f"{rule.name}: {counted(rule)} ({rate(rule.share)}), {most} allowed"


@click.command("audit")
@click.argument("data", nargs=-1, required=True)
@audit_options
@rows_options(
    "Only N random rows: shares get 95 % intervals.", "Seed of the samples.", WHERE_SCORES
)
@metric_options
@common_options
@click.pass_context
def audit(
    context: click.Context, /, data: tuple[str, ...], output: Path | None, **flags: Any
) -> int:
    """Check DATA against rules: a gate for CI, and a look before you spend GPU hours.

    DATA is a dataset, which is scored first unless --no-model is given, or a scores file. Exits
    with 1 if a rule of severity error fails. Rules are set in ifdkit.toml, in tables such as
    [audit.refusal], or by --rule.

    \b
    Example:
      ifdkit audit data.json --against eval.json -o reports/audit
      ifdkit audit data.json --clean clean.json
    """
    from ifdkit.auditing.run import audit_dataset, check_folder
    from ifdkit.report.terminal.audit import print_audit

    start(context, flags)
    has_tokens = output is not None and not flags["no_text"]  # only the page shows them
    options = replace(audit_options_of(flags, context.obj), tokens=has_tokens)
    read_options = read_options_of({**flags, "where": None})  # the options have it
    if output is not None:
        check_folder(output)
    with progress_of(flags) as progress:
        found = audit_dataset(data, settings_given(flags), read_options, options, progress)
    found = found.without_text() if flags["no_text"] else found
    if output is not None:
        found.save(output)
    if flags["as_json"]:
        echo_json(found.as_json())
    else:
        print_audit(found, output)
    for rule in found.errors:
        click.echo(f"ifdkit: audit failed: {failure(rule)}", err=True)
    return EXIT_GATE if found.errors else EXIT_DONE
