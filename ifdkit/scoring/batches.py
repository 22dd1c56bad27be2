"""Filling the gaps of the store batch by batch, each batch stored as a whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

Arrays = dict[bytes, NDArray[np.float32]]


class BatchFiller:
    """Computes what a batch lacks and stores it in the background.

    A planned batch is the unit of resuming: what it lacks is computed in one call and stored in
    one transaction, while the next batch is being computed.
    """

    def __init__(self) -> None:
        self._writer = ThreadPoolExecutor(1, "store")
        self._pending: Future[None] | None = None

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
        self.wait()
        self._pending = self._writer.submit(put, made)

    def wait(self) -> None:
        """Wait until everything computed is stored. Raises StoreError."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def close(self) -> None:
        """Wait for the writer, without raising."""
        self._writer.shutdown()
