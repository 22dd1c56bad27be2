"""Hostile ids, names and texts × commands × outputs: no control character reaches a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifdkit.cli.main import COMMANDS, main
from ifdkit.scoring.table import read_scores
from ifdkit.visible import guarded, unguarded, visible

pytestmark = pytest.mark.long

HOSTILE = (
    "\x1b]0;owned\x07", "\x1b[2J\x1b[H", "\x1b]8;;http://evil\x1b\\x", "\x9b31m", "\u202e\u2066",
    "\x08\x08\x08", "\r=cmd()", "\x7f\x00", "\u200b\ufeff", "\u2028", "\U000e0041",
)  # fmt: skip
SGR = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\?25[lh]|\x1b\[\d*[AK]|\x1b\[2K")
"""What rich itself writes: colours, and the moves of a progress bar."""
SIGNS = ("=1+1", "+1", "-1", "@x", "\tx", "\rx", "＝x", " =x", "'=x", "''@x", "'x", "x")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    rows = [
        {"id": f"{one}{i}", "instruction": f"Say {one} now", "output": f"It is {one} here.", one: 1}
        for i, one in enumerate(HOSTILE)
        if "\x00" not in one
    ]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, [*rows, 3, {"\x1b[2J": 1}])))
    return tmp_path


def commands(model: Path) -> dict[str, list[str]]:
    small = ["-m", str(model), "--metrics", "ifd"]
    return {
        "score": ["score", "d.jsonl", *small],
        "json": ["score", "d.jsonl", *small, "--json"],
        "show": ["show", "d.jsonl", "0", *small],
        "show an id": ["show", "d.jsonl", "\x1b]0;x\x07", *small],
        "audit": ["audit", "d.jsonl", "--no-model", "-o", "report", "--verbose"],
        "audit json": ["audit", "d.jsonl", "--no-model", "--json"],
        "compare": ["compare", "d.jsonl", "d.jsonl", "-o", "c", *small],
        "select": ["select", "d.jsonl", "-o", "k.jsonl", "--method", "random", "--top", "50%"],
        "reflect": ["reflect", "d.jsonl", "--oracle", "m", "--dry-run"],
        "file": ["score", "no\x1b[2J\u202efile.jsonl", *small],
        "model": ["score", "d.jsonl", "-m", "./no\x1b[2Jmodel"],
        "template": ["score", "d.jsonl", *small, "--template", "no\x1b[2J.jinja"],
        "where": ["score", "d.jsonl", *small, "--where", "no\x1b[2J > 1"],
        "flag": ["score", "d.jsonl", "--limit", "x\x1b[2J"],
        "columns": ["score", "d.jsonl", *small, "--columns", "instruction=\x1b[2J,response=output"],
        "rule": ["audit", "d.jsonl", "--no-model", "--rule", "\x1b[2J.most=1"],
        "several": ["compare", "d.jsonl", "d.jsonl", "d.jsonl", "-o", "c", *small],
        "unpaired": ["compare", "d.jsonl", "d.jsonl", "--unpaired", "-o", "c", *small],
        "groups": ["compare", "d.jsonl", "d.jsonl", "--group-by", "id", "-o", "c", *small],
        "audit groups": ["audit", "d.jsonl", "--no-model", "--group-by", "id", "-o", "report"],
        "card": ["card", "s.jsonl"],
        "merge": ["merge", "s.jsonl", "-o", "m.jsonl"],
        "plan": ["score", "d.jsonl", "--plan", *small],
        "train": ["train", "d.jsonl", "-o", "t", "-m", str(model), "--steps", "1",
                  "--batch-size", "1"],
        "generate": ["generate", "d.jsonl", "-o", "g.jsonl", "-m", str(model),
                     "--max-new-tokens", "2"],
        "judge": ["judge", "--from", "p.json"],
        "predict": ["predict", "p.json", "-o", "p", *small],
        "view": ["view", "no\x1b[2J.jsonl"],
        "store": ["store", "info", "--store", "no\x1b[2J.sqlite"],
        "completion": ["completion", "\x1b[2J"],
    }  # fmt: skip


def test_every_command_has_a_call() -> None:
    called = {words[0] for words in commands(Path("x")).values()}
    assert called == {command.name for command in COMMANDS} - {"models"}  # which takes no words


@pytest.fixture
def inputs(folder: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What some commands need: scores of the hostile rows, and preferences about them."""
    assert (
        main(["score", "d.jsonl", "-m", str(tiny_model), "--metrics", "ifd", "-o", "s.jsonl"]) == 0
    )
    pairs = [
        {"instruction": f"Say {one}", "output_1": f"It is {one}.", "output_2": f"{one} no",
         "generator_1": one, "generator_2": one[::-1], "preference": 1 + i % 2}
        for i, one in enumerate(HOSTILE) if "\x00" not in one
    ]  # fmt: skip
    (folder / "p.json").write_text(json.dumps(pairs))
    capsys.readouterr()


@pytest.mark.parametrize("name", list(commands(Path("x"))))
def test_no_control_character_is_printed(
    name: str, tiny_model: Path, capsys: pytest.CaptureFixture[str], folder: Path, inputs: None
) -> None:
    code = main(commands(tiny_model)[name])
    out, err = capsys.readouterr()
    assert code in (0, 1, 2)
    assert "internal error" not in err
    assert out + err == visible(out + err)
    if "json" in name:
        assert json.loads(out), "escapes of JSON, not of Python"
    for path in folder.rglob("*"):
        if path.suffix in (".html", ".md", ".tex", ".sarif"):
            text = path.read_text(encoding="utf-8")
            assert text == visible(text), path


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("name", ["show", "audit", "compare", "file"])
def test_a_terminal_gets_only_the_codes_of_the_console(
    name: str, tiny_model: Path, folder: Path
) -> None:
    parent, child = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "100"}
    process = subprocess.Popen(
        [sys.executable, "-m", "ifdkit", *commands(tiny_model)[name]],
        stdin=child, stdout=child, stderr=child, cwd=folder, env=environment,
    )  # fmt: skip
    os.close(child)
    written = b""
    while True:
        try:
            piece = os.read(parent, 65536)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        written += piece
    os.close(parent)
    assert process.wait(60) in (0, 1, 2)
    text = SGR.sub("", written.decode().replace("\r", ""))
    assert text == visible(text)
    assert "\\x1b" in text, "the hostile text is shown, escaped"


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_ids_that_begin_like_formulas_come_back_as_they_were(
    ending: str, tiny_model: Path, folder: Path
) -> None:
    rows = [{"id": one, "instruction": "Add 2 and 3", "output": "It is 5."} for one in SIGNS]
    (folder / "f.jsonl").write_text("\n".join(map(json.dumps, rows)))
    out = f"s.{ending}"
    small = ["-m", str(tiny_model), "--metrics", "ifd", "--quiet"]
    assert main(["score", "f.jsonl", "-o", out, *small]) == 0
    if ending == "csv":
        cells = [line.split(",")[0].strip('"') for line in Path(out).read_text().splitlines()]
        assert not [one for one in cells if one.lstrip()[:1] in tuple("=+-@＝") and one]
    assert list(read_scores(Path(out)).ids) == list(SIGNS)


@given(st.text(alphabet=st.sampled_from("'=+-@\t\r ＝ab"), max_size=6))
def test_the_guard_of_a_cell_is_undone_exactly(text: str) -> None:
    assert unguarded(guarded(text)) == text
    assert not guarded(text).lstrip().startswith(("=", "+", "-", "@", "＝"))
