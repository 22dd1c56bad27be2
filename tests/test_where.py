"""`--where` in every command that chooses rows: by columns before scoring, by scores after it."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ifdkit
from ifdkit.cli.main import main
from ifdkit.data.dataset import open_dataset
from ifdkit.data.options import ReadOptions
from ifdkit.data.where import expression_of
from ifdkit.errors import UsageError
from ifdkit.expressions.nodes import Expression, Name
from ifdkit.scoring.where import parse_where
from tests.select_fixtures import rows_like, scored
from tests.test_expressions import expressions

pytestmark = pytest.mark.long

Make = Callable[..., Path]


@pytest.fixture(autouse=True)
def fresh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run in an empty folder; signal handlers stay pytest's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda *_: None)


def chosen(data: Any, where: str) -> list[int]:
    options = ReadOptions(where=expression_of(where))
    return options.narrow(open_dataset(data)).rows


LANGS = ["de", "en", "de", None, "fr", "de"]


def with_columns(n: int = 6) -> list[dict[str, Any]]:
    rows = rows_like(n, lang=LANGS)
    for i, row in enumerate(rows):
        row["meta"] = {"year": 2018 + i, "tags": {"hard": i % 2 == 0}}
        row["a.b"] = i
    del rows[3]["lang"]
    return rows


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ("lang == 'de'", [0, 2, 5]),
        ("lang != 'de'", [1, 4]),
        ("not lang == 'de'", [1, 4]),
        ("lang is null", [3]),
        ("lang in ('fr', 'en') or lang is null", [1, 3, 4]),
        ("meta.year >= 2021", [3, 4, 5]),
        ("meta.tags.hard == true and lang == 'de'", [0, 2]),
        ("`a.b` < 2", [0, 1]),
        ("a.b < 2", [0, 1]),
        ("row < 2 or row == 5", [0, 1, 5]),
        ("id == 'r3'", [3]),
        ("instruction == 'Say 4'", [4]),
        ("2018 < meta.year < 2021", [1, 2]),
        ("meta.year > row", [0, 1, 2, 3, 4, 5]),
    ],
)
def test_columns_nested_fields_and_positions(where: str, rows: list[int]) -> None:
    assert chosen(with_columns(), where) == rows


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("lnag == 'de'", r"unknown name 'lnag' \(did you mean 'lang'\?\) at character 1"),
        ("row < 3 and meta.yaer > 1", r"unknown name 'meta.yaer' \(did you mean 'meta.year'\?\)"
         " at character 13"),
        ("zzz > 1", r"unknown name 'zzz' \(there are 'id', 'instruction', 'output', 'lang', "),
        ("`ifd` < 1", r"unknown name 'ifd' \(did you mean 'id'\?\) at character 1"),
        ("lang == 'it'", "it is true for none of the 6 rows of data in memory"),
    ],
)  # fmt: skip
def test_names_that_no_row_has_are_refused(where: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"^--where: {message}"):
        chosen(with_columns(), where)


def test_a_name_may_first_occur_late(write: Make) -> None:
    rows = rows_like(40_000)
    rows[39_999]["late"] = 1
    assert chosen(rows, "late == 1") == [39_999]
    assert chosen(rows, "late is null and row > 39997") == [39_998]


def test_unreadable_rows_are_never_hidden(write: Make) -> None:
    lines = [json.dumps(row) for row in with_columns()]
    source = write("data.jsonl", "\n".join([lines[0], "{torn", lines[1], "42", lines[2]]))
    dataset = ReadOptions(where=expression_of("lang == 'de'")).narrow(open_dataset(source))
    assert dataset.rows == [0, 1, 3, 4]
    assert dataset.left_out == {2}
    assert sum(isinstance(found, list) for found in dataset) == 2


def test_the_limit_and_the_sample_come_after_it() -> None:
    dataset = open_dataset(with_columns())
    where = expression_of("lang == 'de'")
    assert ReadOptions(where=where, limit=2).narrow(dataset).rows == [0, 2]
    sampled = ReadOptions(where=where, sample=2, seed=3).narrow(dataset)
    assert set(sampled.rows) < {0, 2, 5}
    assert sampled.left_out == {1, 3, 4}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    column=st.one_of(
        *(st.lists(kind, min_size=2, max_size=5)
          for kind in (st.integers(-3, 3), st.sampled_from([0.5, -1.5, 2.0]), st.booleans(),
                       st.sampled_from(["x", "y", "2", "true", "0.50"])))
    ),
    expression=expressions(st.just(Name(("a",)))),
)  # fmt: skip
def test_the_container_does_not_change_the_choice(
    tmp_path: Path, column: list[Any], expression: Expression
) -> None:
    """The same rows as JSON, JSON Lines, CSV, Parquet and a DataFrame."""
    import pandas as pd

    rows = [{"instruction": f"q{i}", "output": "z", "a": v} for i, v in enumerate(column)]
    frame = pd.DataFrame(rows)
    (tmp_path / "d.json").write_text(json.dumps(rows))
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    frame.to_parquet(tmp_path / "d.parquet")
    # As ifdkit and `json` spell a value: True of pandas is another text than true.
    spelled = frame.assign(a=[v if isinstance(v, str) else json.dumps(v) for v in column])
    spelled.to_csv(tmp_path / "d.csv", index=False)
    names = ["d.json", "d.jsonl", "d.parquet", "d.csv"]
    found = {}
    for name, data in [*((name, tmp_path / name) for name in names), ("frame", frame)]:
        try:
            found[name] = chosen(data, str(expression))
        except UsageError:
            found[name] = []
    assert all(one == found["d.json"] for one in found.values()), found


# --- scores


def test_the_parts_before_and_after_scoring() -> None:
    found = parse_where("lang == 'de' and ifd < 1 and (coherence > 0.3 or lang == 'en')")
    assert str(found.columns) == "lang == 'de'"
    assert str(found.scores) == "ifd < 1 and (coherence > 0.3 or lang == 'en')"
    assert (found.metrics, found.needs_status) == (("ifd", "coherence"), False)
    assert parse_where("status == 'ok'").needs_status
    assert parse_where("`ifd` < 1").scores is None, "a column in backticks"
    assert parse_where("meta.ifd < 1").scores is None
    assert parse_where("row < 10").scores is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ifd == 'x'", "ifd is a number and cannot be compared with 'x' at character 8"),
        ("ifd in (1, '2')", "ifd is a number and cannot be compared with '2' at character 12"),
        ("true == ifd", "ifd is a number and cannot be compared with true at character 1"),
        ("status == 1", "status is a text and cannot be compared with 1 at character 11"),
        ("status == 'okay'", "unknown status 'okay' (did you mean 'ok'?) at character 11"),
        ("status in ('ok', 'skipped')", "unknown status 'skipped' (there are 'ok', 'truncated', "),
    ],
)
def test_scores_have_types(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_where(text)
    assert str(caught.value).startswith(f"--where: {message}")


IFD = [0.2, 0.9, None, 1.4, 0.5, 0.7]


def test_select_filters_by_scores_and_columns(tmp_path: Path) -> None:
    source = scored(tmp_path, with_columns(), ifd=IFD, statuses=["ok"] * 5 + ["truncated"])
    where = "ifd < 1 and (status == 'ok' or meta.year > 2022) and lang is not null"
    done = ifdkit.select(source, tmp_path / "out.jsonl", where=where)
    assert done.kept_rows == (0, 1, 4, 5)
    assert (done.method, done.field, done.where) == (None, None, where)
    assert (done.rows_in, done.kept, done.dropped) == (6, 4, {"where": 2})
    log = [json.loads(line) for line in Path(done.rows).read_text().splitlines()]
    assert [line["row"] for line in log] == list(range(6))
    assert [line["reason"] for line in log] == [None, None, "where", "where", None, None]
    kept = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert kept == [with_columns()[i] for i in (0, 1, 4, 5)]


LAWS: list[dict[str, Any]] = [
    {"by": "ifd", "top": 2},
    {"by": "ifd", "top": "50%", "lowest": True},
    {"by": "ifd", "min": 0.4},
    {"by": "response_words", "top": 3},
    {"method": "random", "top": "34%", "seed": 5},
    {"method": "superfiltering", "top": 1},
    {"method": "length-controlled", "top": 3, "bands": 2},
]


@pytest.mark.parametrize("options", LAWS, ids=lambda one: "-".join(map(str, one.values())))
def test_a_selection_from_chosen_rows_is_that_from_a_file_of_them(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    n = 30
    rows = [{**row, "lang": LANGS[i % 6], "output": "w " * (1 + i % 7)}
            for i, row in enumerate(rows_like(n))]  # fmt: skip
    ifd: list[Any] = [None if i % 11 == 3 else (i * 7 % 30) / 20 for i in range(n)]
    (tmp_path / "all").mkdir()
    (tmp_path / "some").mkdir()
    whole = scored(tmp_path / "all", rows, ifd=ifd)
    subset = [i for i in range(n) if rows[i]["lang"] == "de" and (ifd[i] is None or ifd[i] > 0.2)]
    part = scored(tmp_path / "some", [rows[i] for i in subset], ifd=[ifd[i] for i in subset])
    where = "lang == 'de' and (ifd > 0.2 or ifd is null)"
    ifdkit.select(whole, tmp_path / "a.jsonl", where=where, **options)
    ifdkit.select(part, tmp_path / "b.jsonl", **options)
    assert (tmp_path / "a.jsonl").read_text() == (tmp_path / "b.jsonl").read_text()


def test_every_row_is_counted_once_with_unreadable_ones(tmp_path: Path) -> None:
    rows: list[Any] = with_columns()
    lines = [*map(json.dumps, rows[:3]), "{torn", *map(json.dumps, rows[3:])]
    (tmp_path / "data.jsonl").write_text("\n".join(lines))
    done = ifdkit.select(
        tmp_path / "data.jsonl", tmp_path / "o.jsonl", where="lang == 'de'", method="random", top=2
    )
    assert (done.rows_in, done.kept) == (7, 2)
    assert done.dropped == {"where": 3, "not_drawn": 1, "rejected": 1}
    log = [json.loads(line) for line in Path(done.rows).read_text().splitlines()]
    assert [line["row"] for line in log] == list(range(7))


def test_a_conversation_is_chosen_by_its_last_turn_or_by_the_mean(tmp_path: Path) -> None:
    def talk(*answers: str) -> dict[str, Any]:
        turns = [({"role": "user", "content": "hi"}, {"role": "assistant", "content": one})
                 for one in answers]  # fmt: skip
        return {"messages": [turn for pair in turns for turn in pair]}

    source = scored(tmp_path, [talk("a", "b"), talk("c"), talk("d", "e")],
                    ifd=[0.2, 1.6, 0.5, 1.2, 0.4])  # fmt: skip
    last = ifdkit.select(source, tmp_path / "a.jsonl", where="ifd < 0.6")
    assert last.kept_rows == (1, 2)
    mean = ifdkit.select(source, tmp_path / "b.jsonl", where="ifd > 0.6", turns="all")
    assert mean.kept_rows == (0, 2)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--where", "ifdd < 1"], "--where: unknown name 'ifdd' (did you mean 'ifd'?) at"
         " character 1"),
        (["--where", "ifd < 1 and lnag == 'de'"], "unknown name 'lnag' (did you mean 'lang'?) at"
         " character 13"),
        (["--where", "ifd < 1 or lnag == 'de'"], "unknown name 'lnag' (did you mean 'lang'?) at"
         " character 12"),
        (["--where", "ifd < 0"], "--where: it is true for none of the 6 rows of "),
        (["--where", "rifd < 1"], "has no rifd: score its dataset with --metrics rifd"),
        (["--where", ""], "--where: the expression is empty"),
        (["--where", "ifd < 1", "--method", "selective"], "--where does not apply to selective"),
        (["--where", "ifd < 1", "--top", "5"], "--top does not apply to --where alone"),
        (["--where", "ifd < 1", "--by", "ifd"], "choose how many rows"),
        (["--by", "ifd", "--method", "random", "--where", "ifd < 1"], "choose only one of"),
        ([], "or --where 'ifd < 1' alone"),
    ],
)  # fmt: skip
def test_select_refuses_wrong_expressions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    source = scored(tmp_path, with_columns(), ifd=IFD)
    assert main(["select", source.name, "-o", "out.jsonl", "-q", *flags]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
    assert not Path("out.jsonl").exists()


def test_the_screen_names_the_expression(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = scored(tmp_path, with_columns(), ifd=IFD)
    flags = ["--where", "lang == 'de'", "--by", "ifd", "--top", "1"]
    assert main(["select", source.name, "-o", "out.jsonl", *flags]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "6 rows, by ifd where lang == 'de': 1 kept dropped: 3 where, 1 below_top" in said


HOSTILE = {
    "deep": "(" * 5_000 + "ifd < 1" + ")" * 5_000,
    "nots": "not " * 2_000 + "ifd < 1",
    "megabyte": "ifd < 1 or " * 100_000 + "ifd < 1",
    "quotes": "'" * 9_999,
    "backticks": "`" * 9_999,
    "digits": "ifd < " + "9" * 9_000,
    "unicode": "\u202eifd\u0000 < \u0661",
    "import": "__import__('os').system('touch stolen')",
    "attribute": "().__class__.__bases__[0]",
    "lambda": "(lambda: 1)() == 1",
    "sql": "ifd < 1; DROP TABLE scores --",
    "format": "{ifd.__class__} < 1",
    "power": "ifd < 9**9**9**9",
    "regex": "a" * 9_000 + "!",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_expressions_end_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """By the time of the process, since other tests may run beside it."""
    source = scored(tmp_path, with_columns(), ifd=IFD)
    before = {path.name for path in tmp_path.iterdir()}
    begin = time.process_time()
    for command in (["select", source.name, "-o", "out.jsonl"], ["score", "data.jsonl"],
                    ["audit", source.name]):  # fmt: skip
        assert main([*command, "-q", "--where", HOSTILE[name]]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("ifdkit: --where: ")
        assert err.count("\n") == 1
        assert len(err) < 400
    assert time.process_time() - begin < 3
    assert {path.name for path in tmp_path.iterdir()} == before


# --- score and audit


TINY = ["--metrics", "ifd", "--store", "off", "-q"]


@pytest.mark.long
def test_score_scores_only_the_chosen_rows(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [json.dumps(row) for row in with_columns()]
    Path("data.jsonl").write_text("\n".join([*lines, "{torn"]))
    command = ["score", "data.jsonl", "-m", str(tiny_model), *TINY]
    assert main([*command, "-o", "all.jsonl"]) == 0
    assert main([*command, "-o", "some.jsonl", "--where", "lang == 'de' and meta.year < 2023"]) == 0
    everything, some = (
        [json.loads(line) for line in Path(name).read_text().splitlines()]
        for name in ("all.jsonl", "some.jsonl")
    )
    assert some == [everything[0], everything[2]], "the same ids and numbers"
    made = json.loads(Path("some.jsonl.manifest.json").read_text())
    assert made["where"] == "lang == 'de' and meta.year < 2023"
    assert (made["rows_in"], made["rows_scored"], made["rows_rejected"]) == (3, 2, 1)
    assert made["rows_left_out"] == 4
    frame = ifdkit.score("data.jsonl", model=str(tiny_model), metrics="ifd", store="off",
                         where="lang == 'de' and meta.year < 2023")  # fmt: skip
    assert frame["ifd"].tolist() == [row["ifd"] for row in some]
    assert frame.attrs["manifest"]["rows_left_out"] == 4
    # The scores lead back to the rows that were chosen.
    done = ifdkit.select("some.jsonl", "out.jsonl", where="ifd > 0")
    assert done.kept_rows == (0, 2)
    capsys.readouterr()
    assert main([*command, "--where", "ifd < 1"]) == 2
    assert "'ifd' is a score, and here rows are chosen before they are scored: use `ifdkit select" \
        in capsys.readouterr().err  # fmt: skip


@pytest.mark.long
def test_select_measures_what_the_expression_needs(tmp_path: Path, tiny_model: Path) -> None:
    rows = with_columns()
    given_: dict[str, Any] = {"model": str(tiny_model), "store": "off"}
    frame = ifdkit.score(rows, metrics="rifd,ppl", **given_)
    limit = sorted(frame["rifd"])[2]
    done = ifdkit.select(rows, "out.jsonl", where=f"rifd <= {limit!r} and status == 'ok'", **given_)
    assert list(done.kept_rows) == frame.index[frame["rifd"] <= limit].tolist()
    tokens = int(frame["response_tokens"].max())
    done = ifdkit.select(rows, "out.jsonl", where=f"response_tokens == {tokens}", **given_)
    assert list(done.kept_rows) == frame.index[frame["response_tokens"] == tokens].tolist()
    assert done.scores is None, "a tokenizer is enough"
    done = ifdkit.select(rows, "out.jsonl", where="response_words > 2 and row > 3", model="nowhere")
    assert done.kept_rows == (4, 5), "no model is used"


def test_audit_checks_only_the_chosen_rows(tmp_path: Path) -> None:
    rows = with_columns()
    rows[1]["output"] = rows[3]["output"] = ""
    found = ifdkit.audit(rows, scores=False, where="lang == 'de'")
    assert (found.rows, found.rows_in_file, found.rows_left_out) == (3, 6, 3)
    rule = next(rule for rule in found.rules if rule.name == "empty_response")
    assert (rule.checked, rule.count) == (3, 0)
    found = ifdkit.audit(rows, scores=False, where="response_words == 0")
    rule = next(rule for rule in found.rules if rule.name == "empty_response")
    assert (rule.checked, rule.count, found.passed) == (2, 2, False)


def test_audit_by_scores_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = scored(tmp_path, with_columns(), ifd=IFD, manifest={"rows_in": 6})
    assert main(["audit", source.name, "--where", "ifd >= 0.7 or ifd is null", "-q", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    rule = next(rule for rule in found["rules"] if rule["name"] == "ifd_above_one")
    assert (found["rows"], rule["checked"], rule["count"]) == (4, 3, 1)
    assert found["where"] == "ifd >= 0.7 or ifd is null"
    assert main(["audit", source.name, "--where", "row < 4", "--sample", "2", "-q"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Random sample of the rows that --where chose: 2 of 6 rows were checked" in said
    for where, message in {
        "rifd < 1": "--where: data.scores.jsonl has no rifd: score its dataset with --metrics rifd",
        "ifd < 0": "--where: it is true for none of the 6 rows",
    }.items():
        assert main(["audit", source.name, "--where", where, "-q"]) == 2
        assert message in capsys.readouterr().err
    assert main(["audit", "data.jsonl", "--where", "ifd < 1", "--no-model", "-q"]) == 2
    assert "--where: ifd needs a model: leave out --no-model" in capsys.readouterr().err


def test_unreadable_rows_still_fail_the_gate(tmp_path: Path) -> None:
    lines = [json.dumps(row) for row in with_columns()]
    (tmp_path / "data.jsonl").write_text("\n".join([*lines, "{torn"]))
    found = ifdkit.audit(tmp_path / "data.jsonl", scores=False, where="lang == 'de'")
    assert [rule.name for rule in found.errors] == ["unreadable_row"]
