"""`ifdkit reflect` as a user types it: files, exit codes, one-line errors."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ifdkit.cli.main import main
from tests.oracle_server import OracleServer

pytestmark = pytest.mark.long

Make = Callable[..., Path]
pytest.importorskip("openai")
ROWS = [{"id": f"r{i}", "instruction": f"Write about {i}", "output": f"Here is {i}."}
        for i in range(4)]  # fmt: skip


@pytest.fixture(autouse=True)
def fresh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run in an empty folder, without a key; signal handlers stay pytest's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setattr(signal, "signal", lambda *_: None)


@pytest.fixture
def server() -> Iterator[OracleServer]:
    with OracleServer() as one:
        yield one


def ask(server: OracleServer, *more: str) -> int:
    return main(["reflect", "data.json", "-o", "new.json", "--oracle", "scripted",
                 "--base-url", server.base_url, "--retries", "0", *more])  # fmt: skip


def test_run_prints_outcomes_and_the_next_command(
    write: Make, server: OracleServer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write("data.json", ROWS)
    assert ask(server) == 0
    out, err = capsys.readouterr()
    words = " ".join(out.split())
    assert "instruction 4 4 response 4 4" in words
    assert "4 rows: 4 changed" in words
    assert "next: ifdkit compare data.json new.json" in words
    assert "Alpaca: instruction → output, 4 rows" in err
    assert "\x1b" not in out + err
    assert {path.name for path in tmp_path.iterdir()} == {
        "data.json", "new.json", "new.json.journal.sqlite", "new.json.provenance.jsonl",
        "new.json.manifest.json",
    }  # fmt: skip


def test_json_is_the_manifest(
    write: Make, server: OracleServer, capsys: pytest.CaptureFixture[str]
) -> None:
    write("data.json", ROWS)
    assert ask(server, "--json", "-q", "--stages", "response", "--limit", "2") == 0
    out, err = capsys.readouterr()
    assert err == ""
    summary = json.loads(out)
    assert summary == json.loads(Path("new.json.manifest.json").read_text())
    assert summary["outcomes"] == {"response": {"rewritten": 2}}
    assert len(json.loads(Path("new.json").read_text())) == 2


def test_cap_exits_with_zero_and_says_how_to_resume(
    write: Make, server: OracleServer, capsys: pytest.CaptureFixture[str]
) -> None:
    write("data.json", ROWS)
    assert ask(server, "--max-tokens-total", "10", "--max-tokens", "300") == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "stopped early:" in words
    assert "re-run the same command to resume" in words
    assert json.loads(Path("new.json").read_text()) == ROWS
    assert server.billed <= 10


def test_dry_run_shows_three_prompts_and_asks_nothing(
    write: Make, server: OracleServer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write("data.json", [{**ROWS[0], "output": "steer \x1b[2J it"}, *ROWS[1:]])
    flags = ["--oracle", "scripted", "--base-url", server.base_url, "--dry-run"]
    assert main(["reflect", "data.json", *flags]) == 0
    out = capsys.readouterr().out
    assert out.count("[system]") == 3
    assert "Write about 0" in out
    assert "\x1b" not in out
    assert "calls 4 for the instruction, 4 for the response" in out
    assert main(["reflect", "data.json", *flags, "--json", "--price-in", "1", "--price-out", "2",
                 "--select"]) == 0  # fmt: skip
    found = json.loads(capsys.readouterr().out)
    assert found["calls"] == {"instruction": 4, "response": 8}
    assert 0 < found["likely_cost"] < found["most_cost"]
    assert server.seen == []
    assert [path.name for path in tmp_path.iterdir()] == ["data.json"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--oracle", "x"], "missing option '--output' / '-o'"),
        (["-o", "new.json"], "missing option '--oracle'"),
        (["-o", "new.json", "--oracle", "x"], "OPENAI_API_KEY, or name another variable"),
        (["-o", "new.xml", "--oracle", "x"], "end it in .json"),
        (["-o", "data.json", "--oracle", "x"], "is the input itself"),
        (
            ["-o", "new.json", "--oracle", "x", "--stages", "all"],
            "must be instruction, response or both",
        ),
        (["-o", "new.json", "--oracle", "x", "--max-cost", "1"], "--price-in and --price-out"),
        (["-o", "new.json", "--oracle", "local", "--concurrency", "0"], "--concurrency 0"),
        (
            ["-o", "new.json", "--oracle", "x", "--base-url=http://127.0.0.1:9/v1", "--retries=0"],
            "x at 127.0.0.1:9/v1 does not reply",
        ),
        (["-o", "new.json", "--oracle", "x", "--prompts", "nowhere"], "nowhere"),
        (["-o", "new.json", "--oracle", "x", "--base-url", "ftp://x"], "--base-url must be like"),
        (
            ["-o", "new.json", "--oracle", "x", "--base-url", "http://u:p@x/v1"],
            "must not contain",
        ),
        (["-o", "new.json", "--oracle", "x", "--select", "--turns", "all"], "use --turns last"),
    ],
)
def test_errors_are_one_line_and_exit_two(
    write: Make, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    write("data.json", ROWS)
    assert main(["reflect", "data.json", *flags, "-q"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert "Traceback" not in err
    if err.startswith("ifdkit: "):
        assert err.count("\n") == 1
    assert not Path("new.json").exists()


def test_rejected_key_exits_with_two(
    write: Make, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write("data.json", ROWS)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-sentinel-000")
    refusal = {"error": {"message": "the key sk-sentinel-000 is wrong"}}
    with OracleServer(status=(401, refusal)) as server:
        assert ask(server, "--verbose", "--api-key-env", "OPENAI_API_KEY") == 2
    out, err = capsys.readouterr()
    assert "rejects the API key" in err
    assert "sk-sentinel-000" not in out + err
    assert not Path("new.json").exists()


def test_score_reflect_compare(
    write: Make, server: OracleServer, tiny_model: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Score, reflect with the student's choice, then run the compare command that is printed."""
    rows = [{"instruction": f"Write about {i}", "output": "word " * (i + 3)} for i in range(12)]
    write("data.json", rows)
    small = ["--model", str(tiny_model), "--store", str(tmp_path / "store.sqlite")]
    assert main(["score", "data.json", *small, "--metrics", "ifd", "-q"]) == 0
    assert ask(server, "--select", *small) == 0
    out = capsys.readouterr().out
    assert f"chosen by {tiny_model}: " in out
    (line,) = [one for one in out.splitlines() if one.startswith("next: ifdkit ")]
    command = line.removeprefix("next: ifdkit ").split()
    assert main([*command, *small, "--metrics", "ifd", "-q"]) == 0
    summary = json.loads(Path("reports/data-vs-new/summary.json").read_text())
    assert summary["pairing"]["n_pairs"] == 12


