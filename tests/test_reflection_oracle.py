"""Calls through a faulty server: outcomes, limits, the journal, and where the key may appear."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ifdkit.errors import OracleError, UsageError
from ifdkit.oracle.calls import Form, Reply, Sampling
from ifdkit.oracle.client import Oracle, Server, endpoint
from ifdkit.oracle.journal import Journal
from ifdkit.oracle.limits import Bounds, Limits
from ifdkit.records import Example, Turn
from ifdkit.reflection.answers import parse
from ifdkit.reflection.outcomes import Call, Outcome, Stage
from ifdkit.reflection.probe import RewritingProbe
from ifdkit.reflection.prompts import load_prompts
from tests.oracle_server import (
    FAULTS,
    FINAL,
    RETRIED,
    OracleServer,
    nothing_wrong,
    rewritten,
    seeded,
)

pytestmark = pytest.mark.long

SENTINEL = "sk-sentinel-4711-do-not-show"
SPEED = 100.0
"""Seconds of the client's clock per real second."""
RETRIES = 2
BUSY = 10
PROMPTS = load_prompts()


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SENTINEL)


def call(number: int, stage: Stage = Stage.RESPONSE, max_tokens: int = 100) -> Call:
    example = Example(
        str(number),
        number,
        0,
        (Turn("user", f"Say something about {number}."),),
        f"It is {number}.",
    )
    return PROMPTS.call(stage, example, model="m", sampling=Sampling(max_tokens=max_tokens))


def calls(count: int) -> list[Call]:
    return [call(number, list(Stage)[number % 2]) for number in range(count)]


async def quick_sleep(seconds: float) -> None:
    await asyncio.sleep(seconds / SPEED)


def oracle(
    server: OracleServer, journal: Journal, bounds: Bounds | None = None, timeout_s: float = 30
) -> Oracle:
    limits = Limits(bounds or Bounds(), clock=lambda: time.monotonic() * SPEED, sleep=quick_sleep)
    address = Server("m", server.base_url, "OPENAI_API_KEY", timeout_s=timeout_s, retries=RETRIES)
    return Oracle(address, journal, probe=RewritingProbe(), limits=limits, sleep=quick_sleep)


def ask(
    server: OracleServer,
    path: Path,
    what: Sequence[Call],
    bounds: Bounds | None = None,
    timeout_s: float = 30,
) -> tuple[list[Reply], Oracle]:
    async def run() -> tuple[list[Reply], Oracle]:
        async with oracle(server, journal, bounds, timeout_s) as one:
            return await asyncio.gather(*map(one.ask, what)), one

    with Journal(path) as journal:
        return asyncio.run(run())


def expected(
    script: Callable[[str, int], str | None], one: Call, form: Form = Form.SCHEMA
) -> Outcome:
    """The outcome of a call according to the script: a second implementation of the client."""
    text = one.messages(form)[-1]["content"]
    retries = busy = attempt = 0
    while True:
        fault = script(text, attempt)
        attempt += 1
        if fault in ("429", "429_after"):
            busy += 1
            if busy > BUSY:
                return Outcome.FAILED
        elif fault in RETRIED:
            retries += 1
            if retries > RETRIES:
                return Outcome.FAILED
        else:
            break
    if fault is None:
        return Outcome.REWRITTEN
    if fault.startswith("refusal"):
        return Outcome.REFUSED
    return Outcome.TRUNCATED if fault == "length" else Outcome.UNPARSED


@pytest.mark.long
def test_2000_calls_through_faults(tmp_path: Path) -> None:
    """Outcomes agree with the script; then only what failed is asked again."""
    # Few hang: each costs a timeout, which is long so that a busy machine does not cause others.
    others = tuple(kind for kind in FAULTS if kind != "hang")
    script = seeded(0.3, 5, (*others, *others, *others, "hang"))
    many = calls(2000)
    bounds = Bounds(in_flight=32)
    with OracleServer(script, delay_s=0.005) as server:
        replies, _ = ask(server, tmp_path / "j", many, bounds, timeout_s=8)
        answers = [parse(one, reply) for one, reply in zip(many, replies, strict=True)]
        outcomes = [answer.outcome for answer in answers]
        assert outcomes == [expected(script, one) for one in many]
        assert set(outcomes) == set(Outcome) - {Outcome.KEPT}, "every outcome occurs"
        for one, answer in zip(many, answers, strict=True):
            if answer.outcome is Outcome.REWRITTEN:
                assert answer.text == rewritten(one.messages(Form.SCHEMA)[-1]["content"])
            else:
                assert answer.text is None
                assert answer.reason
        assert {one.fault for one in server.calls} == {None, *RETRIED, *FINAL}
        assert 8 < server.most_in_flight <= 32

        failed = {
            one.messages(Form.SCHEMA)[-1]["content"]
            for one, outcome in zip(many, outcomes, strict=True)
            if outcome is Outcome.FAILED
        }
        server.fault = nothing_wrong
        server.seen.clear()
        again, _ = ask(server, tmp_path / "j", many, bounds)
        assert {one.text for one in server.seen} == failed, "without a probe"
        assert len(server.seen) == len(failed)
        for before, after in zip(replies, again, strict=True):
            assert (before == after) == (before.failure is None)


