"""Coherence: the cosine between the sentence embeddings of instruction and response.

Reflection-Tuning (2402.10110, section 6.2) reports it with a Sentence-BERT model.  An embedder
reads only the first tokens of a long text; the default one reads 256 word pieces.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifdkit.engine.models import adapter_config
from ifdkit.engine.panics import without_panic
from ifdkit.engine.patterns import patterns_in
from ifdkit.engine.untrusted import check_tokenizer
from ifdkit.errors import IfdkitError, ModelError, brief
from ifdkit.visible import function_name, one_line

Vectors = NDArray[np.float32]
EmbedFunction = Callable[[list[str]], Any]
"""Texts → their embeddings: an array, a tensor or nested lists of shape (texts, dimensions)."""
_PROBES = (
    "The sea is wide and blue.",
    "List three prime numbers above ten, and say why each of them is one.",
    "def add(a, b):\n    return a + b",
    "Wie spät ist es in Zürich? 海は広い。",
    "42",
)
"""What a function is known by: its vectors of these texts."""


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
        _check_adapters(name, folder)
        for file in folder.rglob("tokenizer.json"):
            check_tokenizer(name, file.parent)
        self._device = device
        try:
            with quiet_libraries(), without_panic():
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
        with without_panic(is_quiet=False):
            vectors = self._model.encode(list(texts), batch_size=size, show_progress_bar=False)
        return np.asarray(vectors, dtype=np.float32)


def _check_adapters(name: str, folder: Path) -> None:
    """Raise ModelError if an adapter names its modules by a pattern, which may match for ever.

    The names that it would be matched with are known only once the model is loaded.
    """
    for file in folder.rglob("adapter_config.json"):
        config = adapter_config(name, file.parent)
        if found := patterns_in({key: config.get(key) for key in config if "name" not in key}):
            raise ModelError(
                f"embedder {name}: {file.name} has the pattern {one_line(repr(found[0]), 100)}:"
                " list the names of modules instead"
            )


class FunctionEmbedder:
    """A function of the user's, checked at every call."""

    def __init__(self, function: EmbedFunction) -> None:
        """Call it on a few short texts. Raises ModelError if its result is not as described."""
        self.name = function_name(function)
        self._function = function
        self._dimensions: int | None = None
        vectors = self.embed(_PROBES)
        self.fingerprint = hashlib.sha256(vectors.astype("<f4").tobytes()).hexdigest()
        """Hex digest of the vectors of fixed texts: another one if the function was trained further
        since, though an equal one does not prove that all vectors are equal."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embeddings of texts, float32 of shape (texts, dimensions). Raises ModelError."""
        try:
            result = self._function(list(texts))
        except IfdkitError:
            raise
        except Exception as error:  # a user's code fails in its own ways
            what = f"{type(error).__name__}: {brief(error)}"
            raise self._error(f"fails on {len(texts)} texts: {what}") from error
        vectors = self._as_array(result)
        if vectors.ndim != 2 or len(vectors) != len(texts) or not vectors.shape[1]:
            raise self._error(
                f"returns shape {vectors.shape} for {len(texts)} texts: return ({len(texts)},"
                " dimensions)"
            )
        size = vectors.shape[1]
        self._dimensions = self._dimensions or size
        if size != self._dimensions:
            raise self._error(f"returns {size} dimensions, and {self._dimensions} before")
        broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(broken):
            text = one_line(texts[int(broken[0])], 40)
            raise self._error(f"returns NaN or infinity for the text {text!r}")
        return vectors

    def _as_array(self, result: Any) -> Vectors:
        if hasattr(result, "detach"):  # a tensor, on any device
            result = result.detach().float().cpu()
        try:
            found = np.asarray(result)
            if found.dtype.kind not in "fiu":
                raise TypeError
            with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinity
                return found.astype(np.float32)
        except (TypeError, ValueError) as error:
            raise self._error(
                f"returns {type(result).__name__}, which is no array of numbers of shape (texts,"
                " dimensions)"
            ) from error

    def _error(self, problem: str) -> ModelError:
        return ModelError(f"embedder {self.name}: it {problem}")
