"""What a template left out: the texts of a conversation, looked for in its prompt.

    turns, tools ─ pieces ─▶ search in the prompt ─▶ absent │ present │ in doubt
                                                                        └ marked, rendered again

A text that is not found is left out.  A long text that is found, in its place, is present.  A short
one, such as "Hi", is found in almost any prompt.  Then the conversation is rendered again with a
marker at the end of each text, and the markers tell which texts the template has used.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from ifdkit.prompting.sandbox import Rendered
from ifdkit.prompting.structures import call_list, content_of, function_of, tool_list
from ifdkit.records import Turn

OMISSIONS = {
    "system": "leaves out the system prompt",
    "instruction": "leaves out the instruction",
    "input": "leaves out the input",
    "earlier_turns": "leaves out earlier turns",
    "thinking": "leaves out earlier thinking",
    "tools": "leaves out the tools",
    "tool_calls": "leaves out tool calls",
    "order": "changes the order of the turns",
    "generation_prompt": "does not open the turn of the assistant",
    "think_twice": "opens a <think> that the response repeats, and that is scored once,",
}
"""What a template can do to a conversation: key in the manifest → what a note says of it."""
Conversation = tuple[Sequence[Turn], str]
"""Turns and tools."""
_MIN_DISTINCT = 12
"""Characters of a text that no prompt contains by chance."""
_MAX_ABSENT = 20
"""Pieces of a kind that are not found before the search for more ends: each search goes through the
whole prompt, and a conversation can have thousands of pieces."""
_THINK = re.compile(r"\s*<think>(.*?)</think>", re.DOTALL)


def omission_notes(template: str, counts: Mapping[str, int], n_examples: int) -> list[str]:
    """One sentence for each kind that was counted, in the order of OMISSIONS."""
    is_chat = template.partition(":")[0] == "chat"
    subject = "the chat template" if is_chat else f"the template {template}"
    return [
        f"{subject} {what} in {counts[key]:,} of {n_examples:,} examples"
        for key, what in OMISSIONS.items()
        if counts.get(key)
    ]


def omitted(
    conversations: Sequence[Conversation],
    prompts: Sequence[Rendered],
    render: Callable[[Sequence[Conversation]], Sequence[Rendered]],
    source: str,
    *,
    structured: bool,
) -> list[tuple[str, ...]]:
    """What each prompt lacks of its conversation, as keys of OMISSIONS.

    Nothing if there is no prompt, or the conversation has no turn.

    `render` makes prompts, for a second look.  `source` is the template: its own words are found in
    a prompt although no turn contains them.  `structured` says whether the template gets tools and
    tool calls as objects, or all as text.
    """
    searches = [
        _PromptSearch(prompt.text, _pieces(conversation, structured)[0], source)
        if conversation[0] and prompt.text is not None
        else None
        for conversation, prompt in zip(conversations, prompts, strict=True)
    ]
    doubtful = [i for i, search in enumerate(searches) if search and search.doubtful]
    marked = render([_pieces(conversations[i], structured, marked=True)[1] for i in doubtful])
    for i, prompt in zip(doubtful, marked, strict=True):
        search = searches[i]
        if search and prompt.text is not None:  # if it fails, what was found counts as present
            search.decide(prompt.text)
    return [search.kinds if search else () for search in searches]


@dataclass(frozen=True, slots=True)
class _Piece:
    """A text that the prompt should contain."""

    kind: str
    """A key of OMISSIONS."""
    text: str
    turn: int | None
    """Position of its turn, which texts of later turns follow; None if it may be anywhere."""
    words: tuple[str, ...] = ()
    """More texts that must be in the prompt."""


def _pieces(
    conversation: Conversation, structured: bool, *, marked: bool = False
) -> tuple[list[_Piece], Conversation]:
    """The texts to look for, and the conversation; `marked` adds the marker of each to it."""
    turns, tools = conversation
    pieces: list[_Piece] = []

    def add(kind: str, text: str, turn: int | None, words: Iterable[str] = ()) -> str:
        if not (bare := text.strip()):
            return text
        pieces.append(_Piece(kind, bare, turn, tuple(words)))
        return text.rstrip() + _marker(len(pieces) - 1) if marked else text

    def add_turn(i: int, turn: Turn) -> Turn:
        kind = "instruction" if i == last_user else "earlier_turns"
        place: int | None = i
        if turn.role == "system":  # some templates write it into a user turn
            kind, place = "system", None
        if turn.role != "assistant":
            return replace(
                turn, text=add(kind, turn.text, place), input=add("input", turn.input, place)
            )
        reasoning = add("thinking", turn.reasoning, i) if structured else ""
        content = content_of(turn) if structured else turn.text
        if inline := _THINK.match(content):
            begin, end = inline.span(1)
            thinking = add("thinking", inline[1], i)
            rest = content[inline.end() :]
            content = content[:begin] + thinking + content[end : inline.end()]
            content += add(kind, rest, i)
        else:
            content = add(kind, content, i)
        calls = call_list(turn.tool_calls) if structured else None
        for call in calls or ():
            function = function_of(call)
            words = _strings(function.get("arguments"))
            function["name"] = add("tool_calls", str(function.get("name", "")), i, words)
        return Turn.of_assistant(
            content, reasoning=reasoning, tool_calls=json.dumps(calls) if calls else ""
        )

    last_user = max((i for i, turn in enumerate(turns) if turn.role == "user"), default=-1)
    changed = [add_turn(i, turn) for i, turn in enumerate(turns)]
    if structured and (objects := tool_list(tools)) is not None:
        for tool in objects:
            function = function_of(tool)
            function["name"] = add("tools", str(function.get("name", "")), None)
        return pieces, (changed, json.dumps(objects))
    return pieces, (changed, add("tools", tools, None))


def _strings(value: Any) -> Iterator[str]:
    """The texts inside a JSON value."""
    if isinstance(value, str):
        if value.strip():
            yield value.strip()
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _strings(one)
    elif isinstance(value, Sequence):
        for one in value:
            yield from _strings(one)


Span = tuple[int, int]
"""Where a text begins and ends in a prompt."""


class _PromptSearch:
    """What a prompt shows of the pieces of its conversation."""

    def __init__(self, prompt: str, pieces: Sequence[_Piece], source: str) -> None:
        self._pieces = pieces
        self._absent: set[int] = set()
        self._is_reordered = False
        self.doubtful: set[int] = set()
        """Positions of the pieces that may be in the prompt by chance."""
        spans, is_reordered = _spans(pieces, lambda i, begin: _find(prompt, pieces[i], begin))
        # Two texts at one place: one is part of the other, and may be missing itself.
        overlap = any(a[1] > b[0] for a, b in pairwise(sorted(spans.values())))
        for i, piece in enumerate(pieces):
            if i not in spans:
                self._absent.add(i)
            elif is_reordered or overlap or len(piece.text) < _MIN_DISTINCT or piece.text in source:
                self.doubtful.add(i)

    def decide(self, marked_prompt: str) -> None:
        """Decide the doubtful pieces by their markers."""
        spans, self._is_reordered = _spans(
            self._pieces, lambda i, begin: _find_text(marked_prompt, _marker(i), begin)
        )
        self._absent |= self.doubtful - spans.keys()

    @property
    def kinds(self) -> tuple[str, ...]:
        """What is missing, in the order of OMISSIONS."""
        found = {self._pieces[i].kind for i in self._absent}
        found |= {"order"} if self._is_reordered else set()
        return tuple(kind for kind in OMISSIONS if kind in found)


def _spans(
    pieces: Sequence[_Piece], find: Callable[[int, int], Span | None]
) -> tuple[dict[int, Span], bool]:
    """Where each piece is, and whether one is only in front of an earlier turn."""
    spans: dict[int, Span] = {}
    n_absent: Counter[str] = Counter()
    floor = end = turn = 0
    is_reordered = False
    for i, piece in enumerate(pieces):
        if n_absent[piece.kind] >= _MAX_ABSENT:
            continue
        if piece.turn not in (turn, None):
            floor, turn = end, piece.turn
        span = find(i, 0 if piece.turn is None else floor)
        if span is None and piece.turn is not None:
            span = find(i, 0)
            is_reordered |= span is not None
        elif span and piece.turn is not None:
            end = max(end, span[1])
        if span is None:
            n_absent[piece.kind] += 1
        else:
            spans[i] = span
    return spans, is_reordered


def _find(prompt: str, piece: _Piece, begin: int) -> Span | None:
    """Where a piece is, if all its texts are in the prompt."""
    if any(_find_text(prompt, word, begin) is None for word in piece.words):
        return None
    return _find_text(prompt, piece.text, begin)


def _find_text(prompt: str, text: str, begin: int) -> Span | None:
    """Where a text is, as it is or as a JSON string."""
    if (place := prompt.find(text, begin)) >= 0:
        return place, place + len(text)
    for ascii_only in (False, True):
        escaped = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        if escaped != text and (place := prompt.find(escaped, begin)) >= 0:
            return place, place + len(escaped)
    return None


def _marker(position: int) -> str:
    """The marker of a piece: plain letters, which no template changes."""
    return f"ifdkitMark{position}End"
