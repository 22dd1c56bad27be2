"""`audit --clean`: the rows that pass, a line for every other one, and none is lost."""

from __future__ import annotations

import csv
import json
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ifdkit
from ifdkit.auditing.checking import AuditedDataset
from ifdkit.auditing.cleaning import CLEAN_RULES
from ifdkit.auditing.result import MAX_PLACES, Audit
from ifdkit.auditing.rules import RULES
from ifdkit.auditing.run import AuditOptions, audit_dataset
from ifdkit.cli.main import main
from ifdkit.data.options import ReadOptions
from tests.planted import KINDS, clean_rows, plant
from tests.select_fixtures import scored

pytestmark = pytest.mark.long

Make = Callable[..., Path]
REFUSAL = {"instruction": "Open the door", "output": "I'm sorry, but I cannot help with that."}
OTHERS = {"contamination", "over_long_prompt", "truncated_response", "cut_off"}
"""These need an evaluation set or scores, or look at the habits of the file."""
PER_ROW = sorted(
    name
    for name in set(KINDS) - OTHERS
    for rule in RULES
    if rule.name == name and not rule.compares_rows and rule.threshold is None
)
"""Rules whose finding in a row does not depend on the other rows."""


@pytest.fixture(autouse=True)
def fresh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run in an empty folder; signal handlers stay pytest's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda *_: None)


def only(*names: str) -> dict[str, dict[str, Any]]:
    return {rule.name: {"severity": "off"} for rule in RULES if rule.name not in names}


def cleaned(data: Any, output: str = "clean.jsonl", **options: Any) -> Audit:
    return ifdkit.audit(data, clean=output, scores=False, **options)


