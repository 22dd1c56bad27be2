"""The verb *audit*: a dataset in, a verdict out, rule by rule.

dataset ─ scores (or none) ─▶ Subject ─ each rule's check ─▶ Outcome ─ judge ─▶ RuleResult

rules       what each rule is; `thresholds` what a project makes of it
outcomes    what the checks look at, what they find, and the verdict on it
numbers     checks on scores and on what can be read
repeats     checks of examples against each other, or against an evaluation set
texts       checks of one example by itself
templates   the same rows under another template
against     the instructions of an evaluation set
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from os import PathLike
from typing import TYPE_CHECKING, Any

from ifdkit.auditing.against import read_against
from ifdkit.auditing.numbers import NUMBER_CHECKS
from ifdkit.auditing.outcomes import Check, Outcome, Subject, in_order, judge, with_lines
from ifdkit.auditing.repeats import REPEAT_CHECKS
from ifdkit.auditing.result import Audit, RuleResult
from ifdkit.auditing.rules import RULES, Rule
from ifdkit.auditing.templates import (
    TwoTemplates,
    check_templates,
    other_settings,
    unstable_verdict,
)
from ifdkit.auditing.texts import TEXT_CHECKS
from ifdkit.auditing.thresholds import configured, from_mapping
from ifdkit.data.dataset import Turns
from ifdkit.data.options import ReadOptions
from ifdkit.errors import UsageError
from ifdkit.scoring.dataset import (
    GivenScores,
    ScoredDataset,
    given_scores,
    score_dataset,
    scored_before,
    without_scores,
)
from ifdkit.scoring.inputs import open_data
from ifdkit.scoring.run import command_line
from ifdkit.scoring.scorer import Progress, Scorer, Settings, parse_metrics
from ifdkit.version import VERSION

if TYPE_CHECKING:
    from ifdkit.scoring.inputs import Data

__all__ = ["CHECKS", "Options", "audit", "audit_dataset"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to hold a dataset against."""

    rules: tuple[Rule, ...] = RULES
    against: tuple[str | PathLike[str], ...] = ()
    """Evaluation sets: their instructions must not be in the dataset."""
    template_check: str | None = None
    """Another template under which a sample of the rows is scored too."""
    scores: bool = True
    """False: no model is asked, so rules on scores are skipped unless the data are scores."""

    def __post_init__(self) -> None:
        """Raise UsageError for what contradicts itself."""
        if self.template_check is not None and not self.scores:
            raise UsageError("--template-check asks a model: leave out --no-model, or the check")


def audit(
    data: Data,
    *,
    columns: Mapping[str, str] | None = None,
    turns: Turns = "all",
    limit: int | None = None,
    sample: int | None = None,
    seed: int = 0,
    against: Sequence[str | PathLike[str]] = (),
    template_check: str | None = None,
    rules: Mapping[str, Mapping[str, Any]] | None = None,
    scores: bool = True,
    progress: Progress | None = None,
    **settings: Any,
) -> Audit:
    """Hold a dataset against every rule: `audit("data.json").passed`.

    `data` is a path (a dataset or a scores file), any iterable of dictionaries, or a DataFrame,
    that of `ifdkit.score` too.  `sample` rows at random are looked at, with intervals on the
    shares; `against` are evaluation sets whose instructions must not be there; `template_check`
    names a second template; `rules` changes what a rule is, as in
    `{"refusal": {"severity": "error", "most": 0.02}}`; with `scores=False` no model is asked.
    `settings` are those of :class:`ifdkit.Settings`.  Raises IfdkitError.
    """
    unknown = settings.keys() - {f.name for f in fields(Settings)}
    if unknown:
        raise UsageError(f"audit() has no setting {sorted(unknown)[0]!r}")
    if isinstance(settings.get("metrics"), str):
        settings["metrics"] = parse_metrics(settings["metrics"])
    files = (against,) if isinstance(against, (str, PathLike)) else tuple(against)
    options = Options(
        rules=configured(from_mapping(rules or {})),
        against=files,
        template_check=template_check,
        scores=scores,
    )
    read_options = ReadOptions(columns=columns, turns=turns, limit=limit, sample=sample, seed=seed)
    return audit_dataset(data, Settings(**settings), read_options, options, progress)


