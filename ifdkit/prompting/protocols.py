"""Protocols: named, complete conventions for making numbers out of a pair.

`aligned` compares the same tokens with and without the instruction; the others exist so that a
number can be laid beside a published one.
"""

from __future__ import annotations

from dataclasses import dataclass

from ifdkit.errors import UsageError


@dataclass(frozen=True, slots=True)
class Protocol:
    """A named, complete convention for making numbers out of a pair."""

    name: str
    templates: tuple[str, ...]
    """Wordings it is defined for, the default first; `*` admits any other."""
    max_length: int
    """Tokens of the longest pass, unless the model's context is shorter."""
    joined: bool
    """Whether prompt and response are joined as text before tokenising."""
    direct_prefix: str = ""
    """Text before the response in the direct pass, not scored."""
    direct_slack: int = 0
    """Tokens that the direct pass may be longer than the conditional one, without its prompt."""
    source: str = ""
    """The paper it comes from (arXiv)."""


PROTOCOLS = {
    p.name: p
    for p in (
        Protocol("aligned", ("plain", "*"), 2048, joined=False, source="ifdkit"),
        Protocol(
            "superfiltering", ("plain",), 1024, joined=True, direct_slack=1, source="2402.00530"
        ),
        Protocol(
            "reflection",
            ("vicuna", "alpaca", "wizardlm"),
            2048,
            joined=True,
            direct_slack=1,
            source="2402.10110",
        ),
        Protocol(
            "cherry",
            ("alpaca", "wizardlm"),
            512,
            joined=True,
            direct_prefix="### Response:",
            direct_slack=4,
            source="2308.12032",
        ),
    )
}
"""Name → convention.  A new one is one more row."""


def choose_template(protocol: Protocol, template: str | None) -> str:
    """The wording to use: the protocol's own unless it admits the one asked for."""
    if template is None:
        return protocol.templates[0]
    if template not in protocol.templates and "*" not in protocol.templates:
        raise UsageError(
            f"protocol {protocol.name!r} is published with template"
            f" {' or '.join(protocol.templates)}, not {template!r}; use --protocol aligned for"
            " other templates"
        )
    return template
