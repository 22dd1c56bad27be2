"""What an audit says of a dataset: the nouns between `auditing` and the reports.

`auditing` fills them; `report` draws them and computes nothing.  `audit.json` is :class:`Audit` as
it stands here (schema "ifdkit.audit/1"), so renaming a field is breaking a user's script.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ifdkit.data.report_folder import renders, save_report
from ifdkit.data.writing import json_file
from ifdkit.scoring.manifest import Manifest

AUDIT_SCHEMA = "ifdkit.audit/1"

Severity = Literal["error", "warning", "off"]
Unit = Literal["row", "example"]
Interval = tuple[float, float]
"""Lower and upper end of a 95 % confidence interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One example in which a rule found something, or one row that could not be read."""

    id: str
    """Empty for a row that could not be read."""
    row: int
    """0-based position in the input."""
    turn: int | None = None
    line: int | None = None
    """1-based line on which the row begins, where the format has lines."""
    quote: str = ""
    """The words that show it, on one line; empty without texts."""
    value: float | None = None
    """The number that broke the threshold, where one did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """A part of what a rule found: one phrase of many, one pattern of many."""

    text: str
    count: int
    row_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleResult:
    """What one rule found in a dataset."""

    name: str
    """As in `ifdkit.toml`: `refusal`, `ifd_above_one`."""
    title: str
    """A noun phrase for a table: "refusals"."""
    severity: Severity
    passed: bool
    """False where more rows show it than `most` allows; says nothing of the severity."""
    unit: Unit = "example"
    """What is counted."""
    checked: int = 0
    """Of how many the rule could tell: those in which its number is defined."""
    count: int = 0
    share: float | None = None
    """count ÷ checked, 0…1; None where nothing could be checked."""
    share_ci95: Interval | None = None
    """Wilson's interval for the whole file; None where all of it was audited."""
    most: float = 0.0
    """The largest share that passes."""
    threshold: float | None = None
    """The number that divides good from bad, for rules that have one."""
    found: str = ""
    """One sentence: what was found."""
    fix: str = ""
    """One sentence: what to do about it."""
    places: tuple[Place, ...] = ()
    """The first of them, at most :data:`MOST_PLACES`."""
    details: tuple[Detail, ...] = ()
    skipped: str | None = None
    """Why the rule was not applied, as in "needs --against"; None where it was."""
    quotes_text: bool = False
    """Whether `found` or the details quote the dataset: left out of a report without texts."""

    @property
    def fails(self) -> bool:
        """Whether this alone makes the audit fail."""
        return self.severity == "error" and not self.passed and self.skipped is None

    @property
    def warns(self) -> bool:
        """Whether it is worth a look, and no more."""
        return self.severity == "warning" and not self.passed and self.skipped is None


MOST_PLACES = 50
"""Places that a rule carries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateCheck:
    """How much of the verdict is the template's: the same rows under two of them."""

    templates: tuple[str, str]
    n: int
    """Examples whose IFD is defined under both."""
    spearman: float | None
    """Rank correlation of the two IFDs, −1…1."""
    above_one: tuple[float | None, float | None]
    """Share of IFD ≥ 1 under each, 0…1."""
    agreement: float | None
    """Share of the examples that both put on the same side of 1, 0…1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """The verdict on one dataset."""

    version: str
    created: str
    command: str
    input: str
    input_sha256: str | None
    rows: int
    """Rows of the file that were looked at."""
    rows_in_file: int
    examples: int
    sample: int | None
    """Rows drawn at random; None where all were looked at."""
    seed: int | None
    passed: bool
    """No rule of severity `error` fails."""
    rules: tuple[RuleResult, ...]
    """Failed errors first, then warnings, then what passed, then what was skipped or off."""
    template_check: TemplateCheck | None
    against: tuple[str, ...]
    """Files whose rows must not be in the dataset."""
    manifest: Manifest | None
    """Of the scores; None where no model was asked."""
    elapsed_s: float
    schema: str = AUDIT_SCHEMA
    has_text: bool = True
    """Whether its quotes show the dataset: False after `without_text`."""

    @property
    def errors(self) -> tuple[RuleResult, ...]:
        """Rules that make it fail."""
        return tuple(rule for rule in self.rules if rule.fails)

    @property
    def warnings(self) -> tuple[RuleResult, ...]:
        """Rules that ask for a look."""
        return tuple(rule for rule in self.rules if rule.warns)

    def without_text(self) -> Audit:
        """The same without any text of the dataset: numbers, ids and verdicts only."""
        return replace(self, rules=tuple(map(_without_quotes, self.rules)), has_text=False)

    def as_json(self) -> dict[str, Any]:
        """The object of `audit.json`."""
        return asdict(self)

    def save(self, folder: str | Path, *, text: bool = True) -> Path:
        """Write the report into `folder`, and return the folder.

        The files are index.html, audit.json, report.md and audit.sarif.  With `text=False` none of
        them has any text of the dataset.  Raises OutputError.
        """
        return save_report(self if text else self.without_text(), folder, REPORT_FILES)


REPORT_FILES = ("index.html", "audit.json", "report.md", "audit.sarif")
TEXT_WITHHELD = "(text withheld by --no-text)"


def _without_quotes(rule: RuleResult) -> RuleResult:
    found, details = rule.found, rule.details
    if rule.quotes_text:
        found = TEXT_WITHHELD
        details = tuple(replace(one, text=TEXT_WITHHELD) for one in details)
    places = tuple(replace(place, quote="") for place in rule.places)
    return replace(rule, found=found, details=details, places=places, quotes_text=False)


@renders(Audit, "audit.json")
def _audit_json(audit: Audit) -> bytes:
    return json_file(audit.as_json())
