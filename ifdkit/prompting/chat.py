"""The chat template of a tokenizer: turns become messages, tools and calls become objects.

A tokenizer can have several templates with names.  Then `default` is used, or `tool_use` for a
conversation with tools, as in transformers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ifdkit.errors import UsageError, unknown
from ifdkit.prompting.omissions import Conversation, omitted
from ifdkit.prompting.sandbox import Job, Rendered, Sandbox
from ifdkit.prompting.structures import message_of, tool_list
from ifdkit.prompting.templates import BUILT_IN, CHAT, Prompt, Template, check_limits, n_chars
from ifdkit.records import Turn

DEFAULT, TOOL_USE = "default", "tool_use"
_PROBE = "ifdkitProbe"
_N_COMPARED = 20
"""Characters before a response that a prompt is to end with."""
_TOOL = {"name": "probe", "description": "A probe.", "parameters": {"type": "object"}}
_PROBE_TOOLS = json.dumps([{"type": "function", "function": _TOOL}])
_PROBE_CALL = {
    "id": "probe1234",  # nine characters, as the templates of Mistral demand
    "type": "function",
    "function": {"name": "probe", "arguments": {_PROBE: 1}},
}
_PROBE_TURNS = (
    Turn("user", "Hi"),
    Turn.of_assistant("", tool_calls=json.dumps([_PROBE_CALL])),
    Turn("tool", "7"),
)


class ChatTemplate(Template):
    """The chat template saved with a tokenizer, or one of several."""

    def __init__(
        self,
        name: str,
        sources: Mapping[str, str],
        special_tokens: Mapping[str, str],
        *,
        model: str,
        date: str | None = None,
    ) -> None:
        """Choose and compile the templates. `name` is `chat`, or `chat:NAME` for one of them.

        `model` is for messages.  Raises UsageError if there is no such template, or if it does not
        compile, or loops or grows without end.
        """
        self.name, self._model = name, model
        self._sources = _chosen(name, sources, model)
        self._special_tokens = dict(special_tokens)
        self.source = "\n".join(
            text if len(self._sources) == 1 else f"{{# {one} #}}\n{text}"
            for one, text in self._sources.items()
        )
        self._sandbox = Sandbox(
            name, self._sources, style="chat", date=date, variables=special_tokens
        )
        self._opens_turn: dict[tuple[Any, ...], bool] = {}
        """Outline of a conversation → whether its prompt ends where the response begins."""
        self._arguments_as_text: dict[str, bool] = {}
        """Template → whether it expects the arguments of a call as JSON text."""
        for tools in ("", _PROBE_TOOLS):
            check_limits(self._render([(_PROBE_TURNS[:1], tools)]))

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process compiles it in a sandbox of its own."""
        opened = partial(ChatTemplate, model=self._model, date=self._sandbox.date)
        return opened, (self.name, self._sources, self._special_tokens)

    @property
    def n_exceeded(self) -> int:
        """Prompts that were rendered here and exceeded a limit."""
        return self._sandbox.n_exceeded

    @property
    def date(self) -> str | None:
        """The day that its prompts name as today; None if none of them names one."""
        return self._sandbox.date if self._sandbox.used_clock else None

    def turn_end(self) -> str:
        """What it writes after a response, such as `<|im_end|>` and a line break."""
        turns = [Turn("user", "Hi"), Turn("assistant", _PROBE)]
        (made,) = self._sandbox.render([self._job((turns, ""), add_generation_prompt=False)])
        return (made.text or "").rpartition(_PROBE)[2] if _PROBE in (made.text or "") else ""

    def prompts(
        self, conversations: Sequence[Conversation], *, checked: bool = True
    ) -> list[Prompt]:
        """The prompt of each conversation, in order. That of one without turns is empty."""
        made = self._render(conversations)
        if not checked:
            return [Prompt(one.text, one.problem) for one in made]
        found = omitted(conversations, made, self._render, self.source, structured=True)
        opened = self._opened(conversations, made)
        return [
            Prompt(one.text, one.problem, kinds if opens else (*kinds, "generation_prompt"))
            for one, kinds, opens in zip(made, found, opened, strict=True)
        ]

    def _render(self, conversations: Sequence[Conversation]) -> list[Rendered]:
        made = iter(self._sandbox.render([self._job(one) for one in conversations if one[0]]))
        return [next(made) if turns else Rendered("") for turns, _ in conversations]

    def _job(
        self,
        conversation: Conversation,
        *,
        add_generation_prompt: bool = True,
        arguments_as_text: bool | None = None,
    ) -> Job:
        turns, tools = conversation
        template, objects = self._template_for(tools), tool_list(tools)
        if arguments_as_text is None:
            has_calls = any(turn.tool_calls for turn in turns)
            arguments_as_text = has_calls and self._expects_text(template)
        variables = {
            "messages": [message_of(one, arguments_as_text=arguments_as_text) for one in turns],
            "tools": objects,
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
        }
        return Job(template, variables, n_chars(conversation))

    def _template_for(self, tools: str) -> str:
        has_tool_use = TOOL_USE in self._sources and tool_list(tools) is not None
        return TOOL_USE if has_tool_use else next(iter(self._sources))

    def _expects_text(self, template: str) -> bool:
        """Whether the arguments of a call are to be JSON text, as a call with objects shows.

        So it is if the template fails on objects only, or writes them in Python's notation.
        """
        if template not in self._arguments_as_text:
            probe = (_PROBE_TURNS, _PROBE_TOOLS)
            objects, text = self._sandbox.render(
                [
                    replace(self._job(probe, arguments_as_text=as_text), template=template)
                    for as_text in (False, True)
                ]
            )
            self._arguments_as_text[template] = (
                text.text is not None if objects.text is None else f"{{'{_PROBE}'" in objects.text
            )
        return self._arguments_as_text[template]

    def _opened(
        self, conversations: Sequence[Conversation], made: Sequence[Rendered]
    ) -> list[bool]:
        """Whether each prompt ends where the response begins.

        So it does if it ends differently without `add_generation_prompt`, or as a response that
        follows is preceded (as in Mistral's templates, which need no header for it).  Conversations
        with the same outline are alike in this, and one of them is tried.
        """
        outlines = [self._outline(*one) for one in conversations]
        new = {
            outline: (conversation, one.text)
            for outline, conversation, one in zip(outlines, conversations, made, strict=True)
            if conversation[0] and one.text is not None and outline not in self._opens_turn
        }
        jobs = []
        for (turns, tools), _ in new.values():
            jobs.append(self._job((turns, tools), add_generation_prompt=False))
            answered = [*turns, Turn("assistant", _PROBE)]
            jobs.append(self._job((answered, tools), add_generation_prompt=False))
        texts = iter(one.text or "" for one in self._sandbox.render(jobs))
        for outline, (_, prompt) in new.items():
            bare, whole = next(texts), next(texts)
            before = whole[: whole.find(_PROBE)].rstrip() if _PROBE in whole else None
            self._opens_turn[outline] = bare != prompt or (
                before is not None and prompt.rstrip().endswith(before[-_N_COMPARED:])
            )
        return [self._opens_turn.get(outline, True) for outline in outlines]

    def _outline(self, turns: Sequence[Turn], tools: str) -> tuple[Any, ...]:
        """What decides how a prompt ends: its template, the roles, and whether there are calls."""
        roles = [turn.role for turn in turns]
        has_calls = any(turn.tool_calls for turn in turns[-3:])
        return (self._template_for(tools), bool(tools), min(len(roles), 8), "system" in roles,
                *roles[:2], *roles[-4:], has_calls)  # fmt: skip


def _chosen(name: str, sources: Mapping[str, str], model: str) -> dict[str, str]:
    """The templates to use, by name: the one that was asked for, or `default` and `tool_use`."""
    if not sources:
        raise UsageError(
            f"model {model} has no chat template: choose --template {', '.join(BUILT_IN)}, or the"
            " path of a Jinja file"
        )
    asked = name.partition(":")[2]
    if name != CHAT:
        if asked not in sources:
            raise UsageError(f"model {model} has {unknown('chat template', asked, sources)}")
        return {asked: sources[asked]}
    if DEFAULT not in sources:
        raise UsageError(
            f"model {model} has several chat templates and none is the default: choose --template"
            f" {' or '.join(f'{CHAT}:{one}' for one in sources)}"
        )
    return {one: sources[one] for one in (DEFAULT, TOOL_USE) if one in sources}
