"""A model in memory and its tokenizer, as a folder like that of any other model."""

from __future__ import annotations

import tempfile
from collections import deque
from pathlib import Path
from typing import Any

_FOLDERS: deque[tempfile.TemporaryDirectory[str]] = deque()
_MAX_FOLDERS = 2
"""Folders that are kept until the process ends: those of the last calls."""


def saved_model(model: Any, tokenizer: Any) -> str:
    """Save both into a temporary folder, and return its path.

    The weights are written as they are at this moment, in their own data type: a model that was
    trained further since the last call has other hashes.
    """
    folder = tempfile.TemporaryDirectory(prefix="ifdkit-model-")
    # The name of the folder is the name of the model in manifests.
    name = Path(str(getattr(model.config, "_name_or_path", "") or "model")).name or "model"
    path = Path(folder.name) / name
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    _FOLDERS.append(folder)
    while len(_FOLDERS) > _MAX_FOLDERS:
        _FOLDERS.popleft().cleanup()
    return str(path)
