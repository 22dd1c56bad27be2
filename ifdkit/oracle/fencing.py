"""Untrusted text in a prompt, between lines that no text can contain.

    <<instruction 4f1c09aa52be>>
    …
    <<end instruction 4f1c09aa52be>>

The token is derived from the content, so that the same texts make the same call, which therefore
has the same key in the journal.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from ifdkit.records import Example, Turn

_FENCE_HEX = 12


def make_fence(texts: Sequence[str]) -> str:
    """A token that occurs in no text, in any case; the same token for the same texts."""
    content = json.dumps(texts).encode()
    everything = "\n".join(texts).lower()
    count = 0
    while True:
        digest = hashlib.sha256(count.to_bytes(8) + content).hexdigest()
        if (fence := digest[:_FENCE_HEX]) not in everything:
            return fence
        count += 1


def fenced(name: str, text: str, fence: str) -> str:
    """A text in its block."""
    return f"<<{name} {fence}>>\n{text}\n<<end {name} {fence}>>"


def fenced_conversation(example: Example, user: Turn, fence: str) -> str:
    """Everything before the instruction, one block per turn; empty if there is nothing."""
    blocks = [fenced("tools", example.tools, fence)] if example.tools else []
    for turn in example.context:
        if turn is user:
            continue
        blocks.append(fenced(turn.role, turn.text, fence))
        if turn.input:
            blocks.append(fenced(f"{turn.role} input", turn.input, fence))
    return "\n".join(blocks)
