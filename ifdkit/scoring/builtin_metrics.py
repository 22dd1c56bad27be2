"""The metrics that ifdkit computes, one entry each: a new one is one more entry.

ppl   = exp(mean NLL)
IFD   = ppl(response | instruction) / ppl(response)           2402.10110 eq. 2, 2402.00530
IFD (loss) = NLL(response | instruction) / NLL(response)      2308.12032 eq. 4
r-IFD = ppl(instruction | response) / ppl(instruction)        2402.10110 eq. 5
"""

from __future__ import annotations

from typing import Literal

from ifdkit.scoring.arithmetic import (
    bits_per_byte,
    first_tokens,
    loss_ratio,
    mean_nll,
    perplexity,
    perplexity_ratio,
)
from ifdkit.scoring.metric import Measured, Metric
from ifdkit.scoring.profile import JUMP_TOKENS, largest_jump


def ifd(measured: Measured) -> float | None:
    """Perplexity of the response, conditional ÷ direct: > 0."""
    return perplexity_ratio(measured.mean("response_conditional"), measured.mean("response_direct"))


def ifd_loss(measured: Measured) -> float | None:
    """Mean loss of the response, conditional ÷ direct: > 0."""
    return loss_ratio(measured.mean("response_conditional"), measured.mean("response_direct"))


def rifd(measured: Measured) -> float | None:
    """Perplexity of the instruction, conditional ÷ direct: > 0."""
    return perplexity_ratio(
        measured.mean("instruction_conditional"), measured.mean("instruction_direct")
    )


def rifd_loss(measured: Measured) -> float | None:
    """Mean loss of the instruction, conditional ÷ direct: > 0."""
    return loss_ratio(measured.mean("instruction_conditional"), measured.mean("instruction_direct"))


def windowed_ifd(measured: Measured) -> float | None:
    """IFD over the first `window` response tokens; None if the response is shorter."""
    means = []
    for name in ("response_conditional", "response_direct"):
        one = getattr(measured.passes, name)
        if one is None:
            return None
        means.append(mean_nll(first_tokens(measured.nll(name), one.skipped, measured.window)))
    return perplexity_ratio(*means)


def _jump(measured: Measured, part: Literal["token", "nats"]) -> float | int | None:
    """The token at which the surprise of a document rises most, or by how much."""
    one, jump = measured.passes.response_direct, largest_jump(measured.nll("response_direct"))
    if one is None or jump is None:
        return None
    return one.skipped + jump.position if part == "token" else jump.nats


def _pass_metrics(
    name: str,
    *,
    group: str,
    short: str,
    table_order: int,
    headline_order: int | None = None,
    subject: str = "",
) -> tuple[Metric, Metric]:
    """The mean NLL of one pass and its perplexity."""
    half, kind = name.split("_")
    other = "instruction" if half == "response" else "response"
    context = f"with the {other} before it" if kind == "conditional" else f"without the {other}"
    nll = Metric(
        name=f"nll_{name}",
        compute=lambda m: m.mean(name),
        label=f"{half.capitalize()} NLL, {kind}",
        short=short.replace("ppl", "nll"),
        unit="nats per token",
        low=0.0,
        definition=f"Mean negative log-likelihood of the {half}'s tokens, {context}.",
        passes=(name,),
        group=group,
        higher_is_harder=True,
        in_summary=False,
    )
    ppl = Metric(
        name=f"ppl_{name}",
        compute=lambda m: perplexity(m.mean(name)),
        label=f"{half.capitalize()} perplexity, {kind}",
        short=short,
        unit="perplexity",
        low=1.0,
        definition=f"exp of the mean negative log-likelihood of the {half}'s tokens, {context}.",
        passes=(name,),
        group=group,
        scale="log",
        is_multiplicative=True,
        higher_is_harder=True,
        table_order=table_order,
        in_paper_table=kind == "direct" or half == "response",
        headline_order=headline_order,
        subject=subject,
    )
    return nll, ppl


_RESPONSE = ("response_direct", "response_conditional")
_INSTRUCTION = ("instruction_direct", "instruction_conditional")
_PASS_METRICS = (
    _pass_metrics(
        "instruction_direct",
        group="ppl",
        short="ppl instruction",
        table_order=3,
        headline_order=7,
        subject="Instruction perplexity",
    ),
    _pass_metrics(
        "response_direct",
        group="ppl",
        short="ppl response",
        table_order=4,
        headline_order=6,
        subject="Response perplexity",
    ),
    _pass_metrics(
        "response_conditional",
        group="ppl",
        short="ppl resp. | instr.",
        table_order=5,
        headline_order=5,
        subject="Conditional response perplexity",
    ),
    _pass_metrics(
        "instruction_conditional", group="rifd", short="ppl instr. | resp.", table_order=12
    ),
)

