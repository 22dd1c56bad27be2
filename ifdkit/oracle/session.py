"""What a verb needs around its calls: a server, an event loop, and calls at the same time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from typing import Any, TypeVar

from ifdkit.errors import UsageError
from ifdkit.oracle.client import Server, endpoint, who_gets_the_key
from ifdkit.oracle.options import OracleOptions

_T = TypeVar("_T")


def check_packages(options: OracleOptions) -> None:
    """Raise UsageError or ModelError if a package that the oracle needs is not installed.

    For the beginning of a verb: before anything is read, started or asked.
    """
    if find_spec("openai") is None:
        raise UsageError("an oracle needs the openai package: pip install 'ifdkit[reflect]'")
    if options.is_local:
        from ifdkit.oracle.local import locate_weights

        locate_weights()


@contextmanager
def running_server(
    options: OracleOptions, note: Callable[[str], None]
) -> Iterator[tuple[Server, str]]:
    """The oracle's server, and the endpoint that is part of the keys of its calls.

    Notes which key goes to which host, before anything is sent.
    """
    if not options.is_local:
        origin = endpoint(options.server.base_url)
        note(who_gets_the_key(options.server))
        yield options.server, origin
        return
    from ifdkit.oracle.local import local_oracle

    with local_oracle() as local:
        note(f"local oracle: {local.model}, {local.source}")
        yield replace(options.server, model=local.model, base_url=local.base_url), local.source


def run_to_end(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine to its end, also if an event loop is already running, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1, "oracle") as thread:
        return thread.submit(asyncio.run, coroutine).result()


async def in_order(
    coroutines: Iterable[Coroutine[Any, Any, _T]], window: int
) -> AsyncGenerator[_T]:
    """The results in the order of the coroutines, of which at most `window` run at a time.

    Each is created only when it is started.  Closing the generator early cancels those that run.
    """
    pending: deque[asyncio.Task[_T]] = deque()
    try:
        for coroutine in coroutines:
            pending.append(asyncio.create_task(coroutine))
            if len(pending) >= window:
                yield await pending.popleft()
        while pending:
            yield await pending.popleft()
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
