"""Attention within segments by matrix products in bfloat16, on processors that multiply it fast.

torch's attention on a CPU computes a block of 32 queries and one head at a time, whose products are
too small to be fast.  Here segments of about the same length are stacked, the query heads that
share keys are rows of one matrix, and 64 queries are computed at a time, with the keys that some of
them sees.

Scores are rounded to bfloat16, relative to their size.  A vector that is subtracted from all keys
of a segment changes all scores of a query alike, and no softmax.  Subtracting the first key, on
which many models spend most of their attention, makes the scores that count small.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache

import torch

from ifdkit.engine.layout import Segment

STEP = 32
"""Numbers of queries and keys are filled up to a multiple of this.

oneDNN keeps generated code for each size of a product, see `layout.SIZE_MULTIPLE`, and torch's
softmax is slow for other widths.
"""
QUERIES_PER_BLOCK = 2 * STEP
SCORES_AT_ONCE = 1 << 19
"""Scores of a block of stacked segments: a megabyte stays in a cache."""
MIN_KEYS = STEP + 1
MAX_KEYS = 1024
"""Longer segments would come in more sizes: up to here, oneDNN keeps about 100 MB of code."""


@cache
def is_faster() -> bool:
    """Whether this processor multiplies bfloat16 in vector registers.

    With a matrix unit, torch's own attention takes another route, and which is faster has not been
    measured.  Decided by the processor alone: a timing would decide differently from run to run.
    """
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    try:
        has_vectors = bool(torch.cpu._is_avx512_bf16_supported())
        return has_vectors and not torch.cpu._is_amx_tile_supported()
    except AttributeError:  # another version of torch
        return False


def attend(
    query: torch.Tensor,  # (heads, tokens, head)
    key: torch.Tensor,  # (kv heads, tokens, head)
    value: torch.Tensor,  # (kv heads, tokens, value head)
    out: torch.Tensor,  # (tokens, heads, value head)
    parts: Sequence[Segment],
    scale: float,
    window: int | None,
) -> list[Segment]:
    """Write the attention of most segments to `out`, and return those that are left.

    These are short, very long, or longer than the sliding window.
    """
    left: list[Segment] = []
    alike: dict[tuple[int, int], list[Segment]] = {}
    for segment in parts:
        n_keys = segment.n_keys
        if MIN_KEYS <= n_keys <= MAX_KEYS and (window is None or window >= n_keys):
            n_filled = -(-segment.n_queries // STEP) * STEP
            alike.setdefault((segment.n_prefix, n_filled), []).append(segment)
        else:
            left.append(segment)
    kv_heads = len(key)
    query = query.view(kv_heads, -1, *query.shape[1:])  # (kv heads, group, tokens, head)
    out = out.view(len(out), kv_heads, -1, out.shape[-1])  # (tokens, kv heads, group, value head)
    out = out.permute(1, 2, 0, 3)  # (kv heads, group, tokens, value head)
    for (n_prefix, n_filled), found in alike.items():
        n_scores = query.shape[0] * query.shape[1] * QUERIES_PER_BLOCK * (n_prefix + n_filled)
        for some in _stacks(found, SCORES_AT_ONCE // n_scores):
            _attend(query, key, value, out, some, n_filled, scale)
    return left


def _stacks(found: Sequence[Segment], limit: int) -> Iterator[Sequence[Segment]]:
    """Parts of 1, 2, 4, … segments up to a limit, so that products come in few sizes."""
    begin = 0
    while begin < len(found):
        size = min(max(1, limit), len(found) - begin)
        size = 1 << (size.bit_length() - 1)
        yield found[begin : begin + size]
        begin += size


def _attend(
    query: torch.Tensor,  # (kv heads, group, tokens, head)
    key: torch.Tensor,  # (kv heads, tokens, head)
    value: torch.Tensor,  # (kv heads, tokens, value head)
    out: torch.Tensor,  # (kv heads, group, tokens, value head)
    parts: Sequence[Segment],
    n_filled: int,
    scale: float,
) -> None:
    """The same for segments that have as many queries, filled up, and as long a prefix."""
    kv_heads, group, _, head = query.shape
    n_stacked = len(parts) * kv_heads
    q = query.new_zeros(len(parts), kv_heads, group, n_filled, head)
    for i, segment in enumerate(parts):
        q[i, :, :, : segment.n_queries] = query[:, :, segment.begin : segment.end]
    k, v, front = _stacked_keys(key, value, parts, n_filled)  # (stacked, keys, …)
    first = k.shape[1] - n_filled
    for begin in range(0, n_filled, QUERIES_PER_BLOCK):
        end = min(n_filled, begin + QUERIES_PER_BLOCK)
        n, n_keys = end - begin, first + end
        rows = q[:, :, :, begin:end].reshape(n_stacked, group * n, head)
        scores = _scores(rows, k[:, :n_keys], scale)  # (stacked, group · queries, keys)
        each = scores.view(n_stacked, group, n, n_keys)
        each[..., first + begin :] += _later(n)
        each[..., :front] = -math.inf
        torch.softmax(scores, -1, out=scores)
        block = torch.bmm(scores, v[:, :n_keys]).view(len(parts), kv_heads, group, n, -1)
        for i, segment in enumerate(parts):
            at = segment.begin + begin
            n_own = min(n, segment.end - at)
            out[:, :, at : at + n_own] = block[i, :, :, :n_own]


def _stacked_keys(
    key: torch.Tensor, value: torch.Tensor, parts: Sequence[Segment], n_filled: int
) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Keys less the first and values of each segment, (stacked, keys, …), its prefix before them.

    Filled up in front of the prefix too, so that a block's keys end with those of its own queries;
    the last result is how many keys that are.
    """
    n_prefix = parts[0].n_prefix
    front = -n_prefix % STEP
    first = front + n_prefix
    # Zeros and not what follows in the pack, which may have overflowed.
    k, v = (t.new_zeros(len(parts), len(t), first + n_filled, t.shape[-1]) for t in (key, value))
    for i, segment in enumerate(parts):
        own = slice(segment.begin, segment.end)
        shared = slice(segment.prefix_begin, segment.prefix_end)
        origin = key[:, shared if n_prefix else own][:, :1]  # (kv heads, 1, head)
        end = first + segment.n_queries
        torch.sub(key[:, own], origin, out=k[i, :, first:end])
        v[i, :, first:end] = value[:, own]
        if n_prefix:
            torch.sub(key[:, shared], origin, out=k[i, :, front:first])
            v[i, :, front:first] = value[:, shared]
    return k.flatten(0, 1), v.flatten(0, 1), front


def _scores(rows: torch.Tensor, keys: torch.Tensor, scale: float) -> torch.Tensor:
    """Scaled products of (stacked, rows, head) and (stacked, keys, head), rounded once."""
    scores = rows.new_empty(len(rows), rows.shape[1], keys.shape[1])
    return torch.baddbmm(scores, rows, keys.transpose(1, 2), beta=0, alpha=scale, out=scores)


@cache
def _later(n: int) -> torch.Tensor:
    """−∞ where a key is later than the query, else 0: (queries, keys), bfloat16."""
    return torch.full((n, n), -math.inf, dtype=torch.bfloat16).triu(1)
