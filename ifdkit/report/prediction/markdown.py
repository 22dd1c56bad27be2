"""The report of a prediction as Markdown."""

from __future__ import annotations

from ifdkit.format import correlation, fixed, interval, p_value
from ifdkit.prediction.result import Combination, Prediction
from ifdkit.report.comparison.markdown import bound, code, prose
from ifdkit.report.prediction.wording import (
    HEADERS,
    METHOD,
    area,
    basis,
    combination_sentence,
    partial,
    table_rows,
    two_decimals,
)

_SETUP = ("model", "protocol", "template", "dtype", "device", "embedder")


def render_prediction_markdown(prediction: Prediction) -> str:
    """The report, ending in a line feed."""
    combination = prediction.combination
    parts = (
        "# Which score predicts the preference?",
        f"**{prose(prediction.verdict, 1500)}**",
        prose(f"{basis(prediction)} {_sides(prediction)}", 2000),
        _table(prediction),
        METHOD,
        _combination(combination) if combination else "",
        _inputs(prediction),
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def _sides(prediction: Prediction) -> str:
    first, second = (", ".join(names[:15]) or "unnamed" for names in prediction.generators)
    return f"First answers: {first}. Second answers: {second}."


def _table(prediction: Prediction) -> str:
    lines = [f"| {' | '.join(HEADERS)} |", "|:--|" + "--:|" * (len(HEADERS) - 1)]
    for row in table_rows(prediction):
        one = row.predictor
        cells = (
            f"*{prose(row.label, 60)}*" if row.is_baseline else prose(row.label, 60),
            area(one.auc, one.ci95),
            bound(p_value(one.p_holm)),
            area(one.auc_length_matched, one.ci95_length_matched),
            bound(p_value(one.p_length_matched_holm)),
            partial(one),
            bound(p_value(one.partial_p_holm)),
            correlation(one.partial_length_matched),
            bound(p_value(one.partial_length_matched_p_holm)),
            f"{one.n:,}, {one.n_length_matched:,}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _combination(one: Combination) -> str:
    lines = [
        "## All scores together",
        "",
        combination_sentence(one),
        "",
        "| predicted probability | observed share (95 % CI) | pairs |",
        "|--:|--:|--:|",
    ]
    lines += [
        f"| {fixed(bin_.predicted, 2)} | {fixed(bin_.observed, 2)}"
        f" ({interval(bin_.ci95, two_decimals)}) | {bin_.n:,} |"
        for bin_ in one.calibration
    ]
    return "\n".join(lines)


def _inputs(prediction: Prediction) -> str:
    scores = prediction.manifest.as_json()
    made = ", ".join(f"{name} {code(str(scores[name]), 80)}" for name in _SETUP if scores[name])
    digest = prediction.input_sha256
    return (
        f"Input {code(prediction.input, 160)}{f', SHA-256 {digest[:16]}' if digest else ''}."
        f" Scores: {made}. Seed {prediction.seed}. Made by ifdkit {prose(prediction.version, 40)}:"
        f" {code(prediction.command, 300)}"
    )
