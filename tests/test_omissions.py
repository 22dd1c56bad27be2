"""What a template leaves out of a conversation, counted exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from ifdkit.prompting.alignment import Aligner
from ifdkit.prompting.chat import ChatTemplate
from ifdkit.prompting.omissions import OMISSIONS
from ifdkit.prompting.protocols import PROTOCOLS
from ifdkit.prompting.templates import JinjaTemplate
from ifdkit.records import PASSES, Example, Status, Turn
from tests.chat_styles import (
    ANSWER,
    CONVERSATIONS,
    QUESTION,
    STYLES,
    SYSTEM,
    THANKS,
    chat,
)
from tests.test_tokens import Words

pytestmark = pytest.mark.long


def omissions(
    template: ChatTemplate | JinjaTemplate, turns: Sequence[Turn], tools: str = ""
) -> Any:
    (prompt,) = template.prompts([(turns, tools)])
    assert prompt.text is not None, prompt.problem
    return prompt.omitted


ALL = tuple(STYLES)
KEPT_BY = {
    "one turn": ALL,
    "system": ALL,
    "two rounds": ALL,
    "tools": ("llama", "qwen", "mistral", "granite"),
    "call": ("qwen",),  # the others write the calls without the text before them
    "round after call": ("qwen",),
}


@pytest.mark.parametrize("style", STYLES)
def test_a_template_that_keeps_everything_omits_nothing(style: str) -> None:
    template = chat(STYLES[style])
    for name, styles in KEPT_BY.items():
        if style in styles:
            assert omissions(template, *CONVERSATIONS[name]) == (), name


def test_each_omission_has_its_own_kind() -> None:
    turns, tools = CONVERSATIONS["round after call"]
    assert omissions(chat(STYLES["chatml"]), turns, tools) == ("tools", "tool_calls")
    assert omissions(chat(STYLES["llama"]), turns, tools) == ("earlier_turns",)
    assert omissions(chat(STYLES["qwen"]), *CONVERSATIONS["thinking"]) == ("thinking",)
    assert omissions(chat(STYLES["qwen"]), *CONVERSATIONS["reasoning"]) == ("thinking",)
    assert omissions(chat(STYLES["chatml"]), [QUESTION], "tide(port)") == ("tools",)
    only_last = JinjaTemplate("last", "{{ instruction }}")
    with_input = [SYSTEM, QUESTION, ANSWER, Turn("user", "Translate this.", "Guten Morgen, Welt")]
    assert omissions(only_last, with_input) == ("system", "input", "earlier_turns")
    assert omissions(JinjaTemplate("none", ""), with_input[:2]) == ("system", "instruction")
    backwards = (
        "{% for m in messages | reverse %}{{ m.content }}{% endfor %}"
        "{{ '>' if add_generation_prompt }}"
    )
    assert omissions(chat(backwards), [QUESTION, ANSWER, THANKS]) == ("order",)


@pytest.mark.parametrize(
    ("source", "opens"),
    [
        ("{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}", False),
        ("{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
         "{% if add_generation_prompt %}<assistant>{% endif %}", True),
        ("{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}<assistant>", True),
        ("{% for m in messages %}{% if m.role == 'user' %}[I]{{ m.content }}[/I]"
         "{% else %}{{ m.content }}{% endif %}{% endfor %}", True),
        ("{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
         "{% if add_generation_prompt and messages | length > 1 %}<assistant>{% endif %}", False),
    ],
)  # fmt: skip
def test_a_prompt_that_does_not_open_the_turn_of_the_assistant_is_noticed(
    source: str, opens: bool
) -> None:
    assert omissions(chat(source), [QUESTION]) == (() if opens else ("generation_prompt",))


def test_a_text_that_is_elsewhere_by_chance_is_not_taken_for_the_turn() -> None:
    """The system prompt is part of the user's text, and a word of the template."""
    drops = (
        "user {% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}"
        "{{ '>' if add_generation_prompt }}"
    )
    keeps = drops.replace(" if m.role != 'system'", "")
    question = Turn("user", "Be kind. What is a user of kind words?")
    for text in ("Be kind.", "user", "What is a user of kind words?"):
        turns = [Turn("system", text), question]
        assert omissions(chat(drops), turns) == ("system",)
        assert omissions(chat(keeps), turns) == ()


def test_texts_that_are_trimmed_or_escaped_count_as_present() -> None:
    source = (
        "{% for m in messages %}{{ m.content | trim | tojson }}{% endfor %}"
        "{{ '>' if add_generation_prompt }}"
    )
    turns = [Turn("user", '  He said: "no way"\n\tüber dem Fluß '), ANSWER, Turn("user", "\nSo? ")]
    assert omissions(chat(source), turns) == ()
    upper = source.replace("trim | tojson", "upper")
    assert omissions(chat(upper), turns) == ("instruction", "earlier_turns")


