"""A cloned folder whose author attacks: settings, model, template, data, server."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import ifdkit.cli.main as cli
from tests.every_command import CALLS, ENDLESS, write_inputs
from tests.test_api_keys import (
    KEY,
    MEANT,
    SECRETS,
    Recorder,
    completion,
    reflect,
    shown,
)
from tests.test_untrusted_models import CODE, SENTINEL, auto_map
from tests.zygote import Zygote

pytestmark = pytest.mark.long


def test_nothing_runs_leaks_or_hangs(tmp_path: Path, tiny_model: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "m")
    auto_map(tmp_path / "m")
    for name in ("m/modeling_evil", "m/configuration_evil", "xllamacpp", "matplotlib"):
        (tmp_path / f"{name}.py").write_text(CODE)
    (tmp_path / "bomb.jinja").write_text(
        "{% for i in range(99999999) %}{{ instruction }}{% endfor %}"
    )
    row = {"id": "\x1b]0;owned\x07", "instruction": "\x1b[2Jx", "output": "\u202ey"}
    (tmp_path / "data.jsonl").write_text(json.dumps(row))
    with (
        Recorder(lambda *_: (200, "", {})) as other,
        Recorder(
            lambda key, _: (307, f"Location: {other.base_url}?{key}\r\n", {"error": key})
        ) as server,
    ):
        settings = f'model = "./m"\ntemplate = "bomb.jinja"\nbase-url = "{server.base_url}"\n'
        (tmp_path / "ifdkit.toml").write_text(settings + f'api-key-env = "{MEANT}"\n')
        refused = reflect(tmp_path)
        assert refused.returncode == 2
        assert "not read from a file of the working folder" in refused.stderr
        assert server.received == []
        (tmp_path / "ifdkit.toml").write_text('model = "./m"\ntemplate = "bomb.jinja"\n')
        asked = reflect(tmp_path, "--base-url", server.base_url, "--api-key-env", MEANT)
    assert asked.returncode == 2
    assert server.received
    assert other.received == []
    for done in (refused, asked):
        assert KEY not in shown(tmp_path, done)
        assert "\x1b" not in done.stdout + done.stderr
    assert not (tmp_path / SENTINEL).exists()


CONTROL = "\x1b]0;owned\x07\x1b[2J\u202e"


@pytest.fixture
def zygote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Zygote]:
    """A process with ten secrets in its environment, in a folder with data."""
    for name, secret in {**SECRETS, MEANT: KEY}.items():
        monkeypatch.setenv(name, secret)
    monkeypatch.setenv("IFDKIT_CACHE", str(tmp_path / "cache"))
    write_inputs(tmp_path, CONTROL)
    with Zygote(tmp_path, hidden=()) as started:
        yield started


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_the_calls_have_every_command() -> None:
    assert set(CALLS) == {one.name for one in cli.COMMANDS}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="starts commands by forking")
@pytest.mark.parametrize(
    ("model", "left_out"),
    [
        ("hostile", set()),
        ("tiny", {"train", "view"}),  # they take longest, and run above
        pytest.param("tiny", set(), marks=pytest.mark.slow),
    ],
)
def test_no_command_runs_foreign_code_or_leaks_a_secret(
    model: str, left_out: set[str], tmp_path: Path, tiny_model: Path, zygote: Zygote
) -> None:
    shutil.copytree(tiny_model, tmp_path / "m")
    for name in ("m/modeling_evil", "m/configuration_evil", "xllamacpp", "matplotlib", "torch"):
        (tmp_path / f"{name}.py").write_text(CODE)
    settings = 'model = "./m"\nmetrics = "ifd"\n'
    if model == "hostile":
        auto_map(tmp_path / "m")
        (tmp_path / "bomb.jinja").write_text("{% for i in range(99999999) %}x{% endfor %}")
        settings += 'template = "bomb.jinja"\n'
    (tmp_path / "ifdkit.toml").write_text(settings)
    reply = completion(json.dumps({"better_response": "It is 5.", "first": 7, "second": 3}))
    codes = {}
    with Recorder(lambda *_: (200, "", reply)) as server:
        oracle = ["--oracle", "m", "--base-url", server.base_url, "--api-key-env", MEANT,
                  "--retries", "0"]  # fmt: skip
        for name, call in CALLS.items():
            if name in left_out:
                continue
            arguments = [flag for one in call for flag in (oracle if one == "ORACLE" else [one])]
            kill_s = 5.0 if name in ENDLESS else None
            codes[name] = zygote.run(arguments, kill_s)
            assert codes[name] in ({-9, 2} if kill_s else {0, 1, 2}), (name, zygote.log)
            assert not (tmp_path / SENTINEL).exists(), name
            assert "internal error" not in zygote.log, (name, zygote.log)
            assert "Traceback" not in zygote.log, (name, zygote.log)
            assert "\x1b" not in zygote.log, name
            assert "\u202e" not in zygote.log, name
            for variable, secret in {**SECRETS, MEANT: KEY}.items():
                assert secret not in zygote.log, (name, variable)
    if model == "tiny":
        done = [name for name, code in codes.items() if code in (0, 1)]
        run = {"score", "compare", "show", "select", "train", "generate"} - left_out
        assert run <= set(done), codes
    assert f"Bearer {KEY}".encode() in server.everything, "the negative control: it was sent"
    files = everything(tmp_path)
    for variable, secret in SECRETS.items():
        assert secret.encode() not in files, variable
        assert secret.encode() not in server.everything, variable
    assert KEY.encode() not in files
