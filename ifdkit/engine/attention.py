"""Attention over packed sequences, in the place of a model's own.

transformers lets a function be registered as an attention implementation, and makes no mask for
one it does not know.  This one reads the boundaries of the sequences from where `packed` has put
them, and computes every sequence by itself: on CUDA in one variable-length kernel, elsewhere one
after the other.  What it is not able to do it refuses, so that the caller can fall back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F

from ifdkit.engine.layout import Segment, Segments
from ifdkit.engine.precision import plain_float32

NAME = "ifdkit_segments"
# Arguments that models pass along and that change nothing here.
_HARMLESS = {"position_ids", "cache_position", "use_cache", "output_attentions", "is_causal",
             "output_router_logits", "attention_mask", "layer_head_mask", "head_mask",
             "output_hidden_states", "return_dict", "logits_to_keep"}  # fmt: skip

_segments: ContextVar[Segments] = ContextVar("segments")
_windows_seen: ContextVar[set[int] | None] = ContextVar("windows_seen", default=None)


class CannotPackError(Exception):
    """A model asks of its attention what packed attention does not do."""


def register() -> str:
    """Make the implementation known to transformers, and return its name."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, segment_attention)
    return NAME


def has_kernel(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether packed attention is to be had: always on a CPU, on CUDA in 16 bits."""
    if device.type == "cuda":
        return dtype in (torch.float16, torch.bfloat16) and _varlen() is not None
    return device.type == "cpu"


@contextmanager
def packed(segments: Segments) -> Iterator[None]:
    """Inside the block attention keeps to these segments."""
    token = _segments.set(segments)
    try:
        yield
    finally:
        _segments.reset(token)


@contextmanager
def windows_seen() -> Iterator[set[int]]:
    """Collects the sliding windows that a model's layers ask for inside the block."""
    token = _windows_seen.set(set())
    try:
        seen = _windows_seen.get()
        assert seen is not None
        yield seen
    finally:
        _windows_seen.reset(token)


def segment_attention(
    module: torch.nn.Module,
    query: torch.Tensor,  # (1, heads, tokens, head)
    key: torch.Tensor,  # (1, kv heads, tokens, head)
    value: torch.Tensor,  # (1, kv heads, tokens, head)
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each segment, and to its prefix: (1, tokens, heads, head).

    Raises CannotPackError for what it cannot do: masks, soft caps, sinks, dropout.
    """
    asked = {name for name, value in others.items() if value is not None} - _HARMLESS
    if asked or dropout or attention_mask is not None or len(query) != 1:
        raise CannotPackError(f"{type(module).__name__} wants {sorted(asked) or 'a mask'}")
    if sliding_window is not None and (seen := _windows_seen.get()) is not None:
        seen.add(sliding_window)
    segments = _segments.get()
    scale = query.shape[-1] ** -0.5 if scaling is None else float(scaling)
    if query.device.type == "cuda":
        return _in_one_kernel(query, key, value, segments, scale, sliding_window), None
    return _one_by_one(query, key, value, segments, scale, sliding_window), None


@cache
def _varlen() -> Any:
    """torch's variable-length kernel, None where this torch has none."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn


def _in_one_kernel(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    segments: Segments,
    scale: float,
    window: int | None,
) -> torch.Tensor:
    """All segments in one call; the mask is causal from the end of the keys."""

    def there(array: Any) -> torch.Tensor:
        return torch.from_numpy(array).to(query.device, non_blocking=True)

    q, k, v = (t[0].transpose(0, 1).contiguous() for t in (query, key, value))
    if segments.keys is not None:
        gathered = there(segments.keys)
        k, v = k[gathered], v[gathered]
    out: torch.Tensor = _varlen()(
        q,
        k,
        v,
        there(segments.query_ends),
        there(segments.key_ends),
        segments.most_queries,
        segments.most_keys,
        scale=scale,
        window_size=(-1 if window is None else window - 1, 0),
        enable_gqa=q.shape[1] != k.shape[1],
        num_splits=1,  # the same sums whatever else is in the batch
    )  # (tokens, heads, head)
    return out[None]


def _one_by_one(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    segments: Segments,
    scale: float,
    window: int | None,
) -> torch.Tensor:
    """Each segment by itself.

    Not through oneDNN, fast as it is with large matrices: here it is the slower one, and keeps
    code for every length of segment it meets, half a gigabyte of it after some thousand rows.
    """
    _, heads, tokens, size = query.shape
    out = query.new_empty(1, tokens, heads, size)
    with plain_float32():
        for segment in segments.parts:
            here = slice(segment.begin, segment.end)
            k, v = (_keys(t, segment) for t in (key, value))  # (kv heads, keys, head)
            attended = _attend(query[0, :, here], k, v, scale, window)  # (heads, queries, head)
            out[0, here] = attended.transpose(0, 1)
    return out


def _keys(tensor: torch.Tensor, segment: Segment) -> torch.Tensor:
    own = tensor[0, :, segment.begin : segment.end]
    if not segment.n_prefix:
        return own
    return torch.cat([tensor[0, :, segment.prefix_begin : segment.prefix_end], own], dim=1)


def _attend(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, window: int | None
) -> torch.Tensor:
    queries, keys = q.shape[1], k.shape[1]
    is_plain = queries == keys and (window is None or window >= keys)
    return F.scaled_dot_product_attention(
        q[None],
        k[None],
        v[None],
        attn_mask=None if is_plain else _visible(queries, keys, window),
        is_causal=is_plain,
        scale=scale,
        enable_gqa=len(q) != len(k),
    )[0]


def _visible(queries: int, keys: int, window: int | None) -> torch.Tensor:
    """Which keys a query may see, (queries, keys): none later, none before its window.

    The last query stands at the last key.
    """
    visible = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)
    return visible if window is None else visible.triu(keys - queries - window + 1)
