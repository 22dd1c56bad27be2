"""Statistics of tokens in the store: beside the NLLs, under keys of their own.

The blob of a Request has rank, entropy and spread of each scored token, row by row in float32, with
the checksum that every row of the store has.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ifdkit.records import Passes, Request, TokenStatistics
from ifdkit.scoring.store import Store, request_key

Arrays = dict[bytes, NDArray[np.float32]]
STATISTICS = "statistics"
"""Part of the scope of a key."""
PER_TOKEN = 3


def wanted_of(passes: Sequence[Passes], names: Collection[str]) -> frozenset[bytes]:
    """The contents of the Requests of these passes."""
    return frozenset(
        request.content
        for each in (passes if names else ())
        for name, one in each.present()
        if name in names
        for request in one.requests
    )


def known_statistics(
    store: Store,
    scope: str,
    requests: Sequence[Request],
    contents: Collection[bytes],
    *,
    provisional: bool,
) -> tuple[Arrays, dict[bytes, bytes]]:
    """What the store has of the Requests with these contents, by key; content → key.

    The statistics of a Request are float32 of shape (n_scored, 3).
    """
    if not contents:
        return {}, {}
    chosen = [one for one in requests if one.content in contents]
    keys = {one.content: request_key(f"{scope}/{STATISTICS}", one) for one in chosen}
    stored, found = store.get_nlls(list(keys.values()), provisional=provisional), {}
    for request in chosen:
        key = keys[request.content]
        if key in stored and len(stored[key]) == PER_TOKEN * request.n_scored:
            found[key] = stored[key].reshape(-1, PER_TOKEN)
    return found, keys


def split_array(
    request: Request, array: NDArray[np.float32], key: bytes, more: Mapping[bytes, bytes]
) -> Arrays:
    """What a backend gave for a Request, by key: its NLLs, and its statistics if it has them."""
    if array.ndim == 1:
        return {key: array}
    return {key: array[:, 0], more[request.content]: array[:, 1:]}


def statistics_by_pass(
    passes: Passes, known: Mapping[bytes, NDArray[np.float32]], names: Collection[str]
) -> dict[str, TokenStatistics]:
    """The statistics of these passes, from those of Requests by content."""
    if not names:
        return {}
    found = arrays_by_pass(passes, known)
    return {name: TokenStatistics(values) for name, values in found.items() if name in names}


def arrays_by_pass(
    passes: Passes, known: Mapping[bytes, NDArray[np.float32]]
) -> dict[str, NDArray[np.float32]]:
    """The arrays of each pass that are known, from those of Requests by content."""
    found = ((name, one.nll(known)) for name, one in passes.present())
    return {name: array for name, array in found if array is not None}
