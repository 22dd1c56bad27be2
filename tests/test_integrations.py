"""Shell completion, dataset cards, and the files that trainers read."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ifdkit.cli.main import cli, main
from tests.select_fixtures import rows_like, scored


def completed(words: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> list[str]:
    """What bash is offered behind these words."""
    monkeypatch.setenv("_IFDKIT_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    assert main([]) == 0
    lines: list[str] = capsys.readouterr().out.splitlines()
    return [line.partition(",")[2] for line in lines]


def test_commands_and_flags_are_completed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert completed("ifdkit co", monkeypatch, capsys) == ["compare", "completion"]
    assert set(completed("ifdkit ", monkeypatch, capsys)) == set(cli.commands)
    assert "--max-length" in completed("ifdkit score data.json --ma", monkeypatch, capsys)
    assert "".join(completed("ifdkit nothing", monkeypatch, capsys)) == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_asks_the_command_that_answers(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert f"_IFDKIT_COMPLETE={shell}_complete" in script
    assert main(["completion", "tcsh"]) == 2


def test_completion_loads_nothing_heavy() -> None:
    code = (
        "import os, sys; os.environ |= {'_IFDKIT_COMPLETE': 'bash_complete',"
        " 'COMP_WORDS': 'ifdkit sc', 'COMP_CWORD': '1'};"
        "from ifdkit.cli.main import main; main([]);"
        "sys.exit(bool({'torch', 'pandas', 'transformers', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "plain,score"


def test_a_card_has_the_numbers_their_protocol_and_their_limits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ifd = [0.5 + i / 40 for i in range(19)] + [None]
    path = scored(tmp_path, rows_like(20), ifd=ifd)
    assert main(["card", str(path)]) == 0
    text = capsys.readouterr().out
    assert text.startswith("## Scores\n")
    assert "| IFD | 19 |" in text
    for part in ("### How it was measured", "### Limits", "Protocol: `aligned`", "weights `"):
        assert part in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in table} == {7}


def test_a_card_as_json_has_the_same_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = scored(tmp_path, rows_like(20), ifd=[0.5 + i / 40 for i in range(19)] + [None])
    assert main(["card", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "ifdkit.card/1"
    assert (found["n_examples"], found["statuses"]) == (20, {"ok": 20})
    assert found["metrics"]["ifd"]["n"] == 19
    assert found["metrics"]["ifd"]["median"] == pytest.approx(0.725)
    assert found["share_misaligned"] == 0
    assert found["manifest"] == json.loads(Path(f"{path}.manifest.json").read_text())


def test_a_card_of_what_is_no_scores_file_is_refused(
    write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = write("data.json", [{"instruction": "a", "output": "b"}])
    assert main(["card", str(path)]) == 2
    assert "is not a scores file: make one with `ifdkit score" in capsys.readouterr().err


CONVERSATION = {
    "id": "c",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Name a river."},
        {"role": "assistant", "content": "The Rhine."},
        {"role": "user", "content": "Another?"},
        {"role": "assistant", "content": "The Danube."},
    ],
}


def test_a_selection_for_llamafactory_has_its_list_of_datasets(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    data = write("data.json", [CONVERSATION])
    info = tmp_path / "dataset_info.json"
    info.write_text('{"other": {"file_name": "other.json"}}')
    output = tmp_path / "best.json"
    ids = tmp_path / "ids.txt"
    ids.write_text("c\n")
    given = ["select", str(data), "-o", str(output), "--ids", str(ids)]
    assert main([*given, "--to", "llamafactory", "--quiet"]) == 0
    (row,) = json.loads(output.read_text())
    assert row == {
        "instruction": "Another?",
        "input": "",
        "output": "The Danube.",
        "system": "Be brief.",
        "history": [["Name a river.", "The Rhine."]],
    }
    found = json.loads(info.read_text())
    assert found["other"] == {"file_name": "other.json"}, "other entries stay"
    assert found["best"]["file_name"] == "best.json"
    assert set(row) == set(found["best"]["columns"].values())


def test_a_selection_for_trl_has_messages(write: Callable[..., Path], tmp_path: Path) -> None:
    data = write("data.json", [CONVERSATION, {**CONVERSATION, "id": "d"}])
    ids, output = tmp_path / "ids.txt", tmp_path / "best.jsonl"
    ids.write_text("d\n")
    given = ["select", str(data), "-o", str(output), "--ids", str(ids), "--quiet"]
    assert main([*given, "--to", "trl"]) == 0
    (line,) = output.read_text().splitlines()
    assert json.loads(line) == {"messages": CONVERSATION["messages"]}
    assert not (tmp_path / "dataset_info.json").exists()
    wrong = [*given[:3], str(tmp_path / "best.csv"), *given[4:], "--to", "trl"]
    assert main(wrong) == 2
