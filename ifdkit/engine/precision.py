"""Float32 matrix products at their fastest, as long as they stay float32-accurate.

On a CPU torch sends float32 products to MKL, which is slow on processors that are not Intel's.
Allowing oneDNN "bf16" inputs routes them through oneDNN instead; where the processor has no bf16
matrix unit for float32 inputs (anything but AMX), the products stay in float32.  Whether they do
is found out once by measuring, and the setting is restored after every use.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F

# A float32 product of K terms errs by about K^0.5 · 6e-8 relative; bf16 inputs by 4e-3. Ten times
# the plain error separates the two with room on either side.
_MOST_TIMES_THE_PLAIN_ERROR = 10.0


@contextmanager
def _onednn(precision: str) -> Iterator[None]:
    products: Any = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]  # untyped in torch
    before = products.fp32_precision
    products.fp32_precision = precision
    try:
        yield
    finally:
        products.fp32_precision = before


@cache
def onednn_stays_float32() -> bool:
    """Whether products routed through oneDNN are as accurate here as plain float32 ones.

    Decided by accuracy alone: timing would choose differently from run to run, and with it the
    last bits of every score.
    """
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 576, generator=generator)
    weight = torch.randn(192, 576, generator=generator)
    exact = x.double() @ weight.double().T
    errors = []
    for precision in ("ieee", "bf16"):
        with _onednn(precision):
            errors.append(float((F.linear(x, weight) - exact).abs().max()))
    plain, routed = errors
    return routed <= _MOST_TIMES_THE_PLAIN_ERROR * plain


@contextmanager
def fast_float32(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Route float32 products on a CPU through oneDNN inside a block, if that is exact."""
    if device.type == "cpu" and dtype == torch.float32 and onednn_stays_float32():
        with _onednn("bf16"):
            yield
    else:
        yield


@contextmanager
def plain_float32() -> Iterator[None]:
    """Inside `fast_float32`, the way back: for products that are faster where torch sends them."""
    with _onednn("ieee"):
        yield
