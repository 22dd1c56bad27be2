"""Prompt templates: a conversation in, the text that precedes the response out.

The built-in templates are those of the published scripts for a single instruction, extended to
conversations by repeating the block of a turn.  They are written in Jinja, like a user's own file.
Their variables are `turns` (each with `role`, `text`, `input`), `instruction`, `input`, `system`
and `tools`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ifdkit.errors import UsageError
from ifdkit.records import Turn

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
"""The name of the tokenizer's own chat template."""

ChatRenderer = Callable[[Sequence[Turn], str], str]
"""Turns and tools → text, through a tokenizer's chat template."""


class Template(Protocol):
    """Renders the turns before a response as one text."""

    @property
    def name(self) -> str:
        """Its name in the manifest."""
        ...

    @property
    def source(self) -> str:
        """Its full text, for the manifest."""
        ...

    def render(self, turns: Sequence[Turn], tools: str = "") -> str:
        """The prompt. Raises jinja2.TemplateError if the template cannot express the turns."""
        ...


class JinjaTemplate:
    """A template written in Jinja: a built-in one, or a user's file."""

    def __init__(self, name: str, source: str) -> None:
        self.name = name
        self.source = source

    @cached_property
    def _compiled(self) -> jinja2.Template:
        # Sandboxed, because template files come with datasets.  No escaping: the text is not HTML.
        environment = ImmutableSandboxedEnvironment(
            autoescape=False, keep_trailing_newline=True, undefined=jinja2.StrictUndefined
        )
        return environment.from_string(self.source)

    def render(self, turns: Sequence[Turn], tools: str = "") -> str:
        """The prompt. Raises jinja2.TemplateError if the template fails on these turns."""
        user = next((turn for turn in reversed(turns) if turn.role == "user"), None)
        try:
            return self._compiled.render(
                turns=turns,
                tools=tools,
                instruction=user.text if user else "",
                input=user.input if user else "",
                system="\n".join(turn.text for turn in turns if turn.role == "system"),
            )
        except jinja2.TemplateError:
            raise
        except Exception as error:  # a user's template can fail like any program
            raise jinja2.TemplateError(f"{type(error).__name__}: {error}") from error


class ChatTemplate:
    """The chat template saved with the tokenizer."""

    name = CHAT

    def __init__(self, source: str, renderer: ChatRenderer) -> None:
        self.source = source
        self._renderer = renderer

    def render(self, turns: Sequence[Turn], tools: str = "") -> str:
        """The prompt, rendered by the tokenizer. Raises jinja2.TemplateError."""
        return self._renderer(turns, tools)


def load_template(name: str) -> JinjaTemplate:
    """A built-in template by name, or a Jinja file by path.

    Raises UsageError if it is neither, or if the file does not compile.
    """
    if name in BUILT_IN:
        return JinjaTemplate(name, BUILT_IN[name])
    path = Path(name)
    if not _is_file(path):
        known = ", ".join([*BUILT_IN, CHAT])
        raise UsageError(
            f"no template {name!r}: choose one of {known}, or the path of a Jinja file"
        )
    try:
        template = JinjaTemplate(path.name, path.read_text(encoding="utf-8"))
        template._compiled  # noqa: B018  compile now: a broken file is a usage error, not a bad row
    except (OSError, UnicodeDecodeError, jinja2.TemplateError) as error:
        raise UsageError(
            f"template {name}: {error}; docs/protocols.md lists the variables"
        ) from error
    return template


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # the name is too long for a path
        return False
