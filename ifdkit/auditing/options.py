"""What an audit is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from ifdkit.auditing.checking import Rule
from ifdkit.auditing.cleaning import CLEAN_RULES, CleanRules
from ifdkit.auditing.rules import RULES
from ifdkit.errors import UsageError, unknown
from ifdkit.scoring.per_row import WORD_FIELDS
from ifdkit.scoring.where import Where, parse_where


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditOptions:
    """What to check a dataset against."""

    rules: tuple[Rule, ...] = RULES
    against: tuple[str | PathLike[str], ...] = ()
    """Evaluation sets whose instructions must not be in the dataset."""
    template_check: str | None = None
    """A second template, under which a sample of the rows is scored too."""
    scores: bool = True
    """Whether to score a dataset; without scores the rules about them are skipped."""
    where: str | None = None
    """Check only the rows for which this expression is true."""
    clean: Path | None = None
    """Write the rows that pass to this file."""
    clean_rules: CleanRules = "failed"
    """Whose rows do not pass."""
    group_by: str | None = None
    """Column of the rows; what the rules find is counted by its values.  `source`: the input."""
    text_workers: int | None = None
    """Processes for the text rules of a large dataset; None for one per core."""
    tokens: bool = True
    """Whether the page shows the NLLs of tokens, if they are in the scores file or the store."""

    def __post_init__(self) -> None:
        """Raise UsageError for options that contradict each other."""
        if self.clean_rules not in CLEAN_RULES:
            raise UsageError(f"--clean-rules: {unknown('choice', self.clean_rules, CLEAN_RULES)}")
        condition = None if self.scores else self.condition
        for name in condition.scored_fields if condition else ():
            if name not in WORD_FIELDS:
                raise UsageError(f"--where: {name} needs a model: leave out --no-model")
        if self.template_check is not None and not self.scores:
            raise UsageError("--template-check needs a model: leave out --no-model, or the check")

    @property
    def condition(self) -> Where | None:
        """The expression of `where`. Raises UsageError."""
        return None if self.where is None else parse_where(self.where)
