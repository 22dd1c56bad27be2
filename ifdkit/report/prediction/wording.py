"""The rows and the sentences of the report on a prediction: the same in every form."""

from __future__ import annotations

from dataclasses import dataclass

from ifdkit.format import correlation, fixed, interval, plural, sentences, signed
from ifdkit.prediction.result import Combination, Prediction, Predictor
from ifdkit.report.comparison.wording import metric_of
from ifdkit.stats.columns import Interval

HEADERS = ("score", "AUC", "p, Holm", "AUC, length-matched", "p, Holm", "partial, length removed",
           "p, Holm", "partial, length-matched", "p, Holm", "pairs")  # fmt: skip


@dataclass(frozen=True, slots=True)
class TableRow:
    """One predictor of the table."""

    label: str
    short: str
    predictor: Predictor
    is_baseline: bool


def table_rows(prediction: Prediction) -> tuple[TableRow, ...]:
    """Both baselines, then the scores in the order of the result."""
    return (
        TableRow("Length in tokens", "length, tokens", prediction.baseline, True),
        TableRow(
            "Length in characters", "length, characters", prediction.baseline_characters, True
        ),
        *(
            TableRow(metric_of(name).label, metric_of(name).short, one, False)
            for name, one in prediction.scores.items()
        ),
    )


def area(value: float | None, ci95: Interval | None = None) -> str:
    """An AUC with two decimals and, if given, its interval."""
    ends = f" ({interval(ci95, two_decimals)})" if ci95 else ""
    return f"{fixed(value, 2)}{ends}"


def two_decimals(x: float) -> str:
    """`0.62`: for AUCs."""
    return fixed(x, 2)


def partial(one: Predictor) -> str:
    """The partial correlation with its interval."""
    ends = f" ({interval(one.partial_ci95, correlation)})" if one.partial_ci95 else ""
    return f"{correlation(one.partial)}{ends}"


def basis(prediction: Prediction) -> str:
    """Which pairs were used."""
    left_out = [
        text
        for n, text in (
            (prediction.n_tied, plural(prediction.n_tied, "tie")),
            (prediction.n_missing, f"{prediction.n_missing:,} without a preference"),
        )
        if n
    ]
    rest = f", of {prediction.rows:,}; left out: {', '.join(left_out)}" if left_out else ""
    part = f"{sentences(prediction.warnings)} " if prediction.warnings else ""
    return (
        f"{part}{plural(prediction.n, 'pair')} with a preference{rest}. "
        f"{prediction.n_instructions:,} distinct instructions. "
        f"Length-matched: {plural(prediction.n_length_matched, 'pair')};"
        f" {prediction.length_matched}."
    )


METHOD = (
    "The change of a score is second answer − first, or the log of their ratio for scores that are"
    " compared by factors. AUC is the probability that the change of a pair whose second answer is"
    " preferred exceeds that of a pair whose first is: above 0.5 a higher score goes with being"
    " preferred, below 0.5 a lower one. Intervals are 95 %, of DeLong's method with instructions as"
    " clusters (Obuchowski 1997). The partial correlation is one of normal scores of ranks, with"
    " the changes of length in tokens and of tokens per character removed, since lists, numbers and"
    " code have more tokens for the same characters. p-values are corrected over the scores by"
    " Holm's method, for each kind of test apart."
)


def combination_sentence(one: Combination) -> str:
    """What all scores together add to length, on instructions that the regression has not seen."""
    return (
        f"A logistic regression on length and all scores, {one.folds}-fold cross-validated with"
        f" no instruction in two folds, has AUC {area(one.auc, one.ci95)} over"
        f" {plural(one.n, 'pair')}; on length alone it has {area(one.auc_length)}. The difference"
        f" is {signed(one.difference, 3)} ({interval(one.difference_ci95, _three_decimals)})."
        f" On its {one.n_length_matched:,} length-matched pairs: AUC"
        f" {area(one.auc_length_matched, one.ci95_length_matched)}. Brier score"
        f" {fixed(one.brier, 3)}, on length alone {fixed(one.brier_length, 3)}; always one half has"
        " 0.25."
    )


def _three_decimals(x: float) -> str:
    return signed(x, 3)
