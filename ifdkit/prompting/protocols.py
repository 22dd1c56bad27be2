"""Protocols: named, complete conventions for scoring a pair.

`aligned` compares the same tokens with and without the instruction.  The others reproduce the
published scripts, so that a number can be compared with a published one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from ifdkit.errors import UsageError
from ifdkit.prompting.templates import PromptFunction


@dataclass(frozen=True, slots=True)
class Protocol:
    """A named, complete convention for scoring a pair."""

    name: str
    templates: tuple[str, ...]
    """Templates that it is defined for, the default first; `*` allows any other."""
    max_length: int
    """Tokens of the longest pass; less if the model's context is shorter."""
    joined: bool
    """Whether prompt and response are joined as text before tokenising."""
    direct_prefix: str = ""
    """Text before the response in the direct pass; it is not scored."""
    direct_slack: int = 0
    """Tokens by which the direct pass may exceed the response of the conditional pass.

    The published scripts differ in where they cut the direct pass.
    """
    source: str = ""
    """arXiv id of the paper that defines it."""


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
"""Name → protocol.  A new protocol is one more entry."""


_Function = TypeVar("_Function", bound=PromptFunction)


def choose_template(protocol: Protocol, template: str | _Function | None) -> str | _Function:
    """The template to use: the one asked for, or the protocol's default.

    Raises UsageError if the protocol is not defined for the one asked for.
    """
    if template is None:
        return protocol.templates[0]
    if template not in protocol.templates and "*" not in protocol.templates:
        raise UsageError(
            f"protocol {protocol.name!r} is published with template"
            f" {' or '.join(protocol.templates)}, not {template!r}; use --protocol aligned for"
            " other templates"
        )
    return template
