"""What `ifdkit audit` finds in real files: counts, ids and shared phrases, but no other texts.

    python -m benchmarks.audits ../shared/data/alpaca_1k.json ../shared/data/alpacaeval400_*.json

Default rules and metrics, the embedded models; rows that are in the store are not scored again.
Writes `reports/audits.md`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import ifdkit
from benchmarks.machine import machine
from ifdkit.auditing.result import Audit, RuleResult
from ifdkit.report.audit.wording import headline, rate

_IDS_SHOWN = 30
_PHRASES = ("recurring_opening", "recurring_closing", "recurring_phrase")
"""Rules whose details are phrases that many rows share."""


def section(audit: Audit) -> list[str]:
    """One file as Markdown."""
    shown = [rule for rule in audit.rules if rule.count]
    lines = [
        f"## {Path(audit.input).name}",
        headline(audit),
        "| rule | severity | found in | share | verdict |\n|---|---|--:|--:|---|\n"
        + "\n".join(
            f"| {rule.title} | {rule.severity} | {rule.count:,} of {rule.checked:,}"
            f" | {rate(rule.share)} | {'passed' if rule.passed else 'not passed'} |"
            for rule in shown
        ),
    ]
    lines += [_rows(rule) for rule in shown]
    nothing = [rule.title for rule in audit.rules if rule.checked and not rule.count]
    lines.append(f"Nothing found: {', '.join(sorted(nothing))}.")
    return lines


def _rows(rule: RuleResult) -> str:
    ids = [place.id or f"row {place.row}" for place in rule.places[:_IDS_SHOWN]]
    more = rule.count - len(ids)
    text = f"- **{rule.title}**: {', '.join(f'`{one}`' for one in ids)}"
    text += f" and {more:,} more" if more > 0 else ""
    if rule.name in _PHRASES:
        phrases = [f"“{detail.text}” ({detail.count:,})" for detail in rule.details]
        text += f"; shared: {', '.join(phrases)}"
    return text


def main() -> None:
    """Audit and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--output", type=Path, default=Path("reports/audits.md"))
    arguments = parser.parse_args()
    audits = [ifdkit.audit(path) for path in arguments.data]
    made = audits[0].manifest
    assert made is not None, "a model was used"
    text = [
        "# What audits of real files found",
        f"Made by `python -m benchmarks.audits {' '.join(map(str, arguments.data))}`: default"
        f" rules, {made.model}, {made.protocol} protocol, {made.dtype}, on"
        f" {machine()}. Ids are those of the scores. Of the texts, only phrases that many rows"
        " share are shown.",
        *[line for audit in audits for line in section(audit)],
    ]
    arguments.output.write_text("\n\n".join(text) + "\n", encoding="utf-8")
    print(arguments.output.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
