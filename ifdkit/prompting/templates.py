"""Prompt templates: a conversation in, the text that precedes the response out.

The built-in templates are those of the published scripts for a single instruction, extended to
conversations by repeating the block of a turn.  They are written in Jinja, like a user's own file.
Their variables are `turns` (each with `role`, `text`, `input`), `instruction`, `input`, `system`
and `tools`.

The built-in templates and a function of the caller's are rendered in this process.  A user's file
and a model's chat template (`chat`) are untrusted: `sandbox` renders them.  `omissions` checks what
all but the built-in ones have left out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jinja2

from ifdkit.errors import UsageError, brief, unknown
from ifdkit.prompting.omissions import Conversation, omitted
from ifdkit.prompting.sandbox import Job, Rendered, Sandbox
from ifdkit.prompting.structures import message_of
from ifdkit.records import Turn
from ifdkit.regular import open_regular
from ifdkit.visible import FUNCTION, function_name

PromptFunction = Callable[[list[dict[str, Any]]], str]
"""Messages with `role` and `content`, as chat templates get them → the text before the response."""

# The prompt of 2402.10110 (section 3.2) that asks for the instruction of a response.
REVERSE = (
    "Below is the response to an instruction, please guess the corresponding instruction for the"
    " given response.\n{response}\nGenerate the instruction for the above response."
)

_PLAIN = """\
{%- if tools %}{{ tools }}
{% endif %}
{%- for turn in turns %}{{ turn.text }}
{% if turn.input %}{{ turn.input }}
{% endif %}
{%- endfor %}"""

_ALPACA = """\
{%- for turn in turns if turn.role == "system" %}{{ turn.text }}

{% endfor %}
{%- if tools %}{{ tools }}

{% endif %}
{%- if input -%}
Below is an instruction that describes a task, paired with an input that provides further \
context. Write a response that appropriately completes the request.

{% else -%}
Below is an instruction that describes a task. Write a response that appropriately completes \
the request.

{% endif %}
{%- for turn in turns if turn.role != "system" %}
{%- if turn.role == "user" %}### Instruction:
{{ turn.text }}

{% if turn.input %}### Input:
{{ turn.input }}

{% endif %}
{%- elif turn.role == "tool" %}### Observation:
{{ turn.text }}

{% else %}### Response:{{ turn.text }}

{% endif %}
{%- endfor %}### Response:"""

_WIZARDLM = """\
{%- if tools %}{{ tools }}

{% endif %}
{%- for turn in turns %}
{%- if turn.role == "assistant" %}### Response:{{ turn.text }}

{% else %}{{ turn.text }}{% if turn.input %}
{{ turn.input }}{% endif %}

{% endif %}
{%- endfor %}### Response:"""

_VICUNA = """\
{%- for turn in turns if turn.role == "system" %}{{ turn.text }} {% endfor %}
{%- if tools %}{{ tools }} {% endif -%}
A chat between a curious user and an artificial intelligence assistant. The assistant gives \
helpful, detailed, and polite answers to the user's questions.
{%- for turn in turns if turn.role != "system" %}
{%- if turn.role == "user" %} USER: {{ turn.text }}{% if turn.input %}
Input:
{{ turn.input }}{% endif %}
{%- elif turn.role == "tool" %} TOOL: {{ turn.text }}
{%- else %} ASSISTANT: {{ turn.text }}
{%- endif %}
{%- endfor %} ASSISTANT:"""

BUILT_IN = {"plain": _PLAIN, "alpaca": _ALPACA, "vicuna": _VICUNA, "wizardlm": _WIZARDLM}
"""Name → Jinja source.  A new template is one more entry, and a golden string in the tests."""
CHAT = "chat"
"""The name of the tokenizer's own chat template; `chat:NAME` is one of several."""
MAX_SOURCE_BYTES = 2**20
"""Size of the largest template file that is read."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a template made of a conversation."""

    text: str | None
    """The text before the response; None if the template cannot render the conversation."""
    problem: str = ""
    """Why there is none, in one line."""
    omitted: tuple[str, ...] = ()
    """What the template left out: keys of `ifdkit.prompting.omissions.OMISSIONS`."""


