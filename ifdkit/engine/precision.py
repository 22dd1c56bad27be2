"""Float32 matrix products by the fastest route that stays accurate to float32.

On a CPU, torch sends float32 products to MKL, which is slow on processors of other makers than
Intel.  `fast_float32` sends those of linear layers to oneDNN instead.  It changes no global setting
of torch, so several threads can use it at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

# The relative error of a product of K terms is about √K · 6e-8 in float32 and 4e-3 with bf16
# inputs.  Ten times the plain float32 error lies well between the two.
MAX_ERROR_RATIO = 10.0


def onednn_linear(
    x: torch.Tensor,  # (…, in)
    weight: torch.Tensor,  # (out, in)
    bias: torch.Tensor | None = None,  # (out,)
) -> torch.Tensor:
    """x · weightᵀ + bias by oneDNN, shape (…, out)."""
    product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product


@cache
def onednn_stays_float32() -> bool:
    """Whether products by oneDNN are as accurate as plain float32 on this machine.

    A processor with a matrix unit for bfloat16 could round their inputs.  Decided by accuracy
    alone.  A timing would decide differently from run to run, and the two routes differ in the last
    bits of every score.
    """
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 576, generator=generator)
    weight = torch.randn(192, 576, generator=generator)
    exact = x.double() @ weight.double().T  # (64, 192)
    plain = float((F.linear(x, weight) - exact).abs().max())
    try:
        routed = float((onednn_linear(x, weight) - exact).abs().max())
    except (AttributeError, RuntimeError):  # a torch without this operator
        return False
    return routed <= MAX_ERROR_RATIO * plain


class _OneDnnProducts(TorchFunctionMode):
    """Sends the products of linear layers to oneDNN, in one thread.

    Attention keeps torch's own route.  It is faster there, and oneDNN keeps generated code for each
    length of a segment: half a gigabyte after some thousand rows.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is F.linear and len(args) >= 2:
            bias = args[2] if len(args) > 2 else (kwargs or {}).get("bias")
            if _is_float32(*args[:2]):
                return onednn_linear(args[0], args[1], bias)
        if func is torch.addmm and not kwargs and len(args) == 3:  # GPT-2's layers
            bias, x, weight = args  # (out,), (rows, in), (in, out)
            if _is_float32(x, weight) and bias.dim() == 1:
                return onednn_linear(x, weight.t(), bias)
        return func(*args, **(kwargs or {}))


def _is_float32(x: torch.Tensor, weight: torch.Tensor) -> bool:
    both = (x, weight)
    return weight.dim() == 2 and all(
        t.dtype == torch.float32 and t.device.type == "cpu" and t.numel() for t in both
    )


@cache
def bfloat16_gain() -> float:
    """How many times as fast as float32 this processor multiplies in bfloat16.

    Measured once, in 0.1 s, on one thread and by the time that it was on a core, which other
    processes do not change.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        times_s = {dtype: _product_s(dtype) for dtype in (torch.float32, torch.bfloat16)}
    finally:
        torch.set_num_threads(before)
    return times_s[torch.float32] / times_s[torch.bfloat16]


def _product_s(dtype: torch.dtype) -> float:
    """Seconds of a product of the size of a layer's, the best of several."""
    x, weight = (torch.ones(n, 576, dtype=dtype) for n in (512, 1536))
    best_s = float("inf")
    with torch.inference_mode(), fast_float32(torch.device("cpu"), dtype):
        for _ in range(6):
            begin = time.thread_time()
            F.linear(x, weight)
            best_s = min(best_s, time.thread_time() - begin)
    return best_s


@contextmanager
def fast_float32(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Inside the block, send float32 products on a CPU to oneDNN if that is accurate.

    For inference only: gradients do not flow through these products.
    """
    if device.type == "cpu" and dtype == torch.float32 and onednn_stays_float32():
        with _OneDnnProducts():
            yield
    else:
        yield
