"""Exit codes depend on the result alone, whatever becomes of the standard streams."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

FAILING = ["audit", "bad.jsonl", "--no-model"]
PASSING = ["audit", "good.jsonl", "--no-model"]
BROKEN = ["audit", "missing.jsonl", "--no-model"]
CASES = [(FAILING, 1), (PASSING, 0), (BROKEN, 2)]
SHELL = """
run() { "$@"; code=$?; echo "code $code" >&9; return $code; }
exec 9>result
"""
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(os.name != "posix", reason="POSIX shells and descriptors"),
]


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    good = {"instruction": "Name a colour.", "output": "Green is the colour of grass."}
    (tmp_path / "good.jsonl").write_text(json.dumps(good) + "\n")
    (tmp_path / "bad.jsonl").write_text(json.dumps(good | {"output": ""}) + "\n")
    return tmp_path


def code_of(arguments: Sequence[str], redirection: str) -> tuple[int, str]:
    """Exit code of the command under a shell redirection, and what reached stderr."""
    command = " ".join(["run", sys.executable, "-m", "ifdkit", *arguments, redirection])
    done = subprocess.run(
        ["bash", "-c", SHELL + command], capture_output=True, text=True, timeout=120
    )
    return int(Path("result").read_text().split()[-1]), done.stderr


@pytest.mark.parametrize(("arguments", "expected"), CASES)
@pytest.mark.parametrize(
    "redirection",
    [
        "",
        "| true",
        "2>&1 | true",
        "2>&1 | head -1",
        ">&-",
        "2>&-",
        ">&- 2>&-",
        "<&- >&- 2>&-",
        "> /dev/full",
        "2> /dev/full",
        "> /dev/full 2> /dev/full",
        "> /dev/null 2>&1",
    ],
)
def test_the_exit_code_is_that_of_the_result(
    arguments: list[str], expected: int, redirection: str
) -> None:
    code, stderr = code_of(arguments, redirection)
    assert code == expected
    assert "Traceback" not in stderr
    assert "internal error" not in stderr
    assert "Exception ignored" not in stderr


@pytest.mark.parametrize(
    ("redirection", "problem"), [("> /dev/full", "No space left on device"), (">&-", "closed")]
)
def test_lost_output_is_reported(redirection: str, problem: str) -> None:
    code, stderr = code_of(PASSING, redirection)
    assert code == 0
    lost = [line for line in stderr.splitlines() if line.startswith("ifdkit: stdout")]
    assert len(lost) == 1
    assert problem in lost[0]


def test_a_reader_that_leaves_is_not_reported() -> None:
    assert "stdout" not in code_of(PASSING, "| true")[1]


def test_files_do_not_get_the_number_of_a_closed_stream(files: Path) -> None:
    """With descriptors 1 and 2 closed, the store would be the next file to get their numbers."""
    script = (
        "import os, sys; from ifdkit.cli.main import main; from ifdkit.cli import streams;"
        "before = streams.safe_streams;"
        "code = main(['audit', 'good.jsonl', '--no-model', '-o', 'out', '-q']);"
        "sys.exit(code)"
    )
    command = f'{sys.executable} -c "{script}" >&- 2>&-'
    assert subprocess.run(["bash", "-c", command], timeout=120).returncode == 0
    assert json.loads((files / "out" / "audit.json").read_text())["passed"] is True


def test_standard_input_that_is_closed_is_an_error() -> None:
    code, stderr = code_of(["audit", "-", "--no-model"], "<&-")
    assert code == 2
    assert "standard input" in stderr
    assert "internal error" not in stderr


def test_an_interrupt_that_a_library_turns_into_another_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As modules in C do whose import is interrupted."""
    from ifdkit.cli import INTERRUPTED
    from ifdkit.cli import main as module

    def invoke(*_: object) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            raise ImportError("initialization failed") from error

    monkeypatch.setattr(module.cli, "invoke", invoke)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert module.main(["models"]) == 130
    assert capsys.readouterr().err == INTERRUPTED


def test_output_of_a_run_without_scores_is_an_error(files: Path, tiny_model: Path) -> None:
    (files / "empty.jsonl").write_text(json.dumps({"instruction": "a", "output": ""}) + "\n")
    command = ["score", "empty.jsonl", "-m", str(tiny_model), "--store", "off", "-q"]
    code, stderr = code_of(command, "")
    assert code == 2
    assert "no example of empty.jsonl could be scored: 1 empty_response" in stderr
    assert (files / "empty.scores.jsonl").exists(), "what was found is kept"
