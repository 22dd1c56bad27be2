"""Which columns hold what, and how one row becomes examples."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from ifdkit.data.json_rows import BadRowError, parse
from ifdkit.data.raw import MAX_TURNS
from ifdkit.errors import AmbiguousFormatError, InputError, UsageError
from ifdkit.records import Example, Role, Turn

_CANDIDATES: dict[str, tuple[str, ...]] = {
    "messages": ("messages", "conversations", "conversation"),
    "instruction": ("instruction", "prompt", "question", "query"),
    "response": ("output", "response", "completion", "answer", "chosen"),
    "input": ("input", "context"),
    "history": ("history",),
    "system": ("system", "system_prompt"),
    "tools": ("tools",),
    "id": ("id",),
}
_FORMATS = {
    ("instruction", "output"): "Alpaca",
    ("instruction", "response"): "Dolly",
    ("prompt", "completion"): "prompt and completion",
    ("question", "answer"): "question and answer",
    ("prompt", "chosen"): "preference pairs, the chosen side",
}
_SIDES = (["chosen"], ["rejected"])
_ROLES: dict[str, Role] = {
    **dict.fromkeys(("system", "developer", "context"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(
        ("assistant", "gpt", "model", "bot", "ai", "chatgpt", "bing", "bard", "claude"),
        "assistant",
    ),
    # A call is written by the assistant; what comes back from the tool is not.
    **dict.fromkeys(("function_call", "tool_call", "function-call"), "assistant"),
    **dict.fromkeys(
        ("tool", "function", "observation", "tool_response", "function_response", "ipython"),
        "tool",
    ),
}


@dataclass(frozen=True, slots=True)
class Columns:
    """Which key of a row serves which purpose; None where none does."""

    messages: str | None = None
    instruction: str | None = None
    input: str | None = None
    response: str | None = None
    history: str | None = None
    system: str | None = None
    tools: str | None = None
    id: str | None = None

    def describe(self) -> str:
        """The reading in words, for a person to check."""
        if self.messages:
            extra = [key for key in (self.system, self.tools) if key]
            plus = f" with {', '.join(extra)}" if extra else ""
            return f"conversations in {self.messages!r}{plus}"
        name = _FORMATS.get((self.instruction or "", self.response or ""))
        before = [key for key in (self.system, self.history, self.instruction, self.input) if key]
        reading = f"{' + '.join(before)} → {self.response}"
        return f"{name}: {reading}" if name else reading


SLOTS = tuple(f.name for f in fields(Columns))


def parse_columns(text: str) -> dict[str, str]:
    """`instruction=q,response=a` → {'instruction': 'q', 'response': 'a'}. Raises UsageError."""
    chosen: dict[str, str] = {}
    for part in text.split(","):
        slot, separator, key = part.strip().partition("=")
        if not separator or slot not in SLOTS:
            raise UsageError(
                f"--columns {text!r}: write pairs such as instruction=q,response=a; the names on"
                f" the left are {', '.join(SLOTS)}"
            )
        chosen[slot] = key
    return chosen


def detect(keys: Collection[str], where: str, given: Mapping[str, str] | None = None) -> Columns:
    """Find the columns from the keys that rows have, `given` ones first.

    Raises AmbiguousFormatError where two readings are possible, with the flag to type, and
    InputError where none is.
    """
    given = given or {}
    unknown = [key for key in given.values() if key and key not in keys]
    if unknown and keys:
        raise UsageError(f"{where} has no column {unknown[0]!r}; it has {_listed(keys)}")
    taken = {key for key in given.values() if key}
    found = {
        slot: [given[slot]]
        if given.get(slot)
        else [key for key in names if key in keys and key not in taken and slot not in given]
        for slot, names in _CANDIDATES.items()
    }
    if {"status", "nll_response_direct"} <= set(keys):
        raise InputError(f"{where} is a scores file, without the texts that scoring needs")
    if not found["instruction"] and found["response"] and "input" in found["input"]:
        found["instruction"] = [found["input"].pop(found["input"].index("input"))]
    return _settle(found, given, keys, where)


def _settle(
    found: dict[str, list[str]], given: Mapping[str, str], keys: Iterable[str], where: str
) -> Columns:
    """One column for each purpose, or an error that names the flag."""
    if not found["instruction"] and found["response"] in _SIDES:
        if found["messages"]:  # as LLaMA-Factory has it: a conversation and its possible ends
            found["instruction"] = found["messages"][:1]
        else:  # each side holds the whole conversation
            found["messages"], found["response"] = found["response"], []
    if "messages" in given or not {"instruction", "response"} & given.keys():
        paired = bool(found["instruction"] and found["response"])
        if found["messages"] and paired and "messages" not in given:
            raise _ambiguous(
                where,
                [
                    f"messages={found['messages'][0]}",
                    f"instruction={found['instruction'][0]},response={found['response'][0]}",
                ],
            )
        if found["messages"]:
            for slot in ("instruction", "response", "input", "history"):
                found[slot] = []
    elif found["instruction"] or found["response"]:
        found["messages"] = []
    for slot, candidates in found.items():
        if len(candidates) > 1:
            raise _ambiguous(where, [f"{slot}={key}" for key in candidates])
    columns = Columns(**{slot: keys_[0] for slot, keys_ in found.items() if keys_})
    if not columns.messages and not (columns.instruction and columns.response):
        raise InputError(
            f"{where}: no known pair of columns among {_listed(keys)}; say which with --columns"
            " instruction=…,response=…"
        )
    return columns


def _ambiguous(where: str, readings: list[str]) -> AmbiguousFormatError:
    choices = " or ".join(f"--columns {reading}" for reading in readings)
    return AmbiguousFormatError(f"{where} can be read in {len(readings)} ways: choose {choices}")


def _listed(keys: Iterable[str]) -> str:
    names = [repr(key) for key in keys]
    return ", ".join(names[:12]) + (", …" if len(names) > 12 else "") if names else "none"


class BadContentError(ValueError):
    """A row whose content cannot be used; the message is the reason for its rejection."""


@dataclass(frozen=True, slots=True)
class _Conversation:
    turns: list[Turn]
    first_target: int = 0
    """Assistant turns before this one are context only."""


def examples_of(
    row: int, value: Any, columns: Columns, *, last_turn_only: bool = False
) -> list[Example]:
    """The examples of one row, one per assistant turn, without ids but the row's own.

    Raises BadContentError with a reason where the row cannot be used.
    """
    if not isinstance(value, Mapping):
        raise BadContentError(f"a row must be an object with named fields, not {_kind(value)}")
    conversation = _from_messages(value, columns) if columns.messages else _pair(value, columns)
    turns = conversation.turns
    if len(turns) > MAX_TURNS:
        raise BadContentError(f"a conversation of {len(turns):,} turns, more than {MAX_TURNS:,}")
    system = _text(value, columns.system, optional=True)
    if system and not (turns and turns[0].role == "system"):
        turns = [Turn("system", system), *turns]
    tools = _as_text(value.get(columns.tools) if columns.tools else None)
    first = len(turns) - len(conversation.turns) + conversation.first_target
    targets = [i for i, turn in enumerate(turns) if turn.role == "assistant" and i >= first]
    if not targets:
        raise BadContentError("the conversation has no assistant turn")
    numbered = list(enumerate(targets))[-1:] if last_turn_only else list(enumerate(targets))
    for turn in turns:
        _check(turn.text)
        _check(turn.input)
    _check(tools)
    own = _own_id(value.get(columns.id) if columns.id else None)
    return [
        Example(own, row, number, tuple(turns[:target]), turns[target].text, tools)
        for number, target in numbered
    ]


def _own_id(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return ""
    _check(str(value))
    return str(value)


def _pair(value: Mapping[str, Any], columns: Columns) -> _Conversation:
    """A row with an instruction and a response of its own, either of them perhaps messages."""
    assert columns.instruction is not None
    assert columns.response is not None
    before, after = value.get(columns.instruction), value.get(columns.response)
    turns = _history(value, columns)
    if isinstance(after, Mapping):
        after = [after]
    answer = _messages(after, columns.response) if isinstance(after, list) else []
    if any(turn.role == "user" for turn in answer):
        return _Conversation(answer)  # a preference pair whose side repeats the prompt
    if isinstance(before, list):
        turns += _messages(before, columns.instruction)
    else:
        turns.append(_user(value, columns))
    if answer:
        return _Conversation([*turns, *answer], first_target=len(turns))
    response = Turn("assistant", _text(value, columns.response))
    first = len(turns) if isinstance(before, list) else 0
    return _Conversation([*turns, response], first_target=first)


def _user(value: Mapping[str, Any], columns: Columns) -> Turn:
    text = _text(value, columns.instruction)
    return Turn("user", text, _text(value, columns.input, optional=True))


def _history(value: Mapping[str, Any], columns: Columns) -> list[Turn]:
    """LLaMA-Factory's earlier rounds: a list of [question, answer]."""
    rounds = _unpacked(value.get(columns.history), columns.history) if columns.history else None
    turns: list[Turn] = []
    if not isinstance(rounds or [], (list, tuple)):
        raise BadContentError(f"{columns.history!r} must be a list, not {_kind(rounds)}")
    for one in rounds or ():
        if not (isinstance(one, (list, tuple)) and len(one) == 2):
            raise BadContentError(f"{columns.history!r} must be a list of [question, answer] pairs")
        question, answer = one
        if not (isinstance(question, str) and isinstance(answer, str)):
            raise BadContentError(f"{columns.history!r} holds something other than text")
        turns += [Turn("user", question), Turn("assistant", answer)]
    return turns


