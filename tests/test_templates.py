"""The built-in templates, compared with the published prompts character by character."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jinja2
import pytest

from ifdkit.errors import UsageError
from ifdkit.prompting.templates import BUILT_IN, load_template
from ifdkit.records import Turn

ALPACA = (
    "Below is an instruction that describes a task{}. Write a response that appropriately completes"
    " the request.\n\n### Instruction:\nDo it\n\n"
)
VICUNA = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives"
    " helpful, detailed, and polite answers to the user's questions. USER: Do it"
)
GOLDEN = {
    "plain": ("Do it\n", "Do it\nDATA\n"),
    "alpaca": (
        ALPACA.format("") + "### Response:",
        ALPACA.format(", paired with an input that provides further context")
        + "### Input:\nDATA\n\n### Response:",
    ),
    "wizardlm": ("Do it\n\n### Response:", "Do it\nDATA\n\n### Response:"),
    "vicuna": (VICUNA + " ASSISTANT:", VICUNA + "\nInput:\nDATA ASSISTANT:"),
}
CONVERSATION = (
    Turn("system", "SYS"),
    Turn("user", "Q1"),
    Turn("assistant", "A1"),
    Turn("tool", "T1"),
    Turn("user", "Q2", "I2"),
)


def test_every_template_has_a_golden_string() -> None:
    assert GOLDEN.keys() == BUILT_IN.keys()


@pytest.mark.parametrize("name", GOLDEN)
def test_single_instructions_render_as_published(name: str) -> None:
    template = load_template(name)
    assert template.render([Turn("user", "Do it")]) == GOLDEN[name][0]
    assert template.render([Turn("user", "Do it", "DATA")]) == GOLDEN[name][1]


@pytest.mark.parametrize("name", GOLDEN)
def test_conversations_keep_every_text_in_order(name: str) -> None:
    prompt = load_template(name).render(CONVERSATION, "TOOLS")
    places = [prompt.index(text) for text in ("Q1", "A1", "T1", "Q2", "I2")]
    assert places == sorted(places)
    assert prompt.index("SYS") < places[0]
    assert prompt.index("TOOLS") < places[0]


@pytest.mark.parametrize("text", ["{{ 1 }}", "<b>&amp;</b>", "line\r\nline", "  spaced  ", "{% x"])
@pytest.mark.parametrize("name", GOLDEN)
def test_texts_are_rendered_unchanged(name: str, text: str) -> None:
    assert text in load_template(name).render([Turn("user", text)])


def test_a_users_template_gets_all_variables(write: Callable[..., Path]) -> None:
    source = "{{ system }}|{{ instruction }}|{{ input }}|{{ tools }}|{{ turns | length }}\n"
    template = load_template(str(write("mine.jinja", source)))
    assert template.name == "mine.jinja"
    assert template.source == source
    assert template.render(CONVERSATION, "TOOLS") == "SYS|Q2|I2|TOOLS|5\n"


def test_a_template_is_sandboxed(write: Callable[..., Path]) -> None:
    template = load_template(str(write("evil.jinja", "{{ turns.__class__.__mro__ }}")))
    with pytest.raises(jinja2.TemplateError):
        template.render(CONVERSATION)


@pytest.mark.parametrize("content", ["{% if %}", b"\xff\xfe"])
def test_a_broken_file_is_a_usage_error(write: Callable[..., Path], content: str | bytes) -> None:
    with pytest.raises(UsageError, match=r"broken\.jinja"):
        load_template(str(write("broken.jinja", content)))


def test_the_message_for_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="plain, alpaca, vicuna, wizardlm, chat"):
        load_template("llama")
