"""`ifdkit audit` as a user types it: exit codes, the settings file, one-line reasons, streams."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifdkit.cli.main import main
from tests.limits import time_limit
from tests.test_fuzz_cli import FUZZ, ROW

pytestmark = pytest.mark.long

Make = Callable[..., Path]
ROWS = [{"instruction": f"Name the capital of land number {i}", "output": f"It is city number {i}."}
        for i in range(20)]  # fmt: skip
REFUSAL = {"instruction": "Open the door", "output": "I'm sorry, but I cannot help with that."}
FILES = {"index.html", "audit.json", "report.md", "audit.sarif"}
TEXTS = ["--no-model", "-q"]
NO_PHRASES = [part for kind in ("opening", "closing", "phrase")
              for part in ("--rule", f"recurring_{kind}.severity=off")]  # fmt: skip


@pytest.fixture(autouse=True)
def fresh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run in an empty folder; signal handlers stay pytest's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda *_: None)


@pytest.fixture
def refusing(write: Make) -> Path:
    """Twenty good rows and a refusal."""
    return write("data.json", [*ROWS, REFUSAL])


def test_an_audit_that_passes_exits_zero_and_writes_nothing(
    write: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write("data.json", ROWS)
    assert main(["audit", "data.json", *TEXTS, *NO_PHRASES]) == 0
    out, err = capsys.readouterr()
    assert "data.json" in out
    assert "Passed" in out
    assert err == ""
    assert "\x1b" not in out
    assert list(tmp_path.iterdir()) == [path]


def test_a_warning_passes_and_an_error_fails(
    refusing: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", "data.json", *TEXTS]) == 0
    assert capsys.readouterr().err == ""
    assert main(["audit", "data.json", *TEXTS, "--rule", "refusal.severity=error"]) == 1
    out, err = capsys.readouterr()
    assert "1 of 29 checks failed" in out
    reason = r"refusal: 1 of 21 examples \(4\.[0-9]+ %\), at most 1 % allowed"
    assert re.fullmatch(rf"ifdkit: audit failed: {reason}\n", err)
    flags = ["--rule", "refusal.severity=error", "--rule", "refusal.most=0.05"]
    assert main(["audit", "data.json", *TEXTS, *flags]) == 0


def test_every_failed_rule_has_a_line(write: Make, capsys: pytest.CaptureFixture[str]) -> None:
    empty = {"instruction": "Say nothing", "output": " "}
    write("data.json", [*ROWS, empty, {"instruction": 1, "output": 2}])
    assert main(["audit", "data.json", *TEXTS]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("ifdkit: audit failed: unreadable_row: 1 of 22 rows (4.")
    assert second.startswith("ifdkit: audit failed: empty_response: 1 of 21 examples (4.")
    assert all(line.endswith("none allowed") for line in (first, second))


def test_the_settings_file_and_what_overrides_it(
    refusing: Path, write: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    write("pyproject.toml", '[tool.ifdkit.audit.refusal]\nseverity = "error"\n')
    assert main(["audit", "data.json", *TEXTS]) == 1
    write("ifdkit.toml", '[audit.refusal]\nseverity = "error"\nmost = 0.5\n')
    assert main(["audit", "data.json", *TEXTS]) == 0
    capsys.readouterr()
    assert main(["audit", "data.json", *TEXTS, "--rule", "refusal.most=0"]) == 1
    assert "none allowed" in capsys.readouterr().err
    # Options of the command are outside the table, and other commands are not affected.
    write("ifdkit.toml", 'no-model = true\nquiet = true\n[audit.refusal]\nseverity = "error"\n')
    assert main(["audit", "data.json"]) == 1
    assert main(["models", "--json"]) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[audit.refusl]\nmost = 1", "ifdkit.toml: [audit.refusl]: no rule is called 'refusl'; did"
         " you mean refusal?"),
        ("[audit]\nsample = 3", "[audit] contains one table per rule, such as [audit.refusal], not"
         " 'sample'"),
        ("audit = 3", "ifdkit.toml: audit is a table, not an option: write [audit]"),
        ("[audits.refusal]\nmost = 1", "'audits' is not an option"),
    ],
)  # fmt: skip
def test_a_wrong_settings_file(
    refusing: Path, write: Make, capsys: pytest.CaptureFixture[str], content: str, message: str
) -> None:
    write("ifdkit.toml", content)
    assert main(["audit", "data.json", *TEXTS]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "missing argument 'DATA...'"),
        (["nothing.json"], "no such file: nothing.json"),
        (["data.json", "--rule", "refusl.most=1"], "did you mean refusal?"),
        (["data.json", "--rule", "refusal"], "write RULE.KEY=VALUE"),
        (["data.json", "--against", "none.json"], "no such file: none.json"),
        (["data.json", "--template-check", "alpaca"], "leave out --no-model"),
        (["data.json", "--sample", "0"], "--sample 0: at least one row"),
        (["data.json", "-o", "data.json"], "is a file: name a folder"),
        (["data.json", "-o", "full"], "not an earlier audit of ifdkit"),
    ],
)
def test_errors_are_one_line_and_exit_two(
    refusing: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    message: str,
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    assert main(["audit", *arguments, *TEXTS]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert "Traceback" not in err


def test_the_report_is_written_to_the_output_folder(
    refusing: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [*TEXTS, "-o", "reports/audit", "--rule", "refusal.severity=error"]
    assert main(["audit", "data.json", *flags, "--json"]) == 1
    out = capsys.readouterr().out
    folder = Path("reports/audit")
    assert {path.name for path in folder.iterdir()} == FILES
    printed = json.loads(out)
    assert printed == json.loads((folder / "audit.json").read_text())
    assert printed["schema"] == "ifdkit.audit/1"
    assert printed["passed"] is False
    assert printed["input"] == "data.json"
    assert printed["rules"][0]["name"] == "refusal"
    assert main(["audit", "data.json", *flags]) == 1, "a second run replaces the report"
    assert "index.html" in capsys.readouterr().out


def test_no_text_omits_the_data(write: Make, capsys: pytest.CaptureFixture[str]) -> None:
    opening = "Xylophones are what this answer is about, as always:"
    rows = [{**row, "output": f"{opening} {row['output']}"} for row in ROWS]
    write("data.json", [*rows, {"instruction": "Xylophone", "output": ""}])
    for flags, is_shown in (([], True), (["--no-text"], False)):
        folder = Path(f"out{len(flags)}")
        for form in ([], ["--json"]):
            assert main(["audit", "data.json", *TEXTS, *flags, *form, "-o", str(folder)]) == 1
        printed = capsys.readouterr().out
        words = [path.read_bytes().decode(errors="replace") for path in folder.iterdir()]
        assert any("xylophone" in text.casefold() for text in [*words, printed]) is is_shown


def test_hostile_texts_do_not_reach_the_terminal_raw(
    write: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = "\x1b[31m\u202e[bold red]I'm sorry, but I cannot do that\x07"
    write("data.json", [{"id": bad, "instruction": bad, "output": f"{bad} {i}"} for i in range(30)])
    assert main(["audit", "data.json", *TEXTS, "--rule", "refusal.severity=error"]) in (0, 1)
    out, err = capsys.readouterr()
    for character in "\x1b\x07\u202e":
        assert character not in out + err


def test_no_model_loads_no_torch(refusing: Path) -> None:
    script = (
        "import sys; from ifdkit.cli.main import main;"
        "code = main(['audit', 'data.json', '--no-model', '-q', '-o', 'out']);"
        "heavy = {'torch', 'transformers', 'sentence_transformers'};"
        "sys.exit(code or ','.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_with_a_model_and_another_template(
    refusing: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--model", str(tiny_model), "--metrics", "ifd", "--store", "store.sqlite"]
    code = main(["audit", "data.json", *small, "--template-check", "alpaca", "--json"])
    out, err = capsys.readouterr()
    found: dict[str, Any] = json.loads(out)
    assert code == (0 if found["passed"] else 1)
    assert found["template_check"]["n"] == 21
    assert found["manifest"]["template"] == "plain"
    assert "template check: scoring 21 of 21 rows under alpaca" in err
    assert "Alpaca: instruction → output, 21 rows" in err
    # It fails by the ranking of the rows, not by a share, and the line says so.
    strict = ["--rule", "unstable_verdict.severity=error", "--rule", "unstable_verdict.most=1",
              "--rule", "unstable_verdict.threshold=1"]  # fmt: skip
    assert main(["audit", "data.json", *small, "--template-check", "alpaca", "-q", *strict]) == 1
    err = capsys.readouterr().err
    assert err.startswith("ifdkit: audit failed: unstable_verdict: ")
    assert "(1 or more is required)" in err


def test_an_evaluation_set_by_flag_variable_and_file(
    refusing: Path, write: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ROWS[3]["instruction"].upper()
    write("eval.jsonl", json.dumps({"prompt": asked}))
    write("other.jsonl", json.dumps({"prompt": "What is nobody asked?"}))
    assert main(["audit", "data.json", *TEXTS, "--against", "other.jsonl"]) == 0
    both = ["--against", "other.jsonl", "--against", "eval.jsonl"]
    assert main(["audit", "data.json", *TEXTS, *both]) == 1
    assert "contamination: 1 of 21 examples" in capsys.readouterr().err
    write("ifdkit.toml", 'against = ["other.jsonl", "eval.jsonl"]\n')
    assert main(["audit", "data.json", *TEXTS]) == 1
    monkeypatch.setenv("IFDKIT_AGAINST", "other.jsonl")
    assert main(["audit", "data.json", *TEXTS]) == 0


def test_an_interrupted_audit_exits_130(
    refusing: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ifdkit.auditing.run.read_against", interrupt)
    assert main(["audit", "data.json", *TEXTS]) == 130
    assert "Interrupted; progress saved" in capsys.readouterr().err


@pytest.mark.long
@FUZZ
@given(rows=st.lists(ROW, max_size=5))
def test_any_rows(rows: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    Path("any.json").write_text(json.dumps(rows), encoding="utf-8")
    with time_limit(60):
        code = main(["audit", "any.json", *TEXTS, "--json", "-o", "any"])
    out, err = capsys.readouterr()
    assert code in (0, 1, 2), err
    assert "Traceback" not in err
    assert "internal error" not in err
    if code == 2:
        assert err.count("\n") == 1, err
        return
    found = json.loads(out)
    assert (code == 0) == found["passed"]
    assert found == json.loads(Path("any/audit.json").read_text(encoding="utf-8"))
    assert sum(rule["unit"] == "row" for rule in found["rules"]) == 1


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["screen", "json"])
@pytest.mark.parametrize(("extra", "code"), [([], 0), ([REFUSAL], 1)], ids=["passes", "fails"])
def test_a_closed_pipe_does_not_change_the_verdict(
    write: Make, form: tuple[str, ...], extra: list[dict[str, str]], code: int
) -> None:
    path = write("data.json", [*ROWS, *extra])
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "ifdkit", "audit", str(path), *TEXTS, *NO_PHRASES,
             "--rule", "refusal.severity=error", *form],
            stdout=writing, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    finally:
        os.close(writing)
    assert done.returncode == code, done.stderr
    assert ("audit failed: refusal" in done.stderr) == (code == 1)
    assert "Traceback" not in done.stderr
