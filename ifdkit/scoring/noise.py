"""Noisy copies of the two passes over a response (T-SHIRT, 2506.01317).

Each copy has other noise on its embeddings, as NEFTune adds it while training: uniform in
±5 ÷ √(tokens of the conditional pass × dimensions).  A response token has the same noise in both
passes of a copy, and what precedes the response in the direct pass has none.  The noise depends on
the seed, the number of the copy and the ids of the conditional pass: neither on the other rows nor
on their order, so that a copy has a key in the store like any other pass.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ifdkit.records import NLL, Noise, Pass, Passes, Request
from ifdkit.scoring.metric import NOISY_CONDITIONAL, NOISY_DIRECT

NOISE_COPIES = 8
"""Default of `--noise-copies`. The paper has 30, which take 31 times as long as IFD."""
MAX_NOISE_COPIES = 64
NOISE_ALPHA = 5.0
"""The noise level of the paper."""


def with_noise(passes: Passes, copies: int, seed: int) -> Passes:
    """The passes with so many noisy copies of those over the response.

    Without both of them, and for a document, there are none.
    """
    direct, conditional = passes.response_direct, passes.response_conditional
    if not copies or direct is None or conditional is None:
        return passes
    return replace(passes, noisy=tuple(_copy(direct, conditional, k, seed) for k in range(copies)))


def _copy(direct: Pass, conditional: Pass, number: int, seed: int) -> tuple[Request, Request]:
    whole = conditional.request
    name = f"{seed} {number} ".encode() + whole.content
    digest = hashlib.blake2b(name, digest_size=16).digest()
    response = whole.start - conditional.skipped  # position of the first response token
    of_whole = Noise(digest, NOISE_ALPHA, n_rows=whole.stop, begin=0, first_row=0)
    own = direct.request
    of_response = replace(of_whole, begin=own.start - direct.skipped, first_row=response)
    return replace(own, noise=of_response), replace(whole, noise=of_whole)


def noisy_nlls(passes: Passes, known: Mapping[bytes, NLL]) -> dict[str, NLL]:
    """NLLs of the noisy passes, each of shape (copies, tokens); empty if one is missing."""
    found = [[known.get(one.content) for one in copy] for copy in passes.noisy]
    if not found or any(one is None for copy in found for one in copy):
        return {}
    direct, conditional = zip(*found, strict=True)
    return {NOISY_DIRECT: np.stack(direct), NOISY_CONDITIONAL: np.stack(conditional)}
