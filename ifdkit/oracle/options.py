"""Options of an oracle: which one, how it samples, within which limits."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import TypedDict

from ifdkit.errors import UsageError
from ifdkit.oracle.api_key import DEFAULT_VARIABLE
from ifdkit.oracle.calls import Sampling
from ifdkit.oracle.client import Server, is_default
from ifdkit.oracle.limits import Bounds

LOCAL = "local"
"""Name of the oracle that needs no server and no account."""
BASE_URL_VARIABLE = "OPENAI_BASE_URL"


@dataclass(frozen=True, slots=True, kw_only=True)
class OracleOptions:
    """Which oracle to ask, and within which limits; a verb adds what it asks.

    Raises UsageError for an invalid value.
    """

    oracle: str
    """Model name on the server, or `local`."""
    base_url: str | None = None
    """An OpenAI-compatible server; None: `OPENAI_BASE_URL`, or the `openai` SDK's default."""
    api_key_env: str | None = None
    """Environment variable that contains the key; `off` sends none.

    None: `OPENAI_API_KEY` for the default server, and no key for any other, because a key belongs
    to the server that it was given for.
    """
    temperature: float = 0.0
    max_tokens: int = 2048
    """Maximum completion tokens per call."""
    timeout: float = 120.0
    """Seconds per attempt."""
    retries: int = 4
    concurrency: int = 8
    """Maximum calls in flight."""
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_tokens_total: int | None = None
    max_cost: float | None = None
    price_in: float | None = None
    """Price per million prompt tokens, in the currency of `max_cost`."""
    price_out: float | None = None
    """Price per million completion tokens."""

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise UsageError(f"--max-tokens {self.max_tokens}: must be at least 1")
        if not 0 <= self.temperature <= 2:
            raise UsageError(f"--temperature {self.temperature}: must be between 0 and 2")
        if not 0 < self.timeout < float("inf"):
            raise UsageError(f"--timeout {self.timeout}: must be more than 0 seconds")
        if self.retries < 0:
            raise UsageError(f"--retries {self.retries}: must not be negative")
        if self.concurrency < 1:
            raise UsageError(f"--concurrency {self.concurrency}: must be at least 1")
        if self.is_local and self.base_url is not None:
            raise UsageError("--oracle local starts its own server: remove --base-url")
        _ = self.bounds  # raises UsageError too

    @property
    def is_local(self) -> bool:
        """Whether the oracle is the embedded model."""
        return self.oracle == LOCAL

    @property
    def sampling(self) -> Sampling:
        """How the oracle samples."""
        return Sampling(temperature=self.temperature, max_tokens=self.max_tokens)

    @property
    def bounds(self) -> Bounds:
        """Limits on rate, tokens and cost."""
        own = {f.name: getattr(self, f.name) for f in fields(Bounds) if f.name != "in_flight"}
        # The embedded model answers one call at a time; calls that wait for it would time out.
        return Bounds(in_flight=1 if self.is_local else self.concurrency, **own)

    @property
    def server(self) -> Server:
        """Address of the oracle, and when to give up on it."""
        # The SDK would read the variable itself, but the address is part of a call's key.
        base_url = self.base_url or os.environ.get(BASE_URL_VARIABLE) or None
        variable = self.api_key_env or (DEFAULT_VARIABLE if is_default(base_url) else None)
        is_keyless = self.is_local or variable == "off"
        return Server(
            model=self.oracle,
            base_url=base_url,
            api_key_env=None if is_keyless else variable,
            timeout_s=self.timeout,
            retries=self.retries,
        )


class OracleKeywords(TypedDict, total=False):
    """Keywords of the functions that ask an oracle: the fields of :class:`OracleOptions`."""

    oracle: str
    base_url: str | None
    api_key_env: str | None
    temperature: float
    max_tokens: int
    timeout: float
    retries: int
    concurrency: int
    requests_per_minute: int | None
    tokens_per_minute: int | None
    max_tokens_total: int | None
    max_cost: float | None
    price_in: float | None
    price_out: float | None
