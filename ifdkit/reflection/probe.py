"""The question with which `reflect` finds out in which form a server can reply."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

from ifdkit.oracle.calls import OracleCall, Reply, Sampling
from ifdkit.reflection.answers import parse
from ifdkit.reflection.outcomes import Call, Outcome, Stage


class RewritingProbe:
    """Asks for a correction of "two plus two is five"; its words are part of its key."""

    def call(self, model: str, endpoint: str) -> Call:
        """The question to this model."""
        return _call(model, endpoint)

    def accepts(self, call: OracleCall, reply: Reply) -> bool:
        """Whether the reply is a rewrite, or begins as one that was cut off."""
        assert isinstance(call, Call)
        outcome = parse(call, reply).outcome
        began = outcome is Outcome.TRUNCATED and reply.text.lstrip().startswith("{")
        return outcome in (Outcome.REWRITTEN, Outcome.KEPT) or began


def _call(model: str, address: str) -> Call:
    call = Call(
        stage=Stage.RESPONSE,
        system="You correct short answers, and reply in exactly the form that is asked for.",
        user="Question: What is two plus two?\nAnswer: Five.",
        reply_json=(
            "Reply with one JSON object and nothing else:"
            ' {"criticism": "<what is wrong>", "better_response": "<the right answer>"}'
        ),
        reply_sections="",
        fence="",
        original="Five.",
        prompt_version="probe",
        model=model,
        endpoint=address,
        sampling=Sampling(max_tokens=512),
    )
    fence = hashlib.sha256(json.dumps([model, address]).encode()).hexdigest()[:12]
    names = ("criticism", call.text_field)
    marks = "\n".join(f"[[{name} {fence}]]\n…\n[[end {name} {fence}]]" for name in names)
    return replace(call, fence=fence, reply_sections=f"Reply in this form:\n{marks}")
