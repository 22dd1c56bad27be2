"""Metrics of one model that look at tokens one by one: most need no pass beyond those of IFD.

Notation, as in docs/metrics.md: d and c are the NLLs of a response token in nats, direct and
conditional; r, H and s are its rank, entropy and spread (`ifdkit.records.TokenStatistics`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from ifdkit.records import NLL
from ifdkit.scoring.metric import Measured, Metric, Value

Floats = NDArray[np.float64]
DIRECT, CONDITIONAL = "response_direct", "response_conditional"
MAX_RANK = 100
"""Ranks beyond it count as it (2601.14249)."""
LOWEST_SHARE = 0.2
"""Share of the tokens of min-k % (2310.16789, 2404.02936)."""
HIGH_ENTROPY_PERCENTILE = 99.5


def _changes(measured: Measured) -> Floats | None:
    """c − d of the tokens that both passes score; None if there are none.

    Where only the conditional pass scores the first token, that token is left out.
    """
    direct, conditional = measured.nll(DIRECT), measured.nll(CONDITIONAL)
    if direct is None or conditional is None:
        return None
    n = min(len(direct), len(conditional))
    if not n:
        return None
    return conditional[-n:].astype(np.float64) - direct[-n:]


def selective_ifd(measured: Measured) -> float | None:
    """exp of the mean change of NLL over the informative tokens: > 0; None without such tokens."""
    changes = _changes(measured)
    if changes is None:
        return None
    informative = changes[np.abs(changes) > measured.informative_nats]
    return math.exp(min(700.0, informative.mean())) if len(informative) else None


def informative_share(measured: Measured) -> float | None:
    """Share of the tokens whose NLL the instruction changes by more than the threshold."""
    changes = _changes(measured)
    if changes is None:
        return None
    return float(np.mean(np.abs(changes) > measured.informative_nats))


def lowest_mean(values: NLL | Floats) -> float | None:
    """Mean of the lowest 20 % of the values, at least of one; None if there are none."""
    if not len(values):
        return None
    n = max(1, int(LOWEST_SHARE * len(values)))
    return float(np.partition(values.astype(np.float64), n - 1)[:n].mean())


def min_k(measured: Measured) -> float | None:
    """Mean log-probability of the least likely tokens, nats: at most 0."""
    nll = measured.nll(DIRECT)
    return None if nll is None else lowest_mean(-nll)


def min_k_plus_plus(measured: Measured) -> float | None:
    """The same of (log p − mean of log p) ÷ standard deviation of log p over the vocabulary.

    A distribution without spread has no such number, and its token is left out.
    """
    nll, statistics = measured.nll(DIRECT), measured.statistics[DIRECT]
    if nll is None:
        return None
    spread = statistics.spread.astype(np.float64)
    above_mean = statistics.entropy.astype(np.float64) - nll
    return lowest_mean(above_mean[spread > 0] / spread[spread > 0])


def _clipped_ranks(measured: Measured) -> Floats:
    return np.minimum(measured.statistics[CONDITIONAL].rank.astype(np.float64), MAX_RANK)


def mean_rank(measured: Measured) -> float | None:
    """Mean rank of the tokens, each at most 100: 1 to 100."""
    ranks = _clipped_ranks(measured)
    return float(ranks.mean()) if len(ranks) else None


def rank_surprisal(measured: Measured) -> float | None:
    """Sum of clipped ranks ÷ sum of NLLs: > 0, per nat; None if the NLLs sum to 0."""
    nll = measured.nll(CONDITIONAL)
    total = 0.0 if nll is None else float(nll.sum(dtype=np.float64))
    return float(_clipped_ranks(measured).sum()) / total if total > 0 else None


def mean_entropy(measured: Measured) -> float | None:
    """Mean entropy of the distributions, nats."""
    entropy = measured.statistics[CONDITIONAL].entropy.astype(np.float64)
    return max(0.0, float(entropy.mean())) if len(entropy) else None


def high_entropy_sum(measured: Measured) -> float | None:
    """Sum of the entropies from the 99.5th percentile of the response on, bits."""
    entropy = measured.statistics[CONDITIONAL].entropy.astype(np.float64) / math.log(2)
    if not len(entropy):
        return None
    limit = np.percentile(entropy, HIGH_ENTROPY_PERCENTILE)
    return max(0.0, float(entropy[entropy >= limit].sum()))


def uncertain_difficulty(measured: Measured) -> float | None:
    """Mean of sigmoid(NLL) × (1 − entropy ÷ its maximum), 0 to 1."""
    nll, entropy = measured.nll(CONDITIONAL), measured.statistics[CONDITIONAL].entropy
    if nll is None or not len(nll) or not measured.vocabulary or measured.vocabulary < 2:
        return None
    certain = np.clip(1.0 - entropy.astype(np.float64) / math.log(measured.vocabulary), 0.0, 1.0)
    return float((certain / (1.0 + np.exp(-nll.astype(np.float64)))).mean())


def mean_logprob(measured: Measured) -> float | None:
    """Mean log-probability of the response given the instruction, nats per token: at most 0."""
    mean = measured.mean(CONDITIONAL)
    return None if mean is None else -mean


class DatasetRatio:
    """The rank-surprisal ratio of a dataset: mean of mean ranks ÷ mean of mean NLLs."""

    def __init__(self) -> None:
        self._ranks = self._nats = 0.0

    def add(self, rows: Iterable[Mapping[str, Value]]) -> None:
        """Add the numbers of some examples; those without both count for nothing."""
        for row in rows:
            rank, nats = row["mean_rank"], row["nll_response_conditional"]
            if rank is not None and nats is not None:
                self._ranks += rank
                self._nats += nats

    @property
    def value(self) -> float | None:
        """Ranks per nat, > 0; None if no example has both numbers."""
        return self._ranks / self._nats if self._nats > 0 else None


_BOTH = (DIRECT, CONDITIONAL)
TOKEN_METRICS = (
    Metric(
        name="s_ifd",
        compute=selective_ifd,
        label="S-IFD",
        short="S-IFD",
        unit="ratio",
        definition="IFD over the informative tokens alone: those whose NLL the instruction changes"
        " by more than `--informative-nats`. Undefined without such a token. The paper takes the"
        " limit from the dataset; here it is fixed, and a number does not depend on other rows.",
        formula="exp(mean of c − d over the tokens with |c − d| > t)",
        source="arXiv 2506.01317",
        passes=_BOTH,
        group="tokens",
        is_optional=True,
        is_ratio=True,
        is_multiplicative=True,
        low=0.0,
        higher_is_harder=True,
        table_order=101,
    ),
    Metric(
        name="informative_share",
        compute=informative_share,
        label="Informative tokens",
        short="informative share",
        unit="share",
        definition="Share of the response tokens whose NLL the instruction changes by more than"
        " `--informative-nats`.",
        formula="share of tokens with |c − d| > t",
        source="arXiv 2506.01317",
        passes=_BOTH,
        group="tokens",
        is_optional=True,
        low=0.0,
        high=1.0,
        higher_means="more tokens depend on the instruction",
        table_order=102,
    ),
    Metric(
        name="mean_logprob",
        compute=mean_logprob,
        label="Length-normalised log-probability",
        short="mean log-prob.",
        unit="nats per token",
        definition="Mean log-probability of the response given the instruction. Of several"
        " responses to one instruction, GRAPE keeps the one with the largest.",
        formula="−mean of c",
        source="arXiv 2502.04194",
        passes=(CONDITIONAL,),
        group="tokens",
        is_optional=True,
        high=0.0,
        higher_is_harder=False,
        table_order=103,
    ),
    Metric(
        name="min_k",
        compute=min_k,
        label="Min-20 % log-probability",
        short="min-k %",
        unit="nats per token",
        definition="Mean log-probability of the 20 % least likely tokens, without the instruction."
        " Texts that the model was trained on have larger values.",
        formula="mean of the lowest 20 % of −d",
        source="arXiv 2310.16789",
        passes=(DIRECT,),
        group="tokens",
        is_optional=True,
        high=0.0,
        higher_means="more likely to have been in the model's training data",
        table_order=104,
    ),
    Metric(
        name="min_k_plus_plus",
        compute=min_k_plus_plus,
        label="Min-20 %++",
        short="min-k %++",
        unit="standard deviations",
        definition="The same of log-probabilities that are standardised by their mean and standard"
        " deviation over the vocabulary.",
        formula="mean of the lowest 20 % of (H − d) / s",
        source="arXiv 2404.02936",
        passes=(DIRECT,),
        statistics=(DIRECT,),
        group="tokens",
        is_optional=True,
        higher_means="more likely to have been in the model's training data",
        table_order=105,
    ),
    Metric(
        name="mean_rank",
        compute=mean_rank,
        label="Mean rank",
        short="mean rank",
        unit="rank",
        definition="Mean rank of the response's tokens in the vocabulary, each at most 100. Of a"
        " dataset, the rank-surprisal ratio is its mean ÷ the mean of `nll_response_conditional`.",
        formula="mean of min(r, 100)",
        source="arXiv 2601.14249",
        passes=(CONDITIONAL,),
        statistics=(CONDITIONAL,),
        group="tokens",
        is_optional=True,
        low=1.0,
        high=float(MAX_RANK),
        higher_is_harder=True,
        table_order=106,
    ),
    Metric(
        name="rank_surprisal",
        compute=rank_surprisal,
        label="Rank-surprisal ratio",
        short="rank-surprisal",
        unit="ranks per nat",
        definition="Sum of the ranks, each at most 100, ÷ sum of the NLLs. A low ratio is"
        " surprising to the model and yet among its likely continuations.",
        formula="Σ min(r, 100) / Σ c",
        source="arXiv 2601.14249",
        passes=(CONDITIONAL,),
        statistics=(CONDITIONAL,),
        group="tokens",
        is_optional=True,
        is_multiplicative=True,
        low=0.0,
        higher_means="suits this model less",
        table_order=107,
    ),
    Metric(
        name="mean_entropy",
        compute=mean_entropy,
        label="Mean entropy",
        short="mean entropy",
        unit="nats per token",
        definition="Mean entropy of the model's expectation at each response token.",
        formula="mean of H",
        passes=(CONDITIONAL,),
        statistics=(CONDITIONAL,),
        group="tokens",
        is_optional=True,
        low=0.0,
        higher_means="the model is less certain",
        table_order=108,
    ),
    Metric(
        name="high_entropy_sum",
        compute=high_entropy_sum,
        label="High-entropy sum",
        short="high-entropy sum",
        unit="bits",
        definition="Sum of the entropies of the 0.5 % of the tokens where the model is least"
        " certain. A sum over more tokens is larger.",
        formula="Σ H / ln 2 over the tokens from the 99.5th percentile of H on",
        source="HESScorer of ODA-DataScorer",
        passes=(CONDITIONAL,),
        statistics=(CONDITIONAL,),
        group="tokens",
        is_optional=True,
        low=0.0,
        higher_means="more decisions at which the model is uncertain",
        table_order=109,
    ),
    Metric(
        name="uncertain_difficulty",
        compute=uncertain_difficulty,
        label="Uncertainty-weighted difficulty",
        short="UPD",
        unit="0 to 1",
        definition="Mean over the tokens of sigmoid(NLL), weighted by how certain the model was.",
        formula="mean of σ(c) · max(0, 1 − H / ln V)",
        source="UPDScorer of ODA-DataScorer",
        passes=(CONDITIONAL,),
        statistics=(CONDITIONAL,),
        group="tokens",
        is_optional=True,
        low=0.0,
        high=1.0,
        higher_is_harder=True,
        table_order=110,
    ),
)
