"""Several batches at a time on a CPU: each lane is a thread that runs whole batches.

The usual way to use several cores is to split every matrix product between them, with a barrier
after each: some hundred per forward pass.  If another process takes one of the cores, every barrier
waits for it.  Lanes meet once at the end of a run instead, so that two of them beside a busy
process lose what it takes and no more.
"""

from __future__ import annotations

import copy
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from typing import Any

import torch

from ifdkit.records import NLL, Request

MAX_LANES = 8
"""More cores than this work in groups, which bounds the memory for logits and hidden states."""
BATCHES_AHEAD = 2
"""Batches per lane that wait or are under way, so that a slow one does not stop the others."""

Score = Callable[[Sequence[Request]], list[NLL]]


class _StoppedError(BaseException):
    """The caller of a stream has gone: the batch under way is not wanted any more."""


def lanes_of(threads: int, n_batches: int) -> int:
    """Lanes for a plan of so many batches. One batch alone is split between all threads.

    `n_batches` is that of the whole plan and not of what the store lacks: the number of threads can
    change the last bits, and a resumed run ends with those of an uninterrupted one.
    """
    return max(1, min(threads, MAX_LANES, n_batches))


def shared_copy(model: Any, stop: threading.Event) -> Any:
    """A copy of a model's modules over the same weights, which ends a forward pass on `stop`.

    A lane needs modules of its own, because the LM head replaces the body for a moment.
    """
    tensors = chain(model.parameters(), model.buffers())
    replica = copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})

    def check(*_: Any) -> None:
        if stop.is_set():
            raise _StoppedError

    for module in replica.modules():
        module.register_forward_pre_hook(check)
    return replica


def stream(
    scorers: Sequence[Score],
    batches: Iterator[Sequence[Request]],
    *,
    threads: int,
    stop: threading.Event,
) -> Iterator[list[NLL]]:
    """The NLLs of each batch, in order; each scorer runs in a lane with `threads` threads.

    If the caller stops early, even by Ctrl-C, `stop` is set for the batches under way.
    """
    free = list(scorers)
    own = threading.local()

    def begin() -> None:
        own.score = free.pop()
        torch.set_num_threads(threads)

    def run(batch: Sequence[Request]) -> list[NLL]:
        nlls: list[NLL] = own.score(batch)
        return nlls

    before = torch.get_num_threads()
    waiting: deque[Future[list[NLL]]] = deque()
    pool = ThreadPoolExecutor(len(scorers), "lane", begin)
    stop.clear()
    try:
        for batch in batches:
            waiting.append(pool.submit(run, batch))
            if len(waiting) >= BATCHES_AHEAD * len(scorers):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)  # lanes set what threads that begin later would get
