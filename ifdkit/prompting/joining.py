"""How context and target become one sequence of ids: tokenised apart, or joined as text.

A pass is a sequence of ids and the span of it that is scored.  A target, such as the response, is
scored in two passes: conditional, behind its context, and direct, without it.  `SeparateTokens`
scores the same ids in both (| opens the span):

    conditional   anchor  tokens(prompt) | tokens(response)
    direct        anchor                 | tokens(response)

`JoinedText`, the way of the published scripts, tokenises the joined text, so the boundary is where
the tokens of the prompt alone end, even if a token of the joined text straddles it:

    conditional   [BOS]   tokens(prompt + response), split at len(tokens(prompt))
    direct        [BOS]   tokens(direct_prefix + response)

A sequence longer than the maximum length loses the end of its target.  Only `SeparateTokens` spares
an instruction that is scored behind its response: there, the context is cut instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import jinja2
import numpy as np
from numpy.typing import NDArray

from ifdkit.prompting.tokens import TokenCache, Tokenizer
from ifdkit.records import Example, Pass, Request


@dataclass(frozen=True, slots=True)
class PassPair:
    """The direct and the conditional pass over one target, and what truncation did to them."""

    direct: Pass | None
    """None if it has no token to score; likewise `conditional`."""
    conditional: Pass | None
    context_tokens: int
    """Tokens before the target in the conditional pass."""
    truncated_tokens: int
    """Target tokens beyond the maximum length in the conditional pass."""
    scored_bytes: int = 0
    """UTF-8 bytes of the target that the direct pass covers."""
    context_cut: int = 0
    """Characters cut from the end of the context to make room for the target."""


@dataclass(frozen=True, slots=True, eq=False)
class WholeText:
    """The tokens of a direct pass, however many they are."""

    ids: NDArray[np.int32]
    """Shape (tokens,), with the anchor or the prefix."""
    first: int
    """Position of the first token that is scored."""
    skipped: int
    """As in `Pass`."""
    scored_bytes: int
    """UTF-8 bytes of the text that the scored tokens cover."""


ReversePrompt = Callable[[str], str]
"""Response → the prompt that asks for its instruction. Raises jinja2.TemplateError."""


class Joining(Protocol):
    """Makes the passes over the response and over the instruction of an example."""

    def prime(self, examples: Sequence[Example], prompts: Sequence[str | None]) -> None:
        """Tokenise the texts that passes over the response are going to need, in batches."""
        ...

    def prime_instructions(
        self, examples: Sequence[Example], reverse: ReversePrompt | None
    ) -> None:
        """The same for passes over the instruction, with `reverse` as in `instruction`."""
        ...

    def response(self, example: Example, prompt: str) -> PassPair:
        """The passes over the response, whose context is the prompt."""
        ...

    def context(self, prompt: str) -> list[int]:
        """The ids from which a model answers the prompt."""
        ...

    def instruction(self, example: Example, reverse: ReversePrompt | None) -> PassPair:
        """The passes over the instruction, whose context is the reverse prompt of the response.

        With `reverse` None only the direct pass is wanted, and gets the full maximum length.
        """
        ...

    def whole(self, text: str) -> WholeText:
        """The tokens of a text as in the direct pass of a response, none cut off."""
        ...


@dataclass(frozen=True, slots=True)
class SeparateTokens:
    """Context and target tokenised apart, ids concatenated behind an anchor: `aligned`."""

    tokenizer: Tokenizer
    max_length: int
    ids: TokenCache

    def prime(self, examples: Sequence[Example], prompts: Sequence[str | None]) -> None:
        """Tokenise the prompts; the bare texts of the examples are in the cache already."""
        del examples
        self.ids.prime((prompt for prompt in prompts if prompt is not None), special=False)

    def prime_instructions(
        self, examples: Sequence[Example], reverse: ReversePrompt | None
    ) -> None:
        """Tokenise the reverse prompts; the bare texts of the examples are in the cache already."""
        if reverse is not None:
            texts = (_rendered(reverse, one.response) for one in examples)
            self.ids.prime((text for text in texts if text is not None), special=False)

    def response(self, example: Example, prompt: str) -> PassPair:
        """The passes over the response."""
        return self._pair(self._anchored(prompt), example.response)

    def context(self, prompt: str) -> list[int]:
        """The ids of the prompt behind the anchor."""
        return self._anchored(prompt)

    def instruction(self, example: Example, reverse: ReversePrompt | None) -> PassPair:
        """The passes over the instruction. The response is cut so that all of it is scored."""
        if reverse is None:
            return self._pair(self._anchored(""), example.instruction)
        max_context = self.max_length - len(self.ids(example.instruction, special=False))
        response = example.response
        while len(context := self._anchored(reverse(response))) > max_context and response:
            # Cut as many tokens as are too many, then check again: the prompt is tokenised as a
            # whole, so it does not always get shorter by exactly the tokens that were cut.
            n_ids = len(self.ids(response, special=False))
            n_kept = max(0, n_ids - (len(context) - max_context))
            (end,) = self.ids.ends(response, [n_kept], special=False)
            # A character can be split over several tokens, all of which end where it ends.  Then
            # cutting one of them would not shorten the text: drop the character instead.
            response = response[: min(end, len(response) - 1)]
        pair = self._pair(context, example.instruction)
        return replace(pair, context_cut=len(example.response) - len(response))

    def whole(self, text: str) -> WholeText:
        """The tokens of a text behind the anchor."""
        target, anchor = self.ids(text, special=False), self._anchored("")
        skipped = 0 if anchor else 1
        return WholeText(
            np.array([*anchor, *target], dtype=np.int32),
            len(anchor) + skipped,
            skipped,
            self.ids.n_bytes(text, skipped, len(target), special=False),
        )

    def _anchored(self, prompt: str) -> list[int]:
        """Ids of a prompt behind the anchor, unless a chat template has put the anchor there."""
        ids, anchor = self.ids(prompt, special=False), self.tokenizer.anchor_id
        return ids if anchor is None or ids[:1] == [anchor] else [anchor, *ids]

    def _pair(self, context: list[int], text: str) -> PassPair:
        """The same ids of `text` behind the context and behind the anchor alone."""
        target = self.ids(text, special=False)
        anchor = self._anchored("")
        # Both passes keep what the longer one has room for: the ratio needs the same tokens.
        kept = target[: max(0, self.max_length - max(len(context), len(anchor)))]
        # With no anchor, the first token of the direct pass has nothing before it that predicts
        # it.  It is skipped in both passes.
        skipped = 0 if anchor else 1
        return PassPair(
            direct=_pass([*anchor, *kept], len(anchor) + skipped, skipped),
            conditional=_pass([*context, *kept], len(context) + skipped, skipped),
            context_tokens=len(context),
            truncated_tokens=len(target) - len(kept),
            scored_bytes=self.ids.n_bytes(text, skipped, len(kept), special=False),
        )


@dataclass(frozen=True, slots=True)
class JoinedText:
    """Context and target joined as text, then tokenised: the published protocols."""

    tokenizer: Tokenizer
    max_length: int
    ids: TokenCache
    direct_prefix: str
    direct_slack: int
    """As in `Protocol`."""

    def prime(self, examples: Sequence[Example], prompts: Sequence[str | None]) -> None:
        """Tokenise direct texts, prompts, and prompts with responses."""
        first = len(self.ids(self.direct_prefix, special=True)) if self.direct_prefix else 1
        direct = [self.direct_prefix + e.response for e in examples]
        self.ids.prime(direct, special=True, first=first)
        prompted = [(p, e) for p, e in zip(prompts, examples, strict=True) if p is not None]
        self.ids.prime((text for p, e in prompted for text in (p, p + e.response)), special=True)

    def prime_instructions(
        self, examples: Sequence[Example], reverse: ReversePrompt | None
    ) -> None:
        """Tokenise direct texts, reverse prompts, and reverse prompts with instructions."""
        texts = [(one, user.text + user.input) for one in examples if (user := one.last_user_turn)]
        self.ids.prime((target for _, target in texts), special=True, first=1)
        if reverse is not None:
            made = ((_rendered(reverse, one.response), one, target) for one, target in texts)
            joined = ((text + target, one) for text, one, target in made if text is not None)
            parts = ((whole[: self._split(whole, one)], whole) for whole, one in joined)
            self.ids.prime((text for pair in parts for text in pair), special=True)

    def response(self, example: Example, prompt: str) -> PassPair:
        """The passes over the response."""
        return self._pair(prompt, example.response, self.direct_prefix)

    def context(self, prompt: str) -> list[int]:
        """The ids of the prompt alone, with what the tokenizer adds."""
        return self.ids(prompt, special=True)

    def instruction(self, example: Example, reverse: ReversePrompt | None) -> PassPair:
        """The passes over the instruction, with the input appended to it.

        The published script puts nothing between the two, and takes the last occurrence of the
        instruction as the boundary.  An input that repeats the instruction moves it.
        """
        user = example.last_user_turn
        assert user is not None, "only called if there is an instruction"
        target = user.text + user.input
        if reverse is None:
            return self._pair("", target, "")
        whole = reverse(example.response) + target
        split = self._split(whole, example)
        return self._pair(whole[:split], whole[split:], "", direct_text=target)

    def _split(self, whole: str, example: Example) -> int:
        """Where the instruction begins in a reverse prompt with the instruction."""
        user = example.last_user_turn
        return whole.rfind(user.text if user else "")

    def whole(self, text: str) -> WholeText:
        """The tokens of a text behind the direct prefix."""
        text = self.direct_prefix + text
        ids = self.ids(text, special=True)
        first, skipped = self._first(text, self.direct_prefix)
        scored_bytes = self.ids.n_bytes(text, first, len(ids), special=True)
        return WholeText(np.array(ids, dtype=np.int32), first, skipped, scored_bytes)

    def _first(self, text: str, prefix: str) -> tuple[int, int]:
        """Position of the first scored token of a direct text, and target tokens before it.

        Without a prefix the first id is context: BOS if the tokenizer adds it, else the first token
        of the text, which is then not scored.
        """
        if prefix:
            return len(self.ids(prefix, special=True)), 0
        has_bos = self.ids(text, special=True)[:1] != self.ids(text, special=False)[:1]
        return 1, 0 if has_bos else 1

    def _pair(
        self, context: str, text: str, prefix: str, *, direct_text: str | None = None
    ) -> PassPair:
        """`text` behind the context, and `direct_text` (default: `text`) behind the prefix."""
        context_tokens = len(self.ids(context, special=True))
        joined = self.ids(context + text, special=True)
        kept = joined[: self.max_length]
        direct_text = prefix + (text if direct_text is None else direct_text)
        direct_ids = self.ids(direct_text, special=True)
        # The scripts cut the direct pass to the length that the context leaves for its target,
        # plus a few tokens; how many differs between them.
        stop = min(max(0, self.max_length - context_tokens + self.direct_slack), len(direct_ids))
        first, skipped = self._first(direct_text, prefix)
        return PassPair(
            direct=_pass(direct_ids[:stop], first, skipped),
            conditional=_pass(kept, max(context_tokens, 1), 0 if context_tokens else 1),
            context_tokens=context_tokens,
            truncated_tokens=min(len(joined) - len(kept), max(0, len(joined) - context_tokens)),
            scored_bytes=self.ids.n_bytes(direct_text, first, stop, special=True),
        )


def _rendered(reverse: ReversePrompt, response: str) -> str | None:
    """The reverse prompt of a response; None if the template fails on it."""
    try:
        return reverse(response)
    except jinja2.TemplateError:
        return None


def _pass(ids: list[int], first: int, skipped: int) -> Pass | None:
    """The pass that scores ids[first:]; None if there are none."""
    if first >= len(ids):
        return None
    return Pass((Request(np.array(ids, dtype=np.int32), first, len(ids)),), skipped)
