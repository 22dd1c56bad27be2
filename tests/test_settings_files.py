"""Settings files: which one wins, and what a file of an unknown author may not set."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from ifdkit.cli.main import cli, main
from ifdkit.cli.options import Trust, trust_of
from tests.limits import time_limit

Make = Callable[..., Path]
TRUSTED = {
    "trust-remote-code": "true",
    "allow-pickle": "true",
    "base-url": '"http://127.0.0.1:9/v1"',
    "api-key-env": '"AWS_SECRET_ACCESS_KEY"',
    "store": '"scores.sqlite"',
    "store-limit": '"1M"',
    "prompts": '"prompts"',
    "ray-address": '"ray://127.0.0.1:9"',
    "log": '"wandb"',
}
ONE_CALL = {
    **dict.fromkeys(("from", "output", "clean", "eval", "versus", "ids", "marks"), '"x.json"'),
    "tune-eval": '"x.json"',
    **dict.fromkeys(("no-open", "model-on-demand", "plan"), "true"),
    "turn": "1",
    "until": "'ifd ± 0.01'",
    "shard": '"1/2"',
    "export": '"atlas"',
}


@pytest.fixture(autouse=True)
def user_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, and a user-level file outside it."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    file = tmp_path / "user.toml"
    file.touch()
    monkeypatch.setenv("IFDKIT_CONFIG", str(file))
    return file


@pytest.mark.parametrize("name", sorted(TRUSTED | ONE_CALL))
@pytest.mark.parametrize("file", ["ifdkit.toml", "pyproject.toml"])
def test_a_working_folder_cannot_set_what_runs_code_sends_data_or_names_an_output(
    file: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    head = "[tool.ifdkit]\n" if file == "pyproject.toml" else ""
    Path(file).write_text(f"{head}{name} = {(TRUSTED | ONE_CALL)[name]}\n")
    assert main(["models"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"ifdkit: {file}: {name!r} ")
    assert err.count("\n") == 1
    assert f"give --{name}" in err
    assert ("user.toml" in err) is (name in TRUSTED)


@pytest.mark.parametrize("name", sorted(TRUSTED))
def test_the_users_own_file_may_set_it(name: str, user_file: Path) -> None:
    user_file.write_text(f"{name} = {TRUSTED[name]}\n")
    assert main(["models"]) == 0


@pytest.mark.parametrize("name", sorted(ONE_CALL))
def test_no_file_sets_what_belongs_to_one_call(
    name: str, user_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    user_file.write_text(f"{name} = {ONE_CALL[name]}\n")
    assert main(["models"]) == 2
    assert "belongs to one call" in capsys.readouterr().err


def test_every_option_declares_who_may_set_it() -> None:
    """A new option that names an output, code or a server must be added here and declared."""
    options = {
        one.opts[0].removeprefix("--"): trust_of(one)
        for command in cli.commands.values()
        for one in command.params
        if isinstance(one, click.Option)
    }
    assert {name for name, trust in options.items() if trust is Trust.USER} == set(TRUSTED)
    assert {name for name, trust in options.items() if trust is Trust.CALL} == set(ONE_CALL)


def test_flag_beats_variable_beats_folder_beats_user(
    user_file: Path, write: Make, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    data = write("data.json", [{"instruction": "a", "output": "b"}])
    user_file.write_text('window = 3\nmax-length = 9\n[audit.refusal]\nseverity = "error"\n')
    Path("ifdkit.toml").write_text("window = 5\n[audit.refusal]\nmost = 0.5\n")

    def printed(*flags: str) -> list[str]:
        main(["audit", str(data), "--no-model", "--verbose", "--json", *flags])
        return capsys.readouterr().err.splitlines()

    lines = printed()
    assert lines[:2] == [
        f"settings file: {user_file}  (user)",
        f"settings file: {Path.cwd() / 'ifdkit.toml'}  (working folder)",
    ]
    assert f"window = 5  ({Path.cwd() / 'ifdkit.toml'})" in lines
    assert f"max-length = 9  ({user_file})" in lines
    monkeypatch.setenv("IFDKIT_WINDOW", "7")
    assert "window = 7  (environment)" in printed()
    assert "window = 8  (commandline)" in printed("--window", "8")


def test_rules_of_the_folder_override_those_of_the_user(
    user_file: Path, write: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write("data.json", [{"instruction": "a", "output": ""}] * 3)
    user_file.write_text('[audit.empty_response]\nseverity = "error"\n')
    assert main(["audit", str(data), "--no-model", "--quiet", "--metrics", "ppl"]) == 1
    Path("ifdkit.toml").write_text('[audit.empty_response]\nseverity = "off"\n')
    main(["audit", str(data), "--no-model", "--quiet", "--json"])
    assert '"name": "empty_response",\n      "severity": "error"' not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"x = " + b"[" * 20_000, "ifdkit.toml: "),
        (b"#" * (2**20 + 1), "longer than"),
        (b"\xff\xfe", "ifdkit.toml: "),
        (b'"a\\u001b]0;x" = 1', "is not an option"),
    ],
    ids=["deep", "long", "bytes", "escapes"],
)
def test_a_hostile_settings_file_is_one_line(
    content: bytes, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("ifdkit.toml").write_bytes(content)
    assert main(["models"]) == 2
    err = capsys.readouterr().err
    assert problem in err
    assert err.count("\n") == 1
    assert err.isprintable() or err[:-1].isprintable()


def test_a_settings_file_that_is_a_pipe_or_a_device_is_not_read() -> None:
    os.mkfifo("ifdkit.toml")
    Path("pyproject.toml").symlink_to("/dev/zero")
    with time_limit(10):
        assert main(["models"]) == 0


def test_a_user_file_that_is_named_must_exist(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IFDKIT_CONFIG", "absent.toml")
    assert main(["models"]) == 2
    assert "absent.toml" in capsys.readouterr().err


def test_without_the_variable_the_users_folder_of_settings_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from ifdkit.cli.config import user_file as default

    monkeypatch.delenv("IFDKIT_CONFIG")
    monkeypatch.setattr("platformdirs.user_config_dir", lambda name: str(tmp_path / name))
    assert default() == tmp_path / "ifdkit" / "config.toml"
