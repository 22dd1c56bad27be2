"""Float32 matrix products by the fastest route that stays accurate to float32.

On a CPU, torch sends float32 products to MKL, which is slow on processors of other makers than
Intel.  Setting torch's oneDNN precision to "bf16" routes them through oneDNN.  This permits bf16
inputs, but only a processor with a bf16 matrix unit (AMX) uses them; elsewhere the products stay in
float32.  One measurement per process tells which is the case, and the setting is restored after
every use.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F

# The relative error of a product of K terms is about √K · 6e-8 in float32 and 4e-3 with bf16
# inputs.  Ten times the plain float32 error lies well between the two.
MAX_ERROR_RATIO = 10.0


@contextmanager
def _onednn_precision(precision: str) -> Iterator[None]:
    products: Any = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]  # untyped in torch
    before = products.fp32_precision
    products.fp32_precision = precision
    try:
        yield
    finally:
        products.fp32_precision = before


@cache
def onednn_stays_float32() -> bool:
    """Whether products routed through oneDNN are as accurate as plain float32 on this machine.

    Decided by accuracy alone.  A timing would decide differently from run to run, and the two
    routes differ in the last bits of every score.
    """
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 576, generator=generator)
    weight = torch.randn(192, 576, generator=generator)
    exact = x.double() @ weight.double().T  # (64, 192)
    errors = []
    for precision in ("ieee", "bf16"):
        with _onednn_precision(precision):
            errors.append(float((F.linear(x, weight) - exact).abs().max()))
    plain, routed = errors
    return routed <= MAX_ERROR_RATIO * plain


@contextmanager
def fast_float32(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Inside the block, route float32 products on a CPU through oneDNN if that is accurate."""
    if device.type == "cpu" and dtype == torch.float32 and onednn_stays_float32():
        with _onednn_precision("bf16"):
            yield
    else:
        yield


@contextmanager
def plain_float32() -> Iterator[None]:
    """Undo `fast_float32` inside the block, for products that are faster by torch's own route."""
    with _onednn_precision("ieee"):
        yield
