"""Metrics that need a further pass: after a demonstration, or of a second model."""

from __future__ import annotations

from ifdkit.scoring.arithmetic import mean_nll
from ifdkit.scoring.metric import DEMONSTRATED, REFERENCE, Measured, Metric

CONDITIONAL = "response_conditional"


def demonstration_change(measured: Measured) -> float | None:
    """Mean NLL after a demonstration − without it, nats per token, over the tokens of both."""
    with_it, without = measured.nll(DEMONSTRATED), measured.nll(CONDITIONAL)
    if with_it is None or without is None:
        return None
    n = min(len(with_it), len(without))  # a long demonstration cuts the response earlier
    a, b = mean_nll(with_it[:n]), mean_nll(without[:n])
    return None if a is None or b is None else a - b


def reducible_loss(measured: Measured) -> float | None:
    """Mean NLL of the model − that of the reference model, nats per token."""
    own, other = measured.mean(CONDITIONAL), measured.mean(REFERENCE)
    return None if own is None or other is None else own - other


def learnability(measured: Measured) -> float | None:
    """The same ÷ the mean NLL of the model: at most 1 (DavIR, 2310.13008).

    The denominator is the loss of the base model, which `--model` names.  The abstract of the paper
    (version 2) defines learnability as the "relative reduction in loss during fine-tuning"; its
    formula, (L_base − L_ref) ÷ L_base, is that of the notes on the ACL 2025 version at
    papernotes.org, which add that its appendix C shows that either loss gives the same order of
    rows: (b − r) ÷ r is b ÷ r − 1, which rises with 1 − r ÷ b.  The text of the paper beyond its
    abstract could not be read, and the authors publish no code.  Lengths cancel, so that sums and
    means give the same number.
    """
    own, change = measured.mean(CONDITIONAL), reducible_loss(measured)
    return None if not own or change is None else change / own


CONTEXT_METRICS = (
    Metric(
        name="miwv",
        compute=demonstration_change,
        label="Change by a demonstration (MIWV)",
        short="MIWV",
        unit="nats per token",
        definition="Mean NLL of the response with the nearest other example of the dataset as a"
        " demonstration, minus that without. Positive where a similar example does not help the"
        " model. The one metric that depends on the other rows; undefined without another row, or"
        " if the demonstration leaves no room for the response.",
        formula="mean of c after a demonstration − mean of c",
        source="arXiv 2511.07074",
        passes=(CONDITIONAL, DEMONSTRATED),
        group="demonstration",
        needs_embedder=True,
        is_optional=True,
        applies_to="pairs",
        higher_is_harder=True,
        table_order=111,
    ),
    Metric(
        name="nll_response_reference",
        compute=lambda m: m.mean(REFERENCE),
        label="Response NLL, reference model",
        short="nll reference",
        unit="nats per token",
        definition="Mean NLL of the response given the instruction, under `--reference-model`.",
        formula="mean of c of the reference model",
        passes=(REFERENCE,),
        group="reference",
        is_optional=True,
        low=0.0,
        higher_is_harder=True,
        table_order=112,
    ),
    Metric(
        name="reducible_loss",
        compute=reducible_loss,
        label="Reducible loss",
        short="reducible loss",
        unit="nats per token",
        definition="Mean NLL under the model minus that under `--reference-model`, such as the same"
        " model after training.",
        formula="mean of c − mean of c of the reference model",
        source="arXiv 2206.07137",
        passes=(CONDITIONAL, REFERENCE),
        group="reference",
        is_optional=True,
        higher_means="training reduces the loss more",
        table_order=113,
    ),
    Metric(
        name="learnability",
        compute=learnability,
        label="Learnability (DavIR)",
        short="learnability",
        unit="share of the loss",
        definition="The reducible loss relative to the loss under the model.",
        formula="1 − mean of c of the reference model / mean of c",
        source="arXiv 2310.13008",
        passes=(CONDITIONAL, REFERENCE),
        group="reference",
        is_optional=True,
        is_ratio=False,
        high=1.0,
        higher_means="training reduces a larger part of the loss",
        table_order=114,
    ),
)
