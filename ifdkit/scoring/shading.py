"""Responses cut at their tokens, each with its NLLs, as the explorers of the reports show them."""

from __future__ import annotations

from ifdkit.prompting.tokens import Tokenizer
from ifdkit.records import NLL
from ifdkit.scoring.explored import ShadedToken
from ifdkit.scoring.inspect import token_texts

MAX_SHADED_CHARS = 1_000_000
"""A longer response is shown without the NLLs of its tokens: they take 300 bytes per character."""


def shaded_tokens(
    response: str,
    tokenizer: Tokenizer,
    n_scored: int,
    *,
    conditional: NLL | None,
    direct: NLL | None,
) -> tuple[ShadedToken, ...]:
    """The tokens of a response, of which the first `n_scored` are within the maximum length.

    `conditional` and `direct` are the NLLs of the scored tokens of a pass, in nats; None if they
    are not known.  A token has no NLL if it is only context or was truncated.  Empty if no NLLs are
    known, if they are those of other tokens, as where a response is cut differently behind its
    prompt, or if the response is longer than MAX_SHADED_CHARS.
    """
    if (conditional is None and direct is None) or len(response) > MAX_SHADED_CHARS:
        return ()
    texts = token_texts(response, tokenizer)
    given, alone = (_nats(nll, len(texts), n_scored) for nll in (conditional, direct))
    if given is None and (alone is None or conditional is not None):
        return ()
    unknown = [None] * len(texts)
    both = zip(texts, given or unknown, alone or unknown, strict=True)
    return tuple(ShadedToken(*one) for one in both)


def _nats(nll: NLL | None, n_tokens: int, n_scored: int) -> list[float | None] | None:
    """One entry per token of the response; None if the NLLs are those of other tokens."""
    if nll is None:
        return None
    cut_off = n_tokens - n_scored
    skipped = n_tokens - cut_off - len(nll)
    if skipped not in (0, 1) or cut_off < 0:
        return None
    return [None] * skipped + [float(value) for value in nll] + [None] * cut_off
