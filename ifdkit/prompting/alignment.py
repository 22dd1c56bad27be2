"""From examples to Requests: the passes of each example, and a status that says what is missing.

`joining` makes the passes over a text.  This module renders the prompts, chooses the passes that
are wanted and defined, and finds the status.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jinja2

from ifdkit.prompting.joining import (
    JoinedText,
    Joining,
    PassPair,
    ReversePrompt,
    SeparateTokens,
)
from ifdkit.prompting.protocols import Protocol
from ifdkit.prompting.templates import REVERSE, Prompt, Template
from ifdkit.prompting.tokens import LongWordError, TokenCache, Tokenizer
from ifdkit.prompting.windows import default_stride, sliding_windows
from ifdkit.records import PASSES, Example, Pass, Passes, Status, Turn
from ifdkit.visible import is_blank

_THINK = "<think>"
_INSTRUCTION_PASSES = frozenset({"instruction_direct", "instruction_conditional"})
_MAX_DOCUMENT_CHARS = 2**20
"""Characters of the documents that are tokenised together. A tokenizer keeps some hundred bytes per
token until its call returns, and the array of a document four."""
_MAX_PAIR_CHARS = 2**22
"""The same of pairs, with their contexts. The contexts of a long conversation grow with the square
of its turns: 2,000 turns took 2.7 GB when they were tokenised together."""


@dataclass(frozen=True, slots=True)
class Context:
    """The token ids from which a model answers."""

    ids: tuple[int, ...] | None
    """None if the template cannot render the conversation, or the tokenizer not read it."""
    opened: str = ""
    """The `<think>` with which the prompt ends: the beginning of the response."""
    problem: str = ""
    """Why there are no ids, in one sentence."""


@dataclass(frozen=True, slots=True)
class Aligner:
    """Makes the passes of examples under one protocol."""

    tokenizer: Tokenizer
    protocol: Protocol
    template: Template
    max_length: int
    """Tokens of the longest pass, or of a window over a document."""
    wanted: frozenset[str]
    """Which of PASSES to make."""
    stride: int | None = None
    """Tokens from one window to the next; None: half a window."""

    def align(self, examples: Sequence[Example]) -> list[Passes]:
        """The passes of each example, in order."""
        pairs = _groups([one for one in examples if not one.is_document], _MAX_PAIR_CHARS)
        documents = _groups([one for one in examples if one.is_document], _MAX_DOCUMENT_CHARS)
        found = _aligned(pairs, self._align_pairs)
        of_documents = _aligned(documents, self._align_documents)
        return [next(of_documents if one.is_document else found) for one in examples]

    def _joining(self, ids: TokenCache) -> Joining:
        if not self.protocol.joined:
            return SeparateTokens(self.tokenizer, self.max_length, ids)
        prefix, slack = self.protocol.direct_prefix, self.protocol.direct_slack
        return JoinedText(self.tokenizer, self.max_length, ids, prefix, slack)

    def _align_documents(self, examples: Sequence[Example]) -> list[Passes]:
        """The passes of a few documents: the direct one, in windows. No template is used."""
        ids = TokenCache(self.tokenizer)
        joining = self._joining(ids)
        if self.protocol.joined:
            joining.prime(examples, [None] * len(examples))
        ids.prime((one.response for one in examples), special=False)
        return [self._document(one.response, joining, ids) for one in examples]

    def _document(self, text: str, joining: Joining, ids: TokenCache) -> Passes:
        counts = Passes(instruction_tokens=None, response_tokens=len(ids(text, special=False)))
        if is_blank(text):
            return replace(
                counts, status=Status.EMPTY_RESPONSE, reason="the document contains no text"
            )
        if "response_direct" not in self.wanted:
            return counts
        whole = joining.whole(text)
        stride = self.stride or default_stride(self.max_length)
        windows = sliding_windows(whole.ids, whole.first, max_length=self.max_length, stride=stride)
        if not windows:
            return replace(
                counts,
                status=Status.NOTHING_TO_SCORE,
                reason="the document has no token left to score once the first serves as context",
            )
        return replace(
            counts,
            response_direct=Pass(windows, whole.skipped),
            scored_bytes=whole.scored_bytes,
        )

    def _align_pairs(self, examples: Sequence[Example]) -> list[Passes]:
        """The passes of a few instruction–response pairs. Equal texts are tokenised once."""
        ids = TokenCache(self.tokenizer)
        joining = self._joining(ids)
        prompts = self.template.prompts([(e.context, e.tools) for e in examples])
        scored = [_without_second_think(e, p.text) for e, p in zip(examples, prompts, strict=True)]
        joining.prime(scored, [prompt.text for prompt in prompts])
        bare = (t for e, s in zip(examples, scored, strict=True)
                for t in (e.instruction, e.response, s.response))  # fmt: skip
        ids.prime(bare, special=False)
        reverse = self._reverse_prompts(examples)
        if self.wanted & _INSTRUCTION_PASSES:
            joining.prime_instructions(examples, reverse)
        return [
            self._passes(*one, joining, ids, reverse)
            for one in zip(examples, scored, prompts, strict=True)
        ]

    def contexts(self, examples: Sequence[Example]) -> list[Context]:
        """What comes before the response of each example, in order."""
        joining = self._joining(TokenCache(self.tokenizer))
        found = []
        prompts = self.template.prompts([(e.context, e.tools) for e in examples], checked=False)
        for prompt in prompts:
            if prompt.text is None:
                problem = f"the template cannot render it: {prompt.problem}"
                found.append(Context(None, problem=problem))
                continue
            before = prompt.text.rstrip()
            opened = prompt.text[len(before) - len(_THINK) :] if before.endswith(_THINK) else ""
            try:
                found.append(Context(tuple(joining.context(prompt.text)), opened))
            except LongWordError as error:
                found.append(Context(None, problem=str(error)))
        return found

    def _reverse_prompts(self, examples: Sequence[Example]) -> ReversePrompt | None:
        """Response → the prompt that asks for its instruction; None if no pass needs one.

        Those of whole responses are rendered together; those of responses that are cut follow.
        """
        if "instruction_conditional" not in self.wanted:
            return None
        # Not str.format, which would fail on braces in the template.
        whole = {e.response: REVERSE.replace("{response}", e.response) for e in examples}
        made = self.template.prompts(
            [([Turn("user", text)], "") for text in whole.values()], checked=False
        )
        known = dict(zip(whole, made, strict=True))

        def prompt_of(response: str) -> str:
            if response not in known:
                text = REVERSE.replace("{response}", response)
                return self.template.render([Turn("user", text)])
            prompt = known[response]
            if prompt.text is None:
                raise jinja2.TemplateError(prompt.problem)
            return prompt.text

        return prompt_of

    def _passes(
        self,
        example: Example,
        scored: Example,
        prompt: Prompt,
        joining: Joining,
        ids: TokenCache,
        reverse: ReversePrompt | None,
    ) -> Passes:
        """All wanted passes of one example that have something to score, with its status.

        `scored` is the example with the response as it is scored.
        """
        counts = Passes(
            instruction_tokens=len(ids(example.instruction, special=False)),
            response_tokens=len(ids(example.response, special=False)),
            omitted=prompt.omitted if scored is example else (*prompt.omitted, "think_twice"),
        )
        if prompt.text is None:
            return replace(counts, status=Status.INVALID, reason=prompt.problem)
        has_instruction = not is_blank(example.instruction)
        has_response = not is_blank(scored.response)
        instruction = response = None
        if has_instruction and self.wanted & _INSTRUCTION_PASSES:
            try:
                instruction = joining.instruction(example, reverse)
            except jinja2.TemplateError as error:
                problem = f"no prompt asks for the instruction: {error}"
                return replace(counts, status=Status.INVALID, reason=problem)
        if has_response and self.wanted & {"response_direct", "response_conditional"}:
            response = joining.response(scored, prompt.text)
        found = {
            "instruction_direct": instruction and instruction.direct,
            "response_direct": response and response.direct,
        }
        if has_instruction and has_response:  # conditional on an empty half is not defined
            found["instruction_conditional"] = instruction and instruction.conditional
            found["response_conditional"] = response and response.conditional
        made: dict[str, Any] = {
            name: one for name, one in found.items() if one and name in self.wanted
        }
        status, reason = self._status(example, frozenset(made), instruction, response)
        return Passes(
            instruction_tokens=counts.instruction_tokens,
            response_tokens=counts.response_tokens,
            omitted=counts.omitted,
            **made,
            noisy=(),
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
            return Status.EMPTY_RESPONSE, "the response contains no text"
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


def _aligned(
    groups: Iterator[Sequence[Example]], align: Callable[[Sequence[Example]], list[Passes]]
) -> Iterator[Passes]:
    """The passes of examples that are aligned together, and a reason for those that cannot be."""
    for part in groups:
        try:
            found = align(part)
        except LongWordError:
            found = [_alone(one, align) for one in part]
        yield from found


def _alone(example: Example, align: Callable[[Sequence[Example]], list[Passes]]) -> Passes:
    try:
        return align([example])[0]
    except LongWordError as error:
        return Passes(None, None, status=Status.INVALID, reason=str(error))


def _groups(examples: Sequence[Example], max_chars: int) -> Iterator[Sequence[Example]]:
    """Consecutive examples with about as many characters in all, at least one each."""
    begin = n_chars = 0
    for stop, example in enumerate(examples, start=1):
        n_chars += len(example.response) + len(example.tools)
        n_chars += sum(len(turn.text) + len(turn.input) for turn in example.context)
        if n_chars >= max_chars or stop == len(examples):
            yield examples[begin:stop]
            begin, n_chars = stop, 0


def _without_second_think(example: Example, prompt: str | None) -> Example:
    """The example without the `<think>` of its response if the prompt ends with one.

    The template has then opened the thinking already, and the model writes on from there.
    """
    before = (prompt or "").rstrip()
    after = example.response.lstrip()
    if not (prompt and before.endswith(_THINK) and after.startswith(_THINK)):
        return example
    space = prompt[len(before) :]
    return replace(example, response=after.removeprefix(_THINK).removeprefix(space))
