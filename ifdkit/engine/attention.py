"""Attention over packed sequences, used in place of a model's own.

transformers accepts a function as an attention implementation, and builds no mask for one that it
does not know.  `segment_attention` gets the boundaries of the sequences from the context that
`packed` sets, and attends within each sequence only: on CUDA in one variable-length kernel,
elsewhere one sequence after the other, or several at a time by `block_attention`.  It raises
CannotPackError for everything that it does not implement, so that the caller can fall back to
padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F

from ifdkit.engine import block_attention
from ifdkit.engine.layout import Segment, Segments
from ifdkit.engine.tensors import to_device

NAME = "ifdkit_segments"
# Arguments that models pass to every attention function and that do not change its result here.
_IGNORED = {"position_ids", "cache_position", "use_cache", "output_attentions", "is_causal",
            "output_router_logits", "attention_mask", "layer_head_mask", "head_mask",
            "output_hidden_states", "return_dict", "logits_to_keep"}  # fmt: skip

_segments: ContextVar[Segments] = ContextVar("segments")
_windows_seen: ContextVar[set[int] | None] = ContextVar("windows_seen", default=None)


class CannotPackError(Exception):
    """A model asks its attention for something that packed attention does not implement."""


def register() -> str:
    """Register the implementation with transformers, and return its name."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, segment_attention)
    return NAME


def has_kernel(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether packed attention is available: always on a CPU, on CUDA in 16 bits only."""
    if device.type == "cuda":
        return dtype in (torch.float16, torch.bfloat16) and _varlen() is not None
    return device.type == "cpu"


@contextmanager
def packed(segments: Segments) -> Iterator[None]:
    """Inside the block, `segment_attention` attends within these segments."""
    token = _segments.set(segments)
    try:
        yield
    finally:
        _segments.reset(token)


@contextmanager
def windows_seen() -> Iterator[set[int]]:
    """Collect the sliding windows that a model's layers pass to attention inside the block.

    A layer that declares a window without passing it would attend too far back, and a probe
    shorter than the window could not show it.
    """
    seen: set[int] = set()
    token = _windows_seen.set(seen)
    try:
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
    """Causal attention within each segment and to its prefix, shape (1, tokens, heads, head).

    Raises CannotPackError for masks, soft caps, sinks, dropout and any argument not known here.
    """
    requested = {name for name, value in others.items() if value is not None} - _IGNORED
    if requested or dropout or attention_mask is not None or len(query) != 1:
        raise CannotPackError(f"{type(module).__name__} needs {sorted(requested) or 'a mask'}")
    if sliding_window is not None and (seen := _windows_seen.get()) is not None:
        seen.add(sliding_window)
    segments = _segments.get()
    scale = query.shape[-1] ** -0.5 if scaling is None else float(scaling)
    if query.device.type == "cuda":
        return _in_one_kernel(query, key, value, segments, scale, sliding_window), None
    return _one_by_one(query, key, value, segments, scale, sliding_window), None


@cache
def _varlen() -> Any:
    """torch's variable-length kernel; None if this version of torch has none."""
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
    """All segments in one call, shape (1, tokens, heads, head).

    The kernel aligns its causal mask with the end of the keys, so a prefix in front of a segment's
    own keys is visible to all of its queries.
    """
    device = query.device
    q, k, v = (t[0].transpose(0, 1).contiguous() for t in (query, key, value))  # (tokens, …, head)
    if segments.keys is not None:
        gathered = to_device(segments.keys, device)  # (keys,), a prefix once per segment
        k, v = k[gathered], v[gathered]  # (keys, kv heads, head)
    out: torch.Tensor = _varlen()(
        q,
        k,
        v,
        to_device(segments.query_ends, device),
        to_device(segments.key_ends, device),
        segments.max_queries,
        segments.max_keys,
        scale=scale,
        window_size=(-1 if window is None else window - 1, 0),
        enable_gqa=q.shape[1] != k.shape[1],
        num_splits=1,  # sums in the same order, whatever else is in the batch
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
    """One call of torch's attention per segment, shape (1, tokens, heads, head).

    In bfloat16 a faster route takes most segments where the processor has one.
    """
    out = query.new_empty(1, query.shape[2], query.shape[1], value.shape[3])
    parts: Sequence[Segment] = segments.parts
    if query.dtype == torch.bfloat16 and block_attention.is_faster():
        parts = block_attention.attend(query[0], key[0], value[0], out[0], parts, scale, window)
    for segment in parts:
        own = slice(segment.begin, segment.end)
        k, v = (_keys(t, segment) for t in (key, value))  # (kv heads, keys, head)
        attended = _attend(query[0, :, own], k, v, scale, window)  # (heads, queries, head)
        out[0, own] = attended.transpose(0, 1)
    return out


def _keys(tensor: torch.Tensor, segment: Segment) -> torch.Tensor:
    """The keys or values that a segment attends to, its prefix first: (kv heads, keys, head)."""
    own = tensor[0, :, segment.begin : segment.end]
    if not segment.n_prefix:
        return own
    return torch.cat([tensor[0, :, segment.prefix_begin : segment.prefix_end], own], dim=1)


def _attend(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, window: int | None
) -> torch.Tensor:
    n_queries, n_keys = q.shape[1], k.shape[1]
    # torch aligns `is_causal` with the first key, which is right only without a prefix.
    is_plain = n_queries == n_keys and (window is None or window >= n_keys)
    return F.scaled_dot_product_attention(
        q[None],
        k[None],
        v[None],
        attn_mask=None if is_plain else _visible(n_queries, n_keys, window),
        is_causal=is_plain,
        scale=scale,
        enable_gqa=len(q) != len(k),
    )[0]  # (heads, queries, head)


def _visible(n_queries: int, n_keys: int, window: int | None) -> torch.Tensor:
    """Which keys each query attends to, boolean of shape (queries, keys).

    The last query has the position of the last key.  A query sees no later key, and none before
    its window, which includes itself.
    """
    offset = n_keys - n_queries
    visible = torch.ones(n_queries, n_keys, dtype=torch.bool).tril(offset)
    return visible if window is None else visible.triu(offset - window + 1)
