"""How much IFD depends on the template: a sample of the rows scored again under a second one.

IFD depends on the words around the instruction.  If two templates rank the rows differently, or put
many on different sides of 1, a selection by IFD is a selection by template.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ifdkit.auditing.checking import AuditedDataset, CheckResult, Rule, SecondTemplate
from ifdkit.auditing.result import TemplateCheck
from ifdkit.data.options import ReadOptions
from ifdkit.errors import UsageError
from ifdkit.prompting.protocols import PROTOCOLS, choose_template
from ifdkit.prompting.templates import is_chat, load_template
from ifdkit.scoring.comparability import settings_of
from ifdkit.scoring.dataset import ScoredDataset, score_dataset
from ifdkit.scoring.manifest import Manifest
from ifdkit.scoring.progress import Progress
from ifdkit.scoring.scorer import Scorer
from ifdkit.scoring.settings import Settings
from ifdkit.stats.columns import MIN_PAIRS, spearman

MAX_ROWS = 200
"""Rows that are scored again: the 95 % interval of their share is at most ±7 points."""
_OF_MACHINE = ("store", "device", "allow_pickle", "trust_remote_code")
"""Settings that do not depend on how a scores file was made."""


def second_settings(
    settings: Settings, template: str, manifest: Manifest | None = None
) -> Settings:
    """How to score under the second template; `manifest` is that of a scores file, if given.

    Raises UsageError, before any scoring, if the template does not exist, is the one in use, or is
    not allowed by the protocol.
    """
    if manifest is not None:
        kept = {name: getattr(settings, name) for name in _OF_MACHINE}
        settings = Settings(**{**settings_of(manifest), **kept, "template": None})
        used: object = manifest.template
    else:
        used = choose_template(PROTOCOLS[settings.protocol], settings.template)
    if template == used:
        raise UsageError(
            f"--template-check {template}: that is the template in use; name another one"
        )
    if not is_chat(template):
        load_template(template)
    return replace(settings, template=template, metrics=("ifd",), token_nll=False, drift=0)


def score_under_second(
    scored: ScoredDataset, settings: Settings, seed: int, progress: Progress
) -> SecondTemplate:
    """Score a sample of the rows under the template of `settings`.

    Raises UsageError if the scores have no IFD or were made by another model.
    """
    if "ifd" not in scored.scores.numbers:
        raise UsageError("--template-check needs the IFD of the rows, and no example has one")
    dataset = scored.dataset
    rows = dataset.rows
    if len(rows) > MAX_ROWS:
        chosen = np.random.default_rng(seed).choice(len(rows), MAX_ROWS, replace=False)
        rows = [rows[i] for i in chosen]
    dataset = dataset.choose(rows)
    progress.note(
        f"template check: scoring {dataset.n_rows:,} of {len(scored.dataset.rows):,} rows under"
        f" {settings.template}"
    )
    with Scorer(settings, progress) as scorer:
        made = scored.manifest
        assert made is not None, "there are scores"
        if scorer.weights_hash != made.weights_hash:
            raise UsageError(
                f"--template-check: {made.model} has different weights here from those that made"
                " the scores; score the dataset itself"
            )
        again = score_dataset(dataset, ReadOptions(), scorer, progress, notes_reading=False)
        names = made.template, scorer.template.name
    return compare_templates(scored, again, names)


def compare_templates(
    scored: ScoredDataset, again: ScoredDataset, names: tuple[str, str]
) -> SecondTemplate:
    """The IFDs of the examples scored again, if defined under both templates."""
    chosen = set(again.scores.rows.tolist())
    indices = np.array(
        [i for i, row in enumerate(scored.scores.rows.tolist()) if row in chosen], dtype=np.int64
    )
    first = scored.scores.numbers["ifd"][indices]
    second = again.scores.numbers.get("ifd", np.full(len(indices), np.nan))
    known = np.isfinite(first) & np.isfinite(second)
    indices, first, second = indices[known], first[known], second[known]
    n = len(indices)
    above = first >= 1, second >= 1
    check = TemplateCheck(
        templates=names,
        n=n,
        spearman=spearman(first, second) if n else None,
        above_one=(float(above[0].mean()), float(above[1].mean())) if n else (None, None),
        agreement=float((above[0] == above[1]).mean()) if n else None,
    )
    is_sample = len(chosen) < len(set(scored.scores.rows.tolist()))
    return SecondTemplate(check, indices, first, second, is_sample)


def unstable_verdict(data: AuditedDataset, rule: Rule) -> CheckResult:
    """Examples whose IFD is on the other side of 1 under the second template, which is the value.

    Passes if they are few and the ranks of both templates agree: Spearman's correlation is at
    least the threshold.
    """
    second = data.second_template
    if second is None:
        return CheckResult(skipped="needs --template-check")
    check = second.check
    if check.spearman is None:
        return CheckResult(
            skipped=f"needs {MIN_PAIRS} examples whose IFD is defined and varies under both"
            f" templates, and there are {check.n}"
        )
    moved = (second.ifd_first >= 1) != (second.ifd_second >= 1)
    values = np.full(len(data), np.nan)
    values[second.indices] = second.ifd_second
    agrees = check.spearman >= rule.limit
    wanted = "" if agrees else f" ({rule.limit:g} or more is required)"
    return replace(
        data.result(second.indices[moved], check.n, values=values),
        also_passes=agrees,
        is_sample=second.is_sample,
        found=f"For {int(moved.sum()):,} of {check.n:,} examples IFD changes the side of 1. The"
        f" Spearman correlation of IFD under {' and '.join(check.templates)} is"
        f" {check.spearman:.2f}{wanted}.",
    )