def test_calls_in_flight_are_bounded_and_the_bound_is_used(tmp_path: Path) -> None:
    for bound in (3, 20):
        with OracleServer(delay_s=0.05) as server:
            ask(server, tmp_path / str(bound), calls(60), Bounds(in_flight=bound))
            assert bound // 2 < server.most_in_flight <= bound


def test_equal_calls_are_asked_once(tmp_path: Path) -> None:
    with OracleServer(delay_s=0.01) as server:
        replies, _ = ask(server, tmp_path / "j", [call(1)] * 20 + [call(2)])
        assert len(server.calls) == 2
        assert len(set(replies)) == 2


def most_in(times: Iterable[float], window_s: float) -> int:
    ordered = sorted(times)
    return max(
        sum(1 for other in ordered if start <= other < start + window_s) for start in ordered
    )


@pytest.mark.parametrize("rate", [20, None])
def test_request_rate_in_every_minute(tmp_path: Path, rate: int | None) -> None:
    """As counted by the server, with retries; without a rate it counts more."""
    script = seeded(0.3, 1, ("500", "reset"))
    with OracleServer(script) as server:
        ask(server, tmp_path / "j", calls(60), Bounds(in_flight=30, requests_per_minute=rate))
        # Latency varies, so the window is half a minute.
        most = most_in((one.at_s for one in server.seen), 0.5 * 60 / SPEED)
    assert most <= 20 if rate else most > 40


@pytest.mark.parametrize("rate", [12_000, None])
def test_token_rate_in_every_minute(tmp_path: Path, rate: int | None) -> None:
    with OracleServer() as server:
        ask(server, tmp_path / "j", calls(60), Bounds(in_flight=30, tokens_per_minute=rate))
        window_s = 0.5 * 60 / SPEED
        most = max(
            sum(o.billed for o in server.seen if one.at_s <= o.at_s < one.at_s + window_s)
            for one in server.seen
        )
    assert most <= 12_000 if rate else most > 12_000


@pytest.mark.parametrize(
    "bounds",
    [
        Bounds(in_flight=16, max_tokens_total=60_000),
        Bounds(in_flight=16, max_cost=0.06, price_in=1.0, price_out=1.0),
    ],
)
def test_cap_stops_cleanly_and_is_never_exceeded(tmp_path: Path, bounds: Bounds) -> None:
    script = seeded(0.3, 3)
    many = calls(400)
    with OracleServer(script) as server:
        replies, one = ask(server, tmp_path / "j", many, bounds, timeout_s=0.5)
        assert server.billed <= 60_000
        assert one.usage.total <= 60_000
        # It stops within two of the most expensive calls of the cap.
        assert one.usage.total > 60_000 - 2 * max(c.max_prompt_tokens + 100 for c in many)
    assert one.stopped is not None
    assert "--max-" in one.stopped
    answers = [parse(c, reply) for c, reply in zip(many, replies, strict=True)]
    states = Counter(answer.outcome for answer in answers)
    assert states[Outcome.REWRITTEN] > 20
    assert states[Outcome.FAILED] > 100
    reasons = {answer.reason for answer in answers if answer.outcome is Outcome.FAILED}
    assert one.stopped in reasons

    with OracleServer(script) as free:  # negative control
        ask(free, tmp_path / "free", many, timeout_s=0.5)
        assert free.billed > 60_000


def test_cap_is_respected_if_the_server_reports_no_usage(tmp_path: Path) -> None:
    with OracleServer(usage=False) as server:
        replies, one = ask(server, tmp_path / "j", calls(50), Bounds(max_tokens_total=30_000))
        assert 0 < server.billed <= one.usage.total <= 30_000
    assert replies[0].prompt_tokens is None


