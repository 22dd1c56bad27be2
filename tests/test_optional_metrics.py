"""Metrics on request: each against its definition and against the reference model.

What they share with all metrics is in tests/test_metric_properties.py.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ifdkit
from ifdkit.cli.main import main
from ifdkit.errors import UsageError
from ifdkit.records import NLL, Example, Pass, Passes, Request, Status, TokenStatistics, Turn
from ifdkit.scoring import text_metrics
from ifdkit.scoring.demonstrations import find_demonstrations, with_demonstration
from ifdkit.scoring.metrics import METRICS, all_groups
from ifdkit.scoring.rows import MetricChoice, ScoreRow, score_row
from ifdkit.scoring.settings import Settings
from ifdkit.scoring.token_metrics import DatasetRatio
from tests import tiny
from tests.metric_references import REFERENCES, Case
from tests.reference import ReferenceModel

pytestmark = pytest.mark.long

OPTIONAL = {name: metric for name, metric in METRICS.items() if metric.is_optional}
SHARES = ("code_share", "math_share", "list_share", "markup_share")
PASSES = ("response_direct", "response_conditional")
WORDS = ["the", "cat", "sat", "on", "a", "mat.", "No!", "don't", "3.5", "x", "x\n\n"]
TEXTS = st.one_of(
    st.text(max_size=80),
    st.lists(st.sampled_from(WORDS), max_size=60).map(" ".join),
)


def case_of(n: int, seed: int, instruction: str, response: str, skipped: int = 0) -> Case:
    """Random numbers of a response of n tokens; the direct pass scores n − skipped of them."""
    generator = np.random.default_rng(seed)
    statistics = np.stack(
        [generator.integers(1, 400, n), generator.uniform(0, 6, n), generator.uniform(0, 3, n)], 1
    ).astype(np.float32)
    statistics[:: max(2, n // 3), 2] = 0.0 if seed % 2 else 1.0
    rows = [tuple(row) for row in statistics.astype(np.float64).tolist()]
    direct, conditional, demonstrated, reference = (
        generator.gamma(1.0, 2.0, n).astype(np.float32).astype(np.float64).tolist()
        for _ in range(4)
    )
    noisy = generator.gamma(1.0, 2.0, (2, 3, n)).astype(np.float32).astype(np.float64)
    return Case(
        instruction,
        response,
        direct[skipped:],
        conditional,
        demonstrated[: max(1, n - seed % 3)],
        reference,
        rows[skipped:],
        rows,
        noisy_direct=noisy[0, :, skipped:].tolist(),
        noisy_conditional=noisy[1].tolist(),
    )


def scored(case: Case) -> ScoreRow:
    def pass_of(n: int) -> Pass | None:
        return Pass((Request(np.arange(n + 1, dtype=np.int32), 1, n + 1),)) if n else None

    example = Example("id", 0, 0, (Turn("user", case.instruction),), case.response)
    values: dict[str, Any] = {
        "response_direct": case.direct,
        "response_conditional": case.conditional,
        "response_demonstrated": case.demonstrated,
        "response_reference": case.reference,
        "response_direct_noisy": case.noisy_direct,
        "response_conditional_noisy": case.noisy_conditional,
    }
    nlls: dict[str, NLL] = {k: np.array(v, np.float32) for k, v in values.items() if v}
    statistics = {
        "response_direct": case.direct_statistics,
        "response_conditional": case.conditional_statistics,
    }
    passes = Passes(
        3,
        len(case.direct),
        response_direct=pass_of(len(case.direct)),
        response_conditional=pass_of(len(case.conditional)),
    )
    return score_row(
        example,
        passes,
        nlls,
        statistics={
            name: TokenStatistics(np.array(statistics[name], np.float32).reshape(-1, 3))
            for name in PASSES
            if name in nlls
        },
        informative_nats=case.limit,
        vocabulary=case.vocabulary,
        choice=MetricChoice(OPTIONAL),
    )


def check_range(name: str, value: Any) -> None:
    metric = OPTIONAL[name]
    assert value is None or math.isfinite(value), name
    if value is not None:
        assert metric.low is None or value >= metric.low - 1e-9, (name, value)
        assert metric.high is None or value <= metric.high + 1e-9, (name, value)


# The registry


def test_every_metric_has_a_reference() -> None:
    assert set(REFERENCES) | set(SHARES) == set(OPTIONAL)


def test_nothing_is_computed_that_no_metric_asks_for() -> None:
    plain = Settings()
    assert not plain.statistics
    assert not plain.optional
    assert Settings(metrics=("s_ifd", "min_k")).statistics == frozenset()
    assert Settings(metrics=("min_k_plus_plus",)).statistics == {"response_direct"}
    assert Settings(metrics=("rank_surprisal",)).statistics == {"response_conditional"}
    assert "response_demonstrated" in Settings(metrics=("miwv",)).passes
    assert not Settings(metrics=("text",)).passes


def test_a_metric_that_was_not_asked_for_has_no_number() -> None:
    row = score_row(
        Example("id", 0, 0, (Turn("user", "Say a b"),), "a b"),
        Passes(3, 2),
        {},
        choice=MetricChoice(("distinct_2",)),
    )
    assert row["distinct_2"] == 1.0
    assert {row[name] for name in OPTIONAL if name != "distinct_2"} == {None}


# Values


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([1, 2, 3, 7, 40]),
    st.integers(0, 1000),
    st.sampled_from(["", "Name two cats", "Übersetze: 你好"]),
    TEXTS,
    st.sampled_from([0, 1]),
)
def test_every_metric_agrees_with_its_definition(
    n: int, seed: int, instruction: str, response: str, skipped: int
) -> None:
    case = case_of(n, seed, instruction, response, skipped=min(skipped, n - 1))
    row = scored(case)
    assert row.status == Status.OK
    for name, expected in REFERENCES.items():
        value = expected(case)
        check_range(name, row[name])
        if value is None:
            assert row[name] is None, name
        else:
            assert row[name] == pytest.approx(value, rel=1e-6, abs=1e-9), name
    for name in SHARES:
        check_range(name, row[name])


def test_hand_worked_numbers() -> None:
    case = Case(
        instruction="Say it twice",
        response="a b a b a b",
        direct=[2.0, 4.0, 6.0, 1.0, 3.0],
        conditional=[1.0, 4.2, 3.0, 1.0, 0.8],
        demonstrated=[0.5, 4.2, 3.0, 1.0, 0.8],
        reference=[0.5, 2.1, 1.5, 0.5, 0.4],
        direct_statistics=[(1, 2.0, 1.0), (9, 2.0, 2.0), (400, 2.0, 4.0), (1, 1.0, 0.5), (2, 2, 1)],
        conditional_statistics=[
            (1, 1.0, 1.0),
            (9, 3.0, 1.0),
            (400, 2.0, 1.0),
            (1, 0, 0),
            (2, 1, 1),
        ],
        noisy_direct=[[2.0, 1.0], [2.0, 1.0], [4.0, 1.0]],
        noisy_conditional=[[1.0, 1.2], [2.2, 1.2], [1.0, 3.0]],
    )
    row = scored(case)
    assert row["s_ifd"] == pytest.approx(math.exp((-1.0 - 3.0 - 2.2) / 3), rel=1e-6)
    assert row["informative_share"] == 0.6
    copies = [math.exp(-1.0), 1.0, math.exp((-3.0 + 2.0) / 2)]
    assert row["s_ifd_smoothed"] == pytest.approx(np.mean(copies), rel=1e-6)
    assert row["s_ifd_deviation"] == pytest.approx(np.std(copies), rel=1e-6)
    smoothed = [math.exp(-0.4), math.exp(0.2), math.exp(-0.5)]
    assert row["ifd_smoothed"] == pytest.approx(np.mean(smoothed), rel=1e-6)
    assert row["mean_logprob"] == pytest.approx(-2.0, rel=1e-6)
    assert row["min_k"] == -6.0
    assert row["min_k_plus_plus"] == -1.0
    assert row["mean_rank"] == pytest.approx((1 + 9 + 100 + 1 + 2) / 5)
    assert row["rank_surprisal"] == pytest.approx(113 / 10, rel=1e-6)
    assert row["mean_entropy"] == pytest.approx(7 / 5)
    assert row["high_entropy_sum"] == pytest.approx(3 / math.log(2))
    assert row["miwv"] == pytest.approx(-0.1, rel=1e-6)
    assert row["nll_response_reference"] == pytest.approx(1.0, rel=1e-6)
    assert row["reducible_loss"] == pytest.approx(1.0, rel=1e-6)
    assert row["learnability"] == pytest.approx(0.5, rel=1e-6)
    assert row["distinct_2"] == pytest.approx(2 / 5)
    assert row["length_ratio"] == 2.0
    assert row["mtld"] is None


@pytest.mark.parametrize(
    ("name", "text", "covered"),
    [
        ("code", "See:\n```python\nx = 1\n```\ndone", "```python\nx = 1\n```"),
        ("code", "call `f(x)` now", "`f(x)`"),
        ("code", "an open fence\n```\nx = 1", "```\nx = 1"),
        ("code", "no code at all", ""),
        ("math", r"so $x^2 + 1$ and \(y\)", r"$x^2 + 1$\(y\)"),
        ("math", "it costs $5 and $6 today", ""),
        ("math", r"\begin{align}a\\b\end{align}", r"\begin{align}a\\b\end{align}"),
        ("list", "Intro\n1. one\n2) two\nend", "1. one2) two"),
        ("list", "- a\n* b\n• c", "- a* b• c"),
        ("list", "-not a list\n1.5 apples", ""),
        ("markup", "# Title\ntext <b>x</b>", "# Title<b></b>"),
        ("markup", "see [a](http://b) and **c**", "[a](http://b)**c**"),
        ("markup", "| a | b |\nif a < b and c > d", "| a | b |"),
    ],
)
def test_shares_of_texts(name: str, text: str, covered: str) -> None:
    pattern = getattr(text_metrics, f"_{ {'list': 'LIST_ITEM'}.get(name, name.upper()) }")
    assert text_metrics.share_of(pattern, text) == pytest.approx(len(covered) / len(text))


@pytest.mark.parametrize(
    "text",
    ["$a " * 30_000, "\\[ " * 30_000, "[x" * 50_000, "." * 100_000 + "x", "`" * 99_999,
     "\\begin{a}" * 20_000, "<a" * 50_000, "**a" * 40_000, "```\n" * 30_001, "| " * 50_000,
     "- " * 50_000, "a'" * 50_000],
    ids=lambda text: repr(text[:6]),
)  # fmt: skip
def test_hostile_texts_take_linear_time(text: str) -> None:
    """A quadratic pattern would take minutes, which the timeout of the suite would show."""
    row = scored(case_of(2, 0, "x", text))
    for name, metric in OPTIONAL.items():
        if metric.group == "text":
            check_range(name, row[name])


def test_the_ratio_of_a_dataset_is_that_of_the_means() -> None:
    ratio = DatasetRatio()
    assert ratio.value is None
    pairs = ((10.0, 2.0), (30.0, 3.0), (None, 9.0), (7.0, None))
    ratio.add({"mean_rank": rank, "nll_response_conditional": nats} for rank, nats in pairs)
    assert ratio.value == 8.0  # not (5 + 10) / 2


# Demonstrations


class Vectors:
    """Stands for the embedder: the counts of a few letters."""

    def embed(self, texts: Any) -> dict[str, Any]:
        return {
            text: np.array([1.0 + text.count(one) for one in "abcdef"], np.float32)
            for text in texts
        }


def pair(instruction: str, response: str, row: int = 0) -> Example:
    return Example(f"{row}", row, 0, (Turn("user", instruction),), response)


@given(st.lists(st.text("abcdef ", min_size=1, max_size=6), min_size=2, max_size=12), st.randoms())
@settings(max_examples=40, deadline=None)
def test_the_nearest_other_example_does_not_depend_on_the_order(
    texts: list[str], random: Any
) -> None:
    examples = [pair(f"x{text}", f"y{text}", i) for i, text in enumerate(texts)]
    found = find_demonstrations(examples, Vectors())  # type: ignore[arg-type]
    shuffled = examples.copy()
    random.shuffle(shuffled)
    again = find_demonstrations(shuffled, Vectors())  # type: ignore[arg-type]
    assert found.nearest == again.nearest
    for (instruction, _), other in found.nearest.items():
        own = Vectors().embed([instruction])[instruction]

        def cosine(text: str, own: Any = own) -> float:
            b = Vectors().embed([text])[text]
            return float(own @ b / np.linalg.norm(own) / np.linalg.norm(b))

        others = [text for text in {f"x{one}" for one in texts} if text != instruction]
        assert other[0] != instruction
        assert cosine(other[0]) == pytest.approx(max(map(cosine, others)), rel=1e-5)


def test_an_example_alone_has_no_demonstration() -> None:
    alone = pair("a", "b")
    found = find_demonstrations([alone, alone, pair("", "c"), pair("c", " ")], Vectors())  # type: ignore[arg-type]
    assert with_demonstration(alone, found) is None


def test_a_demonstration_follows_the_system_turn() -> None:
    example = Example("0", 0, 0, (Turn("system", "S"), Turn("user", "a")), "b")
    found = find_demonstrations([example, pair("c", "d")], Vectors())  # type: ignore[arg-type]
    shown = with_demonstration(example, found)
    assert shown is not None
    assert [turn.text for turn in shown.context] == ["S", "c", "d", "a"]


# With a model


ROWS = [
    {"instruction": f"{verb} {thing}", "output": f"{thing} and {thing}, {verb.lower()} it: 1, 2."}
    for verb in ("Name", "Draw", "Sing")
    for thing in ("a cat", "the blue sea")
]
ASKED = "tokens,noise,demonstration,text,reference"


@pytest.fixture(scope="module")
def second_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same architecture and tokenizer with other weights."""
    return tiny.save_model(tmp_path_factory.mktemp("tiny") / "second", seed=1)