BUILT_IN = (
    Metric(
        name="instruction_tokens",
        compute=lambda m: m.passes.instruction_tokens,
        label="Instruction length",
        short="instruction tokens",
        unit="tokens",
        low=0.0,
        definition="Tokens of the bare instruction, scoring tokenizer.",
        applies_to="pairs",
        is_integer=True,
        scale="log",
        table_order=1,
        in_paper_table=True,
    ),
    Metric(
        name="response_tokens",
        compute=lambda m: m.passes.response_tokens,
        label="Response length",
        short="response tokens",
        unit="tokens",
        low=0.0,
        definition="Tokens of the bare response, scoring tokenizer.",
        is_integer=True,
        scale="log",
        table_order=2,
        in_paper_table=True,
    ),
    Metric(
        name="instruction_words",
        compute=lambda m: len(m.example.instruction.split()),
        label="Instruction words",
        short="instruction words",
        unit="words",
        low=0.0,
        definition="Words of the instruction, separated by white space.",
        applies_to="pairs",
        is_integer=True,
        scale="log",
        in_summary=False,
    ),
    Metric(
        name="response_words",
        compute=lambda m: len(m.example.response.split()),
        label="Response words",
        short="response words",
        unit="words",
        low=0.0,
        definition="Words of the response, separated by white space.",
        is_integer=True,
        scale="log",
        in_summary=False,
    ),
    Metric(
        name="truncated_tokens",
        compute=lambda m: m.passes.truncated_tokens,
        label="Truncated tokens",
        short="truncated tokens",
        unit="tokens",
        low=0.0,
        definition="Response tokens beyond the maximum length, which are not scored.",
        is_integer=True,
        in_summary=False,
    ),
    *(nll for nll, _ in _PASS_METRICS),
    *(ppl for _, ppl in _PASS_METRICS),
    Metric(
        name="ifd",
        compute=ifd,
        label="IFD",
        short="IFD",
        unit="ratio",
        low=0.0,
        definition="Response perplexity, conditional ÷ direct. Below 1 the instruction makes the"
        " response more predictable.",
        passes=_RESPONSE,
        group="ifd",
        source="arXiv 2402.10110 eq. 2, 2402.00530",
        is_multiplicative=True,
        is_ratio=True,
        higher_is_harder=True,
        table_order=7,
        in_paper_table=True,
        headline_order=1,
        subject="IFD",
    ),
    Metric(
        name="ifd_loss",
        compute=ifd_loss,
        label="IFD (loss)",
        short="IFD (loss)",
        unit="ratio",
        low=0.0,
        definition="The same ratio of mean losses instead of perplexities.",
        passes=_RESPONSE,
        group="ifd",
        source="arXiv 2308.12032 eq. 4",
        is_multiplicative=True,
        is_ratio=True,
        higher_is_harder=True,
        table_order=10,
        headline_order=3,
        subject="IFD (loss)",
    ),
    Metric(
        name="rifd",
        compute=rifd,
        label="r-IFD",
        short="r-IFD",
        unit="ratio",
        low=0.0,
        definition="Instruction perplexity, conditional on the response ÷ direct.",
        passes=_INSTRUCTION,
        group="rifd",
        source="arXiv 2402.10110 eq. 5",
        is_multiplicative=True,
        is_ratio=True,
        table_order=8,
        in_paper_table=True,
        headline_order=4,
        subject="r-IFD",
    ),
    Metric(
        name="rifd_loss",
        compute=rifd_loss,
        label="r-IFD (loss)",
        short="r-IFD (loss)",
        unit="ratio",
        low=0.0,
        definition="r-IFD as a ratio of mean losses.",
        passes=_INSTRUCTION,
        group="rifd",
        is_multiplicative=True,
        is_ratio=True,
        table_order=11,
    ),
    Metric(
        name="ifd_window",
        compute=windowed_ifd,
        label="IFD, first tokens only",
        short="IFD (window)",
        unit="ratio",
        low=0.0,
        definition="IFD over the first `--window` response tokens; undefined if the response is"
        " shorter.",
        passes=_RESPONSE,
        group="ifd",
        is_multiplicative=True,
        is_ratio=True,
        higher_is_harder=True,
        table_order=9,
        headline_order=2,
        subject="IFD over the first tokens",
    ),
    Metric(
        name="bits_per_byte_response",
        compute=lambda m: bits_per_byte(m.total("response_direct"), m.passes.scored_bytes),
        label="Bits per byte, response",
        short="bits per byte",
        unit="bits per byte",
        low=0.0,
        definition="Direct negative log-likelihood of the response in bits per UTF-8 byte:"
        " comparable across tokenizers.",
        passes=("response_direct",),
        group="ppl",
        higher_is_harder=True,
        table_order=13,
    ),
    Metric(
        name="coherence",
        compute=lambda m: m.coherence,
        label="Coherence",
        short="coherence",
        unit="cosine",
        low=-1.0,
        high=1.0,
        definition="Cosine of the sentence embeddings of instruction and response, −1 to 1.",
        needs_embedder=True,
        applies_to="pairs",
        group="coherence",
        source="arXiv 2402.10110, section 6.2",
        table_order=6,
        in_paper_table=True,
        headline_order=8,
        subject="Coherence",
    ),
    Metric(
        name="words",
        compute=lambda m: len(m.example.response.split()),
        label="Words",
        short="words",
        unit="words",
        low=0.0,
        definition="Words of the document, separated by white space. Only for text documents.",
        is_integer=True,
        scale="log",
        applies_to="documents",
    ),
    Metric(
        name="jump_token",
        compute=lambda m: _jump(m, "token"),
        label="Place of the jump",
        short="jump token",
        unit="token, from 0",
        low=0.0,
        definition=f"Where surprise rises most: the token from which on the mean NLL of"
        f" {JUMP_TOKENS} tokens exceeds that of the {JUMP_TOKENS} before by the most. Undefined for"
        f" shorter documents. Only for text documents.",
        passes=("response_direct",),
        group="ppl",
        is_integer=True,
        in_summary=False,
        applies_to="documents",
    ),
    Metric(
        name="jump_nats",
        compute=lambda m: _jump(m, "nats"),
        label="Jump of surprise",
        short="jump nats",
        unit="nats per token",
        definition="How much the mean NLL rises at `jump_token`; undefined where that is. Only for"
        " text documents.",
        passes=("response_direct",),
        group="ppl",
        higher_is_harder=True,
        applies_to="documents",
    ),
)
