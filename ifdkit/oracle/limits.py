"""The user's limits: calls in flight, requests and tokens per minute, total tokens and cost.

Every attempt reserves the most that it can cost before it is sent, and is charged what it did cost
afterwards.  A cap is therefore never exceeded, whatever the oracle writes and whichever attempt
fails.  Rates apply to *every* minute: the limiter counts a sliding window and is not a token
bucket, because a full bucket lets nearly twice the rate through in the minute after a pause.
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
MAX_PAUSE_S = 600.0
"""Longest pause that a server is granted at once."""

_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Usage:
    """Prompt and completion tokens."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def total(self) -> int:
        """Prompt and completion tokens together."""
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
    """The user's limits; None is no limit. Raises UsageError for invalid values."""

    in_flight: int = 8
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_tokens_total: int | None = None
    max_cost: float | None = None
    """In the currency of the prices."""
    price_in: float | None = None
    """Price per million prompt tokens."""
    price_out: float | None = None
    """Price per million completion tokens."""

    def __post_init__(self) -> None:
        counts = (
            self.in_flight,
            self.requests_per_minute,
            self.tokens_per_minute,
            self.max_tokens_total,
        )
        if any(count is not None and count < 1 for count in counts):
            raise UsageError("calls in flight, rates and caps must be at least 1")
        amounts = [x for x in (self.max_cost, self.price_in, self.price_out) if x is not None]
        if any(not 0 <= amount < math.inf for amount in amounts):
            raise UsageError("prices and --max-cost must be finite and not negative")
        if (self.price_in is None) != (self.price_out is None):
            raise UsageError("give both --price-in and --price-out, or neither")
        if self.max_cost is not None and self.price_in is None:
            raise UsageError(
                "--max-cost needs the prices per million tokens: --price-in and --price-out"
            )

    def cost(self, usage: Usage) -> float | None:
        """Cost of these tokens; None if no prices are given."""
        if self.price_in is None or self.price_out is None:
            return None
        return (
            usage.prompt_tokens * self.price_in + usage.completion_tokens * self.price_out
        ) / 1e6

    def exceeded_by(self, usage: Usage) -> str | None:
        """The cap that this usage would exceed, and how to raise it; None if there is none."""
        if self.max_tokens_total is not None and usage.total > self.max_tokens_total:
            return (
                f"the cap of {self.max_tokens_total} tokens leaves no room for another call; raise"
                " --max-tokens-total to continue"
            )
        cost = self.cost(usage)
        if self.max_cost is not None and cost is not None and cost > self.max_cost:
            return (
                f"the cap of {self.max_cost:g} on cost leaves no room for another call; raise"
                " --max-cost to continue"
            )
        return None


class CapReached(Exception):  # noqa: N818  not an error: the user asked for it
    """A call was not sent because it could have exceeded a cap."""


class Attempt:
    """One request in flight, with the tokens that it counts as."""

    def __init__(self, sent_s: float, reserved: Usage) -> None:
        self.sent_s = sent_s
        self.usage = reserved
        """The reservation until the attempt is charged, and if it never is."""

    def charge(self, usage: Usage) -> None:
        """Replace the reservation by what the attempt did cost."""
        self.usage = usage


class Limits:
    """Admits attempts within the bounds. For one event loop."""

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
        """Tokens of finished attempts; of those that lost their reply, the reservation."""
        self.stopped: str | None = None
        """The cap that was reached, and how to raise it."""
        self._clock = clock
        self._sleep = sleep
        self._window_s = window_s
        self._slots = asyncio.Semaphore(bounds.in_flight)
        # Attempts are admitted one at a time, in the order in which they came.
        self._admission = asyncio.Lock()
        self._finished = asyncio.Event()
        self._in_flight: set[Attempt] = set()
        self._reserved = Usage()
        self._window: deque[Attempt] = deque()
        self._paused_until_s = -math.inf

    @asynccontextmanager
    async def attempt(self, reserved: Usage) -> AsyncIterator[Attempt]:
        """Wait until an attempt that costs at most `reserved` may be sent.

        Raises CapReached if it could exceed a cap; every later attempt then raises it too.
        """
        async with self._slots:
            async with self._admission:
                await self._admit(reserved)
                one = Attempt(self._clock(), reserved)
                self._window.append(one)
                self._in_flight.add(one)
                self._reserved += reserved
            try:
                yield one
            finally:
                self._in_flight.discard(one)
                self._reserved -= reserved
                self.spent += one.usage
                self._finished.set()

    def pause(self, seconds: float) -> None:
        """Send nothing for this long: a server that is busy is busy for every call."""
        seconds = min(seconds, MAX_PAUSE_S)
        self._paused_until_s = max(self._paused_until_s, self._clock() + seconds)

    async def _admit(self, reserved: Usage) -> None:
        while self.stopped is None:
            exceeded = self.bounds.exceeded_by(self.spent + self._reserved + reserved)
            if exceeded and self._in_flight:
                # Attempts in flight reserve more than they will cost, so there may be room later.
                self._finished.clear()
                await self._finished.wait()
            elif exceeded:
                self.stopped = exceeded
            elif (wait_s := self._wait_s(reserved)) > 0:
                await self._sleep(wait_s)
            else:
                return
        raise CapReached(self.stopped)

    def _wait_s(self, reserved: Usage) -> float:
        """Seconds until admission may be possible; 0 if it is possible now."""
        now = self._clock()
        if now < self._paused_until_s:
            return self._paused_until_s - now
        while self._window and self._window[0].sent_s + self._window_s <= now:
            self._window.popleft()
        if not self._window or self._fits(reserved):
            # An empty window admits a single call above the token rate, which would never fit.
            return 0.0
        wait_s = self._window[0].sent_s + self._window_s - now
        # Attempts in flight may cost less than they reserve, so check again before the window ends.
        return min(wait_s, _POLL_S) if self._in_flight else wait_s

    def _fits(self, reserved: Usage) -> bool:
        requests, tokens = self.bounds.requests_per_minute, self.bounds.tokens_per_minute
        if requests is not None and len(self._window) >= requests:
            return False
        if tokens is None:
            return True
        return sum(one.usage.total for one in self._window) + reserved.total <= tokens


def retry_after_s(value: str | None, now: float) -> float | None:
    """Seconds to wait according to a `Retry-After` header: a number, or an HTTP date.

    `now` is Unix time.  None if there is no header, or if it cannot be parsed.
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