class Template(ABC):
    """Renders the turns before a response as one text."""

    name: str
    """Its name in the manifest."""
    source: str
    """Its full text, for the manifest."""

    @abstractmethod
    def prompts(
        self, conversations: Sequence[Conversation], *, checked: bool = True
    ) -> list[Prompt]:
        """The prompt of each conversation, in order; `checked` looks for what it leaves out."""

    @property
    def date(self) -> str | None:
        """The day that its prompts name as today, YYYY-MM-DD; None if none of them names one."""
        return None

    @property
    def may_read_clock(self) -> bool:
        """Whether prompts could name a date, as far as those that were rendered here tell."""
        return "strftime_now" in self.source and self.date is None

    @property
    def n_exceeded(self) -> int:
        """Prompts that were rendered here and exceeded a limit: a run ends after some."""
        return 0

    def turn_end(self) -> str:
        """What it writes between a response and the next turn, if that can end a response."""
        return ""

    def render(self, turns: Sequence[Turn], tools: str = "") -> str:
        """One prompt. Raises jinja2.TemplateError if the template fails on these turns."""
        (prompt,) = self.prompts([(turns, tools)], checked=False)
        if prompt.text is None:
            raise jinja2.TemplateError(prompt.problem)
        return prompt.text


class BuiltInTemplate(Template):
    """A template of this package. Golden strings in the tests show that it leaves out nothing."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.source = BUILT_IN[name]
        # No escaping: the text is not HTML.
        environment = jinja2.Environment(
            autoescape=False, keep_trailing_newline=True, undefined=jinja2.StrictUndefined
        )
        self._compiled = environment.from_string(self.source)

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process compiles it again."""
        return BuiltInTemplate, (self.name,)

    def prompts(
        self, conversations: Sequence[Conversation], *, checked: bool = True
    ) -> list[Prompt]:
        """The prompt of each conversation, in order."""
        del checked
        return [Prompt(self._compiled.render(_variables(*one))) for one in conversations]


class JinjaTemplate(Template):
    """A template from a user's file."""

    def __init__(self, name: str, source: str, *, date: str | None = None) -> None:
        """Compile it. Raises UsageError if it is not Jinja, or loops or grows without end."""
        self.name = name
        self.source = source
        self._sandbox = Sandbox(name, {name: source}, style="file", date=date)
        check_limits(self._render([([Turn("user", "Hi")], "")]))

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process compiles it in a sandbox of its own."""
        return partial(JinjaTemplate, date=self._sandbox.date), (self.name, self.source)

    @property
    def n_exceeded(self) -> int:
        """Prompts that were rendered here and exceeded a limit."""
        return self._sandbox.n_exceeded

    @property
    def date(self) -> str | None:
        """The day that its prompts name as today; None if none of them names one."""
        return self._sandbox.date if self._sandbox.used_clock else None

    def prompts(
        self, conversations: Sequence[Conversation], *, checked: bool = True
    ) -> list[Prompt]:
        """The prompt of each conversation, in order."""
        return _checked(conversations, self._render, self.source, checked=checked, structured=False)

    def _render(self, conversations: Sequence[Conversation]) -> list[Rendered]:
        return self._sandbox.render(
            [Job(self.name, _variables(*one), n_chars(one)) for one in conversations]
        )


class FunctionTemplate(Template):
    """A function of the caller's, which is trusted: it has no limits."""

    def __init__(self, function: PromptFunction) -> None:
        """Call it once. Raises UsageError if it fails on one instruction of one word."""
        self._function = function
        self.name = function_name(function)
        (probe,) = self._render([([Turn("user", "Hi")], "")])
        if probe.text is None:
            raise UsageError(f"template {self.name}: {probe.problem}")
        # Its code is not known: two functions are told apart by what they make of this.
        self.source = probe.text

    def __reduce__(self) -> tuple[Any, ...]:
        """Raises TypeError: another process may not find the function, or find another one."""
        raise TypeError(f"template {self.name} stays in this process")

    def prompts(
        self, conversations: Sequence[Conversation], *, checked: bool = True
    ) -> list[Prompt]:
        """The prompt of each conversation, in order. That of one without turns is empty."""
        return _checked(conversations, self._render, self.source, checked=checked, structured=True)

    def _render(self, conversations: Sequence[Conversation]) -> list[Rendered]:
        return [self._prompt(turns) for turns, _ in conversations]

    def _prompt(self, turns: Sequence[Turn]) -> Rendered:
        if not turns:
            return Rendered("")
        try:
            text: Any = self._function([message_of(one) for one in turns])
        except Exception as error:  # a user's code fails in its own ways
            return Rendered(None, f"{type(error).__name__}: {brief(error)}")
        if not isinstance(text, str):
            return Rendered(None, f"returns {type(text).__name__}, not the text of a prompt")
        return Rendered(text)


