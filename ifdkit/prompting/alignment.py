"""From text to Requests: exactly which tokens count, in every pass.

Under the `aligned` protocol the passes of one example line up like this (| opens the span):

    conditional   anchor  prompt tokens | response tokens
    direct        anchor                | response tokens        the same ids

The published protocols join prompt and response as text and tokenise the whole, so the boundary
is where the prompt's own tokenisation ends, even where a token straddles it:

    conditional   [BOS]   tokens(prompt + response), split at len(tokens(prompt))
    direct        [BOS]   tokens(direct_prefix + response)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol as TypingProtocol

import jinja2
import numpy as np

from ifdkit.prompting.protocols import Protocol
from ifdkit.prompting.templates import REVERSE, Template
from ifdkit.records import PASSES, Example, Pass, Passes, Request, Status, Turn


class Tokenizer(TypingProtocol):
    """What alignment needs of a tokenizer."""

    @property
    def anchor_id(self) -> int | None:
        """The token before the first scored token of a direct pass: BOS, else EOS, else none."""
        ...

    def encode(self, texts: Sequence[str], *, special: bool) -> list[list[int]]:
        """Token ids of each text; `special` adds what the tokenizer's default call adds."""
        ...

    def offsets(self, text: str, *, special: bool) -> list[tuple[int, int]]:
        """Characters [start, stop) of `text` behind each token."""
        ...


class _Lookup:
    """Token ids by text, tokenised in batches ahead of time and once per distinct text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._known: dict[tuple[str, bool], list[int]] = {}

    def prime(self, texts: Iterable[str], *, special: bool) -> None:
        """Tokenise all the texts in one call."""
        new = [text for text in dict.fromkeys(texts) if (text, special) not in self._known]
        if new:
            ids = self._tokenizer.encode(new, special=special)
            self._known.update(zip(((text, special) for text in new), ids, strict=True))

    def __call__(self, text: str, *, special: bool) -> list[int]:
        """The ids of one text, tokenised now where it was not primed."""
        self.prime([text], special=special)
        return self._known[text, special]


@dataclass(frozen=True, slots=True)
class _Pair:
    """The two passes over one text, direct and given the other, and what truncation did."""

    direct: Pass | None
    conditional: Pass | None
    context_tokens: int
    """Tokens before the conditional span."""
    truncated_tokens: int
    """Target tokens that lie beyond the maximum length in the conditional pass."""
    scored_bytes: int = 0
    """UTF-8 bytes of the text that the direct pass covers."""
    context_cut: int = 0
    """Characters of the context given up so that the target fits."""


_Reverse = Callable[[str], str]


class _Convention(TypingProtocol):
    """How a protocol turns texts into the two passes over each half."""

    def prime(self, examples: Sequence[Example], prompts: Sequence[str | None]) -> None:
        """Tokenise in batches what will be needed."""
        ...

    def response(self, example: Example, prompt: str) -> _Pair: ...

    def instruction(self, example: Example, reverse: _Reverse | None) -> _Pair:
        """`reverse` renders the prompt that asks for the instruction of a response.

        None where only the direct pass is wanted, which then has all the room there is.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Apart:
    """Prompt and target tokenised apart, ids concatenated behind an anchor: `aligned`."""

    tokenizer: Tokenizer
    max_length: int
    ids: _Lookup

    def prime(self, examples: Sequence[Example], prompts: Sequence[str | None]) -> None:
        del examples  # their bare texts are tokenised already
        self.ids.prime((prompt for prompt in prompts if prompt is not None), special=False)

    def response(self, example: Example, prompt: str) -> _Pair:
        return self._pair(self._anchored(prompt), example.response)

    def instruction(self, example: Example, reverse: _Reverse | None) -> _Pair:
        """The response is context here; its tail goes so that the instruction is scored whole."""
        if reverse is None:
            return self._pair(self._anchored(""), example.instruction)
        room = self.max_length - len(self.ids(example.instruction, special=False))
        response = example.response
        while len(prompt_ids := self._anchored(reverse(response))) > room and response:
            offsets = self.tokenizer.offsets(response, special=False)
            kept = offsets[: max(0, len(offsets) - (len(prompt_ids) - room))]
            end = kept[-1][1] if kept else 0
            # The last tokens of a split character all end with it: then give the character up.
            response = response[: min(end, len(response) - 1)]
        pair = self._pair(prompt_ids, example.instruction)
        return replace(pair, context_cut=len(example.response) - len(response))

    def _anchored(self, prompt: str) -> list[int]:
        """Ids of a prompt behind the anchor, which a chat template may have put there already."""
        prompt_ids, anchor = self.ids(prompt, special=False), self.tokenizer.anchor_id
        return prompt_ids if anchor is None or prompt_ids[:1] == [anchor] else [anchor, *prompt_ids]

    def _pair(self, context: list[int], text: str) -> _Pair:
        """The same kept ids of `text` behind the context and behind the bare anchor."""
        target = self.ids(text, special=False)
        anchor = self._anchored("")
        kept = target[: max(0, self.max_length - max(len(context), len(anchor)))]
        # With no anchor the first token has nothing before it in the direct pass: skip in both.
        skipped = 0 if anchor else 1
        return _Pair(
            direct=_pass([*anchor, *kept], len(anchor) + skipped, skipped),
            conditional=_pass([*context, *kept], len(context) + skipped, skipped),
            context_tokens=len(context),
            truncated_tokens=len(target) - len(kept),
            scored_bytes=_covered_bytes(self.tokenizer, text, target, skipped, len(kept), False),
        )