@dataclass(frozen=True)
class Switches:
    """A generated chat template, which says what it does."""

    drop_system: bool
    fold_system: bool
    keep_last_only: bool
    strip_thinking: bool
    trim: bool
    escape: bool
    dates: bool
    refuse_tools: bool
    ignore_generation: bool

    @property
    def source(self) -> str:
        content = "m.content"
        if self.strip_thinking:
            content = "(m.content.split('</think>')[-1] if m.role == 'assistant' else m.content)"
        content += " | trim" if self.trim else ""
        content += " | tojson" if self.escape else ""
        lines = ["{{ 'On ' + strftime_now('%d %b %Y') }}"] if self.dates else []
        if self.refuse_tools:
            lines.append("{% for m in messages if m.role == 'tool' %}"
                         "{{ raise_exception('no tool ' ~ 'results') }}{% endfor %}")  # fmt: skip
        lines.append("{% set ns = namespace(last=-1, system='') %}{% for m in messages %}"
                     "{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}"
                     "{% if m.role == 'system' %}{% set ns.system = ns.system ~ m.content %}"
                     "{% endif %}{% endfor %}")  # fmt: skip
        lines.append("{% for m in messages %}")
        if self.drop_system or self.fold_system:
            lines.append("{% if m.role == 'system' %}{% continue %}{% endif %}")
        if self.keep_last_only:
            lines.append(
                "{% if m.role != 'system' and loop.index0 != ns.last %}{% continue %}{% endif %}"
            )
        folded = "{% if loop.index0 == ns.last %}{{ ns.system ~ ' ' }}{% endif %}"
        lines.append(
            "<{{ m.role }}>"
            + (folded if self.fold_system else "")
            + "{{ "
            + content
            + " }}\n{% endfor %}"
        )
        if not self.ignore_generation:
            lines.append("{% if add_generation_prompt %}<assistant>{% endif %}")
        return "".join(lines)

    def refuses(self, turns: Sequence[Turn]) -> bool:
        return self.refuse_tools and any(turn.role == "tool" for turn in turns)

    def expected(self, turns: Sequence[Turn]) -> set[str]:
        last = max(i for i, turn in enumerate(turns) if turn.role == "user")
        dropped = [turn for i, turn in enumerate(turns) if self.keep_last_only and i != last
                   and turn.role != "system"]  # fmt: skip
        found = {"generation_prompt"} if self.ignore_generation else set()
        if (
            self.drop_system
            and not self.fold_system
            and any(turn.role == "system" for turn in turns)
        ):
            found.add("system")
        unthought = turns if self.strip_thinking else dropped
        if any("<think>" in turn.text for turn in unthought):
            found.add("thinking")
        if any(turn.text.split("</think>")[-1].strip() for turn in dropped):
            found.add("earlier_turns")
        return found


TEXTS = ("Hi", "yes", "user", "On", "What is a cat?", "A cat is a small animal, as everyone knows.",
         "  Spaces around it \n", 'Say "yes"\nthen\tgo', "Übersetze: 你好 🐈", "Jul 2024", "system",
         "Be kind.", "Be kind. What is a cat?", "<assistant>")  # fmt: skip


def a_conversation(rng: np.random.Generator) -> list[Turn]:
    def text() -> str:
        return str(rng.choice(TEXTS))

    turns = [Turn("system", text())] if rng.random() < 0.5 else []
    for _ in range(rng.integers(0, 3)):
        turns.append(Turn("user", text()))
        thinking = f"<think>{text()}</think>" if rng.random() < 0.4 else ""
        turns.append(Turn("assistant", thinking + text()))
    turns.append(Turn("user", text()))
    if rng.random() < 0.2:
        turns.append(Turn("tool", text()))
    return turns


@pytest.mark.parametrize("seed", range(25))
def test_omissions_of_generated_templates_are_counted_exactly(seed: int) -> None:
    rng = np.random.default_rng(seed)
    switches = Switches(*(bool(rng.random() < 0.3) for _ in range(9)))
    template = chat(switches.source)
    conversations = [a_conversation(rng) for _ in range(60)]
    prompts = template.prompts([(turns, "") for turns in conversations])
    for turns, prompt in zip(conversations, prompts, strict=True):
        if switches.refuses(turns):
            assert prompt.problem == "no tool results"
            continue
        assert prompt.text is not None, prompt.problem
        assert set(prompt.omitted) == switches.expected(turns), (switches, turns, prompt.text)
        assert prompt.omitted == tuple(kind for kind in OMISSIONS if kind in prompt.omitted)


@pytest.mark.parametrize(
    ("response", "scored", "omitted"),
    [
        ("<think>\nwhy</think>Yes", "why</think>Yes", ("think_twice",)),
        ("\n<think>why</think>Yes", "why</think>Yes", ("think_twice",)),
        ("Yes <think>", "Yes <think>", ()),
    ],
)
def test_an_opening_tag_that_the_prompt_ends_with_is_scored_once(
    response: str, scored: str, omitted: tuple[str, ...]
) -> None:
    template = chat("{{ messages[0].content }}{{ '<a><think>\n' if add_generation_prompt }}")
    aligner = Aligner(Words(), PROTOCOLS["aligned"], template, 100, frozenset(PASSES))
    (passes,) = aligner.align(
        [Example("x", 0, 0, (Turn("user", "Is it a prime number?"),), response)]
    )
    words = Words().encode([scored], special=False)[0]
    for one in (passes.response_direct, passes.response_conditional):
        assert one is not None
        assert one.requests[0].ids[one.requests[0].start :].tolist() == words
    assert passes.omitted == omitted
    assert passes.response_tokens == len(Words().encode([response], special=False)[0])
    assert passes.status is Status.OK
