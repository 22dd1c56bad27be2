"""`ifdkit` with a LightSpec in place of any model: `python -m tests.light_driver score …`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from ifdkit.cli.main import main as ifdkit
from ifdkit.scoring.scorer import Scorer
from tests.replica_fakes import LightSpec

BATCH_S = "LIGHT_BATCH_S"
"""Environment variable: seconds that a batch takes."""


def _spec(scorer: Scorer) -> LightSpec:
    batch_s = float(os.environ.get(BATCH_S, "0.003"))
    return LightSpec(
        weights=scorer.weights,
        device=scorer.device,
        dtype=scorer.dtype,
        backend=scorer.settings.backend,
        batch_s=batch_s,
    )


@contextmanager
def light_model(batch_s: float | None = None) -> Iterator[None]:
    """Score with a LightSpec in the block."""
    with pytest.MonkeyPatch.context() as patch:
        if batch_s is not None:
            patch.setenv(BATCH_S, str(batch_s))
        patch.setattr(Scorer, "spec", property(_spec))
        yield


def main(arguments: Sequence[str]) -> int:
    """Exit code of a command."""
    with light_model():
        return ifdkit(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