def _from_messages(value: Mapping[str, Any], columns: Columns) -> _Conversation:
    assert columns.messages
    messages = _unpacked(value.get(columns.messages), columns.messages)
    return _Conversation(_messages(messages, columns.messages))


def _unpacked(value: Any, name: str) -> Any:
    """A list that may have come as its JSON text, which is how CSV files carry conversations."""
    if not (isinstance(value, str) and value.lstrip().startswith("[")):
        return value
    try:
        return parse(value.encode("utf-8", "surrogatepass"))
    except BadRowError as error:
        raise BadContentError(f"{name!r} is text that cannot be read: {error}") from error


def _messages(messages: Any, name: str) -> list[Turn]:
    if not isinstance(messages, (list, tuple)):
        raise BadContentError(f"{name!r} must be a list of messages, not {_kind(messages)}")
    if not messages:
        raise BadContentError(f"{name!r} is an empty conversation")
    turns: list[Turn] = []
    for number, message in enumerate(messages):
        if not isinstance(message, Mapping):
            raise BadContentError(f"message {number} is {_kind(message)}, not an object")
        turns += _round(message) or [_message(message, number)]
    return turns


def _round(message: Mapping[str, Any]) -> list[Turn]:
    """A whole round in one object, as ms-swift writes it: {human: …, assistant: …}."""
    human, assistant = message.get("human"), message.get("assistant")
    if isinstance(human, str) and isinstance(assistant, str):
        return [Turn("user", human), Turn("assistant", assistant)]
    return []


