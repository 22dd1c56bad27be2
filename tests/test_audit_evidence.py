"""Gates and evidence: nothing measured fails, few rows do not exceed a limit by chance."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import beta, binom

import ifdkit
from ifdkit.auditing.checking import CheckResult
from ifdkit.auditing.result import Audit, RuleResult
from ifdkit.auditing.rules import RULES
from ifdkit.auditing.run import apply_rules
from ifdkit.auditing.verdict import exceeds, judge
from ifdkit.records import Status
from ifdkit.report.audit.wording import status_sentence
from tests.test_audit import NO_SCORES, OFF, RULE, dataset_of, only, rule_of, some_rows, texts_only

pytestmark = pytest.mark.long

WORDS = "System role not supported"


def of(found: tuple[RuleResult, ...], name: str) -> RuleResult:
    return next(rule for rule in found if rule.name == name)


def with_status(n: int, statuses: list[str], reasons: list[str | None], **numbers: Any) -> Any:
    data = dataset_of(some_rows(n), statuses, **numbers)
    scored = replace(data.scored, scores=replace(data.scored.scores, reasons=reasons))
    return replace(data, scored=scored)


# Statuses


def test_invalid_examples_fail_with_the_words_of_the_template() -> None:
    statuses = ["ok"] * 19 + [str(Status.INVALID)]
    reasons = [None] * 19 + [f"template 'chat': {WORDS}."]
    data = with_status(20, statuses, reasons, ifd=[0.5] * 19 + [math.nan])
    rule = of(apply_rules(data, RULES), "invalid")
    assert rule.fails
    assert (rule.count, rule.checked) == (1, 20)
    assert rule.found == f"The example could not be scored: template 'chat': {WORDS}."
    assert [place.row for place in rule.places] == [19]
    assert of(apply_rules(data, RULES), "nothing_measured").passed


def test_an_audit_that_measured_nothing_fails_and_says_so() -> None:
    data = with_status(5, [str(Status.INVALID)] * 5, [WORDS] * 5, response_tokens=[3] * 5)
    rule = of(apply_rules(data, RULES), "nothing_measured")
    assert rule.fails
    assert rule.found == f"Nothing could be measured: no example could be scored ({WORDS})."
    # The same numbers with one scored example.
    scored = with_status(
        5, ["ok"] * 5, [None] * 5, response_tokens=[3] * 5, ifd=[0.5, *[math.nan] * 4]
    )
    assert of(apply_rules(scored, RULES), "nothing_measured").passed


def test_an_audit_without_a_model_needs_no_scores() -> None:
    found = texts_only(some_rows(3))
    assert found.passed
    assert rule_of(found, "nothing_measured").passed
    # Rules that could not be applied do not fail one by one.
    assert all(rule.passed for rule in found.rules if rule.skipped)


def test_no_readable_example_fails() -> None:
    found = texts_only([{"instruction": 1, "output": 2}])
    assert "no readable example" in rule_of(found, "nothing_measured").found
    assert not found.passed


def test_an_audit_of_which_every_rule_was_skipped_fails() -> None:
    rules = only("nothing_measured", "ifd_above_one")
    found = texts_only(some_rows(3), rules=rules)
    assert not found.passed
    rule = rule_of(found, "nothing_measured")
    assert rule.found == f"Nothing could be measured: no check could be applied ({NO_SCORES})."
    # Whoever switches every rule off has decided.
    assert texts_only(some_rows(3), rules=OFF).passed


def test_statuses_are_counted_with_reasons() -> None:
    reasons = [*(f"the last {n} response tokens lie beyond 256" for n in (3, 5)), f"{WORDS}.", None]
    data = with_status(4, ["truncated", "truncated", "invalid", "ok"], list(reasons), ifd=[1] * 4)
    from ifdkit.auditing.numbers import status_counts

    counts = status_counts(data)
    assert [(one.status, one.count) for one in counts] == [("truncated", 2), ("invalid", 1)]
    assert counts[0].reasons == ("the last … response tokens lie beyond 256",)
    assert counts[1].reasons == (WORDS,)


def test_the_sentence_about_statuses_and_no_text() -> None:
    found: Audit = texts_only([*some_rows(3), {"instruction": "Why?", "output": "\u200b"}])
    assert status_sentence(found) == "Status other than ok: 1 empty_response."
    assert status_sentence(texts_only(some_rows(3))) == ""
    from ifdkit.auditing.result import StatusCount

    told = replace(found, statuses=(StatusCount(status="invalid", count=1, reasons=(WORDS,)),))
    assert status_sentence(told) == f"Status other than ok: 1 invalid ({WORDS})."
    assert WORDS not in repr(told.without_text())


def test_reasons_survive_a_scores_file(tiny_model: Any, tmp_path: Any) -> None:
    rows = [*some_rows(3), {"instruction": "Why?", "output": "\u200b"}]
    found = ifdkit.audit(rows, model=str(tiny_model), metrics="ifd", store="off")
    (status,) = found.statuses
    assert (status.status, status.count) == ("empty_response", 1)
    assert status.reasons
    assert not found.passed


# Shares of small files


@pytest.mark.parametrize("most", [0.01, 0.02, 0.05, 0.3])
@pytest.mark.parametrize("n", [1, 8, 41, 400, 5_000])
def test_the_lower_bound_of_a_share(n: int, most: float) -> None:
    """Against Clopper and Pearson's bound by the beta distribution, which the code does not use."""
    for count in range(min(n, 60) + 1):
        lower = float(beta.ppf(0.05, count, n - count + 1)) if count else 0.0
        if abs(lower - most) > 1e-9:
            assert exceeds(count, n, most) is (lower > most), (count, lower)


