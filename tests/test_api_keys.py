"""Keys and passwords: each reaches the server it was given for, and no file, log or other server.

The servers are real, on sockets of this machine; every byte that reaches one is kept.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest

from ifdkit.oracle.api_key import ApiKey
from ifdkit.oracle.client import DEFAULT_BASE_URL, endpoint, who_gets_the_key
from ifdkit.reflection.options import ReflectOptions
from ifdkit.visible import masked

pytestmark = pytest.mark.long

KEY = "sk-proj-Zq8vT1mN4rXw7Lk2Hd9Ps5Bc"
MEANT = "MY_SERVER_KEY"
OTHERS = (
    "OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_ADMIN_KEY",
    "OPENAI_WEBHOOK_SECRET", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "GITHUB_TOKEN",
    "ANTHROPIC_API_KEY",
)  # fmt: skip
SECRETS = {name: f"sentinel-{i}-{name.lower()}-8f3c2a71d05b" for i, name in enumerate(OTHERS)}
ROW = {"instruction": "Write about rain", "output": "Rain falls from clouds."}
Answer = Callable[[str, bytes], tuple[int, str, object]]


class Recorder:
    """An HTTP server that keeps what it receives; `answer` makes status, headers and body."""

    def __init__(self, answer: Answer) -> None:
        self.received: list[bytes] = []
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.base_url = f"http://127.0.0.1:{self.port}/v1"
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    @property
    def everything(self) -> bytes:
        return b"".join(self.received)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                line = stream.readline()
                if not line:
                    return
                head += line
            length = next((int(line.split(b":")[1]) for line in head.lower().splitlines()
                           if line.startswith(b"content-length:")), 0)  # fmt: skip
            request = head + stream.read(length)
            self.received.append(request)
            authorization = next((line for line in head.decode().splitlines()
                                  if line.lower().startswith("authorization:")), "")  # fmt: skip
            status, headers, body = self._answer(authorization.split(" ")[-1], request)
            content = json.dumps(body).encode() if not isinstance(body, bytes) else body
            connection.sendall(
                f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nConnection: close\r\n"
                f"{headers}Content-Length: {len(content)}\r\n\r\n".encode()
                + content
            )


def completion(text: str) -> dict[str, object]:
    message = {"role": "assistant", "content": text}
    return {"choices": [{"message": message, "finish_reason": "stop"}], "usage": {}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data.jsonl").write_text(json.dumps(ROW))
    return tmp_path


def reflect(folder: Path, *flags: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`ifdkit reflect` in a process whose environment has ten secrets."""
    environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    environment |= SECRETS | {MEANT: KEY, "IFDKIT_CACHE": str(folder / "cache")} | variables
    return subprocess.run(
        [sys.executable, "-m", "ifdkit", "reflect", "data.jsonl", "-o", "new.jsonl",
         "--oracle", "m", "--retries", "0", "--verbose", *flags],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def shown(folder: Path, done: subprocess.CompletedProcess[str]) -> str:
    files = [path.read_bytes().decode("latin-1") for path in folder.rglob("*") if path.is_file()]
    return "\n".join([done.stdout, done.stderr, *files])


def test_a_secret_reaches_the_server_that_it_is_for_and_nothing_else(folder: Path) -> None:
    with Recorder(lambda *_: (200, "", completion('{"criticism": "x", "better": "y"}'))) as server:
        done = reflect(folder, "--base-url", server.base_url, "--api-key-env", MEANT)
    assert f"Bearer {KEY}".encode() in server.everything, "the negative control: it was sent"
    lines = [line for line in done.stderr.splitlines() if MEANT in line and "sent" in line]
    assert lines == [f"the key in {MEANT} is sent to 127.0.0.1:{server.port}"]
    text = shown(folder, done)
    assert KEY not in text
    for name, secret in SECRETS.items():
        assert secret not in text, name
        assert secret.encode() not in server.everything, name


def test_openai_api_key_is_not_sent_to_another_server(folder: Path) -> None:
    refusal = {"error": {"message": "no key"}}
    for how in ("flag", "variable"):
        with Recorder(lambda *_: (401, "", refusal)) as server:
            flags = ["--base-url", server.base_url] if how == "flag" else []
            variables = {} if flags else {"OPENAI_BASE_URL": server.base_url}
            done = reflect(folder, *flags, **variables)
        assert done.returncode == 2
        assert "--api-key-env" in done.stderr.splitlines()[-1]
        assert f"no key is sent to 127.0.0.1:{server.port}" in done.stderr
        assert server.received
        assert not any(secret.encode() in server.everything for secret in SECRETS.values())


def test_a_key_of_the_users_file_does_not_follow_to_another_server(folder: Path) -> None:
    user = folder / "user.toml"
    user.write_text(f'base-url = "http://127.0.0.1:9/v1"\napi-key-env = "{MEANT}"\n')
    with Recorder(lambda *_: (401, "", {})) as server:
        for flags, variables in (
            (["--base-url", server.base_url], {}),
            ([], {"IFDKIT_BASE_URL": server.base_url}),
        ):
            done = reflect(folder, *flags, IFDKIT_CONFIG=str(user), **variables)
            assert done.returncode == 2
            assert "was set for another server" in done.stderr
        user.write_text(f'api-key-env = "{MEANT}"\n')
        done = reflect(folder, IFDKIT_CONFIG=str(user), OPENAI_BASE_URL=server.base_url)
        assert "was set for another server" in done.stderr
    assert server.received == []


def test_a_redirect_is_not_followed(folder: Path) -> None:
    for status in (301, 302, 307, 308):
        with Recorder(lambda *_: (200, "", completion("x"))) as other:
            place = f"Location: http://u:pass-word-1@127.0.0.1:{other.port}/v1?k={KEY}\r\n"
            with Recorder(lambda *_, s=status, p=place: (s, p, {})) as server:
                done = reflect(folder, "--base-url", server.base_url, "--api-key-env", MEANT)
        assert done.returncode == 2
        assert "it redirects to http://u:***@127.0.0.1" in done.stderr
        assert server.received
        assert other.received == []
        assert KEY not in shown(folder, done)


def spaced(key: str) -> str:
    return " ".join(key)


def split(key: str) -> str:
    return f"it begins with {key[: len(key) // 2]} and ends with {key[len(key) // 2 :]}"


ECHOES: dict[str, Callable[[str], str]] = {
    "whole": lambda key: f"bad key {key}!",
    "split in two": split,
    "split over lines": lambda key: f"bad key {key[:13]}\r\n   {key[13:]}",
    "white space": spaced,
    "zero width": lambda key: "\u200b".join(key),
    "JSON escapes": lambda key: "".join(f"\\u{ord(char):04x}" for char in key),
    "percent": lambda key: "".join(f"%{ord(char):02X}" for char in key),
    "HTML": lambda key: "".join(f"&#{ord(char)};" for char in key),
    "base64": lambda key: base64.b64encode(f"Bearer {key}".encode()).decode(),
    "base64 alone": lambda key: base64.b64encode(key.encode()).decode(),
    "hex": lambda key: key.encode().hex(),
    "upper case": str.upper,
    "reversed": lambda key: key[::-1],
}


def pieces(text: str, n: int = 8) -> set[str]:
    """All runs of n letters and digits that a form of the key has."""
    letters = "".join(char for char in text.lower() if char.isascii() and char.isalnum())
    return {letters[i : i + n] for i in range(len(letters) - n + 1)}


@pytest.mark.parametrize("echo", ECHOES)
def test_an_echoed_key_is_removed_from_a_message(
    echo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MEANT, KEY)
    key = ApiKey(MEANT, is_required=True)
    text = ECHOES[echo](KEY)
    told = key.redact(f"Sorry: {text} is not known.")
    assert told.startswith("Sorry: ")
    assert told.endswith("is not known.")
    assert "[key]" in told
    decoded = json.loads(f'"{told}"') if echo == "JSON escapes" else told
    assert not pieces(decoded) & pieces(KEY)
    assert key.is_in(text)
    for harmless in ("The sea is wide.", "", "sk-proj-", "key: " + "x" * 40):
        assert not key.is_in(harmless)
    assert key.redact("Incorrect request: model not found") == "Incorrect request: model not found"


@pytest.mark.parametrize("echo", ["whole", "split in two", "JSON escapes", "base64", "white space"])
@pytest.mark.parametrize("where", ["error", "reply"])
def test_an_echoed_key_is_in_no_file_and_no_line(echo: str, where: str, folder: Path) -> None:
    def answer(key: str, request: bytes) -> tuple[int, str, object]:
        text = ECHOES[echo](key)
        if where == "reply":
            # The probe too, so that nothing else is stored in its place.
            return (
                200,
                f"X-Echo: {key}\r\n",
                completion(
                    json.dumps(
                        {"criticism": text, "better_instruction": text, "better_response": text}
                    )
                ),
            )
        return 500, f"X-Echo: {key}\r\n", {"error": {"message": text, "code": text}}

    with Recorder(answer) as server:
        done = reflect(
            folder, "--base-url", server.base_url, "--api-key-env", MEANT, OPENAI_LOG="debug"
        )
    assert server.received
    text = shown(folder, done)
    assert KEY not in text
    assert not pieces(KEY, 16) & pieces(text, 16)
    assert base64.b64encode(KEY.encode()).decode()[:20] not in text
    assert "internal error" not in done.stderr


def test_the_default_server_is_known_by_scheme_host_and_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for url in (None, DEFAULT_BASE_URL, "https://API.openai.com/v2"):
        server = ReflectOptions(oracle="m", base_url=url).server
        assert server.api_key_env == "OPENAI_API_KEY"
        assert who_gets_the_key(server).lower().endswith("is sent to api.openai.com")
    for url in ("http://api.openai.com/v1", "https://api.openai.com.evil.example/v1",
                "https://api.openai.com:444/v1", "https://evil.example/api.openai.com",
                "https://api.openai.com@evil.example/v1"):  # fmt: skip
        assert ReflectOptions(oracle="m", base_url=url).server.api_key_env is None
    chosen = ReflectOptions(oracle="m", base_url="http://evil.example/v1", api_key_env=MEANT)
    monkeypatch.setenv(MEANT, KEY)
    assert who_gets_the_key(chosen.server).endswith("evil.example, unencrypted")
    assert endpoint(None) == "", "the address is part of the keys of old journals"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://u:secret@h/v1", "http://u:***@h/v1"),
        ("a https://u:p%40ss@h:8/ b ftp://x:y@z", "a https://u:***@h:8/ b ftp://x:***@z"),
        ("http://:secret@h", "http://:***@h"),
        ("http://h:80/a@b", "http://h:80/a@b"),
        ("mail u:p@h", "mail u:p@h"),
    ],
)
def test_passwords_of_urls_are_masked(text: str, expected: str) -> None:
    assert masked(text) == expected


def test_verbose_and_errors_do_not_print_the_password_of_a_url(folder: Path) -> None:
    done = reflect(folder, "--base-url", "http://user:pass-word-1@127.0.0.1:9/v1")
    assert done.returncode == 2
    assert "base-url = http://user:***@127.0.0.1:9/v1" in done.stderr
    assert "pass-word-1" not in shown(folder, done)


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*OTHERS, MEANT, "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
