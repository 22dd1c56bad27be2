"""The result of `ifdkit predict`.

`prediction.json` is :class:`Prediction` field by field (schema "ifdkit.prediction/1"): renaming a
field breaks scripts of users.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ifdkit.data.atomic import json_file
from ifdkit.data.report_folder import renders, save_report
from ifdkit.data.views import NotebookView
from ifdkit.scoring.manifest import Manifest
from ifdkit.stats.columns import Interval
from ifdkit.stats.discrimination import CalibrationBin

PREDICTION_SCHEMA = "ifdkit.prediction/1"
REPORT_FILES = ("index.html", "prediction.json", "report.md")


def is_markdown(path: str | Path) -> bool:
    """Whether an output names a single Markdown file instead of a folder."""
    return Path(path).suffix.lower() == ".md"


def save_prediction(result: object, output: str | Path) -> Path:
    """Write REPORT_FILES into a folder, or the Markdown report alone to a file that ends in `.md`.

    Returns the folder.  Raises OutputError.
    """
    if not is_markdown(output):
        return save_report(result, output, REPORT_FILES)
    path = Path(output)
    return save_report(result, path.parent, ("report.md",), as_names=(path.name,))


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictor:
    """How well the change of one score, second answer − first, predicts the preference.

    A statistic is None if it is undefined: too few pairs, or a score that no pair changes.
    """

    n: int
    """Pairs with a preference and this score on both sides."""
    is_log: bool
    """Whether the change is a log ratio: for positive scores that are compared by factors."""
    auc: float | None = None
    """P(change of a pair whose second answer is preferred > change of one whose first is), 0…1."""
    ci95: Interval | None = None
    p: float | None = None
    p_holm: float | None = None
    """p with Holm's correction over the scores of the table."""
    n_length_matched: int = 0
    auc_length_matched: float | None = None
    ci95_length_matched: Interval | None = None
    p_length_matched: float | None = None
    p_length_matched_holm: float | None = None
    partial: float | None = None
    """Rank correlation with the preference, −1…1, with response length and tokens per
    character removed; None for length itself."""
    partial_ci95: Interval | None = None
    partial_p: float | None = None
    partial_p_holm: float | None = None
    partial_length_matched: float | None = None
    """The same over the length-matched pairs."""
    partial_length_matched_p: float | None = None
    partial_length_matched_p_holm: float | None = None

    @property
    def adds_to_length(self) -> bool:
        """Whether it predicts the preference beyond length, over all pairs, at 5 %."""
        return self.partial_p_holm is not None and self.partial_p_holm < 0.05

    @property
    def holds_when_matched(self) -> bool:
        """Whether it does so too over the length-matched pairs, in the same direction."""
        matched, p = self.partial_length_matched, self.partial_length_matched_p_holm
        if self.partial is None or matched is None or p is None:
            return False
        return p < 0.05 and (matched > 0) == (self.partial > 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Combination:
    """A logistic regression on length and the scores, each pair predicted by the other folds."""

    n: int
    """Pairs with every score."""
    folds: int
    """No instruction is in two folds."""
    fields: tuple[str, ...]
    auc: float | None
    ci95: Interval | None
    auc_length: float | None
    """Of the same regression on length alone, over the same pairs and folds."""
    difference: float | None
    """auc − auc_length."""
    difference_ci95: Interval | None
    difference_p: float | None
    n_length_matched: int
    auc_length_matched: float | None
    ci95_length_matched: Interval | None
    brier: float
    """Mean squared error of its probabilities; 0.25 for always one half."""
    brier_length: float
    calibration: tuple[CalibrationBin, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction(NotebookView):
    """What `ifdkit.predict` returns."""

    schema: str = PREDICTION_SCHEMA
    version: str
    created: str
    command: str
    input: str
    input_sha256: str | None
    generators: tuple[tuple[str, ...], tuple[str, ...]]
    """Who wrote the first and the second answers, as far as the file says."""
    rows: int
    """Pairs of the file, or of the part of it that was read."""
    n: int
    """Pairs with a preference for one side."""
    n_length_matched: int
    length_matched: str
    """When a pair counts as length-matched, in words."""
    n_tied: int
    """Pairs that are ties; they have no side to predict."""
    n_missing: int
    """Pairs without a preference."""
    n_instructions: int
    """Distinct instructions of the pairs with a preference; intervals treat each as one cluster."""
    share_second: float | None
    """Share of the pairs in which the second answer is preferred, 0…1; None without pairs."""
    length_field: str
    """The score that is the baseline."""
    baseline: Predictor
    """Response length in tokens."""
    baseline_characters: Predictor
    """Response length in characters."""
    scores: Mapping[str, Predictor]
    """Score → how well it predicts, the best AUC (in either direction) first."""
    combination: Combination | None
    """None if there are too few pairs or instructions for it."""
    verdict: str
    """The conclusion in one sentence."""
    seed: int
    manifest: Manifest
    """Of the scores of the answers; row 2k is the first answer of pair k, 2k + 1 the second."""
    elapsed_s: float
    limit: int | None = None
    """Only so many rows of the file, the first; None for all of them."""
    sample: int | None = None
    """Rows that were drawn at random; None if none were."""
    warnings: tuple[str, ...] = ()
    """What a reader must know of the limit and the sample."""

    def as_json(self) -> dict[str, Any]:
        """The object of `prediction.json`."""
        return asdict(self)

    def save(self, folder: str | Path) -> Path:
        """Write index.html, prediction.json and report.md into `folder`, and return the folder.

        If it ends in `.md`, only the Markdown report is written, to that file.  None of them
        contains text of the answers.  Raises OutputError.
        """
        return save_prediction(self, folder)


@renders(Prediction, "prediction.json")
def _prediction_json(prediction: Prediction) -> bytes:
    return json_file(prediction.as_json())
