"""What the user allows: calls in flight, requests and tokens a minute, tokens and money in all.

Every attempt reserves the most it can cost before it is sent, and settles what it did cost after.
So a cap is never passed, whatever the oracle writes and whichever attempt fails.  Rates hold over
*every* minute: a window of what was sent, not a bucket, since a full bucket lets nearly twice the
rate through in the minute after a pause.
"""

from __future__ import annotations

import asyncio
import email.utils
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from ifdkit.errors import UsageError

WINDOW_S = 60.0
LONGEST_PAUSE_S = 600.0
"""A server that asks for more gets this much, and may then ask again."""

_LOOK_AGAIN_S = 0.1


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens in and out."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def total(self) -> int:
        """Tokens in and out together."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )

    def __sub__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens - other.prompt_tokens,
            self.completion_tokens - other.completion_tokens,
        )


@dataclass(frozen=True, slots=True)
class Bounds:
    """The user's limits; None is no limit. Raises UsageError where they cannot be meant."""

    in_flight: int = 8
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_tokens_total: int | None = None
    max_cost: float | None = None
    """In the currency of the prices."""
    price_in: float | None = None
    """Of a million prompt tokens."""
    price_out: float | None = None
    """Of a million completion tokens."""

    def __post_init__(self) -> None:
        counts = (
            self.in_flight,
            self.requests_per_minute,
            self.tokens_per_minute,
            self.max_tokens_total,
        )
        if any(count is not None and count < 1 for count in counts):
            raise UsageError("calls in flight, rates and caps must be 1 or more")
        amounts = [x for x in (self.max_cost, self.price_in, self.price_out) if x is not None]
        if any(not 0 <= amount < math.inf for amount in amounts):
            raise UsageError("prices and --max-cost must be finite and not negative")
        if (self.price_in is None) != (self.price_out is None):
            raise UsageError("give both prices, --price-in and --price-out, or neither")
        if self.max_cost is not None and self.price_in is None:
            raise UsageError(
                "--max-cost needs the prices of a million tokens: --price-in and --price-out"
            )

    def cost(self, usage: Usage) -> float | None:
        """What these tokens cost; None where no prices are given."""
        if self.price_in is None or self.price_out is None:
            return None
        return (
            usage.prompt_tokens * self.price_in + usage.completion_tokens * self.price_out
        ) / 1e6

    def passed_by(self, usage: Usage) -> str | None:
        """The cap that this usage would pass, with its fix; None where it passes none."""
        if self.max_tokens_total is not None and usage.total > self.max_tokens_total:
            return (
                f"the cap of {self.max_tokens_total} tokens leaves no room for another call; raise"
                " --max-tokens-total to go on"
            )
        cost = self.cost(usage)
        if self.max_cost is not None and cost is not None and cost > self.max_cost:
            return (
                f"the cap of {self.max_cost:g} on cost leaves no room for another call; raise"
                " --max-cost to go on"
            )
        return None


class CapReached(Exception):  # noqa: N818  no error: the user asked for it
    """A call was not sent because it could have passed a cap."""


class Attempt:
    """One request on its way: what it may cost, until it is known what it did."""

    def __init__(self, sent_s: float, most: Usage) -> None:
        self.sent_s = sent_s
        self.usage = most
        """The reservation, then what is settled."""

    def settle(self, usage: Usage) -> None:
        """Say what the attempt cost. Left unsaid, it counts as all that was reserved."""
        self.usage = usage


class Limits:
    """Lets attempts through as the bounds allow. For one event loop."""

    def __init__(
        self,
        bounds: Bounds,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        window_s: float = WINDOW_S,
    ) -> None:
        self.bounds = bounds
        self.spent = Usage()
        """What settled attempts cost; of those whose reply was lost, the most they can have."""
        self.stopped: str | None = None
        """The cap that ended the asking, and how to go on."""
        self._clock = clock
        self._sleep = sleep
        self._window_s = window_s
        self._in_flight = asyncio.Semaphore(bounds.in_flight)
        # Admission is decided for one attempt at a time, first come, first served.
        self._turnstile = asyncio.Lock()
        self._landed = asyncio.Event()
        self._flying: set[Attempt] = set()
        self._reserved = Usage()
        self._window: deque[Attempt] = deque()
        self._paused_until_s = -math.inf

    @asynccontextmanager
    async def attempt(self, most: Usage) -> AsyncIterator[Attempt]:
        """Wait until an attempt that costs `most` at most may be sent; hold its place meanwhile.

        Raises CapReached where it could pass a cap, from then on for every attempt.
        """
        async with self._in_flight:
            async with self._turnstile:
                await self._admitted(most)
                one = Attempt(self._clock(), most)
                self._window.append(one)
                self._flying.add(one)
                self._reserved += most
            try:
                yield one
            finally:
                self._flying.discard(one)
                self._reserved -= most
                self.spent += one.usage
                self._landed.set()

    def pause(self, seconds: float) -> None:
        """Send nothing for this long: the server has asked for it, and speaks to all of us."""
        seconds = min(seconds, LONGEST_PAUSE_S)
        self._paused_until_s = max(self._paused_until_s, self._clock() + seconds)

    async def _admitted(self, most: Usage) -> None:
        while self.stopped is None:
            passed = self.bounds.passed_by(self.spent + self._reserved + most)
            if passed and self._flying:
                # Those under way reserve more than they will cost: room may come of that.
                self._landed.clear()
                await self._landed.wait()
            elif passed:
                self.stopped = passed
            elif (wait_s := self._wait_s(most)) > 0:
                await self._sleep(wait_s)
            else:
                return
        raise CapReached(self.stopped)

    def _wait_s(self, most: Usage) -> float:
        """Seconds until the next moment at which admission may be possible; 0: it is now."""
        now = self._clock()
        if now < self._paused_until_s:
            return self._paused_until_s - now
        while self._window and self._window[0].sent_s + self._window_s <= now:
            self._window.popleft()
        if not self._window or self._fits(most):
            # A single call above the rate for tokens has to go some time: it goes alone.
            return 0.0
        wait_s = self._window[0].sent_s + self._window_s - now
        # Those under way may cost less than they reserve: look again before the minute is over.
        return min(wait_s, _LOOK_AGAIN_S) if self._flying else wait_s

    def _fits(self, most: Usage) -> bool:
        requests, tokens = self.bounds.requests_per_minute, self.bounds.tokens_per_minute
        if requests is not None and len(self._window) >= requests:
            return False
        if tokens is None:
            return True
        return sum(one.usage.total for one in self._window) + most.total <= tokens


def retry_after_s(value: str | None, now: float) -> float | None:
    """Seconds that a `Retry-After` header asks for: a number, or an HTTP date after `now`.

    `now` is Unix time; None where there is no header or it makes no sense.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - now
        except (ValueError, OverflowError):
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None
