"""The oracle: any server that speaks OpenAI's chat completions, asked once for each call.

    ask ─ journal: known? ─▶ limits: may it be sent? ─ one attempt ─▶ reply ─ journal ─▶ back

The SDK's own retries are off.  They would pass by the limits: a repeated attempt counts against the
rates and can cost money like the first, and a 429 speaks to every worker, not to one.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from ifdkit.errors import OracleError, UsageError
from ifdkit.reflection.answers import parse
from ifdkit.reflection.journal import AsyncJournal, Journal
from ifdkit.reflection.limits import Bounds, CapReached, Limits, Usage, retry_after_s
from ifdkit.reflection.outcomes import Call, Form, Outcome, Reply, Sampling, Stage
from ifdkit.reflection.wire import Fault, Key, body_of, reply_of

if TYPE_CHECKING:
    import openai

_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 60.0
_MOST_BUSY = 10
"""Answers of 429 to one call before it counts as failed: with doubling pauses, five minutes."""
_FAILURES_ON_END = 50
"""So many calls that fail in a row mean that the server is gone, not that it stumbles."""
_NO_SUCH_FORM = {400, 415, 422, 500, 501}


@dataclass(frozen=True, slots=True)
class Server:
    """Where the oracle is, and how patient we are with it."""

    model: str
    base_url: str | None = None
    """None: what the `openai` SDK takes by itself."""
    api_key_env: str | None = "OPENAI_API_KEY"
    """Name of the environment variable with the key; None sends none (a server of our own)."""
    timeout_s: float = 120.0
    """Of one attempt, from the first byte sent to the last received."""
    retries: int = 4
    """Attempts after the first, on 408, 409, 5xx, resets, time-outs and broken bodies."""


def endpoint(base_url: str | None) -> str:
    """Host, port and path of a base URL: `Call.endpoint` of calls to it; empty for None.

    Raises UsageError where it is no http URL, or holds a user name, password or query: these are
    no place for secrets, since URLs are logged.
    """
    if base_url is None:
        return ""
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"--base-url is no URL: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError("--base-url must be like http://localhost:8000/v1")
    if parts.username is not None or parts.password is not None or parts.query:
        raise UsageError(
            "--base-url must hold no user name, password or query; a key belongs into the"
            " environment (--api-key-env)"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{host}{f':{port}' if port else ''}{parts.path.rstrip('/')}"


class Oracle:
    """`async with Oracle(server, journal, bounds) as oracle: reply = await oracle.ask(call)`."""

    def __init__(
        self,
        server: Server,
        journal: Journal,
        bounds: Bounds | None = None,
        *,
        limits: Limits | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Nothing is sent yet. `limits`, in place of bounds, and `sleep` are for tests.

        Raises UsageError where the SDK is not installed, the key is not set or not one line of
        ASCII, or the URL is not one.
        """
        self.server = server
        self.limits = limits or Limits(bounds or Bounds())
        self._endpoint = endpoint(server.base_url)
        self._journal = journal
        self._replies = AsyncJournal(journal)
        self._sleep = sleep
        self._key = Key(server.api_key_env, is_needed=server.base_url is None)
        self._client = _client(server, self._key)
        self._form: Form | None = None
        self._limit_name = "max_tokens"
        self._probing = asyncio.Lock()
        self._asking: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._failures_on_end = 0
        self._has_answered = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            self._replies.flush()
        finally:
            await self._client.close()

    @property
    def _place(self) -> str:
        return f" at {self._endpoint}" if self._endpoint else ""

    @property
    def stopped(self) -> str | None:
        """Why a cap ended the asking, one line with the fix; None where none did."""
        return self.limits.stopped

    @property
    def usage(self) -> Usage:
        """Tokens spent in this run; of an attempt whose reply was lost, the most it can have."""
        return self.limits.spent

    async def ask(self, call: Call) -> Reply:
        """The reply: from the journal if known, else asked for, and recorded before it returns.

        Any number of tasks may ask at once; the bound on calls in flight is inside, and equal
        calls wait for one another.  A failure or a cap that is reached comes back as
        `Reply.failure`.  Raises OracleError only for what no later call can survive: the key is
        refused, no quota is left, there is no such model, or 50 calls in a row have failed.
        """
        async with self._asking.setdefault(call.key, asyncio.Lock()):
            known = await self._replies.reply(call.key)
            if known is not None:
                return known
            try:
                reply = await self._reply(call, await self.form())
            except CapReached as reached:
                return Reply("", failure=str(reached))
            except Fault as fault:
                self._count_failure(fault)
                return Reply("", failure=fault.reason)
            self._failures_on_end, self._has_answered = 0, True
            await self._replies.record(call.key, reply)
            return reply

    async def form(self) -> Form:
        """The strictest form of reply that the server honours: probed once, kept in the journal.

        Raises OracleError where the server cannot be reached, refuses the key or has no such model,
        and CapReached where a cap leaves no room for the question.
        """
        if self._form is None:
            async with self._probing:
                if self._form is None:
                    self._form = await self._probed()
        return self._form

    async def _probed(self) -> Form:
        probe = _probe(self.server.model, self._endpoint)
        kept = self._journal.form(probe.key)
        if kept is not None:
            form, self._limit_name = kept
            return form
        for form in Form:
            if await self._honours(probe, form):
                self._journal.record_form(probe.key, form, self._limit_name)
                return form
        raise AssertionError("unreachable: sections are taken or refused with an error")

    async def _honours(self, probe: Call, form: Form) -> bool:
        try:
            reply = await self._reply(probe, form)
        except Fault as fault:
            if "max_completion_tokens" in fault.reason and self._limit_name == "max_tokens":
                self._limit_name = "max_completion_tokens"
                return await self._honours(probe, form)
            if fault.status in _NO_SUCH_FORM and form is not Form.SECTIONS:
                return False
            raise OracleError(
                f"the oracle {self.server.model}{self._place} gives no reply: {fault.reason};"
                " check --base-url, and whether the server runs"
            ) from None
        if form is Form.SECTIONS:
            # Nothing is left below them; what does not parse is said of each row.
            return True
        outcome = parse(probe, reply).outcome
        began = outcome is Outcome.TRUNCATED and reply.text.lstrip().startswith("{")
        return outcome in (Outcome.REWRITTEN, Outcome.KEPT) or began

    async def _reply(self, call: Call, form: Form) -> Reply:
        """One reply after as many attempts as it is worth. Raises Fault where there is none."""
        stumbles = busy = 0
        while True:
            try:
                return await self._attempt(call, form)
            except Fault as fault:
                if fault.is_busy and busy < _MOST_BUSY:
                    wait_s = fault.wait_s if fault.wait_s is not None else _doubling(busy)
                    self.limits.pause(wait_s)
                    busy += 1
                elif fault.may_pass and not fault.is_busy and stumbles < self.server.retries:
                    await self._sleep(_doubling(stumbles))
                    stumbles += 1
                else:
                    raise

    async def _attempt(self, call: Call, form: Form) -> Reply:
        """One request. Raises Fault, or OracleError for what ends the run."""
        import httpx2
        import openai

        most = Usage(call.most_prompt_tokens, call.sampling.max_tokens)
        async with self.limits.attempt(most) as attempt:
            try:
                # The SDK's own time-out is of each read: a server that drips would never end it.
                async with asyncio.timeout(self.server.timeout_s):
                    # The typed method spends a millisecond on types that we do not need.
                    raw = await self._client.post(
                        "/chat/completions",
                        cast_to=httpx2.Response,
                        body=body_of(call, form, self._limit_name),
                    )
                reply = reply_of(raw.content)
            except (TimeoutError, openai.APITimeoutError):
                raise Fault(f"no reply within {self.server.timeout_s:g} s") from None
            except openai.APIStatusError as error:
                # Its message may quote the key: nothing is raised while it is at hand.
                refused = self._refused(error)
            except openai.APIConnectionError as error:
                raise Fault(f"the connection broke: {self._key.hidden(_cause(error))}") from None
            else:
                if reply.prompt_tokens is not None and reply.completion_tokens is not None:
                    attempt.settle(Usage(reply.prompt_tokens, reply.completion_tokens))
                return reply
            attempt.settle(Usage())
            return self._refusal(refused)

    def _refused(self, error: openai.APIStatusError) -> Fault:
        said = self._key.hidden(_said(error))
        return Fault(
            f"the server answers {error.status_code}: {said}",
            status=error.status_code,
            code=error.code,
            wait_s=retry_after_s(error.response.headers.get("retry-after"), time.time()),
        )

    def _refusal(self, fault: Fault) -> Reply:
        """What a status of 400 or more means: a refusal, the end of the run, or a fault."""
        if fault.status == 401:
            variable = self.server.api_key_env or "the variable that --api-key-env names"
            raise OracleError(f"the oracle refuses the key; set the right one in {variable}")
        if fault.status == 402 or fault.code == "insufficient_quota":
            raise OracleError(f"the account at the oracle has no quota left: {fault.reason}")
        if fault.status == 404:
            raise OracleError(
                f"the server has no model {self.server.model!r}, or no chat completions at this"
                f" address ({fault.reason}); check --oracle and --base-url"
            )
        if fault.status == 400 and fault.code in ("content_filter", "content_policy_violation"):
            return Reply("", finish_reason="content_filter", refusal=fault.reason)
        raise fault

    def _count_failure(self, fault: Fault) -> None:
        # A call that is refused for its own content says nothing of a server that answers others.
        if self._has_answered and not fault.may_pass:
            return
        self._failures_on_end += 1
        if self._failures_on_end >= _FAILURES_ON_END:
            raise OracleError(
                f"{_FAILURES_ON_END} calls in a row have failed, the last because {fault.reason};"
                " what was answered is kept, and the same command goes on from there"
            ) from None


