"""A manifest of scores for tests that do not run a model."""

from __future__ import annotations

from typing import Any

from ifdkit.scoring.manifest import SCORES_SCHEMA, Manifest


def make_manifest(**changes: Any) -> Manifest:
    """The manifest of a small run, with some fields changed."""
    fields: dict[str, Any] = {
        "schema": SCORES_SCHEMA,
        "version": "0.1.0",
        "created": "2025-11-22T17:00:00+00:00",
        "command": "ifdkit score data.json",
        "input": "data.json",
        "input_sha256": None,
        "columns": {},
        "turns": "all",
        "limit": None,
        "sample": None,
        "seed": None,
        "model": "gpt2",
        "model_source": "folder",
        "weights_hash": "ab" * 32,
        "tokenizer_hash": "cd" * 32,
        "embedder": None,
        "embedder_source": None,
        "embedder_hash": None,
        "protocol": "aligned",
        "template": "plain",
        "template_text": "{instruction}",
        "metrics": ["ppl", "ifd"],
        "dtype": "float32",
        "dtype_asked": "auto",
        "drift": None,
        "device": "cpu",
        "window": 64,
        "max_length": 2048,
        "rows_in": 0,
        "rows_scored": 0,
        "rows_rejected": 0,
        "examples": 0,
        "status_counts": {},
        "requests": 0,
        "requests_from_store": 0,
        "requests_scored": 0,
        "texts_embedded": 0,
        "tokens_scored": 0,
        "elapsed_s": 0.0,
        "model_load_s": 0.0,
        "scoring_s": 0.0,
        "embedding_s": 0.0,
        "tokens_per_s": None,
    }
    return Manifest(**{**fields, **changes})
