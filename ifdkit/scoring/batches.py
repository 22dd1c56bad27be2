"""Filling the gaps of the store batch by batch, each batch stored as a whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
        made: Arrays,
        put: Callable[[Mapping[bytes, NDArray[np.float32]]], None],
    ) -> None:
        """Add what was computed of a batch to `known`, and store it. Raises StoreError."""
        if not made:
            return
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