@dataclass(frozen=True, slots=True)
class _Joined:
    """Prompt and target joined as text, then tokenised: the published protocols."""

    tokenizer: Tokenizer
    max_length: int
    ids: _Lookup
    direct_prefix: str
    direct_slack: int

    def prime(self, examples: Sequence[Example], prompts: Sequence[str | None]) -> None:
        prompted = [(p, e) for p, e in zip(prompts, examples, strict=True) if p is not None]
        texts = [text for p, e in prompted for text in (p, p + e.response)]
        texts += [self.direct_prefix + e.response for e in examples]
        self.ids.prime(texts, special=True)

    def response(self, example: Example, prompt: str) -> _Pair:
        return self._pair(prompt, example.response, self.direct_prefix)

    def instruction(self, example: Example, reverse: _Reverse | None) -> _Pair:
        """The published script joins instruction and input with nothing between them.

        It looks for the last place of the instruction, which an input that repeats it moves.
        """
        user = example.last_user_turn
        assert user is not None, "only called where there is an instruction"
        target = user.text + user.input
        if reverse is None:
            return self._pair("", target, "")
        whole = reverse(example.response) + target
        split = whole.rfind(user.text)
        return self._pair(whole[:split], whole[split:], "", direct_text=target)

    def _pair(
        self, context: str, text: str, prefix: str, *, direct_text: str | None = None
    ) -> _Pair:
        context_tokens = len(self.ids(context, special=True))
        whole = self.ids(context + text, special=True)
        kept = whole[: self.max_length]
        direct_text = prefix + (text if direct_text is None else direct_text)
        direct_ids = self.ids(direct_text, special=True)
        stop = min(max(0, self.max_length - context_tokens + self.direct_slack), len(direct_ids))
        # Without a prefix the first id serves as context: the BOS where the tokenizer adds one,
        # else the text's own first token, which is then not scored.
        first = len(self.ids(prefix, special=True)) if prefix else 1
        has_bos = direct_ids[:1] != self.ids(direct_text, special=False)[:1]
        return _Pair(
            direct=_pass(direct_ids[:stop], first, 0 if prefix or has_bos else 1),
            conditional=_pass(kept, max(context_tokens, 1), 0 if context_tokens else 1),
            context_tokens=context_tokens,
            truncated_tokens=min(len(whole) - len(kept), max(0, len(whole) - context_tokens)),
            scored_bytes=_covered_bytes(self.tokenizer, direct_text, direct_ids, first, stop, True),
        )


