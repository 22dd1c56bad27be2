"""The parts of a notebook view, as HTML in which every text is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from ifdkit.visible import one_line

MAX_TEXT = 1500


def view(lead: str, parts: Iterable[str]) -> str:
    """A headline, which may be empty, above parts that the functions below have made."""
    head = f"<p><strong>{escape(one_line(lead, MAX_TEXT))}</strong></p>" if lead else ""
    return f"<div>{head}{''.join(parts)}</div>"


def paragraph(text: str) -> str:
    """A paragraph; nothing if it is empty."""
    return f"<p>{escape(one_line(text, MAX_TEXT))}</p>" if text else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of texts: the first column is aligned left, the others right."""

    def line(cells: Sequence[str], tag: str) -> str:
        first, *others = (escape(one_line(cell)) for cell in cells)
        rest = "".join(f'<{tag} style="text-align:right">{cell}</{tag}>' for cell in others)
        return f'<tr><{tag} style="text-align:left">{first}</{tag}>{rest}</tr>'

    body = "".join(line(cells, "td") for cells in rows)
    return f"<table><thead>{line(head, 'th')}</thead><tbody>{body}</tbody></table>"


def items(texts: Sequence[str]) -> str:
    """A list; nothing if it is empty."""
    lines = "".join(f"<li>{escape(one_line(text, 200))}</li>" for text in texts)
    return f"<ul>{lines}</ul>" if lines else ""
