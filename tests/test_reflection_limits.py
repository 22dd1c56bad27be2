"""Rates, pauses and caps, with a clock that advances only in `sleep`."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime

import pytest

from ifdkit.errors import UsageError
from ifdkit.oracle.limits import (
    MAX_PAUSE_S,
    Bounds,
    CapReached,
    Limits,
    Usage,
    retry_after_s,
)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds
        await asyncio.sleep(0)


def limits(clock: Clock, bounds: Bounds) -> Limits:
    return Limits(bounds, clock=clock, sleep=clock.sleep)


def sent(
    bounds: Bounds, costs: list[tuple[Usage, Usage]], seed: int = 0
) -> list[tuple[float, int]]:
    """Times and costs of attempts that overlap at random, given (reserved, actual) of each."""
    clock, chance = Clock(), random.Random(seed)
    one, times = limits(clock, bounds), []

    async def attempt(most: Usage, actual: Usage) -> None:
        async with one.attempt(most) as started:
            times.append((clock.now, actual.total))
            for _ in range(chance.randrange(5)):
                await clock.sleep(chance.random())
            started.charge(actual)

    async def run() -> None:
        await asyncio.gather(*(attempt(*cost) for cost in costs))

    asyncio.run(run())
    return times


def busiest(times: list[tuple[float, int]], window_s: float = 60.0) -> tuple[int, int]:
    """Maximum requests and maximum tokens in any window that starts with a request."""
    windows = [[n for at, n in times if start <= at < start + window_s] for start, _ in times]
    return max(map(len, windows)), max(map(sum, windows))


def costs(count: int, seed: int) -> list[tuple[Usage, Usage]]:
    chance = random.Random(seed)
    made = []
    for _ in range(count):
        most = Usage(chance.randrange(1, 300), chance.randrange(1, 300))
        actual = Usage(
            chance.randrange(most.prompt_tokens + 1), chance.randrange(most.completion_tokens + 1)
        )
        made.append((most, actual))
    return made


@pytest.mark.parametrize("seed", range(20))
def test_rates_hold_in_every_window(seed: int) -> None:
    many = costs(80, seed)
    requests, tokens = busiest(sent(Bounds(8, 10, None), many, seed))
    assert requests == 10, "respected, and used up"
    requests, tokens = busiest(sent(Bounds(8, None, 2000), many, seed))
    assert 1000 < tokens <= 2000
    requests, tokens = busiest(sent(Bounds(8, 10, 2000), many, seed))
    assert requests <= 10
    assert tokens <= 2000
    requests, tokens = busiest(sent(Bounds(80), many, seed))
    assert requests > 10, "negative control"
    assert tokens > 2000, "negative control"


def test_call_above_the_token_rate_is_sent_alone() -> None:
    many = [(Usage(50, 0), Usage(50, 0)), (Usage(5000, 0), Usage(5000, 0))] * 3
    times = sent(Bounds(8, None, 100), many)
    assert len(times) == 6
    large = [at for at, n in times if n == 5000]
    assert all(abs(at - other) >= 60 for at, _ in times for other in large if at != other)


def test_calls_in_flight() -> None:
    clock = Clock()
    one = limits(clock, Bounds(3))
    most = now = 0

    async def attempt() -> None:
        nonlocal most, now
        async with one.attempt(Usage(1, 1)):
            now += 1
            most = max(most, now)
            await asyncio.sleep(0)
            now -= 1

    async def run() -> None:
        await asyncio.gather(*(attempt() for _ in range(50)))

    asyncio.run(run())
    assert most == 3


def test_pause_stops_every_call_and_the_longest_counts() -> None:
    clock = Clock()
    one = limits(clock, Bounds(4))
    times = []

    async def attempt() -> None:
        async with one.attempt(Usage(1, 1)):
            times.append(clock.now)

    async def run() -> None:
        one.pause(30)
        one.pause(5)
        await asyncio.gather(*(attempt() for _ in range(5)))
        one.pause(1e9)
        await attempt()

    asyncio.run(run())
    assert times == [1030.0] * 5 + [1030.0 + MAX_PAUSE_S]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(
    "bounds",
    [
        Bounds(8, max_tokens_total=5000),
        Bounds(8, max_cost=0.01, price_in=1.0, price_out=4.0),
        Bounds(8, 20, 3000, 5000, 0.01, 1.0, 4.0),
    ],
)
def test_cap_is_never_exceeded_and_nearly_reached(bounds: Bounds, seed: int) -> None:
    """Attempts that fail before they are charged count as their reservation."""
    clock, chance = Clock(), random.Random(seed)
    one = limits(clock, bounds)
    truth = Usage()
    refused = 0

    async def attempt(most: Usage, actual: Usage) -> None:
        nonlocal truth, refused
        try:
            async with one.attempt(most) as started:
                truth += actual
                await clock.sleep(chance.random())
                if chance.random() < 0.1:
                    raise OSError
                started.charge(actual)
        except CapReached:
            refused += 1
        except OSError:
            pass

    async def run() -> None:
        await asyncio.gather(*(attempt(*cost) for cost in costs(100, seed)))

    asyncio.run(run())
    for usage in (truth, one.spent):
        assert bounds.exceeded_by(usage) is None
    assert refused
    # Less than the largest call is left.
    assert bounds.exceeded_by(one.spent + Usage(300, 300)) is not None


def test_no_smaller_call_is_sent_after_a_cap() -> None:
    one = limits(Clock(), Bounds(max_tokens_total=100))

    async def run() -> None:
        async with one.attempt(Usage(50, 0)):
            pass
        for size in (51, 1):
            with pytest.raises(CapReached, match="--max-tokens-total"):
                async with one.attempt(Usage(size, 0)):
                    raise AssertionError

    asyncio.run(run())
    assert one.spent == Usage(50, 0)


def test_cap_waits_for_calls_in_flight_before_it_stops() -> None:
    """Each call reserves 60 of 100 and costs 10, so five of nine fit, one at a time."""
    one = limits(Clock(), Bounds(8, max_tokens_total=100))
    done = 0

    async def attempt() -> None:
        nonlocal done
        async with one.attempt(Usage(60, 0)) as started:
            await asyncio.sleep(0)
            started.charge(Usage(10, 0))
            done += 1

    async def run() -> None:
        await asyncio.gather(*(attempt() for _ in range(9)), return_exceptions=True)

    asyncio.run(run())
    assert done == 5
    assert one.spent == Usage(50, 0)


def test_cancelled_wait_frees_its_slot() -> None:
    clock = Clock()
    one = limits(clock, Bounds(1))

    async def run() -> None:
        async with one.attempt(Usage(1, 1)):
            waiting = asyncio.create_task(one.attempt(Usage(1, 1)).__aenter__())
            await asyncio.sleep(0)
            waiting.cancel()
        async with asyncio.timeout(1), one.attempt(Usage(1, 1)):
            pass

    asyncio.run(run())
    assert one.spent == Usage(2, 2)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        ("0.25", 0.25),
        ("-3", 0.0),
        ("Sun, 22 Nov 2026 12:00:30 GMT", 30.0),
        ("Sun, 22 Nov 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("", None),
        ("Sun, 99 Nov 2026 12:00:30 GMT", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    now = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()
    assert retry_after_s(value, now) == seconds


@pytest.mark.parametrize(
    "wrong",
    [
        {"in_flight": 0},
        {"requests_per_minute": 0},
        {"max_tokens_total": -1},
        {"price_in": 1.0},
        {"max_cost": 1.0},
        {"price_in": -1.0, "price_out": 1.0},
        {"max_cost": float("nan"), "price_in": 1.0, "price_out": 1.0},
    ],
)
def test_invalid_bounds(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Bounds(**wrong)  # type: ignore[arg-type]


def test_cost() -> None:
    assert Bounds(price_in=2.0, price_out=8.0).cost(Usage(1_000_000, 500_000)) == 6.0
    assert Bounds().cost(Usage(1, 1)) is None
