"""`audit --clean`: the rows that pass, in the format of the dataset, and a log of the others.

A row is dropped whole if a rule names it or one of its turns, and if it could not be read. Rules
that compare rows name the later copies, so that the first one is kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

from ifdkit.auditing.checking import AuditedDataset, Rule
from ifdkit.auditing.result import Cleaned, RuleResult
from ifdkit.data.atomic import OutputFiles, json_line
from ifdkit.data.part_files import dataset_file

CleanRules = Literal["failed", "errors", "all"]
CLEAN_RULES: tuple[CleanRules, ...] = ("failed", "errors", "all")
"""Rules that failed as an error or a warning; only errors; every rule that found something."""
UNREADABLE = "unreadable_row"
DROPPED = ".dropped.jsonl"
"""Appended to the name of the output: the log of the dropped rows."""

_Named = list[tuple[str, str]]
"""The rules that name a row, each with a sentence."""


def clean(
    data: AuditedDataset,
    rules: Iterable[Rule],
    results: Sequence[RuleResult],
    files: OutputFiles,
    which: CleanRules,
) -> Cleaned:
    """Write the rows of `data` that pass as the output of `files`, and log the others beside it.

    The output must have passed `check_dataset_output`. A line of the log has `row`, `line` (null if
    the format has no lines), `id` (null for a row that could not be read), `rules` and `reasons`,
    one per rule. Raises OutputError.
    """
    named = _named_rows(data, _chosen(rules, results, which))
    scores, dataset = data.scored.scores, data.scored.dataset
    ids = dict(zip(reversed(scores.rows.tolist()), reversed(scores.ids), strict=True))
    n_kept = 0
    dropped = files.open(DROPPED)
    with dataset_file(files, dataset) as writer:
        for raw in dataset.raw_rows():
            if raw.row in named:
                names, reasons = zip(*named[raw.row], strict=True)
                line = {"row": raw.row, "line": raw.line, "id": ids.get(raw.row)}
                dropped.write(json_line({**line, "rules": names, "reasons": reasons}))
            else:
                is_written = writer.write(raw, raw.value)
                assert is_written, "malformed rows are rejects, which are dropped"
                n_kept += 1
    assert n_kept + len(named) == dataset.n_rows, "every row is kept or dropped"
    return Cleaned(
        output=str(files.output),
        output_sha256=files.sha256(),
        log=f"{files.output}{DROPPED}",
        rules=which,
        rows_in=dataset.n_rows,
        kept=n_kept,
        dropped=len(named),
        dropped_by=dict(Counter(name for one in named.values() for name, _ in one).most_common()),
    )


def _chosen(rules: Iterable[Rule], results: Sequence[RuleResult], which: CleanRules) -> list[Rule]:
    """The rules whose rows are dropped."""
    verdicts = {one.name: one for one in results}

    def drops(result: RuleResult | None) -> bool:
        if result is None or result.skipped is not None or result.severity == "off":
            return False
        if which == "errors":
            return result.fails
        return which == "all" or result.fails or result.warns

    return [rule for rule in rules if drops(verdicts.get(rule.name))]


def _named_rows(data: AuditedDataset, rules: Iterable[Rule]) -> dict[int, _Named]:
    """Row → the rules that name it, in their order."""
    named: dict[int, _Named] = {one.row: [(UNREADABLE, one.reason)] for one in data.scored.rejects}
    row_of = data.scored.scores.rows.tolist()
    for rule in rules:
        for row in sorted({row_of[index] for index in data.check(rule).indices}):
            named.setdefault(row, []).append((rule.name, rule.sentence))
    return named
