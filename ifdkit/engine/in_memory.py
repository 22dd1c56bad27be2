"""A model in memory and its tokenizer, or an embedder, as a folder like that of any other model."""

from __future__ import annotations

import tempfile
from collections import deque
from pathlib import Path
from typing import Any

_FOLDERS: deque[tempfile.TemporaryDirectory[str]] = deque()
_MAX_FOLDERS = 4
"""Folders that are kept until the process ends: those of the last calls, each with a model and an
embedder at most."""


def saved_model(model: Any, tokenizer: Any) -> str:
    """Save both into a temporary folder, and return its path.

    The weights are written as they are at this moment, in their own data type: a model that was
    trained further since the last call has other hashes.
    """
    name = Path(str(getattr(model.config, "_name_or_path", "") or "model")).name or "model"
    return _saved(name, model, tokenizer)


def is_sentence_transformer(model: Any) -> bool:
    """Whether an object is a model of sentence-transformers, which this does not import."""
    return any(
        kind.__name__ == "SentenceTransformer" and kind.__module__.startswith("sentence_transf")
        for kind in type(model).__mro__
    )


def saved_embedder(model: Any) -> str:
    """Save a model of sentence-transformers into a temporary folder, and return its path."""
    return _saved("embedder", model)


def _saved(name: str, *parts: Any) -> str:
    folder = tempfile.TemporaryDirectory(prefix="ifdkit-model-")
    # The name of the folder is the name of the model in manifests.
    path = Path(folder.name) / name
    for part in parts:
        part.save_pretrained(str(path))
    _FOLDERS.append(folder)
    while len(_FOLDERS) > _MAX_FOLDERS:
        _FOLDERS.popleft().cleanup()
    return str(path)
