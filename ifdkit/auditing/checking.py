"""What a rule is, what its check examines, and what the check returns."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ifdkit.auditing.result import (
    MAX_PLACES,
    Detail,
    Place,
    Severity,
    TemplateCheck,
    Unit,
)
from ifdkit.auditing.text_hits import TextHits, TextWorkers
from ifdkit.findings.checks import TextCheck
from ifdkit.findings.documents import measured
from ifdkit.findings.languages import language_of
from ifdkit.findings.masking import masked_quote
from ifdkit.findings.texts import Corpus, quote
from ifdkit.scoring.dataset import ScoredDataset
from ifdkit.stats.columns import finite

AppliesTo = Literal["pairs", "documents", "both"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule: what it looks for, how much of it passes, and the check that looks for it.

    Severity, `most` and `threshold` can be changed by `ifdkit.toml`, `--rule` or Python.
    """

    name: str
    title: str
    """A plural noun phrase as it reads inside a sentence: "refusals"."""
    severity: Severity
    most: float
    """Largest share of the checked examples that passes, 0…1."""
    check: Check
    found: str
    """What an example that breaks the rule shows, in one sentence.  `{threshold}` stands for the
    threshold, and `{percent}` for it in per cent."""
    fix: str
    """What to do about it, in one or two sentences."""
    threshold: float | None = None
    """The limit of the number that the rule is about; None if it is about none."""
    bounds: tuple[float, float] = (-math.inf, math.inf)
    """Smallest and largest valid threshold."""
    unit: Unit = "example"
    compares_rows: bool = False
    """Whether rows are compared with each other, so that a sample shows too few."""
    applies_to: AppliesTo = "pairs"
    """Instruction–response pairs, text documents, or both."""

    @property
    def sentence(self) -> str:
        """`found` with the threshold in it."""
        number = self.threshold or 0.0
        return self.found.format(threshold=f"{number:g}", percent=f"{100 * number:g} %")

    @property
    def limit(self) -> float:
        """The threshold of a rule that has one."""
        assert self.threshold is not None, self.name
        return self.threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What a check found, before the rule's verdict on it."""

    checked: int = 0
    """Rows or examples that could be checked."""
    count: int = 0
    """Those that show what the rule looks for."""
    places: tuple[Place, ...] = ()
    """The first MAX_PLACES of them, ascending."""
    indices: tuple[int, ...] = ()
    """All of them as positions of the corpus; empty if they are rows that could not be read."""
    details: tuple[Detail, ...] = ()
    found: str | None = None
    """A more precise sentence than the rule's own."""
    also_passes: bool = True
    """A condition besides the share."""
    is_sample: bool = False
    """Whether this check looked at a random sample of the examples."""
    quotes_text: bool = False
    """Whether `found` or the details quote the dataset."""
    skipped: str | None = None
    """Why nothing was checked."""


@dataclass(frozen=True, eq=False)
class SecondTemplate:
    """A sample of the examples scored again under a second template (`--template-check`)."""

    check: TemplateCheck
    indices: NDArray[np.int64]
    """Examples with an IFD under both templates, ascending."""
    ifd_first: NDArray[np.float64]
    """Their IFD under the template of the dataset's scores; shape (indices,)."""
    ifd_second: NDArray[np.float64]
    is_sample: bool
    """Whether the examples were drawn at random; False if all were scored again."""


