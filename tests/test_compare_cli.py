"""`ifdkit compare` as a user types it: files, exit codes, one-line errors, interruption."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ifdkit.cli.main import main
from tests.test_comparison import longer, some_rows

pytestmark = pytest.mark.long

Make = Callable[..., Path]
FILES = {"index.html", "summary.json", "report.md", "table.tex", "rows.parquet"}
_set_signal = signal.signal  # the fixture below replaces it


@pytest.fixture(autouse=True)
def fresh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run in an empty folder; signal handlers stay pytest's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda *_: None)


@pytest.fixture(scope="module")
def small(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Flags for a quick run; the store is shared, so that texts are scored once."""
    store = tmp_path_factory.mktemp("store") / "store.sqlite"
    return ["--model", str(tiny_model), "--metrics", "ifd", "--store", str(store)]


@pytest.fixture
def two(write: Make) -> list[str]:
    """A dataset and its longer form."""
    write("old.json", some_rows(12))
    write("new.json", longer(some_rows(12)))
    return ["old.json", "new.json"]


def test_compare_scores_and_writes_a_report(
    two: list[str], small: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *two, *small]) == 0
    out, err = capsys.readouterr()
    folder = Path("reports/old-vs-new")
    assert {path.name for path in folder.iterdir()} == FILES
    assert "Median response length rose from" in " ".join(out.split())
    assert "index.html" in out
    assert "before: old.json: Alpaca: instruction → output, 12 rows" in err
    assert "12 pairs by row: the files run parallel" in err
    assert "\x1b" not in out + err
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["schema"] == "ifdkit.comparison/1"
    assert summary["pairing"]["by"] == "row"
    assert summary["before"]["input"] == "old.json"
    # A second run replaces the report and leaves other files in the folder.
    (folder / "notes.txt").write_text("mine")
    assert main(["compare", *two, *small, "-q"]) == 0
    assert (folder / "notes.txt").read_text() == "mine"


