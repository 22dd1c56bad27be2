"""Backends without a model, for tests of workers: cheap to load, and they fail on purpose.

The NLLs of a batch depend on everything in it, so that a batch of another composition is noticed.
"""

from __future__ import annotations

import os
import signal
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ifdkit.engine import Backend
from ifdkit.engine.backends import ModelSpec
from ifdkit.engine.batching import Budget
from ifdkit.errors import ModelError
from ifdkit.records import NLL, Request

DEADLY, SLOW, WRONG = 9001, 9002, 9003
"""Token ids on which a fake dies, sleeps or raises."""


def request(*ids: int) -> Request:
    return Request(np.array([1, *ids], np.int32), 1, len(ids) + 1)


def fake_nlls(requests: Sequence[Request]) -> list[NLL]:
    """Numbers that depend on the whole batch."""
    seed = zlib.crc32(b"".join(one.content for one in requests))
    generator = np.random.default_rng(seed)
    return [generator.random(one.n_scored, np.float32) for one in requests]


@dataclass(frozen=True)
class FakeBackend:
    """Answers at once, unless a token tells it otherwise."""

    budget: Budget
    batch_s: float = 0.0
    """Seconds that a batch takes."""

    def float32_problem(self) -> str | None:
        return None

    def nll(self, requests: Sequence[Request]) -> list[NLL]:
        ids = {int(one) for request in requests for one in request.ids}
        if DEADLY in ids:
            os.kill(os.getpid(), signal.SIGKILL)
        if SLOW in ids:
            time.sleep(60)
        if WRONG in ids:
            raise ModelError("token 9003 is wrong")
        time.sleep(self.batch_s)
        return fake_nlls(requests)


@dataclass(frozen=True)
class FakeModel:
    """A Loadable."""

    tokens: int = 1024
    dies: bool = False
    fails: bool = False

    def load(self) -> Backend:
        if self.dies:
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.fails:
            raise ModelError("model fake does not load: no such thing")
        return FakeBackend(Budget(tokens=self.tokens))


@dataclass(frozen=True)
class _EachByItself:
    """Numbers that depend on each Request alone, and death by a token."""

    token: int

    @property
    def budget(self) -> Budget:
        return Budget(tokens=256)

    def float32_problem(self) -> str | None:
        return None

    def nll(self, requests: Sequence[Request]) -> list[NLL]:
        if any(self.token in one.ids for one in requests):
            os.kill(os.getpid(), signal.SIGKILL)
        return [fake_nlls([one])[0] + 1 for one in requests]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadlySpec(ModelSpec):
    """Stands for a real model; some token kills the process that scores it."""

    token: int

    def load(self) -> Backend:
        return _EachByItself(self.token)


@dataclass(frozen=True, slots=True, kw_only=True)
class LightSpec(ModelSpec):
    """Stands for a real model, and takes 0.1 s of a processor to start in a worker, not 3.5 s."""

    batch_s: float

    def load(self) -> Backend:
        return FakeBackend(Budget(tokens=256), self.batch_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class TightSpec(ModelSpec):
    """A real model on a device whose memory ends in the middle of a batch."""

    max_sequences: int

    def load(self) -> Backend:
        import torch

        backend = super(TightSpec, self).load()
        held: Any = backend
        batch = held._batch

        def tight(requests: Sequence[Request]) -> Any:
            if len(requests) > self.max_sequences:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return batch(requests)

        held._batch = tight
        return backend
