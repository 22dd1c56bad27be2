"""Personal data and secrets removed from what is shown of a dataset."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from ifdkit.findings.personal import SensitiveSpan, find_personal_data
from ifdkit.findings.secrets import find_secrets

_MIN_PART_CHARS = 8
"""Characters from which a part of a secret counts as one."""


def masked(text: str) -> str:
    """The text with secrets and personal data masked, fit to be shown."""
    return "".join(shown for _, shown in masked_pieces(text, [text]))


def masked_pieces(text: str, pieces: Sequence[str]) -> Iterator[tuple[int | None, str]]:
    """What is shown of a text that is cut into pieces: the position of a piece, and its characters.

    The pieces are the beginning of the text, or all of it.  A mask belongs to no piece, so its
    position is None.
    """
    hidden, begin = _hidden(text), 0
    for i, piece in enumerate(pieces):
        end = begin + len(piece)
        if begin == end:
            yield i, piece
        while begin < end:
            span = hidden[0] if hidden else None
            if span is None or begin < span.start:
                stop = end if span is None else min(end, span.start)
                yield i, text[begin:stop]
            else:
                if begin == span.start:
                    yield None, span.mask
                stop = min(end, span.end)
                if stop == span.end:
                    hidden.popleft()
            begin = stop


def _hidden(text: str) -> deque[SensitiveSpan]:
    """What must not be shown, in order; spans that overlap become one."""
    found: deque[SensitiveSpan] = deque()
    for span in sorted(_sensitive(text), key=lambda one: one.start):
        if found and span.start < found[-1].end:
            found[-1] = replace(found[-1], end=max(found[-1].end, span.end))
        else:
            found.append(span)
    return found


def masked_quote(quotation: str, texts: Iterable[str]) -> str:
    """A quotation from these texts, masked.

    A quotation may cut a secret, and what is left of it has no known format.  So parts of the
    secrets of the whole texts are masked at its ends too.
    """
    quotation = masked(quotation)
    if "…" not in quotation:
        return quotation
    for text in texts:
        for span in _sensitive(text):
            secret = " ".join(text[span.start : span.end].split())  # as a quotation writes it
            quotation = _without_part(quotation, secret, span.mask)
    return quotation


def _sensitive(text: str) -> list[SensitiveSpan]:
    return [*find_secrets(text), *find_personal_data(text)]


def _without_part(quotation: str, secret: str, mask: str) -> str:
    """The quotation without the beginning, end or middle of a secret."""
    shown = quotation.strip("… ")
    if len(shown) >= _MIN_PART_CHARS and shown in secret:
        return mask
    for size in range(min(len(secret), len(shown)), _MIN_PART_CHARS - 1, -1):
        if quotation.endswith("…") and shown.endswith(secret[:size]):
            return f"{quotation[: quotation.rindex(secret[:size])]}{mask.rstrip('…')}…"
        if quotation.startswith("…") and shown.startswith(secret[-size:]):
            rest = quotation[quotation.index(secret[-size:]) + size :]
            return f"…{mask.strip('…')}…{rest}"
    return quotation
