"""What a verb needs around its calls: a server, and an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from ifdkit.oracle.client import Server, endpoint
from ifdkit.oracle.options import OracleOptions

_T = TypeVar("_T")


@contextmanager
def running_server(options: OracleOptions) -> Iterator[tuple[Server, str]]:
    """The oracle's server, and the endpoint that is part of the keys of its calls."""
    if not options.is_local:
        yield options.server, endpoint(options.server.base_url)
        return
    from ifdkit.oracle.local import local_oracle

    with local_oracle() as local:
        yield replace(options.server, model=local.model, base_url=local.base_url), local.source


def run_to_end(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine to its end, also if an event loop is already running, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1, "oracle") as thread:
        return thread.submit(asyncio.run, coroutine).result()