@pytest.mark.parametrize(
    ("refused", "chatty", "form"),
    [
        ((), (), Form.SCHEMA),
        (("json_schema",), (), Form.OBJECT),
        ((), ("json_schema",), Form.OBJECT),
        (("json_schema", "json_object"), (), Form.PLAIN),
        (("json_schema", "json_object"), ("json",), Form.SECTIONS),
    ],
)
def test_form_is_probed_once_and_recorded(
    tmp_path: Path, refused: tuple[str, ...], chatty: tuple[str, ...], form: Form
) -> None:
    with OracleServer(refused=refused, chatty=chatty) as server:
        many = calls(6)
        replies, one = ask(server, tmp_path / "j", many)
        assert asyncio.run(one.form()) is form
        assert len(server.seen) - len(server.calls) == list(Form).index(form) + 1
        outcomes = {parse(c, reply).outcome for c, reply in zip(many, replies, strict=True)}
        assert outcomes == {Outcome.REWRITTEN}
        server.seen.clear()
        ask(server, tmp_path / "j", [*many, call(99)])
        assert len(server.seen) == 1, "one new call, and no probe"


def test_server_with_another_name_for_the_token_limit(tmp_path: Path) -> None:
    with OracleServer(limit_name="max_completion_tokens") as server:
        (reply,), _ = ask(server, tmp_path / "j", [call(1)])
        assert parse(call(1), reply).outcome is Outcome.REWRITTEN
        assert "max_tokens" not in server.calls[0].body


def report_of(error: BaseException) -> str:
    """A traceback with the local variables of all frames outside this file."""
    report = traceback.TracebackException.from_exception(error, capture_locals=True)
    assert report.__cause__ is None
    assert report.__context__ is None or report.__suppress_context__
    frames = [frame for frame in report.stack if frame.filename != __file__]
    return f"{error} {[(frame.name, frame.locals) for frame in frames]}"


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (401, {"error": {"message": f"Incorrect API key: {SENTINEL}"}}, "rejects the API key"),
        (402, {"error": {"message": "pay"}}, "no quota left: .*pay"),
        (429, {"error": {"message": "x", "code": "insufficient_quota"}}, "no quota"),
        (404, {"error": {"message": "no such model"}}, "no model 'm'"),
        (400, {"error": {"message": f"temperature? {SENTINEL}"}}, r"temperature\? \[key\]"),
    ],
)
def test_fatal_errors_end_the_run(
    tmp_path: Path, status: int, body: dict[str, Any], message: str
) -> None:
    with (
        OracleServer(status=(status, body)) as server,
        pytest.raises(OracleError, match=message) as caught,
    ):
        ask(server, tmp_path / "j", [call(1)])
    assert "\n" not in str(caught.value)
    assert "_supports" in (shown := report_of(caught.value))
    assert SENTINEL not in shown


def test_unreachable_server(tmp_path: Path) -> None:
    with OracleServer() as server:
        pass
    with pytest.raises(OracleError, match="the connection failed"):
        ask(server, tmp_path / "j", [call(1)])


def test_server_that_goes_down_ends_the_run(tmp_path: Path) -> None:
    with (
        OracleServer(seeded(1.0, 0, ("500",))) as server,
        pytest.raises(OracleError, match="50 calls in a row failed"),
    ):
        ask(server, tmp_path / "j", calls(80))
    assert len(server.calls) < 80 * (RETRIES + 1)


def test_server_that_rejects_every_call_ends_the_run(tmp_path: Path) -> None:
    """One that rejects some of them, for their content, does not."""
    with OracleServer() as server:
        ask(server, tmp_path / "j", [call(99)])  # so that the form is known
        server.status = (403, {"error": {"message": "not for you"}})
        with pytest.raises(OracleError, match="50 calls in a row failed"):
            ask(server, tmp_path / "j", calls(80))
        server.status = None
        refused = seeded(0.9, 3, ("403",))
        server.fault = refused
        replies, _ = ask(server, tmp_path / "j", [call(1000), *calls(80)])
    assert any(reply.failure for reply in replies)


def test_timeout_is_per_attempt(tmp_path: Path) -> None:
    """A server that never finishes a response times out; other calls do not wait for it."""

    def script(text: str, attempt: int) -> str | None:
        return "hang" if "about 1." in text else None

    with OracleServer(script) as server:
        replies, _ = ask(server, tmp_path / "j", [call(1), call(2)], timeout_s=0.1)
    assert replies[0].failure == "no reply within 0.1 s"
    assert replies[1].failure is None