@dataclass(frozen=True, slots=True)
class Aligner:
    """Examples in, Passes out, under one protocol.

    Truncation takes the tail of the target: the response's, or under the published protocols
    that of the instruction where the response is its context.
    """

    tokenizer: Tokenizer
    protocol: Protocol
    template: Template
    max_length: int
    wanted: frozenset[str]
    """Which of PASSES to make."""

    def align(self, examples: Sequence[Example]) -> list[Passes]:
        """Passes of each example, in order. Equal texts are tokenised once."""
        ids = _Lookup(self.tokenizer)
        ids.prime((t for e in examples for t in (e.instruction, e.response)), special=False)
        convention: _Convention
        if self.protocol.joined:
            prefix, slack = self.protocol.direct_prefix, self.protocol.direct_slack
            convention = _Joined(self.tokenizer, self.max_length, ids, prefix, slack)
        else:
            convention = _Apart(self.tokenizer, self.max_length, ids)
        prompts = [self._render(example.context, example.tools) for example in examples]
        convention.prime(examples, prompts)
        return [
            self._align_one(example, prompt, convention, ids)
            for example, prompt in zip(examples, prompts, strict=True)
        ]

    def _render(self, turns: Sequence[Turn], tools: str = "") -> str | None:
        """The prompt, or None where the wording cannot express these turns."""
        try:
            return self.template.render(turns, tools)
        except jinja2.TemplateError:
            return None

    def _reverse(self, response: str) -> str:
        """The prompt that asks for the instruction of a response. Raises jinja2.TemplateError."""
        # Not str.format, which would stumble over braces if the wording ever held any.
        text = REVERSE.replace("{response}", response)
        return self.template.render([Turn("user", text)])

    def _align_one(
        self, example: Example, prompt: str | None, convention: _Convention, ids: _Lookup
    ) -> Passes:
        counts = Passes(
            instruction_tokens=len(ids(example.instruction, special=False)),
            response_tokens=len(ids(example.response, special=False)),
        )
        if prompt is None:
            problem = f"template {self.template.name!r} cannot express this conversation"
            return replace(counts, status=Status.INVALID, reason=problem)
        has_instruction = bool(example.instruction.strip())
        has_response = bool(example.response.strip())
        instruction = response = None
        reverse = self._reverse if "instruction_conditional" in self.wanted else None
        if has_instruction and self.wanted & _OVER_INSTRUCTION:
            try:
                instruction = convention.instruction(example, reverse)
            except jinja2.TemplateError as error:
                problem = f"template {self.template.name!r} cannot ask for an instruction: {error}"
                return replace(counts, status=Status.INVALID, reason=_one_line(problem))
        if has_response and self.wanted & _OVER_RESPONSE:
            response = convention.response(example, prompt)

        def wanted(name: str, pair: _Pair | None) -> Pass | None:
            """The pass, unless it was not asked for or is conditional on an empty half."""
            if pair is None or name not in self.wanted:
                return None
            if name.endswith("_direct"):
                return pair.direct
            return pair.conditional if has_instruction and has_response else None

        found = replace(
            counts,
            instruction_direct=wanted("instruction_direct", instruction),
            instruction_conditional=wanted("instruction_conditional", instruction),
            response_direct=wanted("response_direct", response),
            response_conditional=wanted("response_conditional", response),
            truncated_tokens=response.truncated_tokens if response else 0,
            scored_bytes=response.scored_bytes if response else 0,
        )
        status, reason = self._judge(example, found, instruction, response)
        return replace(found, status=status, reason=reason)

    def _judge(
        self,
        example: Example,
        found: Passes,
        instruction: _Pair | None,
        response: _Pair | None,
    ) -> tuple[Status, str | None]:
        """The worst thing that happened to an example, in one sentence."""
        if not example.response.strip():
            return Status.EMPTY_RESPONSE, "the response holds no text"
        if not example.instruction.strip():
            return Status.EMPTY_INSTRUCTION, "no instruction precedes the response"
        pairs = [("response", response), ("instruction", instruction)]
        for what, pair in pairs:
            conditional = f"{what}_conditional"
            if pair and conditional in self.wanted and pair.context_tokens >= self.max_length:
                return Status.PROMPT_TOO_LONG, (
                    f"{pair.context_tokens} tokens of context leave nothing of the maximum length"
                    f" {self.max_length} for the {what}"
                )
        present = {name for name, _ in found.present()}
        for name in PASSES:
            if name in self.wanted - present:
                return Status.NOTHING_TO_SCORE, (
                    f"the {name.replace('_', ' ')} pass has no token left to score once the first"
                    " serves as context"
                )
        for what, pair in pairs:
            if pair and pair.truncated_tokens:
                return Status.TRUNCATED, (
                    f"the last {pair.truncated_tokens} {what} tokens lie beyond the maximum length"
                    f" {self.max_length}"
                )
        if instruction and instruction.context_cut and "instruction_conditional" in self.wanted:
            return Status.TRUNCATED, (
                f"the last {instruction.context_cut} characters of the response are cut where it"
                " is the context of the instruction"
            )
        return Status.OK, None


_OVER_INSTRUCTION = frozenset({"instruction_direct", "instruction_conditional"})
_OVER_RESPONSE = frozenset({"response_direct", "response_conditional"})


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _pass(ids: list[int], first: int, skipped: int) -> Pass | None:
    """The pass that scores ids[first:], or None where that is nothing."""
    if first >= len(ids):
        return None
    return Pass(Request(np.array(ids, dtype=np.int32), first, len(ids)), skipped)


def _covered_bytes(
    tokenizer: Tokenizer, text: str, ids: list[int], first: int, stop: int, special: bool
) -> int:
    """UTF-8 bytes of the text behind its tokens [first, stop)."""
    if first == 0 and stop == len(ids):
        return len(text.encode())
    if first >= stop:
        return 0
    offsets = tokenizer.offsets(text, special=special)
    # From the end of the token before, because some tokenizers leave spaces out of offsets.
    begin = offsets[first - 1][1] if first else 0
    return len(text[begin : offsets[stop - 1][1]].encode())
