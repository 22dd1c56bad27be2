"""The result of an audit.

`audit.json` is :class:`Audit` field by field (schema "ifdkit.audit/1") but for what only the page
shows, so renaming a field breaks users' scripts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ifdkit.data.atomic import json_file
from ifdkit.data.report_folder import renders, save_report
from ifdkit.data.views import NotebookView
from ifdkit.format import plural
from ifdkit.records import plain
from ifdkit.scoring.explored import ExploredSide
from ifdkit.scoring.manifest import Manifest
from ifdkit.visible import one_line

AUDIT_SCHEMA = "ifdkit.audit/1"

Severity = Literal["error", "warning", "off"]
Unit = Literal["row", "example"]
Interval = tuple[float, float]
"""Lower and upper end of a 95 % confidence interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An example in which a rule found something, or a row that could not be read."""

    id: str
    """Empty for a row that could not be read."""
    row: int
    """0-based position in the input."""
    turn: int | None = None
    line: int | None = None
    """1-based line on which the row begins; None if the format has no lines."""
    source: str | None = None
    """The input that it is in, of which `line` is a line; None if there is one input."""
    quote: str = ""
    """The words that show it, on one line; empty with `--no-text`."""
    value: float | None = None
    """The number that the rule is about, if it is about one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """A part of what a rule found: one phrase, one evaluation file."""

    text: str
    count: int
    row_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleResult:
    """What one rule found in a dataset."""

    name: str
    """As in `ifdkit.toml`: `refusal`, `ifd_above_one`."""
    title: str
    """A plural noun phrase as it reads inside a sentence: "refusals"."""
    severity: Severity
    passed: bool
    """Whether the rule passes: by its share and `most`, as :func:`verdict.judge` decides."""
    unit: Unit = "example"
    """What is counted."""
    checked: int = 0
    """Rows or examples that the rule could check: those in which its number is defined."""
    count: int = 0
    """Those that show what it looks for."""
    share: float | None = None
    """count ÷ checked, 0…1; None if nothing could be checked."""
    share_ci95: Interval | None = None
    """Wilson interval of the whole file's share; None if all of it was audited."""
    most: float = 0.0
    """The largest share that passes, 0…1."""
    threshold: float | None = None
    """The limit of the number that the rule is about; None if it is about none."""
    found: str = ""
    """What was found; empty if nothing was."""
    fix: str = ""
    """What to do about it."""
    places: tuple[Place, ...] = ()
    """The first of them, at most :data:`MAX_PLACES`."""
    details: tuple[Detail, ...] = ()
    sources: dict[str, int] = field(default_factory=dict)
    """Input or group → its part of `count`, the largest first; empty if there is one input."""
    group_by: str | None = None
    """The column whose values are the groups of `sources`; None if they are inputs."""
    skipped: str | None = None
    """Why the rule was not applied, as in "needs --against"; None if it was."""
    quotes_text: bool = False
    """Whether `found` or the details quote the dataset, so that `--no-text` must hide them."""

    @property
    def fails(self) -> bool:
        """Whether this alone makes the audit fail."""
        return self.severity == "error" and not self.passed and self.skipped is None

    @property
    def warns(self) -> bool:
        """Whether it is a warning, which does not make the audit fail."""
        return self.severity == "warning" and not self.passed and self.skipped is None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExploredExample:
    """An example of the explorer, or a row that could not be read."""

    side: ExploredSide
    reasons: tuple[str, ...] = ()
    """Why it was chosen, besides the rules that name it: `highest IFD`, `drawn at random`."""
    findings: Mapping[str, str] = field(default_factory=dict)
    """Name of each rule that names it → the words that show it; empty if they are not known."""
    line: int | None = None
    source: str | None = None
    """As in :class:`Place`."""

    def without_text(self) -> ExploredExample:
        """The same without any text of the dataset."""
        return replace(
            self, side=self.side.without_text(), findings=dict.fromkeys(self.findings, "")
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AuditedColumn:
    """A metric of all examples that define it, for a figure."""

    field: str
    values: NDArray[np.float64]
    """Shape (n,)."""
    is_found: NDArray[np.bool_]
    """Whether a rule that fails or warns names the example; shape (n,)."""


MAX_PLACES = 50
"""Places in the result of a rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateCheck:
    """How much IFD depends on the template: the same rows scored under two of them."""

    templates: tuple[str, str]
    """The one of the scores, and the second."""
    n: int
    """Examples whose IFD is defined under both."""
    spearman: float | None
    """Rank correlation of the two IFDs, −1…1."""
    above_one: tuple[float | None, float | None]
    """Share of IFD ≥ 1 under each, 0…1."""
    agreement: float | None
    """Share of examples with IFD on the same side of 1 under both, 0…1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusCount:
    """How many examples have a status other than `ok`, and why."""

    status: str
    count: int
    reasons: tuple[str, ...] = ()
    """The most frequent ones; empty if they are not known, and with `--no-text`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """What `--clean` wrote. Every row that was audited is kept or dropped."""

    output: str
    output_sha256: str
    log: str
    """The file with one line for every dropped row."""
    rules: str
    """Whose rows were dropped: those of `failed` rules, of `errors`, or of `all`."""
    rows_in: int
    kept: int
    dropped: int
    dropped_by: dict[str, int]
    """Rule → rows that it names; a row that several rules name counts for each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedInput:
    """One of several inputs."""

    name: str
    """As in `source`."""
    path: str
    rows: int
    """Rows that were audited."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Audit(NotebookView):
    """The verdict on one dataset, rule by rule."""

    version: str
    created: str
    command: str
    input: str
    input_sha256: str | None
    rows: int
    """Rows of the file that were audited."""
    rows_in_file: int
    examples: int
    sample: int | None
    """Rows drawn at random; None if none were drawn."""
    seed: int | None
    """Of the sample; None without one."""
    passed: bool
    """Whether no rule of severity `error` fails."""
    rules: tuple[RuleResult, ...]
    """Failed errors first, then warnings, then passed rules, then skipped ones and those off."""
    template_check: TemplateCheck | None
    against: tuple[str, ...]
    """Files whose rows must not be in the dataset."""
    manifest: Manifest | None
    """Of the scores; None without scores."""
    elapsed_s: float
    statuses: tuple[StatusCount, ...] = ()
    """Statuses other than `ok`, the most frequent first."""
    inputs: tuple[AuditedInput, ...] = ()
    """Every input, if there are several."""
    group_by: str | None = None
    """The column by whose values findings are counted."""
    group_rows: dict[str, int] = field(default_factory=dict)
    """Group → its rows that were audited, the largest first; empty without `group_by`."""
    where: str | None = None
    """The expression that chose the rows; None if it was not given."""
    rows_left_out: int = 0
    """Rows of the file for which it is not true."""
    cleaned: Cleaned | None = None
    """None without `--clean`."""
    schema: str = AUDIT_SCHEMA
    has_text: bool = True
    """Whether its quotes show the dataset: False after `without_text`."""
    explored: tuple[ExploredExample, ...] = field(default=(), repr=False, compare=False)
    """The rows of the report's explorer; not in `audit.json`."""
    measured: tuple[AuditedColumn, ...] = field(default=(), repr=False, compare=False)
    """The numbers of the report's figures; not in `audit.json`."""

    @property
    def errors(self) -> tuple[RuleResult, ...]:
        """The rules that make the audit fail."""
        return tuple(rule for rule in self.rules if rule.fails)

    @property
    def warnings(self) -> tuple[RuleResult, ...]:
        """The rules that warn."""
        return tuple(rule for rule in self.rules if rule.warns)

    def __repr__(self) -> str:
        """One line: the input and what failed."""
        result = "passed" if self.passed else "failed"
        parts = [f"{plural(len(self.errors), 'error')}", f"{plural(len(self.warnings), 'warning')}"]
        return f"<Audit {result}: {one_line(self.input, 60)}, {', '.join(parts)}>"

    def without_text(self) -> Audit:
        """The same without any text of the dataset: numbers, ids and verdicts only."""
        # Values of a column are text of the dataset, unlike names of inputs.
        names = {name: f"group {i}" for i, name in enumerate(self.group_rows, 1)}
        return replace(
            self,
            rules=tuple(_without_quotes(rule, names) for rule in self.rules),
            group_rows={names[name]: n for name, n in self.group_rows.items()},
            # A chat template may quote the text that it refuses.
            statuses=tuple(replace(one, reasons=()) for one in self.statuses),
            explored=tuple(one.without_text() for one in self.explored),
            has_text=False,
        )

    def as_json(self) -> dict[str, Any]:
        """The object of `audit.json`."""
        found = plain(replace(self, explored=(), measured=()))
        del found["explored"], found["measured"]
        return found

    def save(self, folder: str | Path, *, text: bool = True) -> Path:
        """Write the report into `folder`, and return the folder.

        The files are index.html, audit.json, report.md and audit.sarif.  With `text=False` none of
        them has any text of the dataset.  Raises OutputError.
        """
        return save_report(self if text else self.without_text(), folder, REPORT_FILES)


REPORT_FILES = ("index.html", "audit.json", "report.md", "audit.sarif")
TEXT_WITHHELD = "(text withheld by --no-text)"


def _without_quotes(rule: RuleResult, groups: Mapping[str, str]) -> RuleResult:
    found, details = rule.found, rule.details
    if rule.quotes_text:
        found = TEXT_WITHHELD
        details = tuple(replace(one, text=TEXT_WITHHELD) for one in details)
    places = tuple(replace(place, quote="") for place in rule.places)
    sources = {groups.get(name, name): n for name, n in rule.sources.items()}
    return replace(
        rule, found=found, details=details, places=places, sources=sources, quotes_text=False
    )


@renders(Audit, "audit.json")
def _audit_json(audit: Audit) -> bytes:
    return json_file(audit.as_json())