def _checked(
    conversations: Sequence[Conversation],
    render: Callable[[Sequence[Conversation]], list[Rendered]],
    source: str,
    *,
    checked: bool,
    structured: bool,
) -> list[Prompt]:
    """Prompts with what they leave out, if that is asked for."""
    made = render(conversations)
    if not checked:
        return [Prompt(one.text, one.problem) for one in made]
    found = omitted(conversations, made, render, source, structured=structured)
    return [Prompt(one.text, one.problem, kinds) for one, kinds in zip(made, found, strict=True)]


def _variables(turns: Sequence[Turn], tools: str) -> Mapping[str, Any]:
    """What built-in templates and template files get."""
    user = next((turn for turn in reversed(turns) if turn.role == "user"), None)
    return {
        "turns": [{"role": t.role, "text": t.text, "input": t.input} for t in turns],
        "tools": tools,
        "instruction": user.text if user else "",
        "input": user.input if user else "",
        "system": "\n".join(turn.text for turn in turns if turn.role == "system"),
    }


def n_chars(conversation: Conversation) -> int:
    """The size of a conversation in characters."""
    turns, tools = conversation
    return sum(len(turn.text) + len(turn.input) for turn in turns) + len(tools)


def check_limits(rendered: Sequence[Rendered]) -> None:
    """Raise UsageError if a prompt exceeded a limit: a short one tells before any work is done."""
    for one in rendered:
        if one.is_limit:
            raise UsageError(f"{one.problem} for a one-word instruction: choose another --template")


def is_chat(name: str) -> bool:
    """Whether a template is the tokenizer's own: `chat`, or `chat:NAME` for one of several."""
    return name.partition(":")[0] == CHAT


def load_template(name: str, *, date: str | None = None) -> Template:
    """A built-in template by name, or a Jinja file by path; `date` is what it takes for today.

    Raises UsageError if it is neither, or if the file does not compile within the limits.
    """
    if name in BUILT_IN:
        return BuiltInTemplate(name)
    if name.startswith(FUNCTION):  # as manifests call it
        raise UsageError(
            f"template {name} was a function in memory: give it again with template=…, or another"
            " template"
        )
    path = Path(name)
    if not _is_file(path):
        if path.suffix or len(path.parts) > 1:
            raise UsageError(f"template {name} is not a file")
        choices = unknown("template", name, [*BUILT_IN, CHAT])
        raise UsageError(f"{choices}, or the path of a Jinja file")
    try:
        with open_regular(path) as file:
            source = file.read(MAX_SOURCE_BYTES + 1).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"template {name}: {error}") from error
    if len(source) > MAX_SOURCE_BYTES:
        raise UsageError(f"template {name} has more than {MAX_SOURCE_BYTES:,} bytes")
    return JinjaTemplate(path.name, source.replace("\r\n", "\n"), date=date)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # the name is too long for a path
        return False
