"""Servers that answer an oracle's calls with anything at all: one line, or a row with a reason."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ifdkit.cli.main import main
from ifdkit.judging.questions import JudgeAnswer, JudgingProbe, parse
from ifdkit.oracle.calls import Reply
from tests.limits import time_limit
from tests.test_api_keys import Recorder, completion

pytestmark = pytest.mark.long

ROW = {"id": "r", "instruction": "Add 2 and 3", "output": "It is 5, as 2 and 3 are 5."}
COMMANDS = {
    "judge": ["judge", "d.jsonl", "e.jsonl", "-o", "judged.json", "--oracle", "m"],
    "reflect": ["reflect", "d.jsonl", "-o", "n.jsonl", "--oracle", "m"],
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d.jsonl").write_text(json.dumps(ROW) + "\n")
    (tmp_path / "e.jsonl").write_text(json.dumps(ROW | {"output": "Five."}) + "\n")
    return tmp_path


def with_usage(**usage: Any) -> bytes:
    return json.dumps(completion('{"winner": "1"}') | {"usage": usage}).encode()


BODIES: dict[str, Callable[[], bytes]] = {
    "deep": lambda: b"[" * 1_000_000,
    "deep content": lambda: json.dumps(completion('{"winner": ' + "[" * 100_000)).encode(),
    "deep choices": lambda: b'{"choices": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a score that is no number": lambda: json.dumps(completion('{"winner": NaN}')).encode(),
    "a list": lambda: json.dumps(completion('{"winner": ["1", "2", "3"]}')).encode(),
    "many answers": lambda: json.dumps(completion('{"winner": "1"}' * 50_000)).encode(),
    "beginnings": lambda: json.dumps(completion('{"winner":' * 100_000)).encode(),
    "no text": lambda: json.dumps(completion("")).encode(),
    "numbers": lambda: json.dumps({"choices": [{"message": {"content": 5}}]}).encode(),
    "nothing": lambda: b"",
    "null": lambda: b"null",
    "no UTF-8": lambda: b"\xff\xfe{}",
    "a surrogate": lambda: json.dumps(completion('{"winner": "\ud800"}')).encode(),
    "escapes": lambda: json.dumps(completion("\x1b]0;owned\x07\u202e")).encode(),
    "huge usage": lambda: with_usage(prompt_tokens=10**400, completion_tokens=10**400),
    "negative usage": lambda: with_usage(prompt_tokens=-5, completion_tokens=-5),
    "odd usage": lambda: with_usage(prompt_tokens="x", completion_tokens=[1]),
    "many digits": lambda: b'{"choices": ' + b"9" * 10_000 + b"}",
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", BODIES)
def test_any_body_is_a_reason(name: str, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    body = BODIES[name]()
    call = [*COMMANDS[command], "--retries", "0", "-q", "--price-in", "1", "--price-out", "1"]
    with Recorder(lambda *_: (200, "", body)) as server, time_limit(60):
        code = main([*call, "--base-url", server.base_url])
    out, err = capsys.readouterr()
    assert code in (0, 1, 2)
    assert "internal error" not in err
    assert "Traceback" not in err
    assert all(char.isprintable() for char in out + err if char != "\n")
    assert code != 2 or sum(one.startswith("ifdkit: ") for one in err.splitlines()) == 1


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    "wait", ["1e9", "86400", "9" * 300, "Fri, 01 Jan 2999 00:00:00 GMT", "601"]
)
def test_a_server_that_asks_to_wait_for_ever_ends_the_run(
    wait: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    call = [*COMMANDS[command], "--retries", "0", "-q"]
    head = f"Retry-After: {wait}\r\n"
    body = b'{"error": {"message": "slow"}}'
    with Recorder(lambda *_: (429, head, body)) as server, time_limit(60):
        code = main([*call, "--base-url", server.base_url])
    assert code == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert "s before the next call; replies are kept: re-run" in last


def test_a_reply_full_of_beginnings_takes_bounded_time() -> None:
    """Each of them reaches the end of the reply: without a limit the time is quadratic."""
    call = JudgingProbe().call("m", "")
    text = "Well: " + ('{"winner": [' + "1, " * 3000) * 3000
    with time_limit(60):
        found = parse(call, Reply(text))
    assert found.answer is JudgeAnswer.UNPARSED
    assert found.reason == "the reply has too many beginnings of an answer"


def test_a_compressed_reply_is_bounded(capsys: pytest.CaptureFixture[str]) -> None:
    body = gzip.compress(b" " * 200_000_000)
    head = "Content-Encoding: gzip\r\n"
    with Recorder(lambda *_: (200, head, body)) as server, time_limit(60):
        call = [*COMMANDS["judge"], "--retries", "0", "-q", "--base-url", server.base_url]
        assert main(call) == 2
    assert "longer than 33,554,432 bytes" in capsys.readouterr().err
