"""Filling the gaps of the store batch by batch, each batch stored as a whole.

Matrix products round differently in batches of different composition.  So every number is stored
with the name of the batch that it was computed in, and one that was lost is computed in that batch
again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import numpy as np
from numpy.typing import NDArray

Arrays = dict[bytes, NDArray[np.float32]]


def batch_name(keys: Sequence[bytes]) -> bytes:
    """Eight bytes that stand for what was computed together, and in which order."""
    return hashlib.blake2b(b"".join(keys), digest_size=8).digest()


def computed_together(
    planned: Sequence[int],
    missing: Sequence[int],
    keys: Sequence[bytes],
    batches: Mapping[bytes, bytes],
) -> list[int]:
    """What to compute so that the `missing` numbers of a planned batch get their bytes again.

    `planned` and `missing` are positions of `keys`, `batches` maps the keys of known numbers to the
    names of their batches.  If some known numbers and the missing ones make up the batch of the
    known ones, the result is that batch.  Otherwise the known numbers come from other datasets, and
    the result is what is missing: computing the others again would cost time and gain nothing.
    """
    lost = set(missing)
    for name in dict.fromkeys(batches[keys[i]] for i in planned if keys[i] in batches):
        whole = [i for i in planned if i in lost or batches.get(keys[i]) == name]
        if batch_name([keys[i] for i in whole]) == name:
            return whole
    return list(missing)


def gaps(
    plan: Iterable[Sequence[int]],
    keys: Sequence[bytes],
    known: Container[bytes],
    batches_of: Callable[[list[bytes]], Mapping[bytes, bytes]],
) -> list[tuple[list[int], list[int]]]:
    """Of each planned batch that is not all known: what is missing, and what to compute for it."""
    found = []
    for batch in plan:
        missing = [i for i in batch if keys[i] not in known]
        if len(missing) == len(batch):
            found.append((missing, missing))
        elif missing:
            batches = batches_of([keys[i] for i in batch if keys[i] in known])
            found.append((missing, computed_together(batch, missing, keys, batches)))
    return found


class BackgroundWriter:
    """Stores one thing at a time, while the caller goes on."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, "store")
        self._pending: Future[None] | None = None

    def begin(self, put: Callable[[], None]) -> None:
        """Call `put` once the one before has returned. Raises the StoreError of that one."""
        self.wait()
        self._pending = self._executor.submit(put)

    def wait(self) -> None:
        """Wait until everything is stored. Raises StoreError."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def close(self) -> None:
        """Wait without raising."""
        self._executor.shutdown()


class BatchFiller:
    """Computes what a batch lacks and stores it in the background.

    A planned batch is the unit of resuming: what it lacks is computed in one call and stored in
    one transaction, while the next batch is being computed.
    """

    def __init__(self) -> None:
        self._writer = BackgroundWriter()

    def fill(
        self,
        known: Arrays,
        keys: Sequence[bytes],
        missing: list[int],
        compute: Callable[[list[int]], Sequence[NDArray[np.float32]]],
        put: Callable[[Mapping[bytes, NDArray[np.float32]]], None],
    ) -> None:
        """Add to `known` what is `missing`, positions of `keys`. Raises StoreError."""
        if not missing:
            return
        made = dict(zip((keys[i] for i in missing), compute(missing), strict=True))
        self.store(known, made, put)

    def store(
        self,
        known: Arrays,
        made: Mapping[bytes, NDArray[np.float32]],
        put: Callable[[Mapping[bytes, NDArray[np.float32]]], None],
    ) -> None:
        """Add what a batch gave to `known`, and store it in the background. Raises StoreError."""
        known.update(made)
        self._writer.begin(partial(put, made))

    def wait(self) -> None:
        """Wait until everything computed is stored. Raises StoreError."""
        self._writer.wait()

    def close(self) -> None:
        """Wait for the writer, without raising."""
        self._writer.close()
