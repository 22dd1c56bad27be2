"""How long a pass may be, and how far apart the windows over a long document are."""

from __future__ import annotations

from ifdkit.engine.models import Weights
from ifdkit.errors import UsageError
from ifdkit.prompting.protocols import Protocol
from ifdkit.prompting.windows import default_stride
from ifdkit.scoring.settings import Settings


def max_length_of(settings: Settings, weights: Weights, protocol: Protocol) -> int:
    """Tokens of the longest pass. Raises UsageError if the model's context is shorter."""
    context, asked = weights.context_length, settings.max_length
    if asked is not None and context is not None and asked > context:
        raise UsageError(
            f"--max-length {asked} is more than the {context} tokens of the context of"
            f" {weights.name}"
        )
    return asked or min(protocol.max_length, context or protocol.max_length)


def stride_of(settings: Settings, max_length: int) -> int:
    """Tokens from one window to the next. Raises UsageError if they would not overlap."""
    asked = settings.stride
    if asked is not None and asked >= max_length:
        raise UsageError(
            f"--stride {asked}: must be less than the {max_length} tokens of a window, so"
            " that every token has context"
        )
    return asked or default_stride(max_length)
