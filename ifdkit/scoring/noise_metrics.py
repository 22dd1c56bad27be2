"""Metrics that are smoothed over noisy copies of the embeddings (T-SHIRT, 2506.01317).

As in the authors' code: of each copy IFD and S-IFD, then mean and standard deviation over copies.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ifdkit.scoring.metric import NOISY_CONDITIONAL, NOISY_DIRECT, Measured, Metric

Floats = NDArray[np.float64]
MAX_LOG = 700.0
"""exp of more is no float."""


def _means(measured: Measured) -> tuple[Floats, Floats] | None:
    """Mean NLL of each copy, direct and conditional, each of shape (copies,)."""
    direct, conditional = measured.nll(NOISY_DIRECT), measured.nll(NOISY_CONDITIONAL)
    if direct is None or conditional is None or not (direct.shape[1] and conditional.shape[1]):
        return None
    return direct.mean(axis=1, dtype=np.float64), conditional.mean(axis=1, dtype=np.float64)


def smoothed_ifd(measured: Measured) -> float | None:
    """Mean over the copies of IFD: > 0."""
    means = _means(measured)
    if means is None:
        return None
    return float(np.exp(np.minimum(MAX_LOG, means[1] - means[0])).mean())


def copies_of_s_ifd(measured: Measured) -> Floats | None:
    """S-IFD of each copy, > 0, shape (copies,); None if no copy has an informative token.

    A copy without one counts as 1, as in the authors' code: the instruction changes nothing.
    """
    direct, conditional = measured.nll(NOISY_DIRECT), measured.nll(NOISY_CONDITIONAL)
    if direct is None or conditional is None:
        return None
    n = min(direct.shape[1], conditional.shape[1])
    if not n:
        return None
    changes = conditional[:, -n:].astype(np.float64) - direct[:, -n:]  # (copies, tokens)
    informative = np.abs(changes) > measured.informative_nats
    counts = informative.sum(axis=1)
    if not counts.any():
        return None
    sums = np.where(informative, changes, 0.0).sum(axis=1)
    found: Floats = np.exp(np.minimum(MAX_LOG, sums / np.maximum(1, counts)))
    return found


def smoothed_s_ifd(measured: Measured) -> float | None:
    """Mean over the copies of S-IFD: > 0."""
    copies = copies_of_s_ifd(measured)
    return None if copies is None else float(copies.mean())


def deviation_of_s_ifd(measured: Measured) -> float | None:
    """Standard deviation over the copies of S-IFD, dividing by their number: at least 0."""
    copies = copies_of_s_ifd(measured)
    return None if copies is None else float(copies.std())


_PASSES = ("response_direct", "response_conditional", NOISY_DIRECT, NOISY_CONDITIONAL)
NOISE_METRICS = (
    Metric(
        name="ifd_smoothed",
        compute=smoothed_ifd,
        label="IFD, smoothed",
        short="IFD smoothed",
        unit="ratio",
        definition="Mean IFD over copies of the example with noise on its embeddings.",
        formula="mean over copies of exp(mean of c − mean of d)",
        source="arXiv 2506.01317",
        passes=_PASSES,
        group="noise",
        is_optional=True,
        is_multiplicative=True,
        is_ratio=True,
        low=0.0,
        applies_to="pairs",
        higher_is_harder=True,
        table_order=124,
    ),
    Metric(
        name="s_ifd_smoothed",
        compute=smoothed_s_ifd,
        label="S-IFD, smoothed",
        short="S-IFD smoothed",
        unit="ratio",
        definition="Mean S-IFD over copies of the example with noise on its embeddings, which makes"
        " single words matter less.",
        formula="mean over copies of exp(mean of c − d over tokens with |c − d| > t)",
        source="arXiv 2506.01317",
        passes=_PASSES,
        group="noise",
        is_optional=True,
        is_multiplicative=True,
        is_ratio=True,
        low=0.0,
        applies_to="pairs",
        higher_is_harder=True,
        table_order=125,
    ),
    Metric(
        name="s_ifd_deviation",
        compute=deviation_of_s_ifd,
        label="S-IFD, deviation under noise",
        short="S-IFD deviation",
        unit="ratio",
        definition="Standard deviation of S-IFD over the same copies.",
        formula="standard deviation over copies of exp(mean of c − d over tokens with |c − d| > t)",
        source="arXiv 2506.01317",
        passes=_PASSES,
        group="noise",
        is_optional=True,
        low=0.0,
        applies_to="pairs",
        higher_means="a less robust score",
        table_order=126,
    ),
)
