"""The core types, which every package may use: examples, requests, passes."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ifdkit.row_type import row_type

Role = Literal["system", "user", "assistant", "tool"]
_THINKING = "<think>\n{}\n</think>"
"""Reasoning as the templates of Qwen3 write it; an empty line is between it and the answer."""
_SPAN = struct.Struct("<qq")
NLL = NDArray[np.float32]
"""Negative log-likelihoods of consecutive tokens, nats, shape (scored tokens,)."""
TokenArrays = NDArray[np.float32]
"""Several numbers for each of consecutive tokens, shape (scored tokens, numbers)."""


@dataclass(frozen=True, slots=True, eq=False)
class TokenStatistics:
    """What a model expected at each scored token, besides the probability of that token."""

    values: TokenArrays
    """Rank, entropy and spread of each token: float32 of shape (scored tokens, 3)."""

    @property
    def rank(self) -> NDArray[np.float32]:
        """1 + the number of tokens of the vocabulary with a larger logit; exact up to 2**24."""
        return self.values[:, 0]

    @property
    def entropy(self) -> NDArray[np.float32]:
        """Entropy of the distribution, nats: minus the mean of log p over it."""
        return self.values[:, 1]

    @property
    def spread(self) -> NDArray[np.float32]:
        """Standard deviation of log p over the distribution, nats."""
        return self.values[:, 2]


class Status(StrEnum):
    """Outcome of scoring an example. If numbers are undefined, it is the reason."""

    OK = "ok"
    TRUNCATED = "truncated"
    EMPTY_RESPONSE = "empty_response"
    EMPTY_INSTRUCTION = "empty_instruction"
    NOTHING_TO_SCORE = "nothing_to_score"
    PROMPT_TOO_LONG = "prompt_too_long"
    INVALID = "invalid"

    @property
    def has_scores(self) -> bool:
        """Whether a model scored the response of such an example."""
        return self in (Status.OK, Status.TRUNCATED, Status.EMPTY_INSTRUCTION)


def with_reasoning(reasoning: str, answer: str) -> str:
    """The text of an assistant turn that thought before it answered."""
    return "\n\n".join(part for part in (_THINKING.format(reasoning), answer) if part)


_IF_USED = frozenset(
    (
        *("source", "sources", "group_by", "group_rows", "inputs", "shard", "merged_from"),
        *("map_layout", "informative_nats", "noise_copies", "noise_seed"),
        *("reference_model", "reference_hash", "tuning"),
    )
)


def plain(record: Any) -> dict[str, Any]:
    """A dataclass as a dictionary, as `dataclasses.asdict`.

    What only a dataset of several inputs, a run of several shards or a metric on request has is
    left out of the others.
    """
    return asdict(
        record,
        dict_factory=lambda pairs: {
            k: v for k, v in pairs if v not in (None, "", (), [], {}) or k not in _IF_USED
        },
    )


@row_type(frozen=True, slots=True)
class Turn:
    """One message of a conversation."""

    role: Role
    text: str
    input: str = ""
    """Alpaca's second field: data that the instruction of a user turn works on."""
    tool_calls: str = ""
    """Calls of an assistant turn that are stored apart from its content, as JSON."""
    reasoning: str = ""
    """Thinking of an assistant turn that is stored apart from its content."""

    @classmethod
    def of_assistant(cls, content: str, *, reasoning: str = "", tool_calls: str = "") -> Turn:
        """An assistant turn from its parts, which `text` shows in the order of writing."""
        answer = "\n".join(part for part in (content, tool_calls) if part)
        text = with_reasoning(reasoning, answer) if reasoning else answer
        return cls("assistant", text, tool_calls=tool_calls, reasoning=reasoning)

    @property
    def content(self) -> str:
        """The text without the tool calls and the reasoning that are stored apart."""
        text = self.text
        if self.reasoning:
            text = text.removeprefix(_THINKING.format(self.reasoning)).removeprefix("\n\n")
        if self.tool_calls:
            text = "" if text == self.tool_calls else text.removesuffix(f"\n{self.tool_calls}")
        return text


