"""The next item made in a thread while the caller works on the current one."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")


def prefetched(items: Iterator[_Item]) -> Iterator[_Item]:
    """The items; a thread makes the next one while the caller works on the current one."""
    with ThreadPoolExecutor(1, "prefetch") as background:
        upcoming = background.submit(next, items, None)
        while (item := upcoming.result()) is not None:
            upcoming = background.submit(next, items, None)
            yield item
