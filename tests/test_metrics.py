"""Every metric: a number worked out by hand, and the properties that all metrics share."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifdkit.records import NLL, Example, Pass, Passes, Request, Status, Turn
from ifdkit.scoring.arithmetic import (
    bits_per_byte,
    first_tokens,
    loss_ratio,
    mean_nll,
    perplexity,
    perplexity_ratio,
    total_nll,
)
from ifdkit.scoring.metrics import METRICS
from ifdkit.scoring.rows import MetricChoice, score_row

FLOATS = tuple(
    name
    for name, metric in METRICS.items()
    if not (metric.is_integer or metric.is_optional) and metric.applies_to != "documents"
)
"""Metrics on request have a suite of their own, tests/test_optional_metrics.py."""
EXAMPLE = Example("id", 3, 1, (Turn("user", "Two words", "more"),), "a response of five words")


def nll(*values: float) -> NLL:
    return np.array(values, dtype=np.float32)


def pass_of(n: int, skipped: int = 0) -> Pass:
    return Pass((Request(np.arange(n + 1, dtype=np.int32), 1, n + 1),), skipped)


def row_of(nlls: dict[str, NLL], window: int = 2, skipped: int = 0, **more: Any) -> Any:
    passes = Passes(
        4,
        6,
        scored_bytes=24,
        **{  # type: ignore[arg-type]
            name: pass_of(len(value), skipped if name == "response_direct" else 0)
            for name, value in nlls.items()
        },
    )
    return score_row(EXAMPLE, passes, nlls, window=window, **more)


HAND = {
    "instruction_direct": nll(3.0, 5.0),
    "instruction_conditional": nll(2.0, 3.0),
    "response_direct": nll(2.0, 4.0, 6.0),
    "response_conditional": nll(1.0, 2.0, 6.0),
}


def test_hand_worked_numbers() -> None:
    row = row_of(HAND, coherence=0.25)
    expected = {
        "nll_instruction_direct": 4.0,
        "nll_response_direct": 4.0,
        "nll_response_conditional": 3.0,
        "nll_instruction_conditional": 2.5,
        "ppl_instruction_direct": math.exp(4.0),
        "ppl_response_direct": math.exp(4.0),
        "ppl_response_conditional": math.exp(3.0),
        "ppl_instruction_conditional": math.exp(2.5),
        "ifd": math.exp(-1.0),
        "ifd_loss": 0.75,
        "rifd": math.exp(-1.5),
        "rifd_loss": 0.625,
        "ifd_window": math.exp(1.5 - 3.0),
        "bits_per_byte_response": 12.0 / math.log(2) / 24,
        "coherence": 0.25,
    }
    assert expected.keys() == set(FLOATS)
    for name, value in expected.items():
        assert row[name] == pytest.approx(value, rel=1e-12), name
    counts = (row["instruction_words"], row["response_words"], row["instruction_tokens"])
    assert counts == (3, 5, 4)
    assert (row.id, row.row, row.turn, row.status) == ("id", 3, 1, "ok")


def test_the_window_counts_response_tokens_even_if_the_first_is_not_scored() -> None:
    nlls = {"response_direct": nll(4.0, 6.0), "response_conditional": nll(1.0, 2.0, 6.0)}
    row = row_of(nlls, window=2, skipped=1)
    assert row["ifd_window"] == pytest.approx(math.exp(1.5 - 4.0))
    assert row_of(nlls, window=3, skipped=1)["ifd_window"] == pytest.approx(math.exp(3.0 - 5.0))
    assert row_of(nlls, window=4, skipped=1)["ifd_window"] is None
    assert row_of(nlls, window=1, skipped=1)["ifd_window"] is None


def test_undefined_numbers_are_none() -> None:
    row = row_of({})
    assert all(row[name] is None for name in FLOATS)
    assert mean_nll(nll()) is None
    assert loss_ratio(1.0, 0.0) is None
    assert loss_ratio(0.0, 1.0) is None
    assert loss_ratio(None, 1.0) is None
    assert perplexity_ratio(1.0, None) is None
    assert perplexity(1000.0) is None
    assert bits_per_byte(1.0, 0) is None
    assert first_tokens(None, 0, 1) is None


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_nlls_that_are_not_finite_leave_no_number(broken: float) -> None:
    row = row_of(HAND | {"response_conditional": nll(1.0, broken, 2.0)})
    assert row.status == Status.INVALID
    assert "response conditional" in row.reason
    assert all(row[name] is None for name in FLOATS)


@pytest.mark.parametrize(("direct", "conditional"), [(0.0, 0.0), (0.0, 2.0), (2.0, 0.0)])
def test_a_ratio_with_a_zero_is_undefined(direct: float, conditional: float) -> None:
    row = row_of({"response_direct": nll(direct), "response_conditional": nll(conditional)})
    assert row["ifd"] is None
    assert row["ifd_loss"] is None
    assert row.status == Status.INVALID
    assert "exactly 0" in row.reason


def test_a_perplexity_too_large_for_a_float_has_a_reason() -> None:
    row = row_of({"response_direct": nll(800.0), "response_conditional": nll(2.0)})
    assert (row["ppl_response_direct"], row["ifd"]) == (None, None)
    assert row["nll_response_direct"] == 800.0
    assert "too large" in row.reason


def test_token_nlls_are_read_back_as_the_same_float32() -> None:
    values = nll(0.1, 1 / 3, 7.25)
    row = row_of({"response_direct": values, "response_conditional": values}, token_nll=True)
    np.testing.assert_array_equal(nll(*row.token_nll_response_direct), values)
    assert row_of(HAND).token_nll_response_direct is None


NATS = st.lists(st.floats(2**-10, 20, width=32), min_size=1, max_size=40)


@given(NATS, NATS)
def test_ifd_is_the_ratio_of_the_perplexities(
    direct: list[float], conditional: list[float]
) -> None:
    row = row_of({"response_direct": nll(*direct), "response_conditional": nll(*conditional)})
    ratio = row["ppl_response_conditional"] / row["ppl_response_direct"]
    assert row["ifd"] == pytest.approx(ratio, rel=1e-9)
    assert (row["ifd"] < 1) == (row["ifd_loss"] < 1) or row["ifd"] == pytest.approx(1)
    assert row["ppl_response_direct"] >= 1


@given(NATS, st.randoms())
def test_means_are_summed_in_float64(values: list[float], random: Any) -> None:
    shuffled = values.copy()
    random.shuffle(shuffled)
    assert mean_nll(nll(*values)) == pytest.approx(mean_nll(nll(*shuffled)), rel=1e-12)
    many = np.full(1_000_001, 0.1, dtype=np.float32)
    assert mean_nll(many) == pytest.approx(float(np.float32(0.1)), rel=1e-12)


@given(NATS)
def test_equal_passes_give_ratios_of_exactly_one(values: list[float]) -> None:
    row = row_of({"response_direct": nll(*values), "response_conditional": nll(*values)}, window=1)
    assert row["ifd"] == 1.0
    assert row["ifd_loss"] == 1.0
    assert row["ifd_window"] == 1.0


@given(
    st.lists(
        st.floats(0, 200, width=32) | st.sampled_from([math.inf, math.nan]), min_size=1, max_size=40
    )
)
def test_a_total_is_the_sum_in_float64_and_finite_if_every_token_is(found: list[float]) -> None:
    one = np.array(found, np.float32)
    total = total_nll(one)
    assert math.isfinite(total) == bool(np.isfinite(one).all())
    if math.isfinite(total):
        assert total == float(one.sum(dtype=np.float64))
        assert total_nll(one.repeat(3)[::3]) == total


def test_metrics_chosen_once_give_what_they_give_when_chosen_for_each_row() -> None:
    long, short = nll(1.0, 2.0, 0.5), nll(2.0, 1.0, 0.25)
    kinds: list[dict[str, Any]] = [
        {"response_direct": long, "response_conditional": short},
        {"response_direct": long},
        {},
        {"response_direct": nll(0.0), "response_conditional": nll(1.0)},  # has no ratio
        {"response_direct": nll(math.inf), "response_conditional": nll(1.0)},  # has no number
    ]
    optional = ("s_ifd",)
    choice = MetricChoice(optional)
    for kind in [*kinds, *reversed(kinds)]:
        shared = row_of(kind, choice=choice)
        assert shared == row_of(kind, choice=MetricChoice(optional))
        assert list(shared.numbers) == list(METRICS)
    assert row_of(kinds[0], choice=choice).numbers["s_ifd"] is not None
    assert row_of(kinds[0]).numbers["s_ifd"] is None
