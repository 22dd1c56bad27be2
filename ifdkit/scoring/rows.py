"""One row of a scores file: the numbers of an example, and the status that explains the gaps."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import field, replace
from typing import Any

from ifdkit.errors import UsageError
from ifdkit.records import NLL, PASSES, Example, Passes, Status, TokenStatistics
from ifdkit.row_type import row_type
from ifdkit.scoring.arithmetic import perplexity
from ifdkit.scoring.metric import INFORMATIVE_NATS, Measured, Metric, Value
from ifdkit.scoring.metrics import METRICS, computed_metrics
from ifdkit.scoring.profile import perplexity_profile

TOKEN_FIELDS = ("token_nll_response_direct", "token_nll_response_conditional")
"""Columns that exist only if the NLLs of tokens are asked for."""
PROFILE_FIELD = "ppl_windows"
"""The column of a document's profile, which exists only if there are documents."""
IDENTITY_FIELDS = ("id", "row", "turn", "status", "reason")
SOURCE_FIELD = "source"
"""A column of the scores of several inputs."""


@row_type(frozen=True, slots=True, kw_only=True)
class ScoreRow:
    """The numbers of one example, as in a scores file.

    NLLs are mean nats per scored token, perplexities their exponentials, ratios are > 0.  None is
    an undefined number, or one that was not asked for.
    """

    id: str
    row: int
    turn: int
    status: str
    reason: str | None
    source: str | None = None
    """The input that the row is from; None if the dataset has one input."""
    numbers: Mapping[str, Value]
    """Metric → value, for every metric in `METRICS`."""
    ppl_windows: list[float | None] | None = field(default=None, repr=False)
    """Perplexities of consecutive parts of a document, as `perplexity_profile` returns them."""
    token_nll_response_direct: list[float] | None = field(default=None, repr=False)
    token_nll_response_conditional: list[float] | None = field(default=None, repr=False)
    omitted: tuple[str, ...] = field(default=(), repr=False)
    """What the template left out, as in `Passes`; it is counted, and no column."""

    def __getitem__(self, name: str) -> Value:
        """The value of a metric; KeyError for an unknown one."""
        return self.numbers[name]

    def column(self, name: str) -> Any:
        """The value of any column."""
        return self.numbers[name] if name in self.numbers else getattr(self, name)


def score_columns(
    *,
    token_nll: bool = False,
    documents: bool = False,
    has_sources: bool = False,
    optional: Collection[str] = (),
) -> tuple[str, ...]:
    """The columns of a scores file, in order.

    `documents`: whether there are documents; `has_sources`: whether there are several inputs;
    `optional` as in `computed_metrics`.
    """
    source = (SOURCE_FIELD,) * has_sources
    names = (
        name
        for name, metric in computed_metrics(optional).items()
        if documents or metric.applies_to != "documents"
    )
    profile, tokens = (PROFILE_FIELD,) * documents, TOKEN_FIELDS * token_nll
    return (*IDENTITY_FIELDS, *source, *names, *profile, *tokens)


def score_row(
    example: Example,
    passes: Passes,
    nlls: Mapping[str, NLL],
    *,
    coherence: float | None = None,
    window: int = 64,
    token_nll: bool = False,
    statistics: Mapping[str, TokenStatistics] | None = None,
    informative_nats: float = INFORMATIVE_NATS,
    vocabulary: int | None = None,
    problem: str | None = None,
    choice: MetricChoice | None = None,
) -> ScoreRow:
    """All columns of one example, from the NLLs of the passes that were run.

    `choice` is shared by many rows; None: no metric that is computed on request only.  `problem` is
    why some passes could not be run: then no number of the model is kept.
    """
    choice = MetricChoice() if choice is None else choice
    statistics = statistics or {}
    status, reason = str(passes.status), passes.reason
    if problem is not None:
        nlls, statistics, status, reason = {}, {}, str(Status.INVALID), problem
    measured = Measured(
        example, passes, nlls, coherence, window, statistics, informative_nats, vocabulary
    )
    # A sum of float32 in float64 is finite if and only if all of them are.
    broken = [name for name in nlls if not math.isfinite(measured.total(name) or 0.0)]
    if broken:
        # None of the numbers of a model that overflows is kept.
        nlls, statistics, status = {}, {}, str(Status.INVALID)
        reason = f"the model gave no finite probability in the {_in_words(broken[0])} pass"
        measured = replace(measured, nlls=nlls, statistics=statistics, _means={}, _totals={})
    undefined = _ratio_problem(measured)
    if undefined and status in (Status.OK, Status.TRUNCATED):
        status, reason = str(Status.INVALID), undefined
    return ScoreRow(
        id=example.id,
        row=example.row,
        turn=example.turn,
        status=status,
        reason=reason,
        numbers=choice.numbers(measured, with_ratios=status != Status.INVALID),
        ppl_windows=(
            perplexity_profile(measured.nll("response_direct")) if example.is_document else None
        ),
        token_nll_response_direct=_as_list(measured.nll("response_direct"), token_nll),
        token_nll_response_conditional=_as_list(measured.nll("response_conditional"), token_nll),
        omitted=passes.omitted,
    )


class MetricChoice:
    """The metrics that rows have: chosen once for all rows of which the same passes were run."""

    def __init__(self, optional: Collection[str] = ()) -> None:
        """`optional` as in `computed_metrics`."""
        self._blank: dict[str, Value] = dict.fromkeys(METRICS)
        self._metrics = list(computed_metrics(optional).values())
        self._chosen: dict[tuple[object, ...], list[Metric]] = {}

    def numbers(self, measured: Measured, *, with_ratios: bool) -> dict[str, Value]:
        """The value of every metric; None if it is not finite, or not one of an example's."""
        is_document, passes, statistics = (
            measured.example.is_document, measured.nlls, measured.statistics
        )  # fmt: skip
        key = (with_ratios, is_document, *passes, None, *statistics)
        if key not in self._chosen:
            self._chosen[key] = [
                metric
                for metric in self._metrics
                if (with_ratios or not metric.is_ratio)
                and all(map(passes.__contains__, metric.passes))
                and all(map(statistics.__contains__, metric.statistics))
                and metric.is_for(measured.example)
            ]
        numbers = self._blank.copy()
        for metric in self._chosen[key]:
            try:
                value = metric.compute(measured)
            except Exception as error:  # a registered metric can fail in any way
                where = f"row {measured.example.row}, id {measured.example.id!r}"
                raise UsageError(
                    f"metric {metric.name!r} failed on {where}: {type(error).__name__}: {error}"
                ) from error
            if value is not None and not metric.is_integer:
                value = float(value) if math.isfinite(value) else None
            numbers[metric.name] = value
        return numbers


def _ratio_problem(measured: Measured) -> str | None:
    """Why no ratio of these means can be trusted, or None."""
    for name in PASSES:
        mean = measured.mean(name)
        if mean == 0.0 and not measured.example.is_document:  # a document has no ratios
            return f"the {_in_words(name)} NLL is exactly 0: no ratio is defined"
        if mean is not None and perplexity(mean) is None:
            return f"the {_in_words(name)} perplexity is too large for a number"
    return None


def _in_words(name: str) -> str:
    return name.replace("_", " ")


def _as_list(nll: NLL | None, is_wanted: bool) -> list[float] | None:
    """The shortest decimals that read back as the same float32."""
    return [float(str(value)) for value in nll] if is_wanted and nll is not None else None