_set_signal = signal.signal  # the fixture above replaces it


def _listen_to_ctrl_c() -> None:
    """A shell makes background processes ignore Ctrl-C, and the tests may run in one."""
    _set_signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.long
@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_killed_run_resumes_without_asking_twice(write: Make, tmp_path: Path, how: str) -> None:
    """The command in its own process, ended while calls are in flight."""
    many = [{"id": f"r{i}", "instruction": f"Write about {i}", "output": f"Here is {i}."}
            for i in range(60)]  # fmt: skip
    write("data.json", many)
    with OracleServer(delay_s=0.05) as server:
        command = [sys.executable, "-m", "ifdkit", "reflect", "data.json", "-o", "new.json",
                   "--oracle", "scripted", "--base-url", server.base_url]  # fmt: skip
        process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, cwd=tmp_path, preexec_fn=_listen_to_ctrl_c
        )
        while len(server.calls) < 24 and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(getattr(signal, how))
        _, error = process.communicate(timeout=60)
        assert process.returncode == (-signal.SIGKILL if how == "SIGKILL" else 130)
        assert "Traceback" not in error
        if how != "SIGKILL":
            assert error.splitlines()[-1].startswith("ifdkit: Interrupted;")
        assert not (tmp_path / "new.json").exists()
        with closing(sqlite3.connect(tmp_path / "new.json.journal.sqlite")) as journal:
            (kept,) = journal.execute("SELECT count(*) FROM event WHERE kind='reply'").fetchone()
        assert 8 <= kept < 120
        while server.in_flight:  # requests that arrived before the client died
            time.sleep(0.01)
        server.seen.clear()
        assert subprocess.run([*command, "--quiet"], cwd=tmp_path).returncode == 0
        assert len(server.calls) == 120 - kept
    new = json.loads((tmp_path / "new.json").read_text())
    assert all(row["output"].startswith("Rewritten") for row in new)


SENTINEL = "sk-sentinel-77aa01c2"


@pytest.mark.parametrize("status", [401, 500])
def test_key_is_in_no_traceback(
    write: Make,
    server: OracleServer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    status: int,
) -> None:
    """Nor in other output with --verbose, even if the server quotes it."""
    write("data.json", ROWS)
    monkeypatch.setenv("OPENAI_API_KEY", SENTINEL)
    server.status = (status, {"error": {"message": f"Incorrect API key provided: {SENTINEL}"}})
    with caplog.at_level("DEBUG"):
        assert ask(server, "--verbose", "--api-key-env", "OPENAI_API_KEY") == 2
    assert any(SENTINEL in one.headers["authorization"] for one in server.seen), "it was sent"
    out, err = capsys.readouterr()
    assert "Traceback" in err
    assert SENTINEL not in out + err + caplog.text
