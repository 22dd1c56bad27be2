"""`ifdkit.audit`: every rule finds what is planted and nothing else, and its shares are right."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ifdkit
from ifdkit.auditing import run as auditing
from ifdkit.auditing import templates
from ifdkit.auditing.checking import AuditedDataset, CheckResult, SecondTemplate
from ifdkit.auditing.numbers import MIN_RESPONSES, MIN_TOKENS
from ifdkit.auditing.result import MAX_PLACES, Audit, RuleResult
from ifdkit.auditing.rule_settings import configured, from_flags, from_mapping, from_tables
from ifdkit.auditing.rules import RULES
from ifdkit.auditing.verdict import in_order, judge, wilson_ci95
from ifdkit.data.atomic import dumps
from ifdkit.data.dataset import open_dataset
from ifdkit.errors import InputError, UsageError
from ifdkit.records import Reject
from ifdkit.scoring.dataset import ScoredDataset, Texts
from ifdkit.scoring.table import ScoreTable
from tests.planted import EVALUATION, KINDS, clean_rows, plant

pytestmark = pytest.mark.long

Make = Callable[..., Path]
Rows = Sequence[Mapping[str, Any]]
RULE = {rule.name: rule for rule in RULES}
OFF = {rule.name: {"severity": "off"} for rule in RULES}
NO_SCORES = "needs scores, and no model was used"
N_PLANTED = 12


def only(*names: str, **table: Any) -> dict[str, dict[str, Any]]:
    """Settings under which no other rule is applied."""
    return {rule: one for rule, one in OFF.items() if rule not in names} | dict.fromkeys(
        names, table
    )


def texts_only(rows: Rows | Path, **more: Any) -> Audit:
    return ifdkit.audit(rows, scores=False, **more)


def rule_of(found: Audit, name: str) -> RuleResult:
    return next(rule for rule in found.rules if rule.name == name)


def dataset_of(rows: Rows, statuses: Sequence[str] = (), **numbers: Any) -> AuditedDataset:
    """Rows with the given scores."""
    dataset = open_dataset(rows)
    examples = [one for found in dataset if not isinstance(found, Reject) for one in found]
    texts = Texts([one.instruction for one in examples], [one.response for one in examples])
    table = ScoreTable(
        ids=[one.id for one in examples],
        rows=np.array([one.row for one in examples], dtype=np.int64),
        turns=np.array([one.turn for one in examples], dtype=np.int64),
        statuses=statuses or ["ok"] * len(examples),
        numbers={name: np.array(column, dtype=np.float64) for name, column in numbers.items()},
    )
    scored = ScoredDataset(dataset=dataset, scores=table, texts=texts, rejects=[], manifest=None)
    return AuditedDataset.of(scored, {})


def some_rows(n: int) -> list[dict[str, str]]:
    return [{"instruction": f"Ask {i}", "output": f"Answer number {i}."} for i in range(n)]


def verdict(name: str, data: AuditedDataset, **changes: Any) -> RuleResult:
    rule = replace(RULE[name], **changes)
    return judge(rule, rule.check(data, rule), is_sample=False)


# The table


def test_the_table_is_consistent() -> None:
    assert len(RULES) == len(RULE)
    for rule in RULES:
        assert 0 <= rule.most <= 1
        assert rule.severity in ("error", "warning")
        assert rule.sentence.endswith(".")
        assert rule.fix.endswith(".")
        assert "{" not in rule.sentence
        assert rule.threshold is None or rule.bounds[0] <= rule.threshold <= rule.bounds[1]
    assert "1 % of the responses" in RULE["recurring_opening"].sentence
    assert "below 0.1" in RULE["low_coherence"].sentence
    errors = {rule.name for rule in RULES if rule.severity == "error"}
    assert errors == {
        *("nothing_measured", "unreadable_row", "invalid", "empty_response", "secret"),
        *("contamination", "prompt_leak", "special_token", "error_response"),
        "contaminated_document",
    }


# What is planted is found, and nothing else


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("evaluation") / "eval.jsonl"
    path.write_text("".join(dumps({"prompt": text}) + "\n" for text in EVALUATION))
    return path


def test_the_clean_file_is_clean(evaluation: Path) -> None:
    found = texts_only(clean_rows(), against=[evaluation])
    assert found.passed
    assert [(rule.name, rule.count) for rule in found.rules if rule.count] == []
    skipped = {rule.name: rule.skipped for rule in found.rules if rule.skipped}
    assert set(skipped.values()) == {NO_SCORES, "needs --template-check"}
    assert skipped.keys() & set(KINDS) == {"over_long_prompt"}
    assert all(rule.checked > 0 for rule in found.rules if not rule.skipped)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "over_long_prompt"])
def test_what_is_planted_is_found(kind: str, evaluation: Path) -> None:
    rows, places = plant(clean_rows(), kind, N_PLANTED)
    found = rule_of(texts_only(rows, against=[evaluation], rules=only(kind, most=0)), kind)
    assert not found.passed
    at = {place.row for place in found.places}
    assert len(at) == found.count
    assert at <= set(places)
    # `reports/audit-rules.md` measures the recall of each wording; here most must be found.
    assert len(at) >= len(places) / 2
    assert found.found
    assert found.fails == (found.severity == "error")


@pytest.mark.parametrize(
    ("name", "column", "good", "bad", "bad_value"),
    [
        ("truncated_response", "truncated_tokens", 0.0, 7.0, 7.0),
        ("ifd_above_one", "ifd", 0.999, 1.0, 1.0),
        ("low_coherence", "coherence", 0.1, 0.0999, 0.0999),
    ],
)
def test_a_number_beyond_its_threshold(
    name: str, column: str, good: float, bad: float, bad_value: float
) -> None:
    rows = some_rows(10)
    clean = verdict(name, dataset_of(rows, [], **{column: [good] * 10}))
    assert (clean.count, clean.checked, clean.passed, clean.found) == (0, 10, True, "")
    # Checked are the rows in which the number is defined.
    column_of = [good] * 7 + [bad, math.nan, math.nan]
    found = verdict(name, dataset_of(rows, [], **{column: column_of}))
    assert (found.count, found.checked, found.share) == (1, 8, 1 / 8)
    assert found.passed  # a warning: 1 of 8 is no evidence against any of these limits
    assert not verdict(name, dataset_of(rows, [], **{column: [bad] * 10})).passed
    assert [(place.row, place.value) for place in found.places] == [(7, bad_value)]
    nothing = verdict(name, dataset_of(rows, instruction_tokens=[1] * 10))
    assert nothing.skipped
    assert nothing.passed
    assert nothing.share is None
    assert not nothing.warns


def test_an_infinite_number_is_not_checked() -> None:
    infinite = dataset_of(some_rows(3), ifd=[0.5, math.inf, 2.0])
    found = verdict("ifd_above_one", infinite)
    assert (found.count, found.checked) == (1, 2)


def test_over_long_prompts_are_found_by_status() -> None:
    statuses = ["ok", "prompt_too_long", "truncated"]
    found = verdict("over_long_prompt", dataset_of(some_rows(3), statuses, response_tokens=[1] * 3))
    assert (found.count, found.checked) == (1, 3)
    assert [place.row for place in found.places] == [1]


def perplexities(*odd: float, tokens: int = 50) -> AuditedDataset:
    """Forty ordinary rows, and outliers."""
    nll = [*np.random.default_rng(0).normal(2.5, 0.3, 40), *odd]
    lengths = [50] * 40 + [tokens] * len(odd)
    return dataset_of(some_rows(len(nll)), nll_response_direct=nll, response_tokens=lengths,
                      ppl_response_direct=np.exp(nll), truncated_tokens=[0] * len(nll))  # fmt: skip


@pytest.mark.parametrize(("name", "nll"), [("low_perplexity", 0.2), ("high_perplexity", 8.0)])
def test_an_outlier_of_perplexity(name: str, nll: float) -> None:
    other = {"low_perplexity": "high_perplexity", "high_perplexity": "low_perplexity"}[name]
    clean = verdict(name, perplexities())
    assert (clean.count, clean.checked) == (0, 40)
    data = perplexities(nll)
    found = verdict(name, data)
    assert (found.count, found.checked, found.passed) == (1, 41, True)  # 1 of 41 is no evidence
    assert not verdict(name, data, severity="error").passed
    assert verdict(other, data).count == 0
    column = data.scored.scores.numbers["nll_response_direct"]
    median = np.median(column)
    # By hand: |x − median| ÷ (1.4826 MAD).
    spread = 1.4826 * np.median(np.abs(column - median))
    distance = abs(nll - median) / spread
    (place,) = found.places
    assert place.row == 40
    assert place.value == pytest.approx(math.exp(nll))
    assert found.threshold is not None
    limit = math.exp(median + math.copysign(found.threshold * spread, nll - median))
    assert f"({limit:.3g} or" in found.found
    assert f"the median is {math.exp(median):.3g})." in found.found
    assert verdict(name, data, threshold=0.99 * distance).count == 1
    assert verdict(name, data, threshold=1.01 * distance).count == 0


def test_perplexities_of_few_tokens_or_few_rows_are_not_judged() -> None:
    short = verdict("high_perplexity", perplexities(8.0, tokens=MIN_TOKENS - 1))
    assert (short.count, short.checked) == (0, 40)
    few = dataset_of(some_rows(3), nll_response_direct=[2, 2.1, 9], response_tokens=[50] * 3)
    assert f"needs {MIN_RESPONSES}" in str(verdict("high_perplexity", few).skipped)
    n = MIN_RESPONSES
    same = dataset_of(some_rows(n), nll_response_direct=[2.0] * n, response_tokens=[50] * n)
    assert "same perplexity" in str(verdict("high_perplexity", same).skipped)
    wide = [1e308, -1e308] * n
    far = dataset_of(some_rows(2 * n), nll_response_direct=wide, response_tokens=[50] * 2 * n)
    assert verdict("high_perplexity", far).count == 0


# Examples compared with each other


def test_a_conversation_is_a_duplicate_only_with_all_its_turns() -> None:
    def talk(first: str) -> dict[str, Any]:
        return {"messages": [{"role": "user", "content": first},
                             {"role": "assistant", "content": f"About {first}."},
                             {"role": "user", "content": "Thanks!"},
                             {"role": "assistant", "content": "You're welcome!"}]}  # fmt: skip

    found = texts_only([talk("cats"), talk("dogs"), talk("birds")])
    assert rule_of(found, "exact_duplicate").count == 0
    assert rule_of(found, "duplicate_instruction").count == 0
    again = rule_of(texts_only([talk("cats"), talk("dogs"), talk("CATS")]), "exact_duplicate")
    assert [(place.row, place.turn) for place in again.places] == [(2, 0), (2, 1)]


def test_duplicates_are_counted_under_one_rule() -> None:
    long = " ".join(f"word{i}" for i in range(40))
    rows = [
        {"instruction": "Tell me a story", "output": long},
        {"instruction": "tell me  a story", "output": long.upper()},
        {"instruction": "Another", "output": f"{long} indeed"},
        {"instruction": "A third", "output": long},
        {"instruction": "Is it so?", "output": "Yes"},
        {"instruction": "Really?", "output": "Yes"},
        {"instruction": "Really?", "output": "No"},
        {"instruction": "", "output": ""},
        {"instruction": "", "output": ""},
    ]
    found = texts_only(rows)
    rows_of = {rule.name: [place.row for place in rule.places] for rule in found.rules}
    assert rows_of["exact_duplicate"] == [1]
    assert rows_of["near_duplicate"] == [2, 3]
    assert rows_of["duplicate_instruction"] == [6]
    assert rule_of(found, "exact_duplicate").checked == 7


def test_recurring_phrases_are_listed_with_their_rows() -> None:
    rows, _ = plant(clean_rows(), "recurring_opening", 20)
    found = rule_of(texts_only(rows, rules=only("recurring_opening")), "recurring_opening")
    first = found.details[0]
    assert first.text.startswith("Here is what the old almanac has to say")
    assert first.count == 20
    assert len(first.row_ids) == 20
    assert found.quotes_text
    # A phrase that too few share is not recurring.
    rare = texts_only(rows, rules=only("recurring_opening", threshold=0.2))
    assert rule_of(rare, "recurring_opening").count == 0


def test_recurring_phrases_show_no_personal_data() -> None:
    rows = clean_rows()
    for row in rows[:20]:
        row["output"] += " For more of this kind write to berta.kessler77@gmail.com at any time."
    found = texts_only(rows, rules=only("recurring_closing", "recurring_phrase"))
    details = [one.text for rule in found.rules for one in rule.details]
    assert any("b…@g….com" in text for text in details)
    assert "kessler77" not in repr(found)


# Evaluation sets


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("answered.json", [{"instruction": t, "output": "x"} for t in EVALUATION]),
        ("prompts.jsonl", "".join(dumps({"prompt": t}) + "\n" for t in EVALUATION)),
        ("numbers.json", [{"question": t, "answer": 3} for t in EVALUATION]),
        ("turns.json", [{"messages": [{"role": "user", "content": t},
                                      {"role": "assistant", "content": "x"}]}
                        for t in EVALUATION]),
    ],
)  # fmt: skip
def test_an_evaluation_set_in_any_format(write: Make, name: str, rows: Any) -> None:
    planted, places = plant(clean_rows(), "contamination", N_PLANTED)
    path = write(name, rows)
    found = texts_only(planted, against=[path], rules=only("contamination"))
    rule = rule_of(found, "contamination")
    assert [place.row for place in rule.places] == places
    assert [(one.text, one.count) for one in rule.details] == [(str(path), N_PLANTED)]
    assert found.against == (str(path),)
    assert not found.passed
    one = texts_only(planted, against=path, rules=only("contamination"))
    assert rule_of(one, "contamination").count == N_PLANTED


def test_an_evaluation_set_without_instructions_is_an_error(write: Make) -> None:
    with pytest.raises(InputError, match="no such file"):
        texts_only(some_rows(3), against=["nothing.json"])
    path = write("odd.json", [{"colour": "red"}])
    with pytest.raises(InputError, match=r"--against .*odd.json: .*no known pair of columns"):
        texts_only(some_rows(3), against=[path])
    path = write("empty.json", [{"instruction": " ", "output": "x"}])
    with pytest.raises(InputError, match="no instruction can be read"):
        texts_only(some_rows(3), against=[path])


# Verdicts


def result(severity: Any, *, passed: bool, skipped: str | None = None) -> RuleResult:
    return RuleResult(name=f"{severity}{passed}{skipped}", title="", severity=severity,
                      passed=passed, skipped=skipped)  # fmt: skip


def test_failed_rules_come_first() -> None:
    failed, other = result("error", passed=False), result("error", passed=False)
    warns, passed = result("warning", passed=False), result("error", passed=True)
    off, skipped = result("off", passed=True), result("error", passed=True, skipped="why")
    mixed = [off, passed, warns, failed, skipped, other]
    assert in_order(mixed) == (failed, other, warns, passed, off, skipped)


@pytest.mark.parametrize(("count", "passed"), [(0, True), (1, True), (2, True), (3, False)])
def test_a_share_up_to_the_allowed_one_passes(count: int, passed: bool) -> None:
    rule = replace(RULE["refusal"], most=0.02, severity="error")
    found = judge(rule, CheckResult(checked=100, count=count), is_sample=False)
    assert (found.passed, found.share, found.share_ci95) == (passed, count / 100, None)


def test_a_rule_that_is_off_is_not_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_: Any) -> CheckResult:
        raise AssertionError("applied")

    exploding = tuple(replace(rule, check=explode) for rule in RULES)
    monkeypatch.setattr(auditing, "configured", partial(configured, rules=exploding))
    found = texts_only(some_rows(3), rules=OFF)
    assert found.passed
    assert {rule.severity for rule in found.rules} == {"off"}
    assert all(rule.skipped is None and rule.checked == 0 for rule in found.rules)
    with pytest.raises(AssertionError, match="applied"):
        texts_only(some_rows(3), rules=only("refusal"))


def test_places_are_the_first_ones_with_their_lines(write: Make) -> None:
    lines = [dumps({"instruction": f"Ask {i}", "output": "" if i % 2 else "fine"})
             for i in range(200)]  # fmt: skip
    lines[6] = "{broken"
    path = write("data.jsonl", "\n".join(lines))
    found = texts_only(path)
    empty, unreadable = rule_of(found, "empty_response"), rule_of(found, "unreadable_row")
    assert (empty.count, len(empty.places)) == (100, MAX_PLACES)
    assert [(place.row, place.line) for place in empty.places[:2]] == [(1, 2), (3, 4)]
    assert empty.places[0].quote == "Ask 1"
    (place,) = unreadable.places
    assert (place.id, place.row, place.line, unreadable.unit) == ("", 6, 7, "row")
    assert place.quote
    assert (unreadable.checked, unreadable.count, empty.checked) == (200, 1, 199)
    assert (found.rows, found.rows_in_file, found.examples) == (200, 200, 199)


def test_the_audit_is_strict_json_whatever_the_texts_contain() -> None:
    hostile = ["\u202e<script>alert(1)</script>", "\x1b[31m red", "|table|", "💥 ``` \n\n"]
    rows = [{"id": text, "instruction": text, "output": text * 9} for text in hostile * 5]
    found = texts_only([*rows, {"instruction": 3, "output": None}])
    text = dumps(found.as_json())
    assert "NaN" not in text
    assert "Infinity" not in text
    assert found.input == "data in memory"
    assert found.manifest is None


# A sample of the rows


def test_wilson_against_its_formula() -> None:
    # p = 0.03, n = 400, z = 1.959964: (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) ÷ (1 + z²/n)
    z, p, n = 1.959963984540054, 0.03, 400
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    by_hand = [(middle + sign * half) / (1 + z * z / n) for sign in (-1, 1)]
    assert wilson_ci95(12, 400) == pytest.approx(by_hand)
    assert by_hand == pytest.approx([0.01724, 0.05170], abs=1e-5)
    assert wilson_ci95(0, 50)[0] == 0
    assert wilson_ci95(0, 50)[1] == pytest.approx(z * z / (50 + z * z))


def test_intervals_cover_the_share_of_the_whole_file() -> None:
    rows = some_rows(500)
    for row in rows[::20]:
        row["output"] = ""
    rules = only("empty_response")
    covered = wrong = 0
    for seed in range(100):
        found = texts_only(rows, sample=50, seed=seed, rules=rules)
        empty = rule_of(found, "empty_response")
        assert empty.share_ci95 is not None
        assert empty.checked == 50
        low, high = empty.share_ci95
        covered += low <= 0.05 <= high
        wrong += low <= 0.3 <= high
    # 100 draws of 50 in 500: 95 are expected, or a few more since the file is finite.
    assert covered >= 90
    assert wrong <= 10
    assert (found.sample, found.seed, found.rows, found.rows_in_file) == (50, 99, 50, 500)


def test_a_sample_warns_that_it_contains_too_few_duplicates() -> None:
    rows = [row for row in clean_rows(100) for _ in range(2)]
    found = texts_only(rows, sample=80)
    for rule in found.rules:
        compares = RULE[rule.name].compares_rows
        if not rule.skipped:
            assert ("of the sample" in rule.found) is compares
            assert (rule.share_ci95 is None) is compares
    assert 0 < rule_of(found, "exact_duplicate").count < 40  # of the whole file it is half
    whole = texts_only(rows)
    assert whole.sample is None
    assert all(rule.share_ci95 is None and "sample" not in rule.found for rule in whole.rules)


def test_a_sample_of_more_rows_than_there_are_is_the_whole_file() -> None:
    found = texts_only(some_rows(5), sample=5)
    assert (found.sample, found.seed, found.rows) == (None, None, 5)
    first = texts_only(some_rows(5), limit=2)
    assert (first.sample, first.rows, first.rows_in_file) == (None, 2, 5)


# Settings of the rules


def test_later_settings_override_earlier_ones_key_by_key() -> None:
    file = from_tables(
        {"refusal": {"severity": "error", "most": 0.5}, "low-coherence": {"threshold": 0.3}},
        "ifdkit.toml",
    )
    flags = from_flags(["refusal.most=0.1", "ifd_above_one.severity=off", "cut-off.most = 1"])
    rules = {rule.name: rule for rule in configured([*file, *flags])}
    assert (rules["refusal"].severity, rules["refusal"].most) == ("error", 0.1)
    assert rules["low_coherence"].threshold == 0.3
    assert rules["ifd_above_one"].severity == "off"
    assert rules["cut_off"].most == 1
    assert list(rules) == [rule.name for rule in RULES]
    untouched = [rule for name, rule in rules.items() if RULE[name] == rule]
    assert len(untouched) == len(RULES) - 4


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"refusl": {"most": 0}}, r"ifdkit.toml: \[audit.refusl\]: no rule is called 'refusl';"
         " did you mean refusal"),
        ({"refusals": {}}, r"ifdkit.toml: \[audit.refusals\]: no rule is called 'refusals'"),
        ({"refusal": {"sevrity": "error"}}, r"\[audit.refusal\]: no key of a rule is called"
         " 'sevrity'; there are severity, most, threshold; did you mean severity"),
        ({"refusal": {"severity": "fatal"}}, "choose error, warning, off"),
        ({"refusal": {"severity": True}}, "choose error, warning, off"),
        ({"refusal": {"most": 2}}, "most 2: it must be a share from 0 to 1"),
        ({"refusal": {"most": True}}, "it must be a share"),
        ({"refusal": {"most": "0.1"}}, "it must be a share"),
        ({"refusal": {"most": math.nan}}, "it must be a share"),
        ({"refusal": {"threshold": 1}}, "refusal has no threshold"),
        ({"low_coherence": {"threshold": 2}}, "a number from -1 to 1"),
        ({"ifd_above_one": {"threshold": math.inf}}, "0 or more"),
        ({"refusal": 3}, r"\[audit\] contains one table per rule, such as \[audit.refusal\], not"
         " 'refusal'"),
    ],
)  # fmt: skip
def test_an_invalid_setting(tables: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        configured(from_tables(tables, "ifdkit.toml"))


@pytest.mark.parametrize("text", ["refusal", "refusal=error", ".most=1", "refusal.=1", "a.b"])
def test_a_flag_without_rule_key_and_value(text: str) -> None:
    with pytest.raises(UsageError, match=r"write RULE\.KEY=VALUE"):
        from_flags([text])


def test_settings_from_python() -> None:
    found = texts_only(some_rows(3), rules={"refusal": {"severity": "off"}})
    assert rule_of(found, "refusal").severity == "off"
    with pytest.raises(UsageError, match=r"rules\['refusl'\]: no rule is called"):
        texts_only(some_rows(3), rules={"refusl": {"most": 0}})
    with pytest.raises(UsageError, match=r"rules\['refusl'\]: no rule is called"):
        texts_only(some_rows(3), rules={"refusl": {}})
    with pytest.raises(UsageError, match="must be a dictionary"):
        configured(from_mapping({"refusal": 3}))  # type: ignore[dict-item]
    with pytest.raises(UsageError, match=r"audit\(\): no keyword 'modle': did you mean 'model'"):
        texts_only(some_rows(3), modle="x")


# With a model


@pytest.fixture(scope="module")
def tiny(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    store = tmp_path_factory.mktemp("store") / "store.sqlite"
    return {"model": str(tiny_model), "metrics": "ifd", "store": str(store)}


ROWS = [{"instruction": f"Count to {i}", "output": f"1 2 3 and so on until {i}, then stop."}
        for i in range(24)]  # fmt: skip


def test_rules_use_the_scores(tiny: dict[str, Any]) -> None:
    scores = ifdkit.score(ROWS, **tiny)
    found = ifdkit.audit(ROWS, **tiny)
    rule = rule_of(found, "ifd_above_one")
    assert rule.checked == len(ROWS)
    assert [place.row for place in rule.places] == scores.row[scores.ifd >= 1].tolist()
    assert rule_of(found, "low_coherence").skipped == "no example has a defined coherence"
    assert rule_of(found, "unstable_verdict").skipped == "needs --template-check"
    assert found.manifest is not None
    assert found.manifest.metrics == ["ifd"]


def test_a_scores_file_needs_no_model(
    write: Make, tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ifdkit.data.options import ReadOptions
    from ifdkit.scoring.metrics import parse_metrics
    from ifdkit.scoring.run import score_to_file
    from ifdkit.scoring.settings import Settings

    path, output = write("data.json", ROWS), tmp_path / "data.scores.jsonl"
    settings = Settings(**{**tiny, "metrics": parse_metrics("ifd")})
    score_to_file(str(path), output, settings, ReadOptions(sample=20, seed=3))
    whole = ifdkit.audit(path, **tiny, sample=20, seed=3)
    monkeypatch.setattr(auditing, "Scorer", None)
    found = ifdkit.audit(output, scores=False)
    assert found.rules == whole.rules
    assert found.input == str(path)
    # The scores are those of a sample.
    assert (found.sample, found.rows, found.rows_in_file) == (20, 20, 24)
    assert (whole.sample, whole.rows_in_file) == (20, 24)
    part = ifdkit.audit(output, scores=False, sample=5, seed=1)
    assert (part.sample, part.rows, part.rows_in_file) == (5, 5, 24)


def test_a_template_check(tiny: dict[str, Any]) -> None:
    found = ifdkit.audit(ROWS, **tiny, template_check="alpaca", rules=only("unstable_verdict"))
    plain = ifdkit.score(ROWS, **tiny).ifd.to_numpy()
    alpaca = ifdkit.score(ROWS, **tiny, template="alpaca").ifd.to_numpy()
    check = found.template_check
    assert check is not None
    assert check.templates == ("plain", "alpaca")
    assert check.n == len(ROWS)
    assert check.above_one == ((plain >= 1).mean(), (alpaca >= 1).mean())
    assert check.agreement == ((plain >= 1) == (alpaca >= 1)).mean()
    plain_ranks, alpaca_ranks = (np.argsort(np.argsort(one)) for one in (plain, alpaca))  # no ties
    n = len(ROWS)
    by_hand = 1 - 6 * ((plain_ranks - alpaca_ranks) ** 2).sum() / (n * (n * n - 1))
    assert check.spearman == pytest.approx(by_hand)
    rule = rule_of(found, "unstable_verdict")
    moved = np.flatnonzero((plain >= 1) != (alpaca >= 1))
    assert [place.row for place in rule.places] == moved.tolist()
    assert [place.value for place in rule.places] == alpaca[moved].tolist()
    assert rule.count == len(moved)
    assert rule.share_ci95 is None


def test_a_template_check_scores_a_sample(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(templates, "MAX_ROWS", 12)
    found = ifdkit.audit(ROWS, **tiny, template_check="alpaca", rules=only("unstable_verdict"))
    assert found.template_check is not None
    rule = rule_of(found, "unstable_verdict")
    assert found.template_check.n == rule.checked == 12
    assert rule.share_ci95 == wilson_ci95(rule.count, 12)
    assert found.sample is None
    monkeypatch.setattr(templates, "MAX_ROWS", 5)
    few = ifdkit.audit(ROWS, **tiny, template_check="alpaca", rules=only("unstable_verdict"))
    assert "needs 10 examples" in str(rule_of(few, "unstable_verdict").skipped)


def two(first: Sequence[float], second: Sequence[float]) -> SecondTemplate:
    old = dataset_of(some_rows(len(first)), ifd=first).scored
    new = dataset_of(some_rows(len(second)), ifd=second).scored
    return templates.compare_templates(old, new, ("plain", "alpaca"))


@pytest.mark.parametrize(
    ("second", "count", "passed"),
    [
        (lambda x: x, 0, True),
        (lambda x: x + 0.9, 20, False),  # all change the side of 1, in the same order
        (lambda x: 0.9 - x, 0, False),  # none does, in another order
    ],
)
def test_an_unstable_verdict(second: Callable[[float], float], count: int, passed: bool) -> None:
    first = [0.3 + i / 50 for i in range(20)]
    again = two(first, [second(x) for x in first])
    data = replace(dataset_of(some_rows(20), ifd=first), second_template=again)
    found = verdict("unstable_verdict", data)
    assert (found.count, found.checked, found.passed) == (count, 20, passed)
    assert ("0.8 or more is required" in found.found) is (not passed and not count)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"template_check": "plain"}, "that is the template in use"),
        ({"template_check": "nope"}, "no template 'nope'"),
        ({"template_check": "alpaca", "protocol": "superfiltering"}, "is published with template"),
        ({"template_check": "alpaca", "scores": False}, "leave out --no-model"),
        ({"template_check": "alpaca", "metrics": "coherence"}, "needs the IFD"),
    ],
)
def test_an_impossible_template_check(
    tiny: dict[str, Any], tiny_embedder: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        ifdkit.audit(ROWS, **{**tiny, "embedder": str(tiny_embedder), **settings})


def test_a_template_check_of_a_scores_file_uses_its_model(
    write: Make, tiny: dict[str, Any], tmp_path: Path
) -> None:
    from ifdkit.data.options import ReadOptions
    from ifdkit.scoring.metrics import parse_metrics
    from ifdkit.scoring.run import score_to_file
    from ifdkit.scoring.settings import Settings

    path, output = write("data.json", ROWS), tmp_path / "data.scores.jsonl"
    settings = Settings(**{**tiny, "metrics": parse_metrics("ifd")}, template="alpaca")
    score_to_file(str(path), output, settings, ReadOptions())
    found = ifdkit.audit(output, template_check="plain", store=tiny["store"])
    assert found.template_check is not None
    assert found.template_check.templates == ("alpaca", "plain")
    assert found.template_check.n == len(ROWS)
    with pytest.raises(UsageError, match="the template in use"):
        ifdkit.audit(output, template_check="alpaca", store=tiny["store"])


def test_real_files_match_their_report(shared_file: Callable[..., Path]) -> None:
    """`reports/audits.md`, for the rules about texts; every row was read by eye."""
    found = {}
    for name in ("alpaca_1k", "alpacaeval400_alpaca-7b", "alpacaeval400_recycled-wizardlm-7b-v1"):
        done = ifdkit.audit(shared_file("data", f"{name}.json"), scores=False)
        found[name] = {rule.name: rule for rule in done.rules if rule.count}
    original, answers, recycled = found.values()
    assert {name: rule.count for name, rule in original.items()} == {
        "placeholder_input": 28,
        "placeholder_response": 3,
        "recurring_opening": 36,
        "refusal": 3,
    }
    assert {name: rule.count for name, rule in answers.items()} == {
        "html_remains": 10,
        "ai_disclaimer": 1,
        "placeholder_response": 1,
    }
    assert recycled["prompt_leak"].fails
    assert recycled["prompt_leak"].count == 16
    openings = {detail.text: detail.count for detail in recycled["recurring_opening"].details}
    assert openings["Here is a new and"] == 9
    report = (Path(__file__).parents[1] / "reports" / "audits.md").read_text(encoding="utf-8")
    assert "“Here is a new and” (9)" in report
    for place in recycled["prompt_leak"].places:
        assert f"`{place.id}`" in report
