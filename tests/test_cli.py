"""What a user types, and what comes back: exit codes, one-line errors, streams."""

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

import click
import pytest

from ifdkit.cli import main as cli
from ifdkit.cli.main import main

Make = Callable[..., Path]
ROWS = [
    {"instruction": "Write a poem", "output": "The sea is wide and the sky is blue."},
    {"instruction": "Add 2 and 3", "output": "5"},
]


@pytest.fixture(autouse=True)
def fresh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run in an empty folder; signal handlers stay pytest's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda *_: None)


@pytest.fixture
def small(tiny_model: Path, tmp_path: Path) -> list[str]:
    """Flags for a quick run."""
    store = tmp_path / "store.sqlite"
    return ["--model", str(tiny_model), "--metrics", "ifd", "--store", str(store)]


def process(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ifdkit", *arguments], capture_output=True, text=True, **options
    )


def test_score_prints_a_table_and_says_where(
    write: Make, small: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write("data.json", ROWS)
    assert main(["score", "data.json", *small]) == 0
    out, err = capsys.readouterr()
    assert "ifd_loss" in out
    assert "2 examples: 2 ok" in out
    assert "→ data.scores.jsonl" in out
    assert "Alpaca: instruction → output, 2 rows" in err
    assert "\x1b" not in out + err
    assert len((tmp_path / "data.scores.jsonl").read_text().splitlines()) == 2


def test_quiet_and_json(write: Make, small: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    write("data.json", ROWS)
    assert main(["score", "data.json", *small, "--json", "-q"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    summary = json.loads(out)
    assert summary["metrics"]["ifd"]["n"] == 2
    assert summary["manifest"]["protocol"] == "aligned"
    assert summary["output"] == "data.scores.jsonl"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["score"], "ifdkit: missing argument 'DATA...' (see ifdkit score --help)"),
        (["score", "data.json", "--limit", "x"], "not a valid integer"),
        (
            ["scor", "data.json"],
            "no such command 'scor': did you mean 'score'? (see ifdkit -",
        ),
        (["score", "data.json", "--metriks", "ifd"], "'--metriks': did you mean '--metrics'? (see"),
        (["score", "nothing.json"], "no such file: nothing.json"),
        (["score", "data.json", "--protocol", "mine"], "no protocol 'mine': choose from aligned"),
        (["score", "data.json", "--model", "./nowhere"], "does not exist"),
        (["score", "data.json", "--model", "no-such-model"], "not in the local hub cache"),
        (["score", "data.json", "-o", "x.xml"], "end it in .jsonl, .csv, .parquet"),
        (["score", "data.json", "--columns", "instruction"], "write pairs such as instruction=q"),
        (["score", "data.json", "--columns", "response=z"], "has no column 'z'"),
        (["score", "two.json"], "--columns response=output or --columns response=response"),
        (["score", "data.json", "--metrics", "bleu"], "choose from ppl, ifd, rifd, coherence"),
        (["score", "data.json", "--device", "cuda:9"], "--device cuda:9 is not available"),
        (["score", "data.json", "--template", "nope"], "no template 'nope'"),
        (["score", "empty.json"], "empty.json contains no rows"),
        (["score", "data.json", "--sample", "1", "--seed", "-1"], "--seed -1: not negative"),
        (["score", "data.json", "--device", "cpu:x"], "--device cpu:x is not available"),
        (["score", "data.json", "--device", "cuda:-1"], "--device cuda:-1 is not available"),
        (["score", "x" * 300], "File name too long"),
        (["score", "data.json", "--template", "x" * 300], "no template"),
        (["score", "data.json", "--model", "x" * 300], "too long for a path"),
        (["score", "data.json", "--model", "~nobody-here/x"], "neither a folder nor a name"),
        (["show", "data.json", "7"], "none with the id or position '7'"),
    ],
)
def test_errors_are_one_line_and_exit_two(
    write: Make,
    tiny_model: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    write("data.json", ROWS)
    write("two.json", [{"instruction": "a", "output": "b", "response": "c"}])
    write("empty.json", "[]")
    model = [] if "--model" in arguments or arguments[0] == "scor" else ["--model", str(tiny_model)]
    assert main([*arguments, *(model if len(arguments) > 1 else []), "-q"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert "Traceback" not in err
    assert err.startswith("ifdkit: ")
    assert err.count("\n") == 1


def test_an_internal_error_is_one_line_and_a_traceback_only_when_asked(
    write: Make, small: list[str], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def explode(*_: object, **__: object) -> None:
        raise RuntimeError("the roof\nfell in")

    write("data.json", ROWS)
    monkeypatch.setattr("ifdkit.scoring.run.score_to_file", explode)
    assert main(["score", "data.json", *small]) == 2
    err = capsys.readouterr().err
    assert err.startswith("ifdkit: internal error: RuntimeError: the roof")
    assert err.count("\n") == 1
    assert main(["score", "data.json", *small, "--verbose"]) == 2
    assert "Traceback" in capsys.readouterr().err


_set_signal = signal.signal  # the fixture above replaces it


def _listen_to_ctrl_c() -> None:
    """A shell that runs the tests in its background has told them to ignore Ctrl-C."""
    _set_signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.long
def test_ctrl_c_exits_130_keeps_what_is_done_and_leaves_no_litter(
    write: Make, tiny_model: Path, tmp_path: Path
) -> None:
    rows = [{"instruction": f"Count {i}", "output": "1 2 3 " * (i % 40 + 1)} for i in range(4000)]
    write("data.json", rows)
    store = tmp_path / "store.sqlite"
    running = subprocess.Popen(
        [sys.executable, "-m", "ifdkit", "score", "data.json", "--model", str(tiny_model),
         "--metrics", "ifd", "--store", str(store)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=_listen_to_ctrl_c,
    )  # fmt: skip
    wal = store.with_name("store.sqlite-wal")
    end = time.monotonic() + 120
    while not (wal.exists() and wal.stat().st_size > 200_000):
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert out == ""
    assert err.splitlines()[-1].startswith("ifdkit: Interrupted; progress saved")
    assert "Traceback" not in err
    left = {path.name for path in tmp_path.iterdir() if not path.name.startswith("store.sqlite")}
    assert left == {"data.json"}


@pytest.mark.long
def test_standard_input_serves_as_a_dataset(small: list[str]) -> None:
    done = process("score", "-", *small, "-q", input="\n".join(json.dumps(row) for row in ROWS))
    assert done.returncode == 0, done.stderr
    assert Path("stdin.scores.jsonl").exists()


@pytest.mark.long
def test_a_closed_pipe_is_no_error(write: Make, small: list[str]) -> None:
    write("data.json", ROWS)
    command = [sys.executable, "-m", "ifdkit", "score", "data.json", *small, "--json"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert running.stdout is not None
    assert running.stderr is not None
    running.stdout.close()
    err = running.stderr.read()
    running.stderr.close()
    assert running.wait() == 0, err
    assert b"Traceback" not in err
    assert b"Exception ignored" not in err


def test_flag_beats_variable_beats_file(
    write: Make, small: list[str], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    write("data.json", ROWS)

    def window(*flags: str) -> tuple[int, str]:
        assert main(["score", "data.json", *small, "--json", "--verbose", *flags]) == 0
        out, err = capsys.readouterr()
        (line,) = [line for line in err.splitlines() if line.startswith("window = ")] or [""]
        return json.loads(out)["manifest"]["window"], line

    assert window() == (64, "")
    write("pyproject.toml", "[tool.ifdkit]\nwindow = 7\n")
    assert window() == (7, f"window = 7  ({Path.cwd() / 'pyproject.toml'})")
    write("ifdkit.toml", "window = 9\n")
    assert window()[0] == 9
    monkeypatch.setenv("IFDKIT_WINDOW", "5")
    assert window() == (5, "window = 5  (environment)")
    assert window("--window", "3") == (3, "window = 3  (commandline)")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("windw = 3", "'windw' is not an option"),
        ("window =", "ifdkit.toml"),
    ],
)
def test_a_broken_settings_file_is_an_error(
    write: Make, capsys: pytest.CaptureFixture[str], content: str, message: str
) -> None:
    write("ifdkit.toml", content)
    assert main(["models"]) == 2
    assert message in capsys.readouterr().err


def test_show_lists_tokens_without_colours_and_colours_them_on_a_terminal(
    write: Make, small: list[str], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    write("data.json", ROWS)
    assert main(["show", "data.json", "0", *small]) == 0
    plain = capsys.readouterr().out
    assert "conditional" in plain
    assert "\x1b" not in plain
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert main(["show", "data.json", "0", *small]) == 0
    coloured = capsys.readouterr().out
    assert "\x1b[" in coloured
    assert "The sea is wide" in _without_escapes(coloured)


def _without_escapes(text: str) -> str:
    import re

    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.mark.parametrize("protocol", ["aligned", "superfiltering", "reflection", "cherry"])
def test_shown_tokens_add_up_to_the_scores(
    write: Make, small: list[str], capsys: pytest.CaptureFixture[str], protocol: str
) -> None:
    rows = [*ROWS, {"id": "umlaut", "instruction": "Say", "output": "Äh 你好 🎉!"}]
    write("data.json", rows)
    for row, text in (("0", ROWS[0]["output"]), ("umlaut", "Äh 你好 🎉!")):
        flags = ["--json", "--protocol", protocol]
        assert main(["show", "data.json", row, *small, *flags]) == 0
        shown = json.loads(capsys.readouterr().out)
        for which in ("direct", "conditional"):
            tokens = shown[which]
            nats = [token["nats"] for token in tokens if token["nats"] is not None]
            mean = sum(nats) / len(nats)
            assert mean == pytest.approx(shown["row"][f"nll_response_{which}"], rel=1e-6)
            if protocol == "aligned":
                assert "".join(token["text"] for token in tokens) == text


def test_show_takes_ids_of_any_turn_before_positions(
    write: Make, small: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    write("data.json", [{"id": i + 1, **row} for i, row in enumerate(ROWS)])
    turns = [("user", "Hi"), ("assistant", "Hello"), ("user", "Bye"), ("assistant", "So long")]
    write("talk.json", [{"messages": [{"role": r, "content": c} for r, c in turns]}])

    def shown(*arguments: str) -> dict[str, Any]:
        assert main(["show", *arguments, *small, "--json"]) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)["row"]
        return found

    assert [shown("data.json", which)["row"] for which in ("0", "1", "2")] == [0, 0, 1]
    first = shown("talk.json", "0", "--turn", "0")
    assert (first["turn"], shown("talk.json", "0")["turn"]) == (0, 1)
    assert shown("talk.json", first["id"])["turn"] == 0
    assert main(["show", "talk.json", "0", "--turn", "5", *small]) == 2
    assert "assistant turns 0 to 1" in capsys.readouterr().err


def test_models_lists_the_embedded_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    assert "HuggingFaceTB/SmolLM2-135M-Instruct  (default)" in capsys.readouterr().out
    assert main(["models", "--json"]) == 0
    names = [model["name"] for model in json.loads(capsys.readouterr().out)["models"]]
    assert names[:2] == [
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "sentence-transformers/all-MiniLM-L6-v2",
    ]


@pytest.mark.parametrize("command", sorted(cli.cli.commands))
def test_every_command_has_help_with_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"ifdkit {command}" in text.split("Example:")[1]


def test_every_option_has_help_and_a_variable() -> None:
    for command in cli.cli.commands.values():
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, parameter.name
                one_call = {"clean", "eval", "fail_if", "from", "ids", "marks", "export"}
                one_call |= {"model_on_demand", "no_open", "plan", "until", "shard"}
                known = one_call | {"output", "turn", "tune_eval", "versus"}
                assert parameter.envvar or parameter.name in known, parameter.name


@pytest.mark.long
def test_a_narrow_terminal_and_no_colour_are_served(write: Make, small: list[str]) -> None:
    write("data.json", ROWS)
    narrow = os.environ | {"COLUMNS": "30", "NO_COLOR": "1", "TERM": "dumb"}
    done = process("score", "data.json", *small, env=narrow)
    assert done.returncode == 0
    assert "ifd" in done.stdout