def test_429_pauses_every_call(tmp_path: Path) -> None:
    """For as long as the header asks."""
    first: list[str] = []

    def script(text: str, attempt: int) -> str | None:
        first.append(text)
        return "429_after" if len(first) == 1 else None

    with OracleServer(script) as server:
        ask(server, tmp_path / "j", calls(30), Bounds(in_flight=1))
        times = [one.at_s for one in server.calls]
    assert times[1] - times[0] >= 1 / SPEED


def test_interrupted_run_keeps_recorded_replies(tmp_path: Path) -> None:
    """Ctrl-C cancels the tasks wherever they are."""
    many = calls(40)

    async def run(journal: Journal) -> None:
        async with oracle(server, journal, Bounds(in_flight=4)) as one:
            tasks = [asyncio.create_task(one.ask(c)) for c in many]
            while sum(journal.reply(c.key) is not None for c in many) < 10:
                await asyncio.sleep(0.001)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    with OracleServer(delay_s=0.002) as server:
        with Journal(tmp_path / "j") as journal:
            asyncio.run(run(journal))
            recorded = {c.key for c in many if journal.reply(c.key) is not None}
        assert 10 <= len(recorded) < 40
        while server.in_flight:  # requests that arrived before the client was gone
            time.sleep(0.01)
        server.seen.clear()
        ask(server, tmp_path / "j", many)
        assert len(server.seen) == 40 - len(recorded)


@pytest.mark.parametrize("text", ["http://u:p@h/v1", "http://h/v1?key=1", "h/v1", "http://h:x"])
def test_base_url_must_not_contain_secrets(text: str) -> None:
    with pytest.raises(UsageError, match="--base-url"):
        endpoint(text)


def test_endpoints() -> None:
    assert endpoint(None) == ""
    assert endpoint("http://LOCALHOST:8000/v1/") == "localhost:8000/v1"
    assert endpoint("http://[::1]:8/v1") == "[::1]:8/v1"


def test_keys_in_the_journal_are_those_of_earlier_versions() -> None:
    """Other keys would orphan every journal: its replies would be asked, and paid for, again."""
    made = Call(
        stage=Stage.RESPONSE,
        system="system",
        user="user",
        reply_json="json",
        reply_sections="sections",
        fence="fence",
        original="original",
        prompt_version="1-abc",
        model="model",
        endpoint="localhost:8000/v1",
        sampling=Sampling(temperature=0.5, max_tokens=7),
    )
    assert made.key == "c6c2c09ac4b6bd19701ea8369f11ce480e20a57f1779eb612e62a44120cf8cf3"
    assert (
        RewritingProbe().call("model", "localhost:8000/v1").key
        == "ddf5d448ae5380e4c47e0b47e60adc8b72a2453dab89c48f96b17871f5d0cf61"
    )


@pytest.mark.parametrize("bad", ["", "sk-a\nb", "sk-é"])
def test_invalid_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", bad)
    with Journal(tmp_path / "j") as journal, pytest.raises(UsageError) as caught:
        Oracle(Server("m"), journal, probe=RewritingProbe())
    assert "OPENAI_API_KEY" in str(caught.value)
    assert not bad or bad not in str(caught.value)


def test_key_goes_to_the_server_and_nowhere_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not into a file, log, repr, message or traceback, with every logger at DEBUG."""
    caplog.set_level(logging.DEBUG)
    for name in ("openai", "httpx2", "httpcore2", "asyncio", "ifdkit"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    with OracleServer(seeded(0.5, 2)) as server:
        replies, one = ask(server, tmp_path / "j", calls(60), timeout_s=0.3)
        assert {seen.headers["authorization"] for seen in server.seen} == {f"Bearer {SENTINEL}"}
    shown = [caplog.text, *map(repr, replies), repr(one), repr(vars(one)), repr(one.server)]
    with (
        OracleServer(status=(403, {"error": {"message": f"{SENTINEL} is bad"}})) as server,
        pytest.raises(OracleError) as caught,
    ):
        ask(server, tmp_path / "j2", [call(1)])
    shown += [report_of(caught.value), *capfd.readouterr()]
    shown += [path.read_bytes().decode("latin-1") for path in tmp_path.iterdir()]
    assert any("HTTP" in text for text in shown), "the loggers were captured"
    assert not [text for text in shown if SENTINEL in text]


def test_local_server_gets_no_key(tmp_path: Path) -> None:
    with OracleServer() as server, Journal(tmp_path / "j") as journal:

        async def run() -> None:
            address = Server("m", server.base_url, api_key_env=None)
            async with Oracle(address, journal, probe=RewritingProbe()) as one:
                await one.ask(call(1))

        asyncio.run(run())
        assert SENTINEL not in str([seen.headers for seen in server.seen])