def lines_of(path: str | Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("name", PER_ROW)
def test_the_cleaned_file_shows_none_of_what_was_dropped(name: str) -> None:
    """More places than a report names, so that all of them have to be found."""
    rows, _ = plant(clean_rows(300), name, 100)
    found = cleaned(rows, rules=only(name))
    (rule,) = [one for one in found.rules if one.name == name]
    assert rule.count > MAX_PLACES, "else the test shows nothing"
    made = found.cleaned
    assert made is not None
    assert (made.rows_in, made.dropped) == (len(rows), rule.count)
    assert made.kept + made.dropped == len(rows)
    again = ifdkit.audit("clean.jsonl", scores=False, rules=only(name))
    (rule,) = [one for one in again.rules if one.name == name]
    assert (rule.passed, rule.count, rule.checked) == (True, 0, made.kept)


def test_every_row_is_kept_or_logged_with_its_rules(write: Make) -> None:
    rows = clean_rows(60)
    rows[5]["output"] = ""
    rows[7] |= REFUSAL
    rows[9] |= {"instruction": "", "output": "I'm sorry, but I cannot do that."}
    lines = [json.dumps(row) for row in rows]
    lines[11] = "{torn"
    lines[13] = '{"instruction": "a", "output": 5}'
    source = write("data.jsonl", "\n".join(lines) + "\n")
    found = cleaned(source, rules={"refusal": {"most": 0.0}})
    dropped = lines_of("clean.jsonl.dropped.jsonl")
    by_row = {one["row"]: one for one in dropped}
    assert {5, 7, 9, 11, 13} <= set(by_row)
    assert by_row[5] == {
        "row": 5, "line": 6, "id": rows[5]["id"], "rules": ["empty_response"],
        "reasons": [next(rule.sentence for rule in RULES if rule.name == "empty_response")],
    }  # fmt: skip
    assert by_row[7]["rules"] == ["refusal"]
    assert {"refusal", "empty_instruction"} <= set(by_row[9]["rules"])
    assert len(by_row[9]["reasons"]) == len(by_row[9]["rules"])
    assert by_row[11]["rules"] == by_row[13]["rules"] == ["unreadable_row"]
    assert by_row[11]["id"] is None
    assert by_row[11]["reasons"][0].startswith("not JSON")
    assert by_row[13]["reasons"] == ["'output' is a number, not text"]
    kept = Path("clean.jsonl").read_text(encoding="utf-8").splitlines()
    assert kept == [line for i, line in enumerate(lines) if i not in by_row], "byte for byte"
    made = found.cleaned
    assert made is not None
    assert (made.kept, made.dropped, made.rows_in) == (len(kept), len(dropped), 60)
    assert made.dropped_by["unreadable_row"] == 2
    assert sum(made.dropped_by.values()) == sum(len(one["rules"]) for one in dropped)


def test_of_equal_rows_the_first_is_kept() -> None:
    rows = clean_rows(40)
    rows = [*rows, rows[3], rows[3], rows[8]]
    found = cleaned(rows, rules=only("exact_duplicate"))
    assert [one["row"] for one in lines_of("clean.jsonl.dropped.jsonl")] == [40, 41, 42]
    assert lines_of("clean.jsonl") == rows[:40]
    again = ifdkit.audit("clean.jsonl", scores=False, rules=only("exact_duplicate"))
    assert found.warnings
    assert not again.warnings


def test_which_rules_drop_rows() -> None:
    """One refusal of 200 is allowed, an empty response is an error, twenty echoes are a warning."""
    rows = clean_rows(200)
    rows[0] |= REFUSAL
    rows[1]["output"] = ""
    for i in range(20, 40):
        rows[i] |= {"instruction": f"Name the capital of land {i}", "input": "",
                    "output": f"Name the capital of land {i}"}  # fmt: skip
    wanted = {
        "errors": {1},
        "failed": {1, *range(20, 40)},
        "all": {0, 1, *range(20, 40)},
    }
    rules = only("refusal", "empty_response", "repeated_instruction")
    for which in CLEAN_RULES:
        made = cleaned(rows, rules=rules, clean_rules=which).cleaned
        assert made is not None
        assert {one["row"] for one in lines_of("clean.jsonl.dropped.jsonl")} == wanted[which]
        assert made.rules == which
    off = {**rules, "empty_response": {"severity": "off"}}
    cleaned(rows, rules=off, clean_rules="errors")
    assert lines_of("clean.jsonl.dropped.jsonl") == []
    assert lines_of("clean.jsonl") == rows


def test_a_conversation_is_dropped_whole() -> None:
    def talk(*answers: str) -> dict[str, Any]:
        pairs = [({"role": "user", "content": "Say more"}, {"role": "assistant", "content": one})
                 for one in answers]  # fmt: skip
        return {"messages": [turn for pair in pairs for turn in pair]}

    rows = [talk("Fine.", "", "Good."), talk("Well.", "Bye.")]
    cleaned(rows, rules=only("empty_response"))
    (line,) = lines_of("clean.jsonl.dropped.jsonl")
    assert (line["row"], line["rules"]) == (0, ["empty_response"])
    assert lines_of("clean.jsonl") == rows[1:]


@pytest.mark.parametrize("ending", [".json", ".csv", ".parquet", ".jsonl.gz"])
def test_the_format_is_that_of_the_dataset(tmp_path: Path, ending: str) -> None:
    import gzip

    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"instruction": f"q{i}", "output": "" if i % 3 == 1 else f"a{i}"} for i in range(7)]
    source = tmp_path / f"in{ending}"
    match ending:
        case ".json":
            source.write_text(json.dumps(rows, indent=2))
        case ".csv":
            with source.open("w", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
        case ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), source)
        case _:
            source.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    cleaned(source, f"out{ending}", rules=only("empty_response"))
    kept = [rows[i] for i in (0, 2, 3, 5, 6)]
    output = Path(f"out{ending}")
    match ending:
        case ".json":
            assert output.read_text() == json.dumps(kept, indent=2) + "\n"
        case ".csv":
            with output.open(newline="") as file:
                assert list(csv.DictReader(file)) == kept
        case ".parquet":
            assert pq.read_table(output).to_pylist() == kept
            assert pq.read_schema(output).equals(pq.read_schema(source), check_metadata=True)
        case _:
            assert [
                json.loads(x) for x in gzip.decompress(output.read_bytes()).splitlines()
            ] == kept
    assert len(lines_of(f"out{ending}.dropped.jsonl")) == 2


def test_rules_about_scores_and_where(tmp_path: Path) -> None:
    rows = clean_rows(60)
    ifd = [1.2 if i < 20 else 0.5 for i in range(60)]
    source = scored(tmp_path, rows, ifd=ifd)
    found = ifdkit.audit(source, clean="clean.jsonl", rules=only("ifd_above_one"))
    assert lines_of("clean.jsonl") == [dict(row) for row in rows[20:]]
    assert found.cleaned is not None
    found = ifdkit.audit(source, clean="part.jsonl", rules=only("ifd_above_one"),
                         where="row >= 10 and ifd > 0.6 or row > 50")  # fmt: skip
    made = found.cleaned
    assert made is not None
    assert (made.rows_in, made.kept, made.dropped) == (19, 9, 10)
    assert lines_of("part.jsonl") == [dict(row) for row in rows[51:]]