def test_nothing_allowed_means_one_row_is_enough() -> None:
    assert exceeds(1, 1, 0.0)
    assert exceeds(1, 10**6, 0.0)
    assert not exceeds(0, 10, 0.0)


def test_a_file_with_the_allowed_share_is_rarely_warned_about() -> None:
    """1,000 files at the limit: at most 5 % warn; at four times the limit, most do."""
    rng = np.random.default_rng(0)
    for n in (41, 300, 2_000):
        at_limit = np.mean([exceeds(k, n, 0.01) for k in rng.binomial(n, 0.01, 1_000)])
        assert at_limit <= 0.05 + 0.02
    above = np.mean([exceeds(k, 2_000, 0.01) for k in rng.binomial(2_000, 0.04, 1_000)])
    assert above > 0.99
    assert binom.sf(19, 2_000, 0.01) > 0.4  # at the limit, 20 of 2,000 or more are usual


def test_warnings_need_evidence_and_errors_do_not() -> None:
    one_of_41 = CheckResult(checked=41, count=1)
    warning, error = RULE["refusal"], replace(RULE["refusal"], severity="error")
    found = judge(warning, one_of_41, is_sample=False)
    assert found.passed
    assert found.share == 1 / 41
    assert "so few rows can exceed it by chance" in found.found
    assert judge(error, one_of_41, is_sample=False).fails
    assert judge(warning, CheckResult(checked=41, count=3), is_sample=False).warns
    # Where nothing is allowed, one is enough for both.
    assert judge(RULE["placeholder_response"], one_of_41, is_sample=False).warns
    assert judge(RULE["empty_response"], one_of_41, is_sample=False).fails
    # A condition besides the share is no matter of chance.
    odd = replace(one_of_41, count=0, also_passes=False)
    assert judge(warning, odd, is_sample=False).warns


def test_only_the_rules_for_pairs_apply_to_pairs() -> None:
    names = {rule.name for rule in texts_only(some_rows(3)).rules}
    assert names == {rule.name for rule in RULES if rule.applies_to != "documents"}
