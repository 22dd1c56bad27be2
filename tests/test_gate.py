"""`--fail-if`: its grammar, the numbers it finds, and that undefined numbers fail the gate."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifdkit.comparison.gate import parse_condition, value_of
from ifdkit.comparison.result import DiversityChange, LengthControl, SetCoverage, Summary
from ifdkit.data.pairing import Pairing
from ifdkit.errors import UsageError
from ifdkit.findings.finding import Finding
from ifdkit.stats.columns import Distance, SideStats
from ifdkit.stats.paired import Change, MetricChange

IFD = MetricChange(
    before=SideStats(n=40, mean=0.5, median=0.4, sd=0.1, geometric_mean=0.45),
    after=SideStats(n=40, mean=0.7, median=0.6, sd=0.1, geometric_mean=0.65),
    change=Change(
        mean=0.21,
        median=0.19,
        p=0.001,
        p_holm=0.01,
        effect=0.8,
        share_up=0.9,
        share_unchanged=0.05,
        mean_ci95=(0.1, 0.3),
    ),
    distance=Distance(ks=0.35, wasserstein=0.2),
)
UNDEFINED = MetricChange(
    before=SideStats(n=2), after=SideStats(n=2), change=Change(), distance=Distance()
)
CONTROL = LengthControl(
    min_tokens=8, n_pairs=39, raw_change=0.19, common_length_change=0.05, overlap=0.5, window=64
)
SUMMARY = Summary(
    schema="ifdkit.comparison/1",
    version="0",
    created="",
    command="",
    before=None,
    after=None,
    name_before="a",
    name_after="b",
    pairing=Pairing(by="id", n_pairs=40, unmatched_before=3, unmatched_after=2, ambiguous=1),
    headline="",
    metrics={"ifd": IFD, "coherence": UNDEFINED},
    length_control={"ifd": CONTROL},
    findings=(
        Finding(kind="refusal", side="before", count=40, share=0.9, text=""),
        Finding(kind="refusal", side="after", count=7, share=0.05, text=""),
    ),
    diversity={
        "vendi": DiversityChange(
            n_pairs=40, before=30.0, after=25.0, change=-5.0, change_ci95=(-7.0, -3.0),
            sampling_error=0.0,
        )
    },
    coverage=SetCoverage(
        before_by_after=0.9, after_by_before=0.8, cosine_before_to_after=0.7,
        cosine_after_to_before=0.6, n_rows=40,
    ),
)  # fmt: skip

VALUES = {
    "ifd.mean_change": 0.21,
    "ifd.median_change": 0.19,
    "ifd.mean_before": 0.5,
    "ifd.mean_after": 0.7,
    "ifd.median_before": 0.4,
    "ifd.median_after": 0.6,
    "ifd.geometric_mean_before": 0.45,
    "ifd.geometric_mean_after": 0.65,
    "ifd.p": 0.001,
    "ifd.p_holm": 0.01,
    "ifd.effect": 0.8,
    "ifd.share_up": 0.9,
    "ifd.share_unchanged": 0.05,
    "ifd.ks": 0.35,
    "ifd.wasserstein": 0.2,
    "ifd.n": 40,
    "coherence.median_change": None,
    "length_control.ifd.raw_change": 0.19,
    "length_control.ifd.common_length_change": 0.05,
    "length_control.ifd.share_due_to_length": None,
    "length_control.ifd.overlap": 0.5,
    "length_control.ifd.n_pairs": 39,
    "length_control.ifd.window": 64,
    "findings.refusal.count": 7,
    "findings.refusal.share": 0.05,
    "findings.shared_opening.count": 0,
    "pairing.n_pairs": 40,
    "pairing.unmatched_before": 3,
    "pairing.unmatched_after": 2,
    "pairing.ambiguous": 1,
    "diversity.vendi.before": 30.0,
    "diversity.vendi.after": 25.0,
    "diversity.vendi.change": -5.0,
    "diversity.vendi.n_pairs": 40,
    "diversity.vendi.sampling_error": 0.0,
    "diversity.novelsum.change": None,
    "coverage.before_by_after": 0.9,
    "coverage.after_by_before": 0.8,
    "coverage.cosine_before_to_after": 0.7,
    "coverage.cosine_after_to_before": 0.6,
    "coverage.n_rows": 40,
}


@pytest.mark.parametrize(("name", "value"), VALUES.items())
def test_every_name_has_its_number(name: str, value: float | None) -> None:
    assert value_of(name, SUMMARY) == value


@pytest.mark.parametrize(
    ("text", "fails"),
    [
        ("ifd.n < 40", False),
        ("ifd.n <= 40", True),
        ("ifd.n > 40", False),
        ("ifd.n >= 40", True),
        ("ifd.n == 40", True),
        ("ifd.n != 40", False),
        ("ifd.n<41", True),
        ("  ifd.median_change   >  -1.5e-3 ", True),
        ("ifd.median_change > +.1", True),
        ("ifd.median_change < 0", False),
        ("ifd.n > 10 and ifd.p_holm < 0.05", True),
        ("ifd.n > 10 AND ifd.p_holm > 0.05", False),
        ("ifd.n > 100 and ifd.p_holm < 0.05", False),
        ("findings.refusal.share >= 0.05 and pairing.unmatched_after > 0", True),
        ("diversity.vendi.change < 0", True),
        ("diversity.vendi.change > 0 and coverage.before_by_after < 1", False),
    ],
)
def test_conditions(text: str, fails: bool) -> None:
    assert (parse_condition(text).check(SUMMARY) is not None) == fails


def test_the_reason_shows_the_actual_numbers() -> None:
    reason = parse_condition("ifd.median_change > 0 and ifd.p < 0.05").check(SUMMARY)
    assert reason == (
        "--fail-if 'ifd.median_change > 0 and ifd.p < 0.05':"
        " ifd.median_change is 0.19 and ifd.p is 0.001"
    )


def test_an_undefined_number_fails_the_gate() -> None:
    reason = parse_condition("coherence.p < 0.05").check(SUMMARY)
    assert reason is not None
    assert "coherence.p is undefined here, so coherence.p < 0.05 cannot be ruled out" in reason
    assert parse_condition("coherence.p >= 0.05").check(SUMMARY) is not None
    assert parse_condition("coherence.p < 0.05 and ifd.n == 40").check(SUMMARY) is not None


def test_findings_are_undefined_without_texts_and_0_if_there_are_none() -> None:
    without_texts = replace(SUMMARY, findings=(), texts_compared=False)
    reason = parse_condition("findings.refusal.count > 10").check(without_texts)
    assert reason is not None
    assert "findings.refusal.count is undefined here" in reason
    assert parse_condition("findings.refusal.count > 10").check(SUMMARY) is None


def test_a_false_clause_outweighs_an_undefined_number() -> None:
    """Negative control: a condition that no value of the number makes true does not fail."""
    assert parse_condition("coherence.n > 10 and coherence.p < 0.05").check(SUMMARY) is None


def test_nan_is_undefined_too() -> None:
    metrics = {"ifd": replace(IFD, change=replace(IFD.change, median=math.nan))}
    assert parse_condition("ifd.median_change < 0").check(replace(SUMMARY, metrics=metrics))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a comparison such as 'ifd.median_change < 0'"),
        ("ifd.median_change", "is not a comparison"),
        ("ifd.median_change < nan", "is not a comparison"),
        ("ifd.median_change < 0 or ifd.n < 3", "is not a comparison"),
        ("ifd.n < 3 and", "is not a comparison"),
        ("ifd.n = 3", "is not a comparison"),
        ("0 < ifd.n", "is not a comparison"),
        ("__import__('os').system('true') < 0", "is not a comparison"),
        ("ifd < 0", "is not the name of a number: write METRIC.STATISTIC"),
        ("a.b.c < 0", "is not the name of a number"),
        ("ifd.medain_change < 0", "no statistic 'medain_change': did you mean 'median_change'?"),
        ("idf.median_change < 0", "no metric 'idf': did you mean 'ifd'?"),
        ("id.n < 0", "no metric 'id'"),
        (
            "length_control.ifd.sentence < 0",
            "no estimate 'sentence': choose from min_tokens, n_pairs",
        ),
        ("length_control.ifd.raw_ci95 < 0", "no estimate 'raw_ci95'"),
        ("findings.refusals.count > 0", "no kind of finding 'refusals': did you mean 'refusal'?"),
        ("findings.refusal.text > 0", "no number of a finding 'text': choose from count, share"),
        ("pairing.by == 0", "no count of pairs 'by': choose from n_pairs, unmatched_before"),
        ("pairing.__class__ == 0", "no count of pairs '__class__'"),
        ("diversity.vend.change < 0", "no measure of diversity 'vend': did you mean 'vendi'?"),
        ("diversity.vendi.change_ci95 < 0", "no number of a measure 'change_ci95'"),
        ("coverage.share < 0", "no number of the coverage 'share'"),
    ],
)
def test_names_that_no_summary_has_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match="--fail-if") as caught:
        parse_condition(text)
    assert message in str(caught.value)


def test_a_metric_without_a_number_is_undefined_and_fails_the_gate() -> None:
    why = parse_condition("rifd.mean_change < 0").check(SUMMARY)
    assert why is not None
    assert "rifd.mean_change is undefined here" in why


def test_only_ifd_has_length_control() -> None:
    with pytest.raises(UsageError, match="no metric with length control 'coherence'"):
        parse_condition("length_control.coherence.raw_change < 0")


def test_a_condition_lists_its_metrics() -> None:
    text = "ifd.median_change < 0 and length_control.ifd.overlap < 1 and pairing.n_pairs > 3"
    assert parse_condition(text).metrics == ["ifd", "ifd"]
    text = "diversity.vendi.change < 0 and coverage.n_rows > 3"
    assert parse_condition(text).metrics == ["coherence", "coherence"]


@given(st.text(max_size=40))
def test_any_text_is_parsed_or_raises_usage_error(text: str) -> None:
    try:
        condition = parse_condition(text)
    except UsageError:
        return
    assert condition.clauses


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_number_can_be_used_in_a_clause(number: float) -> None:
    found = parse_condition(f"ifd.mean_change < {number!r}").check(SUMMARY)
    assert (found is not None) == (number > 0.21)
