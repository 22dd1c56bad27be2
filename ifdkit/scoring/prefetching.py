"""Items made ahead of the caller, who gets them in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ifdkit.errors import IfdkitError

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def prefetched(
    items: Iterator[_Item], stop: Callable[[], None], is_slow: Callable[[_Item], bool]
) -> Generator[_Item]:
    """The items; a thread makes the next one while the caller works on one that `is_slow`.

    Other items are worked on in Python alone, as the next one is made.  Two threads would take
    turns in doing both, which takes a fifth longer than one after the other.

    At the end, `stop` is called: after it, the thread is not to wait for anything long.
    """
    with ThreadPoolExecutor(1, "prefetch") as background:
        try:
            item = background.submit(next, items, None).result()
            while item is not None:
                upcoming = background.submit(next, items, None) if is_slow(item) else None
                yield item
                item = (upcoming or background.submit(next, items, None)).result()
        finally:
            stop()


def in_order(
    begun: Iterator[tuple[_Item, Callable[[], _Result]]], ahead: Callable[[], int]
) -> Iterator[tuple[_Item, _Result]]:
    """Each item with its result, which the function beside it waits for.

    `ahead`: how many further items to begin before that.
    """
    waiting: deque[tuple[_Item, Callable[[], _Result]]] = deque()
    failed: IfdkitError | None = None
    while failed is None:
        try:
            waiting.append(next(begun))
        except StopIteration:
            break
        except IfdkitError as error:  # what was begun before it is not lost
            failed = error
        while len(waiting) > ahead():
            item, result = waiting.popleft()
            yield item, result()
    for item, result in waiting:
        yield item, result()
    if failed is not None:
        raise failed
