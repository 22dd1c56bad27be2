"""Items made ahead of the caller, who gets them in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def prefetched(items: Iterator[_Item]) -> Iterator[_Item]:
    """The items; a thread makes the next one while the caller works on the current one."""
    with ThreadPoolExecutor(1, "prefetch") as background:
        upcoming = background.submit(next, items, None)
        while (item := upcoming.result()) is not None:
            upcoming = background.submit(next, items, None)
            yield item


def in_order(
    begun: Iterator[tuple[_Item, Callable[[], _Result]]], ahead: Callable[[], int]
) -> Iterator[tuple[_Item, _Result]]:
    """Each item with its result, which the function beside it waits for.

    `ahead`: how many further items to begin before that.
    """
    waiting: deque[tuple[_Item, Callable[[], _Result]]] = deque()
    for one in begun:
        waiting.append(one)
        while len(waiting) > ahead():
            item, result = waiting.popleft()
            yield item, result()
    for item, result in waiting:
        yield item, result()