@row_type(frozen=True, slots=True)
class Example:
    """One instruction–response pair; in a conversation, one assistant turn; or a text document.

    A document is a response without an instruction.
    """

    id: str
    row: int
    """0-based position of the row in the input."""
    turn: int
    """0-based position among the row's assistant turns."""
    context: tuple[Turn, ...]
    """All turns before the response, oldest first, including the instruction."""
    response: str
    tools: str = ""
    """Description of the tools that the assistant may call."""
    is_document: bool = False
    """Whether it is a text document, which has no context."""

    @property
    def instruction(self) -> str:
        """What the response answers: the last user turn, its `input` on a separate line."""
        user = self.last_user_turn
        if user is None:
            return ""
        return f"{user.text}\n{user.input}" if user.input else user.text

    @property
    def last_user_turn(self) -> Turn | None:
        """The turn with the instruction; None if there is no user turn."""
        for turn in reversed(self.context):
            if turn.role == "user":
                return turn
        return None


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that could not be read. Rows in = scored + rejected."""

    row: int
    line: int | None
    """1-based line on which the row begins; None if the format has no lines."""
    byte_offset: int | None
    """0-based offset of the row in the decompressed input; None if the format has none."""
    reason: str
    source: str | None = None
    """The input that the row is from; None if the dataset has one input."""

    def as_json(self) -> dict[str, Any]:
        """The object of a rejects file."""
        return plain(self)


@dataclass(frozen=True, slots=True)
class Noise:
    """Uniform noise on the embeddings of a Request's tokens, as in NEFTune (2310.05914).

    Of a matrix of `n_rows` rows, drawn from `seed`, the token at position `begin` gets the row
    `first_row`, the next one the next row, and so on; tokens before `begin` and beyond the matrix
    get none.  Its numbers are uniform in ±alpha ÷ √(n_rows × dimensions).
    """

    seed: bytes
    """16 bytes that decide the numbers."""
    alpha: float
    n_rows: int
    begin: int
    first_row: int

    @property
    def content(self) -> bytes:
        """What decides the noise of each token, as bytes."""
        numbers = np.array([self.n_rows, self.begin, self.first_row], dtype="<i8")
        return self.seed + np.array([self.alpha], dtype="<f8").tobytes() + numbers.tobytes()


@row_type(frozen=True, eq=False)
class Request:
    """Token ids and the half-open span [start, stop) of them to score.

    This is the central type: code above it knows about instructions but not about tensors, code
    below it knows about tensors but not about instructions.  The tokens before `start` are context;
    a causal model needs at least one, so 0 < start < stop <= len(ids).
    """

    ids: NDArray[np.int32]
    start: int
    stop: int
    with_statistics: bool = False
    """Whether statistics of each scored token are wanted too, which does not change its scores."""
    noise: Noise | None = None
    """Noise on the embeddings of its tokens; None for none."""

    def __post_init__(self) -> None:
        if not 0 < self.start < self.stop <= len(self.ids):
            raise ValueError(f"span [{self.start}, {self.stop}) of {len(self.ids)} ids is empty")

    # Sent to other processes by the million: this takes half the time of what pickle does itself.
    def __reduce__(self) -> tuple[Any, ...]:
        ids = self.ids.astype("<i4", copy=False).tobytes()
        return _request, (ids, self.start, self.stop, self.with_statistics, self.noise)

    @property
    def n_scored(self) -> int:
        """Number of tokens in the span."""
        return self.stop - self.start

    @cached_property
    def content(self) -> bytes:
        """Ids, span and noise as bytes: equal if and only if the scores must be equal."""
        # Tokens after the span cannot change a causal model's scores of it.
        ids = self.ids[: self.stop].astype("<i4", copy=False)
        own = _SPAN.pack(self.start, self.stop) + ids.tobytes()
        return own if self.noise is None else own + self.noise.content

    @property
    def id_bytes(self) -> bytes:
        """ids[:stop], four bytes each."""
        return self.content[_SPAN.size :][: 4 * self.stop]


def _request(ids: bytes, *others: Any) -> Request:
    return Request(np.frombuffer(ids, "<i4"), *others)


@row_type(frozen=True, slots=True)
class Pass:
    """The Requests that score a target text: one, or one for each window of a long document."""

    requests: tuple[Request, ...]
    """At least one. Their spans follow each other in the target, and cover each token once."""
    skipped: int = 0
    """Target tokens before the first scored one: 1 if the first token is only context."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Pass, (self.requests, self.skipped)

    @property
    def request(self) -> Request:
        """The only Request, as a pass over a pair has it; ValueError for a long document."""
        (request,) = self.requests
        return request

    @property
    def scored_ids(self) -> NDArray[np.int32]:
        """The scored tokens of the target, shape (scored tokens,)."""
        return np.concatenate([one.ids[one.start : one.stop] for one in self.requests])

    def nll(self, known: Mapping[bytes, NLL]) -> NLL | None:
        """The NLLs of the scored tokens by the content of the Requests; None if one is missing.

        Arrays with several numbers for each token are joined in the same way.
        """
        if len(self.requests) == 1:
            return known.get(self.requests[0].content)
        found = [known.get(one.content) for one in self.requests]
        parts = [one for one in found if one is not None]
        if len(parts) < len(found):
            return None
        return np.concatenate(parts)


PASSES = (
    "instruction_direct",
    "response_direct",
    "response_conditional",
    "instruction_conditional",
)
"""The four passes: the instruction or the response, direct or given the other."""
DOCUMENT_PASSES = frozenset({"response_direct"})
"""The passes that a document has."""


@row_type(frozen=True, slots=True)
class Passes:
    """All Requests of one example, and what was counted while tokenizing it.

    A pass is None if it was not asked for or has nothing to score; `status` and `reason` tell
    which.
    """

    instruction_tokens: int | None
    """None for a document, and for a text that cannot be tokenised; likewise `response_tokens`."""
    response_tokens: int | None
    instruction_direct: Pass | None = None
    response_direct: Pass | None = None
    response_conditional: Pass | None = None
    instruction_conditional: Pass | None = None
    truncated_tokens: int = 0
    """Response tokens beyond the maximum length, which are not scored."""
    scored_bytes: int = 0
    """UTF-8 bytes of the response that the direct pass covers."""
    status: Status = Status.OK
    reason: str | None = None
    omitted: tuple[str, ...] = ()
    """What the template left out: keys of `ifdkit.prompting.omissions.OMISSIONS`."""
    noisy: tuple[tuple[Request, Request], ...] = ()
    """Noisy copies of the two passes over the response, each direct and conditional, with the same
    noise on its tokens; none if no metric asks for them."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Passes, tuple([getattr(self, name) for name in Passes.__slots__])

    def present(self) -> list[tuple[str, Pass]]:
        """The passes that exist, with their names, in the order of PASSES."""
        return [(name, one) for name in PASSES if (one := getattr(self, name)) is not None]

    @property
    def requests(self) -> list[Request]:
        """The Requests of all passes, noisy copies included."""
        own = [request for _, one in self.present() for request in one.requests]
        return own + [request for copy in self.noisy for request in copy]
