"""A scripted server with OpenAI's chat completions API on a real socket, faults included.

Its response to a call depends on the call's text and on the number of earlier attempts, never on
the order of arrival, so a test can derive the outcome of each call without the client.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

RETRIED = ("429", "429_after", "500", "reset", "hang", "cut_body", "short_body", "no_choices")
"""Faults after which the same call may succeed."""
FINAL = ("cut_json", "wrong_schema", "refusal", "refusal_text", "length", "empty")
"""Complete replies that contain no rewrite."""
FAULTS = RETRIED + FINAL
PROBE = "two plus two"


def seeded(share: float, seed: int, kinds: tuple[str, ...] = FAULTS) -> Callable[..., str | None]:
    """A script that makes this share of all attempts fail, with equally frequent faults."""

    def fault(text: str, attempt: int) -> str | None:
        digest = hashlib.sha256(f"{seed} {attempt} {text}".encode()).digest()
        is_faulty = int.from_bytes(digest[:4]) < share * 2**32
        return kinds[digest[4] % len(kinds)] if is_faulty else None

    return fault


def nothing_wrong(text: str, attempt: int) -> str | None:
    return None


@dataclass(frozen=True)
class Seen:
    """One request, as the server received it."""

    at_s: float
    text: str
    headers: dict[str, str]
    body: dict[str, Any]
    fault: str | None
    billed: int
    """Prompt and completion tokens that a provider would charge for."""


class OracleServer:
    """`with OracleServer(fault) as server:` serves on loopback, in its own thread.

    `fault(text, attempt)` names the fault; response formats in `refused` get a 400, those in
    `chatty` get prose; `delay_s` passes before each reply.  With `judge(first, second)`, which
    names a winner, two responses are compared instead of a text rewritten.
    """

    def __init__(
        self,
        fault: Callable[[str, int], str | None] = nothing_wrong,
        *,
        refused: tuple[str, ...] = (),
        chatty: tuple[str, ...] = (),
        delay_s: float = 0.0,
        status: tuple[int, dict[str, Any]] | None = None,
        limit_name: str = "max_tokens",
        usage: bool = True,
        keep: bool = True,
        judge: Callable[[str, str], str] | None = None,
    ) -> None:
        self.fault = fault
        self.refused, self.chatty = refused, chatty
        self.delay_s = delay_s
        self.status = status
        self.limit_name = limit_name
        self.usage = usage
        self.keep = keep
        self.judge = judge
        self.seen: list[Seen] = []
        self.in_flight = self.most_in_flight = 0
        self._asked: Counter[str] = Counter()
        self._loop = asyncio.new_event_loop()
        self._handlers: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        started = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._connection, "127.0.0.1", 0, limit=1 << 22), self._loop
        )
        self._server = started.result()
        self.base_url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _stop(self) -> None:
        self._server.close()
        for handler in self._handlers:
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)

    @property
    def calls(self) -> list[Seen]:
        """The requests without the probes."""
        return [one for one in self.seen if PROBE not in one.text]

    @property
    def billed(self) -> int:
        return sum(one.billed for one in self.seen)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        try:
            while await self._request(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._handlers.discard(task)
            writer.transport.abort()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Handle one request; whether the connection stays open."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head[1:] if line)
        }
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        text = body["messages"][-1]["content"]
        attempt, fault = self._asked[text], None
        self._asked[text] += 1
        if PROBE not in text:
            fault = self.fault(text, attempt)
        # When the client of a hanging request leaves is not observed.
        counts = fault != "hang"
        self.in_flight += counts
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            status, answer, extra = self._answer(body, text, fault)
            billed = 0 if status != 200 else _tokens(answer)
            if self.keep:
                self.seen.append(Seen(time.monotonic(), text, headers, body, fault, billed))
        finally:
            self.in_flight -= counts
        return await self._send(writer, reader, fault, status, answer, extra)

    async def _send(
        self,
        writer: asyncio.StreamWriter,
        reader: asyncio.StreamReader,
        fault: str | None,
        status: int,
        answer: dict[str, Any],
        extra: str,
    ) -> bool:
        if fault == "reset":
            return False
        if fault == "hang":
            await reader.read(1)  # until the client disconnects
            return False
        if not self.usage:
            answer.pop("usage", None)
        content = json.dumps(answer).encode()
        if fault == "cut_body":
            content = content[: len(content) // 2]
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{extra}"
        writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode())
        writer.write(content[: len(content) // 2] if fault == "short_body" else content)
        await writer.drain()
        return fault != "short_body"

    def _answer(
        self, body: dict[str, Any], text: str, fault: str | None
    ) -> tuple[int, dict[str, Any], str]:
        kind = body.get("response_format", {}).get("type", "text")
        if self.status is not None:
            return self.status[0], self.status[1], ""
        if self.limit_name not in body:
            return 400, _error(f"Unsupported parameter, use {self.limit_name!r} instead"), ""
        if kind in self.refused:
            return 400, _error(f"response_format {kind} is not supported"), ""
        if fault in ("429", "429_after"):
            return 429, _error("slow down"), "Retry-After: 1\r\n" if fault == "429_after" else ""
        if fault == "403":
            return 403, _error("not for you"), ""
        if fault == "500":
            return 500, _error("oops"), ""
        content = self._compared(text) if self.judge else _written(body, text, kind)
        if kind in self.chatty or ("json" in self.chatty and "[[" not in text):
            content = "Well, the answer should rather be four, should it not?"
        return 200, _completion(body, content, fault), ""

    def _compared(self, text: str) -> str:
        assert self.judge is not None
        first, second = (
            re.findall(rf"<<response_{i} (\w+)>>\n(.*?)\n<<end response_{i} \1>>", text, re.DOTALL)
            for i in (1, 2)
        )
        winner = self.judge(first[0][1], second[0][1])
        values = {"comparison": f"I prefer {winner}.", "winner": winner}
        if marks := re.findall(r"\[\[winner (\w+)\]\]", text):
            return "\n".join(f"[[{n} {marks[-1]}]]\n{v}\n[[end {n} {marks[-1]}]]"
                             for n, v in values.items())  # fmt: skip
        return json.dumps(values)


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "error", "code": None}}


def rewritten(text: str) -> str:
    """The rewritten text for a user message."""
    return f"Rewritten {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _written(body: dict[str, Any], text: str, kind: str) -> str:
    """A valid reply in the form that is asked for."""
    name = "better_instruction" if "better_instruction" in text else "better_response"
    if kind == "json_schema":
        names = body["response_format"]["json_schema"]["schema"]["required"]
    else:
        names = ["criticism", name]
    values = dict(zip(names, ["It is short.", rewritten(text)], strict=True))
    marks = re.findall(r"\[\[(\w+) (\w+)\]\]", text)
    if kind == "text" and marks:
        token = marks[-1][1]
        return "\n".join(f"[[{n} {token}]]\n{v}\n[[end {n} {token}]]" for n, v in values.items())
    return json.dumps(values)


def _completion(body: dict[str, Any], content: str, fault: str | None) -> dict[str, Any]:
    refusal, finish = None, "stop"
    if fault == "cut_json":
        content = content[: len(content) // 2]
    elif fault == "wrong_schema":
        content = json.dumps({"answer": 42})
    elif fault == "refusal":
        content, refusal = "", "I will not."
    elif fault == "refusal_text":
        content = "I'm sorry, but I can't help with that."
    elif fault == "length":
        content, finish = content[: len(content) // 2], "length"
    elif fault == "empty":
        content = ""
    message = {"role": "assistant", "content": content, "refusal": refusal}
    choices = [{"index": 0, "message": message, "finish_reason": finish}]
    prompt = sum(len(one["content"].split()) for one in body["messages"])
    limit = body.get("max_tokens") or body["max_completion_tokens"]
    usage = {"prompt_tokens": prompt, "completion_tokens": min(limit, len(content))}
    return {"choices": [] if fault == "no_choices" else choices, "usage": usage}


def _tokens(answer: dict[str, Any]) -> int:
    usage = answer["usage"]
    return int(usage["prompt_tokens"] + usage["completion_tokens"])
