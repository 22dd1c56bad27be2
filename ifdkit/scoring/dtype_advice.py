"""Naming a dtype that is faster on this machine than the default."""

from __future__ import annotations

from collections.abc import Callable

TOKENS_FOR_ADVICE = 20_000
"""Tokens that a block lacks from which on a faster dtype is named: half a minute on two cores."""
MIN_GAIN_FOR_ADVICE = 1.3


class DtypeAdvice:
    """Names a faster dtype once, if this machine has one and the run is long enough."""

    def __init__(self, *, dtype: str, device: str) -> None:
        """`dtype`: as it was asked for."""
        self._is_due = dtype == "auto" and device == "cpu"

    def give(self, tokens: int, note: Callable[[str], None]) -> None:
        """Note the advice before so many tokens are computed."""
        if not self._is_due or tokens < TOKENS_FOR_ADVICE:
            return
        self._is_due = False
        from ifdkit.engine.precision import bfloat16_gain

        gain = bfloat16_gain()
        if gain >= MIN_GAIN_FOR_ADVICE:
            note(
                f"this processor multiplies bfloat16 {gain:.1f} times as fast as float32:"
                " --dtype bfloat16 uses that, with less precision"
            )
