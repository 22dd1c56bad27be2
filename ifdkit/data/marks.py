"""Fields that say which texts are trained on, and those that say yes or no."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

_TRAINED = frozenset(
    {"weight", "train", "training", "trainable"}
    | {"loss", "loss_weight", "loss_scale", "loss_mask"}
)
"""Fields of a message that are 0 or false if it is not trained on."""
MASK = "mask"
"""A field of a message that marks either what is trained on or what is not; see `mask_trains`."""
TRAINING_MARKS = _TRAINED | {MASK}
_WORDS = {
    **dict.fromkeys(("true", "yes", "1", "1.0"), True),
    **dict.fromkeys(("false", "no", "0", "0.0"), False),
}


def yes_or_no(value: Any) -> bool | None:
    """True or false, which may be written as 1, 1.0 or text; None for any other value."""
    if isinstance(value, str):
        return _WORDS.get(value.strip().lower())
    if isinstance(value, (bool, int, float)) and value in (0, 1):
        return bool(value)
    return None


def _is_nonzero(value: Any) -> bool | None:
    """Whether a weight is not 0; None for anything that is no weight."""
    if isinstance(value, (int, float)) and isfinite(value):
        return value != 0
    return yes_or_no(value)


def training_marks(message: Mapping[str, Any]) -> tuple[bool, list[str]]:
    """Whether a message is trained on, and the fields that say so. `mask` is not considered."""
    found = {key: _is_nonzero(message[key]) for key in message.keys() & _TRAINED}
    known = [key for key, one in found.items() if one is not None]
    return all(found[key] for key in known), known


def mask_trains(masks: list[tuple[bool, bool]]) -> bool:
    """Whether a `mask` of true means that a message is trained on.

    `masks` has, for each message with a mask, whether the assistant wrote it, and the mask. Some
    datasets mask what is not trained on, others mark what is. Since nobody trains on the turns of
    users, these decide; without them, a mask masks.
    """
    others = [mask for is_assistant, mask in masks if not is_assistant]
    return bool(others) and not any(others) and any(mask for _, mask in masks)
