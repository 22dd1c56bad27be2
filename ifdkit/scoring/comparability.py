"""Whether two sets of scores were made alike, and what made them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ifdkit.scoring.scorer import Scorer

_LIKE = {
    "weights_hash": "model",
    "tokenizer_hash": "tokenizer",
    "protocol": "protocol",
    "template_text": "template",
    "dtype": "dtype",
    "window": "window",
    "max_length": "max_length",
    "embedder_hash": "embedder",
}
"""What must be the same on both sides → the field of the manifest that a person knows it by."""
SETTINGS = (
    "model",
    "embedder",
    "protocol",
    "template",
    "metrics",
    "dtype",
    "max_length",
    "window",
)
"""Settings that a manifest tells under the same name."""
ANSWERABLE = ("protocol", "window", "max_length", "dtype")
"""Flags that a scores file can contradict."""


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What two manifests do not have in common, of what numbers depend on, with both values.

    An embedder counts where both sides have one.
    """
    found = []
    for name, label in _LIKE.items():
        a, b = before.get(name), after.get(name)
        if a == b or (name == "embedder_hash" and None in (a, b)):
            continue
        found.append(f"{label} {_told(before, name, label)} against {_told(after, name, label)}")
    return found


def _told(manifest: Mapping[str, Any], name: str, label: str) -> str:
    """A value as a person knows it: a hash comes with the name of what it is of."""
    value = str(manifest.get(name))
    if name == "template_text":
        return f"{manifest.get('template')} ({value[:40]!r})"
    if name.endswith("_hash"):
        known_by = manifest.get(label, "")
        return f"{known_by} ({value[:8]})" if known_by else value[:8]
    return value


def facts_of(scorer: Scorer) -> dict[str, Any]:
    """What a manifest will say of this Scorer, as far as `differences` asks."""
    embedder = scorer.embedder_weights
    return {
        "model": scorer.weights.name,
        "weights_hash": scorer.weights_hash,
        "tokenizer_hash": scorer.tokenizer.fingerprint,
        "protocol": scorer.protocol.name,
        "template": scorer.template.name,
        "template_text": scorer.template.source,
        "dtype": scorer.dtype,
        "window": scorer.settings.window,
        "max_length": scorer.max_length,
        "embedder": embedder.name if embedder else None,
        "embedder_hash": scorer.embedder_hash,
    }


def is_made_by(scorer: Scorer, manifest: Mapping[str, Any]) -> bool:
    """Whether a Scorer makes the Requests of these scores and keeps their NLLs under their keys."""
    facts = facts_of(scorer)
    names = set(_LIKE) - {"window", "embedder_hash"}
    return all(facts[name] == manifest.get(name) for name in names)


def settings_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that made a scores file."""
    found = {name: manifest[name] for name in SETTINGS if manifest.get(name) is not None}
    if "metrics" in found:
        found["metrics"] = tuple(found["metrics"])
    return found


def contradictions(word: str, manifest: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """What was asked for that a scores file was not made with, which nothing can change now."""
    return [
        f"{word} was scored with {name} {manifest[name]}, not {given[name]} as asked for"
        for name in ANSWERABLE
        if given.get(name) not in (None, "auto") and manifest.get(name) not in (None, given[name])
    ]
