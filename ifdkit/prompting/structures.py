"""Tools and messages as the objects that chat templates expect."""

from __future__ import annotations

import json
from typing import Any

from ifdkit.records import Turn


def tool_list(tools: str) -> list[dict[str, Any]] | None:
    """Tools as objects; None if the text is not JSON of a list of objects, or of one object.

    An object that is stored as JSON text is read too.
    """
    found = _parsed(tools)
    found = [found] if isinstance(found, dict) else found
    if not isinstance(found, list) or not found:
        return None
    objects = [_parsed(one) if isinstance(one, str) else one for one in found]
    return objects if all(isinstance(one, dict) for one in objects) else None


def call_list(tool_calls: str, *, as_text: bool = False) -> list[dict[str, Any]] | None:
    """Tool calls as `{"type": "function", "function": {"name", "arguments"}}`; None as above.

    None also if a function has no name. Also from a list of bare functions, or from the one call of
    the older `function_call`. Arguments are objects, as most templates expect and transformers
    recommends, whether they were stored as objects or as JSON text.  With `as_text` they are JSON
    text, for templates that would write Python's notation of an object.
    """
    calls = tool_list(tool_calls)
    if calls is None:
        return None
    found = []
    for call in calls:
        function = dict(function_of(call))
        if not isinstance(function.get("name"), str):
            return None
        if "arguments" in function:
            function["arguments"] = _arguments(function["arguments"], as_text=as_text)
        wrapped = call if function_of(call) is not call else {"type": "function"}
        found.append({**wrapped, "function": function})
    return found


def function_of(call: dict[str, Any]) -> dict[str, Any]:
    """The function of a tool or a call, which may be wrapped in an object with a type."""
    function = call.get("function")
    return function if isinstance(function, dict) else call


def message_of(turn: Turn, *, arguments_as_text: bool = False) -> dict[str, Any]:
    """A turn as a message: calls and reasoning that are stored apart are fields of their own."""
    calls = call_list(turn.tool_calls, as_text=arguments_as_text)
    content = content_of(turn)
    message: dict[str, Any] = {
        "role": turn.role,
        "content": f"{content}\n{turn.input}" if turn.input else content,
    }
    if turn.reasoning:  # under both names that templates read
        message |= {"thinking": turn.reasoning, "reasoning_content": turn.reasoning}
    if calls is not None:
        message["tool_calls"] = calls
    return message


def content_of(turn: Turn) -> str:
    """The content of a message; calls that are no JSON stay in it."""
    if turn.tool_calls and call_list(turn.tool_calls) is None:
        return Turn(turn.role, turn.text, reasoning=turn.reasoning).content
    return turn.content


def _arguments(value: Any, *, as_text: bool) -> Any:
    if as_text:
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    parsed = _parsed(value) if isinstance(value, str) else value
    return parsed if isinstance(parsed, dict) else value


def _parsed(text: str) -> Any:
    """The value of JSON text; None if it is not JSON."""
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None
