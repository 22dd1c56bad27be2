"""How well the rules of `ifdkit audit` tell good rows from bad: precision and recall on a mixture.

    python -m benchmarks.audit_rules

Every kind of defect is planted several times in a clean file, some rows of which only look bad, and
the rules are applied.  Writes `reports/audit-rules.md`, which lists every wording missed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from ifdkit.auditing.document_rules import DOCUMENT_RULES
from ifdkit.auditing.rules import RULES
from ifdkit.auditing.run import apply_rules, audit
from tests.planted import (
    EVALUATION,
    KINDS,
    TEXT_CHECKS,
    Row,
    clean_rows,
    corpus,
    plant,
    wording,
    wordings,
)
from tests.planted_clean import hard_rows
from tests.planted_documents import (
    MAKERS,
    PACKAGES,
    clean_documents,
    plant_documents,
)
from tests.planted_wordings import ALSO_SHOWS
from tests.test_audit_documents import corpus as corpus_of_documents

_ROWS = 900
_PER_WORDING = 3
_SEEDS = (0, 1, 2)
_OTHER_ROWS = 300
_PER_KIND = 18
_DOCUMENT_SEEDS = (0, 1)
_DOCUMENTS_PER_KIND = 20
_NEED_SCORES = {"over_long_prompt"}
_REPORT = Path(__file__).parents[1] / "reports" / "audit-rules.md"


@dataclass
class Tally:
    """What one rule found in all files."""

    planted: Counter[int] = field(default_factory=Counter)
    """Rows with its defect, by the number of the wording."""
    found: Counter[int] = field(default_factory=Counter)
    """Those that it found, by the number of the wording."""
    false_alarms: list[str] = field(default_factory=list)
    """Other rows that it reported: id and quotation."""

    @property
    def precision(self) -> float | None:
        """True findings ÷ findings; None without findings."""
        n = self.found.total() + len(self.false_alarms)
        return self.found.total() / n if n else None

    @property
    def recall(self) -> float:
        """True findings ÷ planted."""
        return self.found.total() / self.planted.total()


def mixture(seed: int) -> list[Row]:
    """A clean file with every kind planted in it, each wording equally often."""
    rows = clean_rows(_ROWS, seed)
    for kind in TEXT_CHECKS:
        rows, _ = plant(rows, kind, _PER_WORDING * len(wordings(kind)), seed)
    return rows


def measure(seeds: tuple[int, ...] = _SEEDS) -> dict[str, Tally]:
    """Every text rule on every mixture."""
    tallies = {rule: Tally() for rule in TEXT_CHECKS}
    for seed in seeds:
        rows = mixture(seed)
        texts = corpus(rows)
        for rule, tally in tallies.items():
            hits = {hit.index: hit.quote for hit in TEXT_CHECKS[rule](texts)}
            for index, row in enumerate(rows):
                _count(tally, rule, row, hits.get(index))
    return tallies


def measure_other_rules(seeds: tuple[int, ...] = _SEEDS) -> dict[str, Tally]:
    """The other rules that need no scores; one kind planted at a time."""
    kinds = [kind for kind in KINDS if kind not in TEXT_CHECKS and kind not in _NEED_SCORES]
    tallies = {kind: Tally() for kind in kinds}
    with tempfile.TemporaryDirectory() as folder:
        against = Path(folder) / "evaluation.jsonl"
        asked = [json.dumps({"instruction": text, "output": ""}) for text in EVALUATION]
        against.write_text("\n".join(asked), encoding="utf-8")
        for kind, tally in tallies.items():
            for seed in seeds:
                rows, places = plant(clean_rows(_OTHER_ROWS, seed), kind, _PER_KIND, seed)
                result = audit(rows, scores=False, against=[against])
                (rule,) = [one for one in result.rules if one.name == kind]
                found = {place.row: place.quote for place in rule.places}
                tally.planted[0] += len(places)
                tally.found[0] += len(found.keys() & set(places))
                tally.false_alarms += [
                    f"{rows[row]['id']}: {found[row]}" for row in found.keys() - set(places)
                ]
    return tallies


def measure_documents(seeds: tuple[int, ...] = _DOCUMENT_SEEDS) -> dict[str, Tally]:
    """The rules about text documents; one kind planted at a time in the clean documents."""
    documents = clean_documents()
    tallies = {kind: Tally() for kind in MAKERS}
    rules = {rule.name: rule for rule in DOCUMENT_RULES}
    for kind, tally in tallies.items():
        for seed in seeds:
            texts, places = plant_documents(documents, kind, _DOCUMENTS_PER_KIND, seed)
            (rule,) = apply_rules(corpus_of_documents(texts), [rules[kind]])
            found = {place.row: place.quote for place in rule.places}
            for number, place in enumerate(places):
                which = number % len(MAKERS[kind])
                tally.planted[which] += 1
                tally.found[which] += place in found
            tally.false_alarms += [
                f"document {row}: {found[row]}" for row in found.keys() - set(places)
            ]
    return tallies


def _false_alarms_of_all_rules() -> list[str]:
    """What any rule reports in the clean documents."""
    data = corpus_of_documents(clean_documents())
    return [
        f"{rule.name}: {place.quote}" for rule in apply_rules(data, RULES) for place in rule.places
    ]


def _count(tally: Tally, rule: str, row: Row, quote: str | None) -> None:
    kind = row["id"].partition(".")[0]
    if kind == rule:
        tally.planted[wording(row)] += 1
        tally.found[wording(row)] += quote is not None
    elif quote is not None and not (
        "." in row["id"] and ALSO_SHOWS.get((kind, wording(row))) == rule
    ):
        tally.false_alarms.append(f"{row['id']}: {quote}")


def report(
    of_rows: dict[str, Tally],
    others: dict[str, Tally],
    of_documents: dict[str, Tally],
    clean: list[str],
) -> str:
    """The page."""
    seeds = ", ".join(map(str, _SEEDS))
    lines = [
        "# Precision and recall of the audit rules",
        "",
        "Made by `python -m benchmarks.audit_rules`. The authors of the rules wrote the planted"
        " defects (`tests/planted*.py`) and improved the rules on them: expect less on other data."
        f" Every file contains {len(hard_rows())} rows that only look bad: a letter that declines"
        " an offer, a lesson about HTML, a translation, test cards, keys of tutorials.",
        "",
        "## Rules about single rows",
        "",
        f"{len(_SEEDS)} files of {_ROWS} rows (seeds {seeds}) with all of these kinds planted"
        f" in them, {_PER_WORDING} rows of each wording. Some wordings are hard on purpose.",
        "",
        *_table(of_rows),
        "",
        "Missed wordings:",
        "",
        *_missed(of_rows),
        "",
        "## Rules that compare rows",
        "",
        f"{len(_SEEDS)} files of {_OTHER_ROWS} rows for each rule (seeds {seeds}), {_PER_KIND} rows"
        " of its kind in each. The rules about scores are not measured, because what is unusual to"
        " a model cannot be planted without one.",
        "",
        *_table(others),
        "",
        "## Rules about text documents",
        "",
        f"{len(clean_documents())} clean documents of prose from the docstrings of"
        f" {', '.join(PACKAGES)} ({sum(len(text.split()) for text in clean_documents()):,} words)."
        f" For each rule, {_DOCUMENTS_PER_KIND} of them have its defect (seeds"
        f" {', '.join(map(str, _DOCUMENT_SEEDS))}). All rules together report"
        f" {len(clean)} of the clean documents.",
        "",
        *_table(of_documents),
        "",
        "Missed wordings (`tests/planted_documents.py`), by number:",
        "",
        *_missed_documents(of_documents),
        "",
        "## False alarms",
        "",
    ]
    tallies = [*of_rows.items(), *others.items(), *of_documents.items()]
    alarms = [(rule, one) for rule, tally in tallies for one in tally.false_alarms]
    lines += [f"- `{rule}`: {_code(one)}" for rule, one in alarms] or ["None."]
    return "\n".join(lines) + "\n"


def _table(tallies: dict[str, Tally]) -> list[str]:
    lines = ["| rule | planted | found | precision | recall |", "|---|--:|--:|--:|--:|"]
    for rule, tally in tallies.items():
        precision = "–" if tally.precision is None else f"{tally.precision:.2f}"
        lines.append(
            f"| `{rule}` | {tally.planted.total()} | {tally.found.total()} | {precision} |"
            f" {tally.recall:.2f} |"
        )
    return lines


def _missed_documents(tallies: dict[str, Tally]) -> list[str]:
    return [
        f"- `{rule}`, {n - tally.found[which]} of {n}: {which}"
        for rule, tally in tallies.items()
        for which, n in sorted(tally.planted.items())
        if tally.found[which] < n
    ] or ["Nothing."]


def _missed(tallies: dict[str, Tally]) -> list[str]:
    lines = []
    for rule, tally in tallies.items():
        names = wordings(rule)
        for which, n in sorted(tally.planted.items()):
            missed = n - tally.found[which]
            if missed:
                lines.append(f"- `{rule}`, {missed} of {n}: {_code(names[which])}")
    return lines or ["Nothing."]


def _code(text: str) -> str:
    """On one line, as code, whatever backticks it contains."""
    line = " ".join(text.split())
    return f"```` {line} ````"


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path, default=_REPORT)
    out = parser.parse_args().out
    page = report(
        measure(), measure_other_rules(), measure_documents(), _false_alarms_of_all_rules()
    )
    out.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
