"""The oracle: any server with OpenAI's chat completions API, asked once per call.

    ask ─ journal: known? ─▶ limits: may it be sent? ─ one attempt ─▶ reply ─ journal ─▶ return

The SDK's own retries are off, because they would bypass the limits: a retry counts against the
rates and can cost money like the first attempt, and a 429 concerns every call, not one.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from ifdkit.errors import OracleError, UsageError
from ifdkit.oracle.api_key import DEFAULT_VARIABLE, ApiKey
from ifdkit.oracle.calls import Form, OracleCall, Probe, Reply
from ifdkit.oracle.journal import AsyncJournal, Journal
from ifdkit.oracle.limits import MAX_PAUSE_S, Bounds, CapReached, Limits, Usage, retry_after_s
from ifdkit.oracle.wire import Fault, body_of, read_body, reply_of
from ifdkit.visible import masked

if TYPE_CHECKING:
    import openai

_FIRST_WAIT_S = 0.5
_MAX_WAIT_S = 60.0
_MAX_BUSY = 10
"""Responses of 429 to one call before it fails; with doubling pauses, about five minutes."""
_MAX_FAILURES_IN_A_ROW = 50
"""This many failed calls in a row mean that the server is down, not that it fails now and then."""
_UNSUPPORTED_FORM_STATUSES = {400, 415, 422, 500, 501}


DEFAULT_BASE_URL = "https://api.openai.com/v1"
"""The `openai` SDK's default. Given to it, so that no variable changes it without our knowledge."""


@dataclass(frozen=True, slots=True)
class Server:
    """Address of the oracle, and when to give up on it."""

    model: str
    base_url: str | None = None
    """None: DEFAULT_BASE_URL."""
    api_key_env: str | None = None
    """Environment variable that contains the key; None sends none, as for a local server."""
    timeout_s: float = 120.0
    """For one attempt, from the first byte sent to the last byte received."""
    retries: int = 4
    """Further attempts after 408, 409, 425, 5xx, a reset, a timeout or a malformed body."""


def is_default(base_url: str | None) -> bool:
    """Whether a base URL is on the default server, for which `OPENAI_API_KEY` was given."""
    own, other = urlsplit(DEFAULT_BASE_URL), urlsplit(base_url or DEFAULT_BASE_URL)
    return (own.scheme, own.netloc) == (other.scheme, other.netloc.lower())


def who_gets_the_key(server: Server) -> str:
    """One line on which variable's key goes to which host, before the first call."""
    host = urlsplit(server.base_url or DEFAULT_BASE_URL).netloc
    variable = server.api_key_env
    if variable and os.environ.get(variable, "").strip():
        is_plain = not (server.base_url or DEFAULT_BASE_URL).startswith("https:")
        how = ", unencrypted" if is_plain and not _is_loopback(server.base_url) else ""
        return f"the key in {variable} is sent to {host}{how}"
    return f"no key is sent to {host}"