def role_of(message: Mapping[str, Any], number: int = 0) -> Role:
    """Who speaks in a message. Raises BadContentError where that is not said or not known."""
    role = _first(message, "role", "from")
    if role is None:
        raise BadContentError(f"message {number} has neither 'role' nor 'from'")
    known = _ROLES.get(role.lower()) if isinstance(role, str) else None
    if known is None:
        raise BadContentError(f"message {number} has the unknown role {str(role)[:40]!r}")
    return known


def _message(message: Mapping[str, Any], number: int) -> Turn:
    known = role_of(message, number)
    content = _first(message, "content", "value")
    text = _content(content, number)
    calls = _first(message, "tool_calls", "function_call")
    if calls:
        text = f"{text}\n{_as_text(calls)}" if text else _as_text(calls)
    elif content is None and known != "assistant":
        raise BadContentError(f"message {number} has neither 'content' nor 'value'")
    return Turn(known, text)


def _first(message: Mapping[str, Any], *keys: str) -> Any:
    """The first of these fields that holds something: in Arrow every message has every field."""
    return next((message[key] for key in keys if message.get(key) is not None), None)


def _content(content: Any, number: int) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise BadContentError(f"message {number} holds {_kind(content)} where text belongs")
    parts = []
    for part in content:
        text = part if isinstance(part, str) else None
        if isinstance(part, Mapping) and part.get("type", "text") == "text":
            text = part.get("text")
        if not isinstance(text, str):
            raise BadContentError(f"message {number} holds a part that is not text")
        parts.append(text)
    return "".join(parts)


def _text(value: Mapping[str, Any], key: str | None, *, optional: bool = False) -> str:
    if key is None or (optional and value.get(key) is None):
        return ""
    if key not in value:
        raise BadContentError(f"has no field {key!r}")
    text = value[key]
    if text is None:
        return ""
    if not isinstance(text, str):
        raise BadContentError(f"{key!r} is {_kind(text)}, not text")
    return text


def _as_text(value: Any) -> str:
    """Text as it is, nothing as none, anything else as JSON."""
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, (list, dict)) and not value):
        return ""
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadContentError(f"holds {_kind(value)} that JSON cannot: {error}") from error


def _check(text: str) -> None:
    """Refuse what no tokenizer and no output file can hold."""
    if "\0" in text:
        raise BadContentError(f"holds a NUL character at {text.index(chr(0))}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        raise BadContentError(
            f"is not valid Unicode: lone surrogate or broken byte U+{code:04X} at {error.start}"
        ) from error


def _kind(value: Any) -> str:
    names = {
        type(None): "null",
        bool: "a truth value",
        int: "a number",
        float: "a number",
        str: "text",
        list: "a list",
        dict: "an object",
    }
    return names.get(type(value), f"a {type(value).__name__}")