def _doubling(count: int) -> float:
    """Seconds to wait after so many waits: 0.5, 1, 2, … 60."""
    return min(_FIRST_WAIT_S * 2.0 ** min(count, 20), _LONGEST_WAIT_S)


def _client(server: Server, key: Key) -> openai.AsyncOpenAI:
    try:
        import openai
    except ImportError:
        raise UsageError(
            "reflect asks its oracle through the openai package: pip install 'ifdkit[reflect]'"
        ) from None
    host = urlsplit(server.base_url or "").hostname
    # A proxy of the environment is for the world outside, not for a server on this machine.
    is_near = host in ("localhost", "127.0.0.1", "::1")
    return openai.AsyncOpenAI(
        api_key=key.value,
        base_url=server.base_url,
        timeout=server.timeout_s,
        max_retries=0,
        http_client=openai.DefaultAsyncHttpxClient(trust_env=False) if is_near else None,
    )


def _probe(model: str, address: str) -> Call:
    """A question so simple that its answer shows the form alone."""
    call = Call(
        stage=Stage.RESPONSE,
        system="You correct short answers, and reply in exactly the form that is asked for.",
        user="Question: What is two plus two?\nAnswer: Five.",
        reply_json=(
            "Reply with one JSON object and nothing else:"
            ' {"criticism": "<what is wrong>", "better_response": "<the right answer>"}'
        ),
        reply_sections="",
        fence="",
        original="Five.",
        prompt_version="probe",
        model=model,
        endpoint=address,
        sampling=Sampling(max_tokens=512),
    )
    fence = hashlib.sha256(json.dumps([model, address]).encode()).hexdigest()[:12]
    names = ("criticism", call.text_field)
    marks = "\n".join(f"[[{name} {fence}]]\n…\n[[end {name} {fence}]]" for name in names)
    return replace(call, fence=fence, reply_sections=f"Reply in this form:\n{marks}")


def _cause(error: BaseException) -> str:
    """What lies behind a broken connection: the SDK says no more than that there was one."""
    cause = error.__cause__ or error
    return f"{type(cause).__name__} {cause}".strip()


def _said(error: openai.APIStatusError) -> str:
    """The server's own words on a status, where it sends any."""
    body = error.body
    message = body.get("message") if isinstance(body, dict) else body
    return message if isinstance(message, str) and message.strip() else "no reason is given"
