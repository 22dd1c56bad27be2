"""The verb *audit*: a dataset in, a verdict out, rule by rule.

dataset ─ scores (or none) ─▶ AuditedDataset ─ each rule's check ─▶ CheckResult ─ verdict ─▶ Audit

rules           every rule; `rule_settings` changes them
checking        what a rule, a check and its result are
numbers         checks of scores, and of what could be read
document_rules  the rules about text documents
repeats         checks that compare examples with each other, or with an evaluation set
exploring       the rows and the numbers that the report shows
shading         the NLLs of the tokens of these rows
templates       the same rows scored under a second template
against         the instructions of evaluation sets
verdict, result whether a rule passes; what an audit returns
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from ifdkit.auditing.against import read_against
from ifdkit.auditing.checking import AuditedDataset, OfTexts, Rule
from ifdkit.auditing.cleaning import DROPPED, CleanRules, clean
from ifdkit.auditing.document_rules import worded_for_documents
from ifdkit.auditing.exploring import columns_of, explore, measure
from ifdkit.auditing.numbers import status_counts
from ifdkit.auditing.options import AuditOptions
from ifdkit.auditing.result import Audit, AuditedInput, RuleResult
from ifdkit.auditing.rule_settings import configured, from_mapping
from ifdkit.auditing.shading import Shading
from ifdkit.auditing.templates import score_under_second, second_settings
from ifdkit.auditing.text_hits import text_workers
from ifdkit.auditing.verdict import in_order, judge, with_evidence, with_lines, with_sources
from ifdkit.data.atomic import OutputFiles
from ifdkit.data.dataset import Dataset, Reasoning, Turns
from ifdkit.data.groups import RowGroups, row_groups
from ifdkit.data.many_inputs import expand
from ifdkit.data.options import ReadOptions
from ifdkit.data.part_files import check_dataset_output
from ifdkit.data.report_folder import check_report_folder
from ifdkit.data.where import check_names
from ifdkit.errors import UsageError
from ifdkit.findings.checks import TextCheck
from ifdkit.format import plural
from ifdkit.scoring.dataset import (
    ScoredDataset,
    ScoresFile,
    check_flags,
    open_scores,
    score_dataset,
    without_scores,
)
from ifdkit.scoring.documents import check_applicable, check_no_documents, settings_for
from ifdkit.scoring.inputs import check_not_input, note_dataset, open_data
from ifdkit.scoring.metrics import needs_embedder, optional_of, passes_of
from ifdkit.scoring.per_row import WORD_FIELDS, narrow
from ifdkit.scoring.progress import Progress, default_progress
from ifdkit.scoring.run import command_line
from ifdkit.scoring.scorer import Scorer
from ifdkit.scoring.settings import Settings, SettingsKeywords, given_settings
from ifdkit.scoring.where import Where, score_fields
from ifdkit.version import VERSION

if TYPE_CHECKING:
    from ifdkit.scoring.inputs import Data

__all__ = ["AuditOptions", "audit", "audit_dataset"]


def audit(
    data: Data,
    *,
    columns: Mapping[str, str] | None = None,
    turns: Turns = "all",
    reasoning: Reasoning = "keep",
    lines: bool = False,
    limit: int | None = None,
    sample: int | None = None,
    seed: int = 0,
    where: str | None = None,
    against: Sequence[str | PathLike[str]] = (),
    template_check: str | None = None,
    rules: Mapping[str, Mapping[str, Any]] | None = None,
    scores: bool = True,
    clean: str | PathLike[str] | None = None,
    clean_rules: CleanRules = "failed",
    group_by: str | None = None,
    text_workers: int | None = None,
    progress: Progress | None = None,
    **settings: Unpack[SettingsKeywords],
) -> Audit:
    """Check a dataset against every rule: `audit("data.json").passed`.

    `data` is a path (of a dataset or a scores file), any iterable of dictionaries, or a DataFrame,
    including that of `ifdkit.score`.  `sample` audits so many rows at random, with intervals on the
    shares.  `where` is an expression about scores and columns: rows for which it is not true are
    not checked.  `against` are evaluation sets whose instructions must not be in the data.
    `template_check` names a second template.  `rules` changes rules, as in
    `{"refusal": {"severity": "error", "most": 0.02}}`.  `scores=False` uses no model.  `clean`
    is a file for the rows that pass, in the format of the data; rows that rules of `clean_rules`
    name are logged beside it.  `group_by` is a column by whose values findings are counted, too.
    `text_workers` is the number of processes that apply the text rules to a large dataset, by
    default one per core; they change no result.  `settings` are those of :class:`ifdkit.Settings`.
    Raises IfdkitError.
    """
    files = (against,) if isinstance(against, (str, PathLike)) else tuple(against)
    options = AuditOptions(
        rules=configured(from_mapping(rules or {})),
        against=files,
        template_check=template_check,
        scores=scores,
        where=where,
        clean=None if clean is None else Path(clean),
        clean_rules=clean_rules,
        group_by=group_by,
        text_workers=text_workers,
    )
    read_options = ReadOptions(
        columns=columns,
        turns=turns,
        reasoning=reasoning,
        lines=lines,
        limit=limit,
        sample=sample,
        seed=seed,
    )
    return audit_dataset(data, given_settings("audit", settings), read_options, options, progress)


def audit_dataset(
    data: Data,
    asked: Mapping[str, Any],
    read_options: ReadOptions,
    options: AuditOptions,
    progress: Progress | None = None,
) -> Audit:
    """The verdict on a dataset. Raises IfdkitError; what was scored stays in the store.

    `asked` are the settings that were asked for, of :class:`ifdkit.Settings`.
    """
    begin = time.perf_counter()
    data = expand(data)
    files = None
    with ExitStack() as stack:
        if options.clean is not None:
            files = stack.enter_context(OutputFiles(options.clean, DROPPED))
            for one in (data, *options.against):
                check_not_input(one, files, "--clean")
        found = _audit(data, asked, read_options, options, progress or default_progress(), files)
    return replace(found, elapsed_s=round(time.perf_counter() - begin, 3))


def _audit(
    data: Data,
    asked: Mapping[str, Any],
    read_options: ReadOptions,
    options: AuditOptions,
    progress: Progress,
    files: OutputFiles | None,
) -> Audit:
    """The verdict but for the time; writes the rows that pass if there are `files` for them."""
    condition = options.condition
    settings = _with_metrics(Settings(**asked), condition)
    read_options = replace(read_options, where=condition.columns if condition else None)
    given = open_scores(data)
    if given is not None:
        check_flags(given, asked, turns="last")
    other = None
    if options.template_check is not None:
        manifest = given.manifest if given else None
        other = second_settings(settings, options.template_check, manifest)
    against = read_against(options.against, progress)
    scored = _scored(data, given, settings, read_options, options, progress)
    sample = _sample(scored, given, read_options)
    if condition and condition.scores:
        scored = narrow(scored, condition.scores, read_options.turns)
    second = score_under_second(scored, other, read_options.seed, progress) if other else None
    groups = None if options.group_by is None else row_groups(scored.dataset, options.group_by)
    progress.note(f"checking {plural(len(scored), 'example')}")
    dataset = AuditedDataset.of(scored, against, second, is_documents=scored.has_documents)
    with text_workers(
        dataset.corpus, _text_checks(dataset, options.rules), options.text_workers
    ) as some:
        dataset = replace(dataset, workers=some)
        results = apply_rules(dataset, options.rules, is_sample=sample is not None, groups=groups)
    results = with_lines(results, scored.dataset)
    cleaned = None
    if files is not None:
        cleaned = clean(dataset, options.rules, results, files, options.clean_rules)
    columns = columns_of(dataset)
    checks = {rule.name: dataset.check(rule) for rule in _applicable(dataset, options.rules)}
    found = {one.name: (one, checks[one.name]) for one in results}
    shading = None
    if options.tokens and options.scores:
        shading = Shading.of(scored, given is not None, asked, settings)
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
        rules=results,
        template_check=second.check if second else None,
        against=tuple(against),
        manifest=scored.manifest,
        statuses=status_counts(dataset),
        elapsed_s=0.0,
        where=options.where,
        rows_left_out=len(scored.dataset.left_out),
        cleaned=cleaned,
        inputs=_inputs(scored.dataset),
        group_by=options.group_by,
        group_rows=_group_rows(groups, scored.dataset),
        explored=explore(dataset, columns, found, read_options.seed, shading),
        measured=measure(dataset, columns, found),
    )


def _group_rows(groups: RowGroups | None, dataset: Dataset) -> dict[str, int]:
    if groups is None:
        return {}
    return dict(Counter(map(groups.of, dataset.rows)).most_common())


def _inputs(dataset: Dataset) -> tuple[AuditedInput, ...]:
    n_rows = dataset.rows_per_source()
    return tuple(
        AuditedInput(name=name, path=str(part.path or part.name), rows=n)
        for part, (name, n) in zip(dataset.parts, n_rows.items(), strict=False)
    )


def check_folder(folder: Path) -> None:
    """Refuse, before any work is done, a folder with anything but an earlier audit.

    Raises OutputError.
    """
    check_report_folder(folder, "earlier audit", file="audit.json", schema="ifdkit.audit/")


def apply_rules(
    data: AuditedDataset,
    rules: Sequence[Rule],
    *,
    is_sample: bool = False,
    groups: RowGroups | None = None,
) -> tuple[RuleResult, ...]:
    """The results of the rules that apply to the data: to pairs, or to text documents."""
    applicable = _applicable(data, rules)
    if data.is_documents:
        applicable = [worded_for_documents(rule) for rule in applicable]
    # While the workers apply text rules, this process applies the others.
    for rule in applicable:
        if data.workers is not None and rule.name not in data.workers.names:
            data.check(rule)
    results = [_result(rule, data, groups, is_sample=is_sample) for rule in applicable]
    return in_order(with_evidence(results))


def _applicable(data: AuditedDataset, rules: Sequence[Rule]) -> list[Rule]:
    kind = "documents" if data.is_documents else "pairs"
    return [rule for rule in rules if rule.applies_to in (kind, "both")]


def _text_checks(data: AuditedDataset, rules: Sequence[Rule]) -> dict[str, TextCheck]:
    """Rule → its check, of the rules about texts that apply and are not off."""
    return {
        rule.name: rule.check.text_check
        for rule in _applicable(data, rules)
        if isinstance(rule.check, OfTexts) and rule.severity != "off"
    }


def _result(
    rule: Rule, data: AuditedDataset, groups: RowGroups | None, *, is_sample: bool
) -> RuleResult:
    found = data.check(rule)
    rows = data.scored.scores.rows if rule.unit == "example" else None
    result = judge(rule, found, is_sample=is_sample, rows=rows)
    return with_sources(result, found, data.scored, groups)


def _scored(
    data: Data,
    given: ScoresFile | None,
    settings: Settings,
    read_options: ReadOptions,
    options: AuditOptions,
    progress: Progress,
) -> ScoredDataset:
    """The dataset with its scores; those of a scores file are used as they are, without a model."""
    if given is not None:
        progress.note(f"{given.name}: {plural(len(given.scores), 'row')} of scores")
        _check_scores(given, options.condition)
        dataset = read_options.narrow(given.open_dataset(), score_fields())
        _check_before(dataset, options)
        return given.join(dataset)
    dataset = open_data(data, read_options)
    _check_before(dataset, options)
    note_dataset(dataset, progress)
    if not options.scores:
        return without_scores(dataset, progress=progress)
    with Scorer(settings_for(dataset, settings, progress), progress) as scorer:
        return score_dataset(dataset, read_options, scorer, progress)


def _with_metrics(settings: Settings, condition: Where | None) -> Settings:
    """The settings, with the metrics that `where` needs too."""
    more = condition.metrics if condition else ()
    wanted = [name for name in more if not passes_of(name) <= settings.passes]
    wanted += [name for name in more if needs_embedder(name) and not settings.needs_embedder]
    wanted += [name for name in more if not settings.optional.issuperset(optional_of(name))]
    return replace(settings, metrics=tuple(dict.fromkeys((*settings.metrics, *wanted))))


def _check_scores(given: ScoresFile, condition: Where | None) -> None:
    """Raise UsageError if the scores lack a metric that `where` needs."""
    for name in condition.metrics if condition else ():
        if name not in given.scores.numbers and name not in WORD_FIELDS:
            raise UsageError(f"--where: {given.name} has no {name}: score its dataset with"
                             f" --metrics {name}, or give the dataset itself")  # fmt: skip


def _check_before(dataset: Dataset, options: AuditOptions) -> None:
    """Raise IfdkitError, before the dataset is scored, for what would fail afterwards."""
    if options.template_check is not None:
        check_no_documents(dataset, "--template-check")
    if options.condition:
        check_applicable(dataset, options.condition.metrics, "--where")
    if options.group_by is not None:
        row_groups(dataset, options.group_by)
    if options.clean is not None:
        check_dataset_output(options.clean, dataset)
    if options.condition and options.condition.scores:
        check_names(dataset, options.condition.scores, score_fields())


def _sample(
    scored: ScoredDataset, given: ScoresFile | None, read_options: ReadOptions
) -> int | None:
    """Rows that were drawn at random, now or when they were scored; None if all were audited."""
    n_rows = scored.dataset.n_rows_in_all
    if given is not None and given.manifest is not None:
        made = given.manifest
        pool = made.rows_in + made.rows_left_out
        if made.sample and pool < min(made.limit or n_rows, n_rows):
            return scored.dataset.n_rows
    return read_options.sample if read_options.drawn_from(scored.dataset) else None
