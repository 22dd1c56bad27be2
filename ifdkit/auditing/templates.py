"""How much of the verdict is the template's: the same rows under two of them.

IFD depends on the words around the instruction.  Where two templates rank the rows otherwise, or
put many on the other side of 1, what is selected by IFD is selected by the template.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifdkit.auditing.outcomes import Outcome, Subject
from ifdkit.auditing.result import TemplateCheck
from ifdkit.auditing.rules import Rule
from ifdkit.data.options import ReadOptions
from ifdkit.errors import UsageError
from ifdkit.prompting.protocols import PROTOCOLS, choose_template
from ifdkit.prompting.templates import CHAT, load_template
from ifdkit.scoring.comparability import settings_of
from ifdkit.scoring.dataset import ScoredDataset, score_dataset
from ifdkit.scoring.scorer import Progress, Scorer, Settings
from ifdkit.stats.columns import FEWEST_PAIRS, spearman

MOST_ROWS = 200
"""Rows that are scored again: a share of them is known to some 7 points."""
_OF_THE_MACHINE = ("store", "device", "allow_pickle", "trust_remote_code")
"""Settings that hold for any model."""


@dataclass(frozen=True, eq=False)
class TwoTemplates:
    """The check, and the IFDs behind it."""

    check: TemplateCheck
    places: NDArray[np.int64]
    """Examples with an IFD under both, by position in the dataset, ascending."""
    first: NDArray[np.float64]
    """Their IFD under the first template."""
    second: NDArray[np.float64]
    is_sample: bool
    """Whether rows were drawn, rather than all taken."""


def other_settings(
    settings: Settings, other: str, manifest: Mapping[str, Any] | None = None
) -> Settings:
    """How to score under the other template; `manifest` is that of a scores file.

    Raises UsageError, before any work is done, where the protocol does not admit the template, it
    is not there, or it is the one in use.
    """
    if manifest is not None:
        kept = {name: getattr(settings, name) for name in _OF_THE_MACHINE}
        settings = Settings(**{**settings_of(manifest), **kept, "template": None})
        used = str(manifest["template"])
    else:
        used = choose_template(PROTOCOLS[settings.protocol], settings.template)
    if other == used:
        raise UsageError(
            f"--template-check {other}: that is the template in use; name another than it"
        )
    if other != CHAT:
        load_template(other)
    return replace(settings, template=other, metrics=("ifd",), token_nll=False, drift=0)


def check_templates(
    scored: ScoredDataset, settings: Settings, seed: int, progress: Progress
) -> TwoTemplates:
    """Score a sample of the rows under the other template, which `settings` name.

    Raises UsageError where the scores hold no IFD or were made by another model.
    """
    if "ifd" not in scored.scores.numbers:
        raise UsageError("--template-check needs the IFD of the rows, and no example has one")
    dataset = scored.dataset
    rows = dataset.rows
    if len(rows) > MOST_ROWS:
        chosen = np.random.default_rng(seed).choice(len(rows), MOST_ROWS, replace=False)
        rows = [rows[i] for i in chosen]
    dataset = dataset.choose(rows)
    progress.note(
        f"template check: {dataset.n_rows:,} of {len(scored.dataset.rows):,} rows again under"
        f" {settings.template}"
    )
    with Scorer(settings, progress) as scorer:
        if scorer.weights_hash != scored.manifest["weights_hash"]:
            raise UsageError(
                f"--template-check: the scores were made by {scored.manifest['model']}, which has"
                f" other weights here; score the dataset itself"
            )
        again = score_dataset(dataset, ReadOptions(), scorer, progress)
        names = str(scored.manifest["template"]), scorer.template.name
    return _compared(scored, again, names)


def _compared(scored: ScoredDataset, again: ScoredDataset, names: tuple[str, str]) -> TwoTemplates:
    """Both IFDs of the examples that were scored again, where both are defined."""
    chosen = set(again.scores.rows.tolist())
    places = np.array(
        [i for i, row in enumerate(scored.scores.rows.tolist()) if row in chosen], dtype=np.int64
    )
    first = scored.scores.numbers["ifd"][places]
    second = again.scores.numbers.get("ifd", np.full(len(places), np.nan))
    known = np.isfinite(first) & np.isfinite(second)
    places, first, second = places[known], first[known], second[known]
    n = len(places)
    above = first >= 1, second >= 1
    check = TemplateCheck(
        templates=names,
        n=n,
        spearman=spearman(first, second) if n else None,
        above_one=(float(above[0].mean()), float(above[1].mean())) if n else (None, None),
        agreement=float((above[0] == above[1]).mean()) if n else None,
    )
    is_sample = len(chosen) < len(set(scored.scores.rows.tolist()))
    return TwoTemplates(check, places, first, second, is_sample)


def unstable_verdict(subject: Subject, rule: Rule, two: TwoTemplates | None) -> Outcome:
    """Examples that lie on the other side of 1 under the other template; its IFD is the value.

    Passes where few do, and the ranks of both templates agree as well: Spearman's correlation is
    the threshold or more.
    """
    if two is None:
        return Outcome(skipped="needs --template-check")
    check, threshold = two.check, rule.threshold
    assert threshold is not None, rule.name
    if check.spearman is None:
        return Outcome(
            skipped=f"needs {FEWEST_PAIRS} examples whose IFD is defined under both templates and"
            f" not always the same, and there are {check.n}"
        )
    moved = (two.first >= 1) != (two.second >= 1)
    values = np.full(len(subject), np.nan)
    values[two.places] = two.second
    outcome = subject.outcome(two.places[moved], check.n, values=values)
    agrees = check.spearman >= threshold
    first, second = check.templates
    ranks = f"the ranks of {first} and {second} agree with a Spearman of {check.spearman:.2f}"
    wanted = "" if agrees else f", and {threshold:g} is wanted"
    return replace(
        outcome,
        also_passes=agrees,
        is_sample=two.is_sample,
        found=f"{int(moved.sum()):,} of {check.n:,} examples change the side of 1, and {ranks}"
        f"{wanted}.",
    )