def test_every_rule_names_all_that_it_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise --clean would keep rows that a rule has found."""
    rows: list[Any] = [row for name in KINDS for row in plant(clean_rows(300), name, 8)[0]]
    seen: list[AuditedDataset] = []
    original = AuditedDataset.of

    def remember(*arguments: Any, **options: Any) -> AuditedDataset:
        seen.append(original(*arguments, **options))
        return seen[-1]

    monkeypatch.setattr(AuditedDataset, "of", remember)
    found = ifdkit.audit(rows, scores=False)
    n_found = 0
    for result in found.rules:
        rule = next(rule for rule in RULES if rule.name == result.name)
        if result.skipped is None and rule.unit == "example":
            indices = seen[0].check(rule).indices
            assert len(indices) == len(set(indices)) == result.count, result.name
            n_found += result.count > 0
    assert n_found > 10


def test_no_rule_is_checked_twice() -> None:
    calls = []
    rule = next(rule for rule in RULES if rule.name == "empty_response")

    def check(data: Any, one: Any) -> Any:
        calls.append(one.name)
        return rule.check(data, one)

    options = AuditOptions(rules=(replace(rule, check=check),), scores=False,
                           clean=Path("clean.jsonl"))  # fmt: skip
    audit_dataset([REFUSAL, {**REFUSAL, "output": ""}], {}, ReadOptions(), options)
    assert calls == ["empty_response"]
    assert lines_of("clean.jsonl") == [REFUSAL]


def test_when_no_row_passes_the_file_is_empty() -> None:
    rows = [{"instruction": f"q{i}", "output": ""} for i in range(3)]
    made = cleaned(rows, rules=only("empty_response")).cleaned
    assert made is not None
    assert (made.kept, made.dropped) == (0, 3)
    assert Path("clean.jsonl").read_text() == ""


def test_any_choice_of_bad_rows_is_dropped_and_nothing_else() -> None:
    generator = np.random.default_rng(0)
    for n_bad in (0, 1, 7, 30):
        bad = set(generator.choice(30, n_bad, replace=False).tolist())
        rows = [{"instruction": f"q{i}", "output": "" if i in bad else f"a{i}", "n": i}
                for i in range(30)]  # fmt: skip
        made = cleaned(rows, rules=only("empty_response")).cleaned
        assert made is not None
        assert {one["row"] for one in lines_of("clean.jsonl.dropped.jsonl")} == bad
        assert {row["n"] for row in lines_of("clean.jsonl")} == set(range(30)) - bad
        assert made.kept + made.dropped == made.rows_in == 30


# --- the command


TEXTS = ["--no-model", "-q"]


def test_the_command_says_what_was_kept_and_still_fails(
    write: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [*clean_rows(30), {"instruction": "a", "output": ""}]
    write("data.json", rows)
    assert main(["audit", "data.json", "--clean", "clean.json", *TEXTS]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "→ clean.json: 30 of 31 rows kept, 1 dropped (reasons: clean.json.dropped.jsonl)" in said
    assert json.loads(Path("clean.json").read_text()) == [dict(row) for row in rows[:30]]
    assert main(["audit", "clean.json", *TEXTS]) == 0
    capsys.readouterr()
    assert main(["audit", "data.json", "--clean", "clean.json", "--json", *TEXTS]) == 1
    found = json.loads(capsys.readouterr().out)["cleaned"]
    assert (found["rows_in"], found["kept"], found["dropped"]) == (31, 30, 1)
    assert found["dropped_by"] == {"empty_response": 1}
    assert found["rules"] == "failed"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--clean", "data.json"], "--clean data.json is the input itself: choose another name"),
        (["--clean", "out.parquet"], "only a Parquet dataset can be written as Parquet"),
        (["--clean", "out"], "end it in .json"),
        (["--clean", "nowhere/out.json"], "the folder nowhere does not exist"),
        (["--clean", "out.json", "--clean-rules", "eror"], "--clean-rules: no choice 'eror': did"
         " you mean 'errors'?"),
        (["--clean", "out.json", "--where", "outptu == ''"], "--where: unknown name 'outptu' (did"
         " you mean 'output'?) at character 1"),
    ],
)  # fmt: skip
def test_wrong_outputs_are_refused_first(
    write: Make, capsys: pytest.CaptureFixture[str], flags: Sequence[str], message: str
) -> None:
    source = write("data.json", clean_rows(5))
    before = source.read_bytes()
    assert main(["audit", "data.json", *TEXTS, *flags]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
    assert source.read_bytes() == before
    assert [path.name for path in Path().iterdir()] == ["data.json"]


def test_the_scores_file_is_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = scored(tmp_path, clean_rows(5), ifd=[0.5] * 5)
    before = source.read_bytes()
    for output in (source.name, "data.jsonl"):
        assert main(["audit", source.name, "--clean", output, "-q"]) == 2
        assert "choose another name" in capsys.readouterr().err
    assert source.read_bytes() == before


def test_an_interruption_leaves_nothing_half_written(
    write: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("data.json", [*clean_rows(5), {"instruction": "a", "output": ""}])
    before = {path.name: path.read_bytes() for path in Path().iterdir()}

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ifdkit.auditing.cleaning.json_line", interrupt)
    assert main(["audit", "data.json", "--clean", "clean.json", *TEXTS]) == 130
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == before
