"""From examples to Requests: the passes of each example, and a status that says what is missing.

`joining` makes the passes over a text.  This module renders the prompts, chooses the passes that
are wanted and defined, and finds the status.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import jinja2

from ifdkit.prompting.joining import JoinedText, Joining, PassPair, SeparateTokens
from ifdkit.prompting.protocols import Protocol
from ifdkit.prompting.templates import REVERSE, Template
from ifdkit.prompting.tokens import TokenCache, Tokenizer
from ifdkit.records import PASSES, Example, Passes, Status, Turn
from ifdkit.visible import is_blank


@dataclass(frozen=True, slots=True)
class Aligner:
    """Makes the passes of examples under one protocol."""

    tokenizer: Tokenizer
    protocol: Protocol
    template: Template
    max_length: int
    """Tokens of the longest pass."""
    wanted: frozenset[str]
    """Which of PASSES to make."""

    def align(self, examples: Sequence[Example]) -> list[Passes]:
        """The passes of each example, in order. Equal texts are tokenised once."""
        ids = TokenCache(self.tokenizer)
        ids.prime((t for e in examples for t in (e.instruction, e.response)), special=False)
        joining: Joining
        if self.protocol.joined:
            prefix, slack = self.protocol.direct_prefix, self.protocol.direct_slack
            joining = JoinedText(self.tokenizer, self.max_length, ids, prefix, slack)
        else:
            joining = SeparateTokens(self.tokenizer, self.max_length, ids)
        prompts = [self._prompt(example) for example in examples]
        joining.prime(examples, prompts)
        return [
            self._passes(example, prompt, joining, ids)
            for example, prompt in zip(examples, prompts, strict=True)
        ]

    def _prompt(self, example: Example) -> str | None:
        """The text before the response; None if the template cannot express the conversation."""
        try:
            return self.template.render(example.context, example.tools)
        except jinja2.TemplateError:
            return None

    def _reverse_prompt(self, response: str) -> str:
        """The prompt that asks for the instruction of a response. Raises jinja2.TemplateError."""
        # Not str.format, which would fail on braces in the template.
        text = REVERSE.replace("{response}", response)
        return self.template.render([Turn("user", text)])

    def _passes(
        self, example: Example, prompt: str | None, joining: Joining, ids: TokenCache
    ) -> Passes:
        """All wanted passes of one example that have something to score, with its status."""
        counts = Passes(
            instruction_tokens=len(ids(example.instruction, special=False)),
            response_tokens=len(ids(example.response, special=False)),
        )
        if prompt is None:
            problem = f"template {self.template.name!r} cannot express this conversation"
            return replace(counts, status=Status.INVALID, reason=problem)
        has_instruction = not is_blank(example.instruction)
        has_response = not is_blank(example.response)
        instruction = response = None
        if has_instruction and self.wanted & {"instruction_direct", "instruction_conditional"}:
            reverse = self._reverse_prompt if "instruction_conditional" in self.wanted else None
            try:
                instruction = joining.instruction(example, reverse)
            except jinja2.TemplateError as error:
                problem = f"template {self.template.name!r} cannot ask for an instruction: {error}"
                one_line = " ".join(problem.split())
                return replace(counts, status=Status.INVALID, reason=one_line)
        if has_response and self.wanted & {"response_direct", "response_conditional"}:
            response = joining.response(example, prompt)
        found = {
            "instruction_direct": instruction and instruction.direct,
            "response_direct": response and response.direct,
        }
        if has_instruction and has_response:  # conditional on an empty half is not defined
            found["instruction_conditional"] = instruction and instruction.conditional
            found["response_conditional"] = response and response.conditional
        made = {name: one for name, one in found.items() if one and name in self.wanted}
        status, reason = self._status(example, frozenset(made), instruction, response)
        return Passes(
            instruction_tokens=counts.instruction_tokens,
            response_tokens=counts.response_tokens,
            **made,
            truncated_tokens=response.truncated_tokens if response else 0,
            scored_bytes=response.scored_bytes if response else 0,
            status=status,
            reason=reason,
        )

    def _status(
        self,
        example: Example,
        made: frozenset[str],
        instruction: PassPair | None,
        response: PassPair | None,
    ) -> tuple[Status, str | None]:
        """The most severe problem of an example and one sentence about it, or OK and None."""
        if is_blank(example.response):
            return Status.EMPTY_RESPONSE, "the response holds no text"
        if is_blank(example.instruction):
            return Status.EMPTY_INSTRUCTION, "no instruction precedes the response"
        pairs = [("response", response), ("instruction", instruction)]
        for target, pair in pairs:
            is_wanted = f"{target}_conditional" in self.wanted
            if pair and is_wanted and pair.context_tokens >= self.max_length:
                return Status.PROMPT_TOO_LONG, (
                    f"{pair.context_tokens} tokens of context leave nothing of the maximum length"
                    f" {self.max_length} for the {target}"
                )
        for name in PASSES:
            if name in self.wanted - made:
                return Status.NOTHING_TO_SCORE, (
                    f"the {name.replace('_', ' ')} pass has no token left to score once the first"
                    " serves as context"
                )
        for target, pair in pairs:
            if pair and pair.truncated_tokens:
                return Status.TRUNCATED, (
                    f"the last {pair.truncated_tokens} {target} tokens lie beyond the maximum"
                    f" length {self.max_length}"
                )
        if instruction and instruction.context_cut and "instruction_conditional" in self.wanted:
            return Status.TRUNCATED, (
                f"the last {instruction.context_cut} characters of the response are cut where it"
                " is the context of the instruction"
            )
        return Status.OK, None
