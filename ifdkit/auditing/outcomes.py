"""What the rules look at, what each finds there, and the verdict on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ifdkit.auditing.result import MOST_PLACES, Detail, Interval, Place, RuleResult
from ifdkit.auditing.rules import Rule
from ifdkit.data.dataset import Dataset
from ifdkit.findings.secrets import masked_quote
from ifdkit.findings.texts import Corpus, quote
from ifdkit.scoring.dataset import ScoredDataset
from ifdkit.stats.columns import finite

_SAMPLED_ALONE = (
    "Rows of the sample were compared with one another alone: the whole file holds more, so its"
    " share has no interval."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a rule found, before it is judged."""

    checked: int = 0
    """Of how many the rule could tell."""
    count: int = 0
    places: tuple[Place, ...] = ()
    """The first MOST_PLACES, ascending."""
    details: tuple[Detail, ...] = ()
    found: str | None = None
    """A better sentence than the rule's own."""
    also_passes: bool = True
    """What must hold besides the share."""
    is_sample: bool = False
    """Whether this rule looked at some of the rows only, drawn at random."""
    quotes_text: bool = False
    """Whether `found` or the details quote the dataset."""
    skipped: str | None = None
    """Why nothing was looked at."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A dataset as the rules see it: texts, their places, and scores where there are any."""

    scored: ScoredDataset
    corpus: Corpus
    against: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Evaluation file → its instructions."""

    @classmethod
    def of(cls, scored: ScoredDataset, against: Mapping[str, Sequence[str]]) -> Subject:
        """The dataset with its texts as the checks of `findings` want them."""
        texts = scored.texts
        ids, said, answered = scored.scores.ids, texts.instructions, texts.responses
        return cls(scored, Corpus(tuple(ids), tuple(said), tuple(answered)), against)

    def __len__(self) -> int:
        return len(self.scored)

    def numbers(self, name: str) -> NDArray[np.float64] | None:
        """A column of scores, shape (examples,), NaN where undefined; None without it."""
        return self.scored.scores.numbers.get(name)

    def lacks(self, name: str) -> Outcome:
        """The outcome of a rule whose column is not there."""
        if not self.scored.scores.numbers:
            return Outcome(skipped="needs scores, and no model was asked")
        return Outcome(skipped=f"no example has a defined {name}")

    def outcome(
        self,
        places: Iterable[int],
        checked: int,
        *,
        quoted: Callable[[int], str] | None = None,
        values: NDArray[np.float64] | None = None,
        details: tuple[Detail, ...] = (),
        found: str | None = None,
        quotes_text: bool = False,
    ) -> Outcome:
        """What was found at these positions of the corpus; `quoted` says what to show of each."""
        where = [int(place) for place in places]
        quoted = quoted or (lambda place: quote(self.corpus.instructions[place]))
        return Outcome(
            checked=checked,
            count=len(where),
            places=tuple(
                self.place(one, quoted(one), None if values is None else finite(values[one]))
                for one in where[:MOST_PLACES]
            ),
            details=details,
            found=found,
            quotes_text=quotes_text,
        )

    def place(self, place: int, shown: str, value: float | None = None) -> Place:
        """The example at a position of the corpus; its quote shows no key or personal data."""
        scores, corpus = self.scored.scores, self.corpus
        texts = corpus.instructions[place], corpus.responses[place]
        return Place(
            id=scores.ids[place],
            row=int(scores.rows[place]),
            turn=int(scores.turns[place]),
            quote=masked_quote(shown, texts),
            value=value,
        )


Check = Callable[[Subject, Rule], Outcome]
"""A rule at work."""


def judge(rule: Rule, outcome: Outcome, *, is_sample: bool) -> RuleResult:
    """The verdict of a rule on what it found.

    A rule passes by the share in the rows that were looked at; the interval of a sample says how
    far the whole file may be from it.  Where nothing could be checked the rule is skipped.
    """
    base = RuleResult(
        name=rule.name,
        title=rule.title,
        severity=rule.severity,
        passed=True,
        unit=rule.unit,
        most=rule.most,
        threshold=rule.threshold,
        fix=rule.fix,
    )
    if rule.severity == "off":
        return base
    if outcome.skipped is not None or not outcome.checked:
        return replace(base, skipped=outcome.skipped or "nothing to check")
    share = outcome.count / outcome.checked
    is_sample = is_sample or outcome.is_sample
    alone = is_sample and rule.compares_rows
    shows_it = outcome.count or not outcome.also_passes
    sentences = [outcome.found or rule.sentence] if shows_it else []
    sentences += [_SAMPLED_ALONE] if alone else []
    has_interval = is_sample and not alone
    return replace(
        base,
        passed=share <= rule.most and outcome.also_passes,
        checked=outcome.checked,
        count=outcome.count,
        share=share,
        share_ci95=wilson_ci95(outcome.count, outcome.checked) if has_interval else None,
        found=" ".join(sentences),
        places=outcome.places,
        details=outcome.details,
        quotes_text=outcome.quotes_text,
    )


def wilson_ci95(count: int, n: int) -> Interval:
    """Wilson's (1927) 95 % interval of a share.

    It is for draws with replacement, so a sample that is a good part of the file is closer to it
    than the interval says.  Examples of one conversation are taken for independent, which they
    are not: where rows have many turns the interval is too narrow.
    """
    from scipy.stats import binomtest

    found = binomtest(count, n).proportion_ci(confidence_level=0.95, method="wilson")
    return float(found.low), float(found.high)


def in_order(results: Iterable[RuleResult]) -> tuple[RuleResult, ...]:
    """Failed errors first, then warnings, then what passed, then what was skipped or is off."""

    def rank(result: RuleResult) -> int:
        if result.skipped is not None or result.severity == "off":
            return 3
        return 0 if result.fails else 1 if result.warns else 2

    return tuple(sorted(results, key=rank))


def with_lines(results: Sequence[RuleResult], dataset: Dataset) -> tuple[RuleResult, ...]:
    """The results with the line of the file in every place, where its format has lines."""
    rows = {place.row for result in results for place in result.places if place.line is None}
    if not rows:
        return tuple(results)
    lines = {raw.row: raw.line for raw in dataset.choose(rows).raw_rows()}

    def lined(place: Place) -> Place:
        return replace(place, line=lines.get(place.row)) if place.line is None else place

    return tuple(replace(one, places=tuple(map(lined, one.places))) for one in results)
