"""Whether two sets of scores are comparable, and what a scores file says against the flags.

The one place that decides both.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ifdkit.scoring.manifest import Manifest, ScoringSetup

_SAME_ON_BOTH_SIDES = {
    "weights_hash": "model",
    "tokenizer_hash": "tokenizer",
    "protocol": "protocol",
    "template_text": "template",
    "template_date": "template date",
    "dtype": "dtype",
    "window": "window",
    "max_length": "max_length",
    "stride": "stride",
    "embedder_hash": "embedder",
    "informative_nats": "informative_nats",
    "noise_copies": "noise_copies",
    "noise_seed": "noise_seed",
    "reference_hash": "reference model",
}
"""Field of a setup → the name under which users know it."""
_IF_ON_BOTH_SIDES = (
    *("embedder_hash", "template_date", "stride", "informative_nats", "reference_hash"),
    *("noise_copies", "noise_seed"),
)
"""Fields that may be None on one side."""
_FIXED_BY_SCORES = (
    *("protocol", "template", "template_date", "window", "max_length", "stride", "dtype"),
    *("informative_nats", "noise_copies", "noise_seed"),
)
"""Settings that are decided once a dataset is scored."""
SETTINGS_IN_MANIFEST = (
    "model",
    "embedder",
    "protocol",
    "template",
    "template_date",
    "metrics",
    "dtype",
    "max_length",
    "stride",
    "window",
    "informative_nats",
    "noise_copies",
    "noise_seed",
    "reference_model",
)
"""Settings that a manifest has under the same name."""


def differences(before: ScoringSetup, after: ScoringSetup) -> list[str]:
    """What two setups do not have in common, with both values; empty if they are comparable.

    An embedder counts only if both sides have one, and likewise a date that prompts contain.
    """
    found = []
    for name, label in _SAME_ON_BOTH_SIDES.items():
        if not _is_same(name, before, after):
            found.append(f"{label} {_shown(before, name)} and {_shown(after, name)}")
    return found


def _is_same(name: str, a: ScoringSetup, b: ScoringSetup) -> bool:
    values = getattr(a, name), getattr(b, name)
    return values[0] == values[1] or (name in _IF_ON_BOTH_SIDES and None in values)


def _shown(setup: ScoringSetup, name: str) -> str:
    """A value as users know it: a hash with the name of what was hashed."""
    value = str(getattr(setup, name))
    match name:
        case "template_text":
            return f"{setup.template} ({value[:40]!r})"
        case "weights_hash":
            return f"{setup.model} ({value[:8]})"
        case "embedder_hash":
            return f"{setup.embedder} ({value[:8]})"
        case "reference_hash":
            return f"{setup.reference_model} ({value[:8]})"
        case "tokenizer_hash":
            return value[:8]
        case _:
            return value


def gives_same_requests(a: ScoringSetup, b: ScoringSetup) -> bool:
    """Whether both make the same Requests and store their NLLs under the same keys."""
    names = set(_SAME_ON_BOTH_SIDES) - {
        *("window", "embedder_hash", "informative_nats", "reference_hash"),
        *("noise_copies", "noise_seed"),
    }
    return all(_is_same(name, a, b) for name in names)


def contradictions(manifest: Manifest, given: Mapping[str, Any]) -> list[str]:
    """Settings that were asked for although the scores were made with others."""
    found = []
    for name in _FIXED_BY_SCORES:
        asked, made = given.get(name), getattr(manifest, name)
        if name == "template" and asked is not None:
            asked = Path(str(asked)).name  # a manifest names a template file without its folder
        if name in _IF_ON_BOTH_SIDES and made is None:
            continue  # the template names no date, or there is no document
        if asked not in (None, "auto", made):
            found.append(f"scored with {name} {made}, not {asked}")
    return found


def lookup_settings(
    manifest: Manifest, given: Mapping[str, Any], metrics: tuple[str, ...] = ("ifd",)
) -> dict[str, Any]:
    """The settings of a scorer that finds what was stored when a scores file was made.

    `given` settings override those of the manifest.
    """
    return {**settings_of(manifest), **given, "metrics": metrics, "reference_model": None}


def settings_of(manifest: Manifest) -> dict[str, Any]:
    """The settings that made a scores file."""
    found = {name: getattr(manifest, name) for name in SETTINGS_IN_MANIFEST}
    found["metrics"] = tuple(manifest.metrics)
    return {name: value for name, value in found.items() if value is not None}
