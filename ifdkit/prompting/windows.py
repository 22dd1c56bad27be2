"""Windows over a text that is longer than a model's context: every token is scored exactly once.

The windows are those of Hugging Face's guide "Perplexity of fixed-length models": window k has the
tokens [k · stride, k · stride + max_length), up to the end of the text.  What an earlier window has
scored is context only, so every token after the first window has at least max_length − stride
tokens before it.  As in the guide, the anchor, such as BOS, counts as a token of the text: the
first window begins with it, and later windows contain tokens of the text alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ifdkit.records import Request


def default_stride(max_length: int) -> int:
    """Half of the window: twice the work of one pass, and half a window of context or more."""
    return max_length // 2


def sliding_windows(
    ids: NDArray[np.int32], first: int, *, max_length: int, stride: int
) -> tuple[Request, ...]:
    """The Requests that score ids[first:], in order; () if that is empty.

    `ids` has shape (tokens,); `first` is at least 1, because the first token has no context, and
    0 < `stride` < `max_length`.
    """
    windows: list[Request] = []
    begin = end = 0
    scored = first
    while end < len(ids):
        end = min(begin + max_length, len(ids))
        if scored < end:
            windows.append(Request(ids[begin:end], scored - begin, end - begin))
            scored = end
        begin += stride
    return tuple(windows)