def audit_dataset(
    data: Data,
    settings: Settings,
    read_options: ReadOptions,
    options: Options,
    progress: Progress | None = None,
) -> Audit:
    """The verdict on a dataset. Raises IfdkitError; what was scored stays in the store."""
    begin = time.perf_counter()
    progress = progress or Progress()
    given = given_scores(data)
    other = None
    if options.template_check is not None:
        made = given.manifest if given else None
        other = other_settings(settings, options.template_check, made)
    against = read_against(options.against, progress)
    scored = _scored(data, given, settings, read_options, options, progress)
    two = check_templates(scored, other, read_options.seed, progress) if other else None
    sample = _sample(scored, given, read_options)
    progress.note(f"holding {len(scored):,} examples against {len(options.rules)} rules")
    results = _results(
        Subject.of(scored, against), options.rules, two, is_sample=sample is not None
    )
    return Audit(
        version=VERSION,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command_line("audit"),
        input=scored.dataset.name,
        input_sha256=scored.dataset.sha256,
        rows=scored.dataset.n_rows,
        rows_in_file=scored.dataset.n_rows_in_all,
        examples=len(scored),
        sample=sample,
        seed=None if sample is None else read_options.seed,
        passed=not any(result.fails for result in results),
        rules=with_lines(results, scored.dataset),
        template_check=two.check if two else None,
        against=tuple(against),
        manifest=scored.manifest or None,
        elapsed_s=round(time.perf_counter() - begin, 3),
    )


def _scored(
    data: Data,
    given: GivenScores | None,
    settings: Settings,
    read_options: ReadOptions,
    options: Options,
    progress: Progress,
) -> ScoredDataset:
    """The dataset with its scores; given ones are taken as they are, and cost no model."""
    if given is not None:
        return scored_before(given, read_options, progress)
    dataset = open_data(data, read_options)
    progress.note(f"{dataset.name}: {dataset.columns.describe()}, {dataset.n_rows:,} rows")
    if not options.scores:
        return without_scores(dataset)
    with Scorer(settings, progress) as scorer:
        return score_dataset(dataset, read_options, scorer, progress)


def _sample(
    scored: ScoredDataset, given: GivenScores | None, read_options: ReadOptions
) -> int | None:
    """Rows that were drawn at random, now or when they were scored; None where all are there."""
    n_rows = pool = scored.dataset.n_rows_in_all
    if given is not None and given.manifest is not None:
        then = given.manifest
        pool = int(then["rows_in"])
        if then.get("sample") and pool < min(then.get("limit") or n_rows, n_rows):
            return scored.dataset.n_rows
    pool = min(read_options.limit or pool, pool)
    return read_options.sample if read_options.sample and read_options.sample < pool else None


def _results(
    subject: Subject, rules: Iterable[Rule], two: TwoTemplates | None, *, is_sample: bool
) -> tuple[RuleResult, ...]:
    """Every rule's verdict, in the order of report; what is off is not applied."""

    def outcome(rule: Rule) -> Outcome:
        if rule.severity == "off":
            return Outcome()
        if rule.name == "unstable_verdict":
            return unstable_verdict(subject, rule, two)
        return CHECKS[rule.name](subject, rule)

    return in_order(judge(rule, outcome(rule), is_sample=is_sample) for rule in rules)


def _of_texts(name: str) -> Check:
    """A check of one example by itself as a rule."""

    def check(subject: Subject, rule: Rule) -> Outcome:
        del rule
        quotes = {hit.place: hit.quote for hit in TEXT_CHECKS[name](subject.corpus)}
        return subject.outcome(sorted(quotes), len(subject), quoted=quotes.__getitem__)

    return check


CHECKS: Mapping[str, Check] = {
    **NUMBER_CHECKS,
    **REPEAT_CHECKS,
    **{name: _of_texts(name) for name in TEXT_CHECKS},
}
"""Rule → its check; `unstable_verdict` has one that needs a second template."""
