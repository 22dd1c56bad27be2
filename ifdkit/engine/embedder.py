"""Coherence: the cosine between the sentence embeddings of instruction and response.

Reflection-Tuning (2402.10110, section 6.2) reports it with a Sentence-BERT model.  An embedder
reads only the first tokens of a long text; the default one reads 256 word pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifdkit.errors import ModelError, brief

Vectors = NDArray[np.float32]


def cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float | None:
    """Cosine of two vectors (dimensions,), −1…1; None if one of them is zero or not finite."""
    a64, b64 = a.astype(np.float64), b.astype(np.float64)
    norm = float(np.linalg.norm(a64) * np.linalg.norm(b64))
    if not norm or not np.isfinite(norm):
        return None
    return float(np.clip(a64 @ b64 / norm, -1.0, 1.0))


class SentenceEmbedder:
    """A sentence-transformers model."""

    def __init__(
        self, name: str, folder: Path, *, device: str, trust_remote_code: bool = False
    ) -> None:
        """Load it. Raises ModelError if the folder does not contain such a model."""
        from sentence_transformers import SentenceTransformer

        from ifdkit.engine.quiet import quiet_libraries

        # Without this, transformers takes a pickle beside a safetensors file of another name.
        has_safe = any(folder.rglob("*.safetensors"))
        self._device = device
        try:
            with quiet_libraries():
                self._model: Any = SentenceTransformer(
                    str(folder),
                    device=device,
                    local_files_only=True,
                    model_kwargs={"use_safetensors": True} if has_safe else {},
                    trust_remote_code=trust_remote_code,
                )
        except Exception as error:  # each architecture fails in its own way
            raise ModelError(f"embedder {name} does not load: {brief(error)}") from error

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embeddings of texts, float32 of shape (texts, dimensions).

        On a CPU each text has a pass of its own, so that its embedding does not depend on which
        other texts a store lacks: batches of another shape round differently.  Nothing is padded
        then, and it takes no longer.
        """
        size = 1 if self._device == "cpu" else len(texts)
        vectors = self._model.encode(list(texts), batch_size=size, show_progress_bar=False)
        return np.asarray(vectors, dtype=np.float32)