def endpoint(base_url: str | None) -> str:
    """Host, port and path of a base URL, for `Call.endpoint`; empty for None.

    Raises UsageError if it is not an HTTP URL, or if it contains a user name, password or query:
    URLs are logged, so they must not contain secrets.
    """
    if base_url is None:
        return ""
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"--base-url is not a URL: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError("--base-url must be like http://localhost:8000/v1")
    if parts.username is not None or parts.password is not None or parts.query:
        raise UsageError(
            "--base-url must not contain a user name, password or query; put the key into an"
            " environment variable (--api-key-env)"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{host}{f':{port}' if port else ''}{parts.path.rstrip('/')}"


class Oracle:
    """`async with Oracle(server, journal, bounds, probe=…) as oracle: await oracle.ask(call)`."""

    def __init__(
        self,
        server: Server,
        journal: Journal,
        bounds: Bounds | None = None,
        *,
        probe: Probe,
        limits: Limits | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Nothing is sent yet. `limits`, which replaces `bounds`, and `sleep` are for tests.

        Raises UsageError if the SDK is not installed, if the key is not set or not one line of
        ASCII, or if the URL is invalid.
        """
        self.server = server
        self.limits = limits or Limits(bounds or Bounds())
        self._endpoint = endpoint(server.base_url)
        self._probe = probe
        self._journal = journal
        self._replies = AsyncJournal(journal)
        self._sleep = sleep
        self._key = ApiKey(server.api_key_env, is_required=server.base_url is None)
        self._client = _client(server, self._key)
        self._form: Form | None = None
        self._limit_name = "max_tokens"
        self._probe_lock = asyncio.Lock()
        self._call_locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._failures_in_a_row = 0
        self._has_answered = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            self._replies.flush()
        finally:
            await self._client.close()

    @property
    def _location(self) -> str:
        return f" at {self._endpoint}" if self._endpoint else ""

    @property
    def stopped(self) -> str | None:
        """Why a cap ended the run, one line with the fix; None if none did."""
        return self.limits.stopped

    @property
    def usage(self) -> Usage:
        """Tokens spent in this run; if a reply was lost, the most it can have cost."""
        return self.limits.spent

    async def ask(self, call: OracleCall) -> Reply:
        """The reply, from the journal if known, else from the server and recorded on return.

        Any number of tasks may call this at once: the limit on calls in flight applies inside, and
        equal calls wait for one another.  A failure or a reached cap is returned as
        `Reply.failure`.  Raises OracleError only if no later call can succeed: the server rejects
        the key, the account has no quota left, the model does not exist, the server asks to wait
        for more than ten minutes, or 50 calls in a row have failed.
        """
        async with self._call_locks.setdefault(call.key, asyncio.Lock()):
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
            self._failures_in_a_row, self._has_answered = 0, True
            await self._replies.record(call.key, reply)
            return reply

    async def form(self) -> Form:
        """The strictest reply form that the server supports: probed once, kept in the journal.

        Raises OracleError if the server cannot be reached, rejects the key or has no such model,
        and CapReached if a cap leaves no room for the probe.
        """
        if self._form is None:
            async with self._probe_lock:
                if self._form is None:
                    self._form = await self._probed_form()
        return self._form

    async def _probed_form(self) -> Form:
        probe = self._probe.call(self.server.model, self._endpoint)
        kept = self._journal.form(probe.key)
        if kept is not None:
            form, self._limit_name = kept
            return form
        for form in Form:
            if await self._supports(probe, form):
                self._journal.record_form(probe.key, form, self._limit_name)
                return form
        raise AssertionError("unreachable: sections are supported, or an error is raised")

    async def _supports(self, probe: OracleCall, form: Form) -> bool:
        try:
            reply = await self._reply(probe, form)
        except Fault as fault:
            if "max_completion_tokens" in fault.reason and self._limit_name == "max_tokens":
                self._limit_name = "max_completion_tokens"
                return await self._supports(probe, form)
            if fault.status in _UNSUPPORTED_FORM_STATUSES and form is not Form.SECTIONS:
                return False
            raise OracleError(
                f"the oracle {self.server.model}{self._location} does not reply: {fault.reason};"
                " check --base-url and whether the server is running"
            ) from None
        if form is Form.SECTIONS:
            # No form is less strict; if its replies do not parse, each row says so.
            return True
        return self._probe.accepts(probe, reply)

    async def _reply(self, call: OracleCall, form: Form) -> Reply:
        """One reply, after retries if necessary. Raises Fault if there is none."""
        retries = busy = 0
        while True:
            try:
                return await self._attempt(call, form)
            except Fault as fault:
                if fault.is_busy and (fault.wait_s or 0.0) > MAX_PAUSE_S:
                    # Such as until a quota of the day is renewed.
                    raise OracleError(
                        f"the oracle{self._location} asks to wait {fault.wait_s:,.0f} s before the"
                        " next call; replies are kept: re-run the same command then"
                    ) from None
                if fault.is_busy and busy < _MAX_BUSY:
                    wait_s = fault.wait_s if fault.wait_s is not None else _backoff_s(busy)
                    self.limits.pause(wait_s)
                    busy += 1
                elif fault.is_transient and not fault.is_busy and retries < self.server.retries:
                    await self._sleep(_backoff_s(retries))
                    retries += 1
                else:
                    raise

    async def _attempt(self, call: OracleCall, form: Form) -> Reply:
        """One request. Raises Fault, or OracleError if no later call can succeed."""
        import httpx2
        import openai

        reserved = Usage(call.max_prompt_tokens, call.sampling.max_tokens)
        async with self.limits.attempt(reserved) as attempt:
            try:
                # The SDK's own timeout is per read: a server that trickles bytes never reaches it.
                async with asyncio.timeout(self.server.timeout_s):
                    # The typed method spends a millisecond on types that are not needed here.
                    raw = await self._client.post(
                        "/chat/completions",
                        cast_to=httpx2.Response,
                        body=body_of(call, form, self._limit_name),
                    )
                reply = reply_of(raw.content)
                if any(map(self._key.is_in, (reply.text, reply.finish_reason, reply.refusal))):
                    # Not kept: replies are stored, and become texts of the dataset.
                    raise Fault("the server's reply contains the API key", status=raw.status_code)
            except (TimeoutError, openai.APITimeoutError):
                raise Fault(f"no reply within {self.server.timeout_s:g} s") from None
            except openai.APIStatusError as error:
                # Its message may quote the key, so nothing may be raised with it as the context.
                fault = self._fault(error)
            except openai.APIConnectionError as error:
                if isinstance(error.__cause__, Fault):
                    raise error.__cause__ from None
                raise Fault(f"the connection failed: {self._key.redact(_cause(error))}") from None
            else:
                if reply.prompt_tokens is not None and reply.completion_tokens is not None:
                    attempt.charge(Usage(reply.prompt_tokens, reply.completion_tokens))
                return reply
            attempt.charge(Usage())
            return self._refusal(fault)

    def _fault(self, error: openai.APIStatusError) -> Fault:
        message = self._key.redact(_message(error))
        if 300 <= error.status_code < 400:
            # Not followed: the texts of the dataset were meant for this server alone.
            place = self._key.redact(error.response.headers.get("location", "no address"))
            message = f"it redirects to {masked(place)}; if that is right, give it as --base-url"
        return Fault(
            f"the server returned {error.status_code}: {message}",
            status=error.status_code,
            code=error.code,
            wait_s=retry_after_s(error.response.headers.get("retry-after"), time.time()),
        )

    def _refusal(self, fault: Fault) -> Reply:
        """What a status of 400 or more means: a refusal, the end of the run, or the fault."""
        if fault.status == 401:
            variable = self.server.api_key_env
            if variable is None:
                raise OracleError(
                    f"the oracle{self._location} wants an API key, and none was sent: name its"
                    f" variable with --api-key-env; {DEFAULT_VARIABLE} is sent unasked to"
                    f" {urlsplit(DEFAULT_BASE_URL).netloc} only"
                )
            raise OracleError(f"the oracle rejects the API key; set a valid one in {variable}")
        if fault.status == 402 or fault.code == "insufficient_quota":
            raise OracleError(f"the oracle's account has no quota left: {fault.reason}")
        if fault.status == 404:
            raise OracleError(
                f"the server has no model {self.server.model!r}, or no chat completions API at"
                f" this address ({fault.reason}); check --oracle and --base-url"
            )
        if fault.status == 400 and fault.code in ("content_filter", "content_policy_violation"):
            return Reply("", finish_reason="content_filter", refusal=fault.reason)
        raise fault

    def _count_failure(self, fault: Fault) -> None:
        # A server that answers other calls is not down if it rejects one for its content.
        if self._has_answered and not fault.is_transient:
            return
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= _MAX_FAILURES_IN_A_ROW:
            raise OracleError(
                f"{_MAX_FAILURES_IN_A_ROW} calls in a row failed, the last because {fault.reason};"
                " replies are kept: re-run the same command to resume"
            ) from None


def _backoff_s(count: int) -> float:
    """Seconds to wait after `count` waits: 0.5, 1, 2, … 60."""
    return min(_FIRST_WAIT_S * 2.0 ** min(count, 20), _MAX_WAIT_S)


def _client(server: Server, key: ApiKey) -> openai.AsyncOpenAI:
    import openai

    # Environment proxies are not meant for a server on this machine.
    http_client = openai.DefaultAsyncHttpxClient(
        trust_env=not _is_loopback(server.base_url),
        follow_redirects=False,
        event_hooks={"response": [read_body]},
    )
    client = openai.AsyncOpenAI(
        api_key=key.value,
        base_url=server.base_url or DEFAULT_BASE_URL,
        timeout=server.timeout_s,
        max_retries=0,
        http_client=http_client,
    )
    if not is_default(server.base_url):
        # The SDK takes both from variables, and sends them to any server.
        client.organization = client.project = None
    return client


def _is_loopback(base_url: str | None) -> bool:
    return urlsplit(base_url or "").hostname in ("localhost", "127.0.0.1", "::1")


def _cause(error: BaseException) -> str:
    """Why a connection failed; the SDK's own message does not say."""
    cause = error.__cause__ or error
    return f"{type(cause).__name__} {cause}".strip()


def _message(error: openai.APIStatusError) -> str:
    """The server's error message, if it sends one."""
    body = error.body
    message = body.get("message") if isinstance(body, dict) else body
    return message if isinstance(message, str) and message.strip() else "no reason given"