@pytest.fixture(scope="module")
def frame(tiny_model: Path, tiny_embedder: Path, second_model: Path) -> pd.DataFrame:
    return score_all(ROWS, tiny_model, tiny_embedder, second_model)


def score_all(rows: Any, model: Path, embedder: Path, second: Path, **more: Any) -> pd.DataFrame:
    found: pd.DataFrame = ifdkit.score(
        rows, metrics=ASKED, model=str(model), embedder=str(embedder),
        reference_model=str(second), store=more.pop("store", "off"), **more,
    )  # fmt: skip
    return found


def numbers_of(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.set_index("id")[list(OPTIONAL)].sort_index()


def test_all_are_columns_and_defined(frame: pd.DataFrame) -> None:
    undefined = [name for name in OPTIONAL if frame[name].isna().any()]
    assert set(undefined) <= {"mtld"}
    assert frame.attrs["manifest"]["informative_nats"] == 0.125
    assert frame.attrs["manifest"]["reference_model"]


def test_a_second_run_computes_nothing_and_has_the_same_bits(
    tiny_model: Path, tiny_embedder: Path, second_model: Path, tmp_path: Path
) -> None:
    store = str(tmp_path / "s.sqlite")
    first = score_all(ROWS, tiny_model, tiny_embedder, second_model, store=store)
    again = score_all(ROWS, tiny_model, tiny_embedder, second_model, store=store)
    assert first.attrs["manifest"]["requests_scored"] > 0
    assert again.attrs["manifest"]["requests_scored"] == 0
    pd.testing.assert_frame_equal(numbers_of(first), numbers_of(again), check_exact=True)


def test_statistics_are_added_to_stored_nlls_whose_bits_stay(
    tiny_model: Path, tmp_path: Path
) -> None:
    more: dict[str, Any] = {"model": str(tiny_model), "store": str(tmp_path / "s.sqlite")}
    plain = ifdkit.score(ROWS, metrics="ppl", **more)
    both = ifdkit.score(ROWS, metrics="ppl,rank_surprisal", **more)
    assert both.attrs["manifest"]["requests_scored"] == len(ROWS)
    assert both["rank_surprisal"].notna().all()
    shared = list(plain.columns)
    pd.testing.assert_frame_equal(plain, both[shared], check_exact=True)
    fresh = ifdkit.score(ROWS, metrics="ppl,rank_surprisal", model=str(tiny_model), store="off")
    pd.testing.assert_frame_equal(fresh, both, check_exact=True)


def test_without_them_a_scores_file_has_the_same_columns(tiny_model: Path) -> None:
    """Negative control: the default columns do not depend on what the registry offers."""
    plain = ifdkit.score(ROWS[:2], metrics="ifd", model=str(tiny_model), store="off")
    assert not set(OPTIONAL) & set(plain.columns)
    assert "informative_nats" not in plain.attrs["manifest"]


OTHERS = ("demonstration", "noise")
"""Groups with tests of their own."""


def test_against_the_reference_model(
    frame: pd.DataFrame, tiny_model: Path, second_model: Path
) -> None:
    own, other = ReferenceModel(tiny_model), ReferenceModel(second_model)
    for i, row in enumerate(ROWS[:3]):
        bos = [own.tokenizer.bos_token_id]
        prompt = bos + own.tokenizer(row["instruction"] + "\n")["input_ids"]
        target = own.tokenizer(row["output"])["input_ids"]
        c = own.token_nll(prompt + target, len(prompt))
        d = own.token_nll(bos + target, 1)
        statistics = own.token_statistics(prompt + target, len(prompt))
        of_direct = own.token_statistics(bos + target, 1)
        case = Case(
            row["instruction"], row["output"], d.tolist(), c.tolist(), c.tolist(),
            other.token_nll(prompt + target, len(prompt)).tolist(),
            [tuple(one) for one in of_direct.tolist()], [tuple(one) for one in statistics.tolist()],
            limit=0.125, vocabulary=len(own.tokenizer),
        )  # fmt: skip
        for name, expected in REFERENCES.items():
            if METRICS[name].group not in OTHERS and (value := expected(case)) is not None:
                assert frame[name][i] == pytest.approx(value, rel=5e-4, abs=5e-5), name


def test_miwv_against_the_reference_model(frame: pd.DataFrame, tiny_model: Path) -> None:
    """The demonstration is one of the other rows; the one that was used gives the number."""
    own = ReferenceModel(tiny_model)
    bos = [own.tokenizer.bos_token_id]
    for i, row in enumerate(ROWS[:2]):
        target = own.tokenizer(row["output"])["input_ids"]

        def mean_nll(text: str, target: list[int] = target) -> float:
            prompt = bos + own.tokenizer(text)["input_ids"]
            return float(own.token_nll(prompt + target, len(prompt)).mean())

        plain = mean_nll(f"{row['instruction']}\n")
        changes = [
            mean_nll(f"{one['instruction']}\n{one['output']}\n{row['instruction']}\n") - plain
            for one in ROWS
            if one is not row
        ]
        assert min(abs(frame["miwv"][i] - change) for change in changes) < 1e-4


def test_select_ranks_by_metrics_on_request(
    tiny_model: Path, second_model: Path, tmp_path: Path, frame: pd.DataFrame
) -> None:
    data, output = tmp_path / "rows.json", tmp_path / "best.json"
    data.write_text(json.dumps(ROWS))
    arguments = ["select", str(data), "-m", str(tiny_model), "--store", "off", "-q", "--top", "2"]
    more = ["--by", "learnability", "--reference-model", str(second_model), "-o", str(output)]
    assert main([*arguments, *more]) == 0
    best = sorted(frame["learnability"].nlargest(2).index)
    assert json.loads(output.read_text()) == [ROWS[i] for i in best]


def test_the_summary_has_the_ratio_of_the_dataset(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "rows.json"
    data.write_text(json.dumps(ROWS[:3]))
    arguments = ["-m", str(tiny_model), "--store", "off", "-q", "-o", str(tmp_path / "s.jsonl")]
    assert main(["score", str(data), *arguments, "--metrics", "ppl,tokens", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    rows = pd.read_json(tmp_path / "s.jsonl", lines=True)
    expected = rows["mean_rank"].mean() / rows["nll_response_conditional"].mean()
    assert found["rank_surprisal"] == pytest.approx(expected)
    assert main(["score", str(data), *arguments, "--metrics", "ppl", "--json"]) == 0
    assert "rank_surprisal" not in json.loads(capsys.readouterr().out)


# Errors


def test_a_metric_of_two_models_needs_the_second() -> None:
    with pytest.raises(UsageError, match="give --reference-model"):
        Settings(metrics=("learnability",))
    with pytest.raises(UsageError, match="add reference to"):
        Settings(reference_model="other")
    with pytest.raises(UsageError, match="--informative-nats"):
        Settings(informative_nats=-1.0)
    for copies in (0, 65):
        with pytest.raises(UsageError, match="--noise-copies"):
            Settings(noise_copies=copies)
    with pytest.raises(UsageError, match="--noise-seed"):
        Settings(noise_seed=-1)


def test_a_reference_model_with_another_tokenizer_is_refused(
    tiny_model: Path, tmp_path: Path
) -> None:
    other = tiny.save_model(tmp_path / "other", adds_bos=True)
    with pytest.raises(UsageError, match="another tokenizer"):
        ifdkit.score(ROWS[:1], metrics="reference", model=str(tiny_model),
                     reference_model=str(other), store="off")  # fmt: skip


def test_all_names_every_group_of_one_model() -> None:
    assert set(all_groups()) >= {"ppl", "ifd", "rifd", "coherence", "tokens", "text"}
    assert not {"reference", "noise"} & set(all_groups())
