"""NLLs of the self-check's probes by plain logits, kept in the cache between loads of a model.

Plain logits are the slow half of a self-check and are the same at every load.  With them kept, a
load computes the probes with the fast strategy only, and still compares every token.  A strategy
that differs from what is kept is checked against plain logits computed anew, so what is in the
cache can cost time but cannot let a wrong strategy pass.
"""

from __future__ import annotations

import hashlib
import json
import logging
from importlib import metadata
from io import BytesIO
from pathlib import Path

import numpy as np

from ifdkit.engine.kept_files import file_state, keep_file
from ifdkit.engine.models import Weights, cache_folder
from ifdkit.records import NLL
from ifdkit.version import VERSION

log = logging.getLogger(__name__)

_LIBRARIES = ("torch", "transformers")


class KnownNlls:
    """A file of the cache for one model, dtype and device."""

    def __init__(self, weights: Weights, dtype: str, device: str, *, trusted: bool) -> None:
        """Nothing is kept of a model that is `trusted` to run code, which may lie elsewhere."""
        self._file: Path | None = None
        if not trusted:
            key = _key(weights, dtype, device)
            self._file = cache_folder() / "self-checks" / f"{key}.npy"

    def recall(self) -> NLL | None:
        """The NLLs that were kept, (tokens,); None if there are none that can be read."""
        if self._file is None:
            return None
        try:
            found = np.load(self._file, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return found if _is_sound(found) else None

    def keep(self, nlls: NLL) -> None:
        """Keep these, (tokens,). A cache that cannot be written is left as it is."""
        if self._file is None or not _is_sound(nlls):
            return
        content = BytesIO()
        np.save(content, nlls)
        try:
            keep_file(self._file, content.getvalue())
        except OSError as error:
            log.info("the result of the self-check is not kept: %s", error)


def _is_sound(nlls: NLL) -> bool:
    """Whether every probe has a finite NLL: only these are compared."""
    return nlls.ndim == 1 and nlls.dtype == np.float32 and bool(np.isfinite(nlls).all())


def _key(weights: Weights, dtype: str, device: str) -> str:
    """Digest of all that the NLLs depend on; a file is recognised by place, size and times."""
    files = [*weights.files, *weights.folder.glob("*.json")]
    if weights.adapter is not None:
        files += weights.adapter.glob("adapter_*")
    found = {file_state(file) for file in files}
    versions = [VERSION, *(metadata.version(name) for name in _LIBRARIES)]
    parts = [sorted(found), versions, dtype, device]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