def test_json_is_the_object_of_summary_json(
    two: list[str], small: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *two, *small, "--json", "-q", "-o", "out"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert json.loads(out) == json.loads(Path("out/summary.json").read_text())


def test_no_text_omits_every_text_of_the_datasets(
    write: Make, small: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    secret = "Xylophone secrets never leave"
    rows = [{**row, "output": f"{secret} {row['output']}"} for row in some_rows(30)]
    write("old.json", some_rows(30))
    write("new.json", rows)
    for flags, is_shown in (([], True), (["--no-text"], False)):
        folder = Path(f"out{len(flags)}")
        for form in ([], ["--json"]):
            arguments = ["compare", "old.json", "new.json", *small, "-q", "-o", str(folder)]
            assert main([*arguments, *flags, *form]) == 0
        printed = " ".join(capsys.readouterr().out.split()).casefold()
        words = [path.read_bytes().decode(errors="replace") for path in folder.iterdir()]
        assert any("xylophone" in text.casefold() for text in [*words, printed]) is is_shown


@pytest.mark.parametrize(
    ("conditions", "code", "reason"),
    [
        (["response_tokens.median_change > 0"], 1, "response_tokens.median_change is "),
        (["response_tokens.median_change < 0"], 0, ""),
        (["ifd.n < 5", "pairing.n_pairs == 12"], 1, "pairing.n_pairs is 12"),
    ],
)
def test_the_gate(
    two: list[str], small: list[str], capsys: pytest.CaptureFixture[str],
    conditions: list[str], code: int, reason: str,
) -> None:  # fmt: skip
    flags = [part for one in conditions for part in ("--fail-if", one)]
    assert main(["compare", *two, *small, *flags, "-q", "-o", "out"]) == code
    err = capsys.readouterr().err
    assert reason in err
    assert err.count("gate failed") == code
    assert {path.name for path in Path("out").iterdir()} == FILES


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["old.json"], "missing argument 'AFTER'"),
        (["old.json", "nothing.json"], "no such file: nothing.json"),
        (["old.json", "new.json", "--fail-if", "ifd is bad"], "is not a comparison such as"),
        (
            ["old.json", "new.json", "--fail-if", "idf.median_change < 0"],
            "no metric 'idf': did you mean 'ifd'?",
        ),
        (
            ["old.json", "new.json", "--fail-if", "coherence.n < 0"],
            "--fail-if needs coherence, which before does not measure",
        ),
        (["old.json", "new.json", "--pair-by", "luck"], "'luck' is not one of"),
        (["old.json", "new.json", "--min-tokens", "1"], "--min-tokens 1: must be at least two"),
        (["old.json", "new.json", "--seed", "-4"], "--seed -4: must not be negative"),
        (["old.json", "new.json", "-o", "old.json"], "is a file: name a folder"),
        (["old.json", "new.json", "-o", "."], "is not an earlier comparison of ifdkit"),
        (["old.json", "new.json", "-o", "old.json/x"], "old.json is not a writable folder"),
        (["old.json", "broken.jsonl"], "broken.jsonl is not a readable scores file"),
        (["old.json", "alien.jsonl"], "alien.jsonl) has no manifest that matches it"),
    ],
)
def test_errors_are_one_line_and_exit_two(
    two: list[str], small: list[str], write: Make, capsys: pytest.CaptureFixture[str],
    arguments: list[str], message: str,
) -> None:  # fmt: skip
    row = dict.fromkeys(("id", "row", "turn", "status", "nll_response_direct", "response_tokens"))
    write("broken.jsonl", json.dumps(row))
    row |= {"id": "a", "row": 0, "turn": 0, "status": "ok", "response_tokens": 3}
    write("alien.jsonl", json.dumps(row))
    assert main(["compare", *arguments, *small, "-q"]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err
    if err.startswith("ifdkit: "):
        assert err.count("\n") == 1


def test_the_error_on_differently_scored_sides_names_the_difference(
    two: list[str], small: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", "old.json", *small, "-q", "--window", "8"]) == 0
    assert main(["score", "new.json", *small, "-q", "--window", "9"]) == 0
    sides = ["old.scores.jsonl", "new.scores.jsonl"]
    assert main(["compare", *sides, "-q"]) == 2
    assert "window 8 and 9" in capsys.readouterr().err
    assert main(["compare", *sides, "-q", "--force", "--store", small[-1]]) == 0
    assert "window 8 and 9" in " ".join(capsys.readouterr().out.split())
    warnings = json.loads(Path("reports/old-vs-new/summary.json").read_text())["warnings"]
    assert any("window 8 and 9" in one for one in warnings)


@pytest.mark.long
def test_an_interrupted_comparison_resumes(write: Make, tiny_model: Path, tmp_path: Path) -> None:
    """Ctrl-C after some scores are stored: exit 130 and no report; the second run scores less."""
    write("old.json", some_rows(800))
    write("new.json", longer(some_rows(800)))
    store = tmp_path / "store.sqlite"
    command = [sys.executable, "-m", "ifdkit", "compare", "old.json", "new.json", "--metrics",
               "ifd", "--model", str(tiny_model), "--store", str(store)]  # fmt: skip
    first = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: _set_signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    deadline = time.monotonic() + 300  # only a limit: a busy machine takes a minute to begin
    while _kept(store) == 0 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(first.pid, signal.SIGINT)
    _, err = first.communicate(timeout=60)
    assert first.returncode == 130, err
    assert "Interrupted; progress saved" in err
    assert not Path("reports").exists()
    kept = _kept(store)
    assert kept > 0
    assert subprocess.run([*command, "-q"], capture_output=True).returncode == 0
    summary: dict[str, Any] = json.loads(Path("reports/old-vs-new/summary.json").read_text())
    assert summary["before"]["requests_from_store"] > 0
    assert summary["before"]["requests_scored"] < summary["before"]["requests"]


def _kept(store: Path) -> int:
    import sqlite3
    from contextlib import closing

    if not store.exists():
        return 0
    with closing(sqlite3.connect(store, timeout=10)) as database:
        try:
            return int(database.execute("SELECT count(*) FROM nll").fetchone()[0])
        except sqlite3.OperationalError:  # not made yet
            return 0
