"""Every step of writing fails once, in every command: one line, and the old files or the new ones.

The steps are those of `tests.faults`; how many there are is counted by a run without faults.
"""

from __future__ import annotations

import errno
import json
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ifdkit.cli.main import main
from tests.faults import FaultyOs, failing
from tests.killing import state
from tests.oracle_server import OracleServer

pytestmark = pytest.mark.long

ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT, errno.EACCES)
COMMANDS = {
    "score": ["score", "data.jsonl", "-o", "out.jsonl"],
    "parquet": ["score", "data.jsonl", "-o", "out.parquet"],
    "csv": ["score", "data.jsonl", "-o", "out.csv"],
    "join": ["score", "data.jsonl", "--join", "-o", "out.json.gz"],
    "select": [
        "select",
        "data.jsonl",
        "--by",
        "response_tokens",
        "--top",
        "2",
        "-o",
        "out.jsonl.zst",
    ],
    "clean": ["audit", "data.jsonl", "--no-model", "--clean", "out.jsonl"],
    "audit": ["audit", "data.jsonl", "--no-model", "-o", "out"],
    "compare": ["compare", "data.jsonl", "other.jsonl", "-o", "out"],
    "reflect": ["reflect", "data.jsonl", "-o", "out.jsonl", "--oracle", "scripted"],
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    rows = [{"instruction": f"Name colour {i}.", "output": f"Green is colour number {i}."}
            for i in range(4)]  # fmt: skip
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "no\n")
    rows = [{**row, "output": f"{row['output']} And so on."} for row in rows]
    (folder / "other.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def arguments_of(tiny_model: Path) -> Iterator[Callable[[str], list[str]]]:
    with OracleServer() as server:

        def arguments(command: str) -> list[str]:
            given = [*COMMANDS[command], "-q", "--store", "store.sqlite", "-m", str(tiny_model)]
            if command == "reflect":
                given += ["--base-url", server.base_url, "--retries", "0"]
            elif given[0] in ("score", "compare"):
                given += ["--metrics", "ifd"]
            return given

        yield arguments


def remove(folder: Path) -> None:
    """Remove all output but the journal."""
    for path in [*folder.glob("out/*"), *folder.glob("out*"), *folder.glob(".*")]:
        if "journal" not in path.name:
            path.unlink() if path.is_file() else path.rmdir()


def set_up(folder: Path, arguments: list[str]) -> dict[str, object]:
    """Leave the output of an earlier, smaller run."""
    data = (folder / "data.jsonl").read_text()
    (folder / "data.jsonl").write_text("".join(data.splitlines(keepends=True)[:3]))
    assert main(arguments) in (0, 1)
    (folder / "data.jsonl").write_text(data)
    return state(folder)


@pytest.mark.parametrize("earlier", [True, False], ids=["replaced", "new"])
@pytest.mark.parametrize("command", COMMANDS)
def test_any_step_may_fail(
    command: str,
    earlier: bool,
    folder: Path,
    arguments_of: Callable[[str], list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = arguments_of(command)
    with failing(FaultyOs(short=True)):
        assert main(arguments) in (0, 1)
    new = state(folder)
    remove(folder)
    old = set_up(folder, arguments) if earlier else {}
    assert old != new
    shutil.copytree(folder, folder.with_name("before"))
    for number in range(1000):
        remove(folder)
        shutil.copytree(folder.with_name("before"), folder, dirs_exist_ok=True)
        capsys.readouterr()
        with failing(FaultyOs(number, ERRORS[number % len(ERRORS)])) as os:
            code = main(arguments)
        if len(os.steps) <= number:
            break  # nothing failed: every step has had its turn
        err = capsys.readouterr().err
        assert "Traceback" not in err
        assert "internal error" not in err
        now = state(folder)
        if code == 2:
            assert err.count("\n") == 1, err
            assert now == (new if "a power failure may undo it" in err else old), (number, os.steps)
        else:  # only removing what is not needed any more may fail without an error
            assert now == new
            assert os.steps[number] == "unlink"
        if number % 5 == 0:
            assert main(arguments) in (0, 1)
            assert state(folder) == new
    assert number >= 8


def test_people_s_texts_are_private(folder: Path, arguments_of: Callable[[str], list[str]]) -> None:
    assert main(arguments_of("reflect")) == 0
    for name in ("out.jsonl.journal.sqlite", "out.jsonl.provenance.jsonl"):
        assert (folder / name).stat().st_mode & 0o077 == 0