@dataclass(frozen=True, eq=False)
class AuditedDataset:
    """What checks examine: the texts of a dataset, and its scores if it has any."""

    scored: ScoredDataset
    corpus: Corpus
    against: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Evaluation file → its instructions."""
    second_template: SecondTemplate | None = None
    is_documents: bool = False
    """Whether the examples are text documents: responses without an instruction."""
    workers: TextWorkers | None = None
    """Processes that apply the text rules; None if this one does."""

    @classmethod
    def of(
        cls,
        scored: ScoredDataset,
        against: Mapping[str, Sequence[str]],
        second_template: SecondTemplate | None = None,
        *,
        is_documents: bool = False,
    ) -> AuditedDataset:
        """The dataset with its texts as the checks of `findings` expect them."""
        texts = scored.texts
        corpus = Corpus(
            scored.scores.ids,
            texts.instructions,
            texts.responses,
            inputs=texts.inputs,
        )
        return cls(scored, corpus, against, second_template, is_documents)

    def __len__(self) -> int:
        return len(self.scored)

    @cached_property
    def document_numbers(self) -> Mapping[str, NDArray[np.float64]]:
        """What :mod:`findings.documents` measures: name → column, shape (examples,)."""
        return measured(self.corpus.responses)

    @cached_property
    def languages(self) -> list[str | None]:
        """The language of each document, by its beginning; None if uncertain."""
        return [language_of(text) for text in self.corpus.responses]

    def shown(self, index: int) -> str:
        """The first words of an example: its instruction, or the document."""
        texts = self.corpus.responses if self.is_documents else self.corpus.instructions
        return quote(texts[index])

    @cached_property
    def _results(self) -> dict[str, CheckResult]:
        """Rule → what its check found."""
        return {}

    def check(self, rule: Rule) -> CheckResult:
        """What the check of a rule finds, found once; a rule that is off is not applied."""
        if rule.name not in self._results:
            is_off = rule.severity == "off"
            self._results[rule.name] = CheckResult() if is_off else rule.check(self, rule)
        return self._results[rule.name]

    def text_hits(self, rule: Rule, check: TextCheck) -> TextHits:
        """What the text check of a rule finds."""
        if self.workers is not None and rule.name in self.workers.names:
            return self.workers.hits(rule.name)
        return TextHits.of(check, self.corpus)

    def numbers(self, name: str) -> NDArray[np.float64] | None:
        """A column of scores, shape (examples,), NaN if undefined; None without the column."""
        return self.scored.scores.numbers.get(name)

    def lacks(self, name: str) -> CheckResult:
        """The result of a check whose column does not exist."""
        if not self.scored.scores.numbers:
            return CheckResult(skipped="needs scores, and no model was used")
        return CheckResult(skipped=f"no example has a defined {name}")

    def result(
        self,
        indices: Iterable[int],
        checked: int,
        *,
        quoted: Callable[[int], str] | None = None,
        values: NDArray[np.float64] | None = None,
        details: tuple[Detail, ...] = (),
        found: str | None = None,
        quotes_text: bool = False,
    ) -> CheckResult:
        """What a check found at these positions of the corpus.

        `quoted` gives the words to show of each, by default those of `shown`; `values` are those of
        all examples.
        """
        where = list(map(int, indices))
        quoted = quoted or self.shown
        return CheckResult(
            checked=checked,
            count=len(where),
            indices=tuple(where),
            places=tuple(
                self._place(one, quoted(one), None if values is None else finite(values[one]))
                for one in where[:MAX_PLACES]
            ),
            details=details,
            found=found,
            quotes_text=quotes_text,
        )

    def _place(self, index: int, shown: str, value: float | None) -> Place:
        scores, corpus = self.scored.scores, self.corpus
        texts = corpus.instructions[index], corpus.responses[index]
        return Place(
            id=scores.ids[index],
            row=int(scores.rows[index]),
            turn=int(scores.turns[index]),
            quote=masked_quote(shown, texts),  # whatever the rule is about, secrets stay hidden
            value=value,
        )


Check = Callable[[AuditedDataset, Rule], CheckResult]


@dataclass(frozen=True, slots=True)
class OfTexts:
    """A text check as the check of a rule: every example is checked."""

    text_check: TextCheck

    def __call__(self, data: AuditedDataset, rule: Rule) -> CheckResult:
        """The hits of the text check."""
        hits = data.text_hits(rule, self.text_check)
        return data.result(hits.indices, len(data), quoted=hits.quotes.__getitem__)


def text_rule(
    check: TextCheck,
    *,
    severity: Severity,
    most: float,
    fix: str,
    name: str | None = None,
    applies_to: AppliesTo = "pairs",
) -> Rule:
    """A rule about what a text check finds; name, title and sentence are those of the check."""
    return Rule(
        name=name or check.kind,
        title=check.title,
        severity=severity,
        most=most,
        check=OfTexts(check),
        found=check.description,
        fix=fix,
        applies_to=applies_to,
    )
