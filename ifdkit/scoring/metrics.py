"""Numbers of one example, from the NLLs of its passes: arithmetic on arrays, no model.

    ppl   = exp(mean NLL)
    IFD   = ppl(response | instruction) / ppl(response)           2402.10110 eq. 2, 2402.00530
    IFD (loss) = NLL(response | instruction) / NLL(response)      2308.12032 eq. 4
    r-IFD = ppl(instruction | response) / ppl(instruction)        2402.10110 eq. 5

Per-token NLLs are float32; every sum is taken in float64.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from ifdkit.records import NLL, PASSES, Example, Passes, ScoreRow, Status


def mean_nll(nll: NLL | None) -> float | None:
    """Mean nats per token, None for no tokens."""
    if nll is None or not len(nll):
        return None
    return float(nll.sum(dtype=np.float64)) / len(nll)


def perplexity(mean: float | None) -> float | None:
    """exp(mean NLL): >= 1, None where undefined or too large for a float."""
    if mean is None:
        return None
    try:
        return math.exp(mean)
    except OverflowError:
        return None


def perplexity_ratio(conditional: float | None, direct: float | None) -> float | None:
    """exp(conditional - direct) of two mean NLLs: > 0, below 1 where the context helps."""
    if conditional is None or direct is None:
        return None
    # Perplexities can overflow where their ratio does not.
    return perplexity(conditional - direct)


def loss_ratio(conditional: float | None, direct: float | None) -> float | None:
    """conditional / direct of two mean NLLs: > 0, None where either is 0.

    A conditional 0 would be the best loss ratio there is, for one token that the model copied.
    """
    if not conditional or not direct:
        return None
    return conditional / direct


def first_tokens(nll: NLL | None, skipped: int, window: int) -> NLL | None:
    """NLLs among the first `window` tokens of the target, None where it is shorter."""
    if nll is None or len(nll) + skipped < window:
        return None
    return nll[: max(0, window - skipped)]


def bits_per_byte(nll: NLL | None, n_bytes: int) -> float | None:
    """Total NLL in bits over the UTF-8 bytes it covers: comparable across tokenizers."""
    if nll is None or not n_bytes:
        return None
    return float(nll.sum(dtype=np.float64)) / math.log(2) / n_bytes


def score_row(
    example: Example,
    passes: Passes,
    nlls: Mapping[str, NLL],
    *,
    coherence: float | None = None,
    window: int = 64,
    token_nll: bool = False,
) -> ScoreRow:
    """All fields of one example, from the NLLs of the passes that were scored."""
    status, reason = str(passes.status), passes.reason
    broken = [name for name, nll in nlls.items() if not np.isfinite(nll).all()]
    if broken:
        # A model that overflows answers nothing: not one of its numbers on this row is kept.
        nlls, status = {}, str(Status.INVALID)
        reason = f"the model gave no finite probability in the {broken[0].replace('_', ' ')} pass"
    direct, conditional = nlls.get("response_direct"), nlls.get("response_conditional")
    mean = {name: mean_nll(nlls.get(name)) for name in PASSES}
    flaw = _flaw(mean)
    if flaw and status in (Status.OK, Status.TRUNCATED):
        status, reason = str(Status.INVALID), flaw
    has_ratio = status != Status.INVALID
    pair = (mean["response_conditional"], mean["response_direct"])
    reverse_pair = (mean["instruction_conditional"], mean["instruction_direct"])
    return ScoreRow(
        id=example.id,
        row=example.row,
        turn=example.turn,
        status=status,
        reason=reason,
        instruction_tokens=passes.instruction_tokens,
        response_tokens=passes.response_tokens,
        instruction_words=len(example.instruction.split()),
        response_words=len(example.response.split()),
        truncated_tokens=passes.truncated_tokens,
        nll_instruction_direct=mean["instruction_direct"],
        nll_response_direct=mean["response_direct"],
        nll_response_conditional=mean["response_conditional"],
        nll_instruction_conditional=mean["instruction_conditional"],
        ppl_instruction_direct=perplexity(mean["instruction_direct"]),
        ppl_response_direct=perplexity(mean["response_direct"]),
        ppl_response_conditional=perplexity(mean["response_conditional"]),
        ppl_instruction_conditional=perplexity(mean["instruction_conditional"]),
        ifd=perplexity_ratio(*pair) if has_ratio else None,
        ifd_loss=loss_ratio(*pair) if has_ratio else None,
        rifd=perplexity_ratio(*reverse_pair) if has_ratio else None,
        rifd_loss=loss_ratio(*reverse_pair) if has_ratio else None,
        ifd_window=windowed_ifd(passes, direct, conditional, window) if has_ratio else None,
        bits_per_byte_response=bits_per_byte(direct, passes.scored_bytes),
        coherence=coherence,
        token_nll_response_direct=_as_list(direct) if token_nll else None,
        token_nll_response_conditional=_as_list(conditional) if token_nll else None,
    )


def _flaw(mean: Mapping[str, float | None]) -> str | None:
    """Why no ratio of these means can be trusted, or None."""
    for name, value in mean.items():
        if value == 0.0:
            return f"the {name.replace('_', ' ')} NLL is exactly 0: no ratio is defined"
        if value is not None and perplexity(value) is None:
            return f"the {name.replace('_', ' ')} perplexity is too large for a number"
    return None


def windowed_ifd(
    passes: Passes, direct: NLL | None, conditional: NLL | None, window: int
) -> float | None:
    """IFD over the first `window` response tokens, None where the response is shorter."""
    if not passes.response_direct or not passes.response_conditional:
        return None
    return perplexity_ratio(
        mean_nll(first_tokens(conditional, passes.response_conditional.skipped, window)),
        mean_nll(first_tokens(direct, passes.response_direct.skipped, window)),
    )


def _as_list(nll: NLL | None) -> list[float] | None:
    """The shortest decimals that read back as the same float32."""
    return None if nll is None else [float(str(value)) for value in nll]
