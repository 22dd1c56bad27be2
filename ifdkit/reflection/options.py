"""What a user says about a reflection: whom to ask, what for, and within which limits."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path

from ifdkit.errors import UsageError
from ifdkit.reflection.limits import Bounds
from ifdkit.reflection.oracle import Server
from ifdkit.reflection.outcomes import Sampling, Stage

LOCAL = "local"
"""The oracle that needs no server and no account."""
STAGES = (Stage.INSTRUCTION, Stage.RESPONSE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Whom to ask, what for, and within which limits.

    Raises UsageError for what cannot be meant.
    """

    oracle: str
    """The model's name as its server knows it, or `local`."""
    base_url: str | None = None
    """Of an OpenAI-compatible server; None: `OPENAI_BASE_URL`, or the `openai` SDK's own."""
    api_key_env: str = "OPENAI_API_KEY"
    """Name of the environment variable that holds the key; `off` sends none.

    A server named by `base_url` may do without one.
    """
    stages: tuple[str, ...] = ("instruction", "response")
    select: bool = False
    """Whether the student chooses among the variants."""
    prompts: Path | None = None
    """Folder of prompts; None: those that come with ifdkit."""
    temperature: float = 0.0
    max_tokens: int = 2048
    """Most completion tokens of one call."""
    timeout: float = 120.0
    """Seconds for one attempt."""
    retries: int = 4
    concurrency: int = 8
    """Calls in flight."""
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_tokens_total: int | None = None
    max_cost: float | None = None
    price_in: float | None = None
    """Of a million prompt tokens, in the currency of `max_cost`."""
    price_out: float | None = None

    def __post_init__(self) -> None:
        if not self.stages or any(name not in STAGES for name in self.stages):
            raise UsageError(
                f"--stages {','.join(self.stages)}: name instruction, response or both"
            )
        if self.max_tokens < 1:
            raise UsageError(f"--max-tokens {self.max_tokens}: at least one")
        if not 0 <= self.temperature <= 2:
            raise UsageError(f"--temperature {self.temperature}: from 0 to 2")
        if not 0 < self.timeout < float("inf"):
            raise UsageError(f"--timeout {self.timeout}: more than 0 seconds")
        if self.retries < 0:
            raise UsageError(f"--retries {self.retries}: not negative")
        if self.concurrency < 1:
            raise UsageError(f"--concurrency {self.concurrency}: at least one")
        if self.is_local and self.base_url is not None:
            raise UsageError("--oracle local starts a server of its own: leave --base-url off")
        _ = self.bounds  # which raises UsageError too

    @property
    def is_local(self) -> bool:
        """Whether the oracle is the embedded model."""
        return self.oracle == LOCAL

    @property
    def plan(self) -> tuple[Stage, ...]:
        """The stages in their order, each once."""
        return tuple(stage for stage in STAGES if stage in self.stages)

    @property
    def sampling(self) -> Sampling:
        """How the oracle draws its tokens."""
        return Sampling(temperature=self.temperature, max_tokens=self.max_tokens)

    @property
    def bounds(self) -> Bounds:
        """What the user allows."""
        own = {f.name: getattr(self, f.name) for f in fields(Bounds) if f.name != "in_flight"}
        # The embedded model answers one call at a time, and calls that wait for it would time out.
        return Bounds(in_flight=1 if self.is_local else self.concurrency, **own)

    @property
    def server(self) -> Server:
        """Where the oracle is, and how patient to be with it."""
        is_ours = self.is_local or self.api_key_env == "off"
        return Server(
            model=self.oracle,
            # Where the SDK would look by itself: the journal has to know whose answers it holds.
            base_url=self.base_url or os.environ.get("OPENAI_BASE_URL") or None,
            api_key_env=None if is_ours else self.api_key_env,
            timeout_s=self.timeout,
            retries=self.retries,
        )


def parse_stages(text: str) -> tuple[str, ...]:
    """`instruction,response` or `both`, as names."""
    if text == "both":
        return tuple(str(stage) for stage in STAGES)
    return tuple(name.strip() for name in text.split(","))
