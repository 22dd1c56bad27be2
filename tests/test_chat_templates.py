"""Chat templates: the same prompts as transformers, structures, names, dates and whole runs."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifdkit.data.options import ReadOptions
from ifdkit.engine.models import DEFAULT_MODEL, locate_embedded, resolve
from ifdkit.engine.tokenizer import HuggingFaceTokenizer
from ifdkit.errors import UsageError
from ifdkit.prompting.chat import ChatTemplate
from ifdkit.prompting.omissions import Conversation
from ifdkit.prompting.structures import message_of
from ifdkit.prompting.templates import load_template
from ifdkit.records import Turn
from ifdkit.report.terminal.scores import print_summary
from ifdkit.scoring.manifest import Manifest
from ifdkit.scoring.progress import Progress
from ifdkit.scoring.run import score_to_file
from ifdkit.scoring.settings import Settings
from ifdkit.scoring.summary import ScoreSummary
from tests import tiny
from tests.chat_styles import (
    CALL,
    CONVERSATIONS,
    QUESTION,
    RESULT,
    STYLES,
    TIDE,
    chat,
)

pytestmark = pytest.mark.long

CASES = Path(__file__).parent / "cases"


class FixedClock(datetime):
    @classmethod
    def now(cls, tz: Any = None) -> Any:  # noqa: ARG003
        return cls(2024, 7, 26)


# The same prompts as transformers


def by_transformers(tokenizer: Any, conversation: Conversation, *, as_text: bool = False) -> str:
    turns, tools = conversation
    messages = [message_of(turn, arguments_as_text=as_text) for turn in turns]
    found = tokenizer.apply_chat_template(
        messages,
        tools=json.loads(tools) if tools else None,
        tokenize=False,
        add_generation_prompt=True,
    )
    assert isinstance(found, str)
    return found


@pytest.mark.parametrize("style", STYLES)
def test_prompts_are_those_of_transformers(
    style: str, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import jinja2
    from transformers import AutoTokenizer
    from transformers.utils import chat_template_utils

    monkeypatch.setattr(chat_template_utils, "datetime", FixedClock)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = STYLES[style]
    prompts = chat(STYLES[style]).prompts(list(CONVERSATIONS.values()))
    for (name, conversation), prompt in zip(CONVERSATIONS.items(), prompts, strict=True):
        try:
            expected = by_transformers(tokenizer, conversation, as_text=style == "deepseek")
        except jinja2.TemplateError as error:
            expected = str(error)
        assert (prompt.problem if prompt.text is None else prompt.text) == expected, name


@pytest.mark.real_model
def test_prompts_of_the_embedded_model_are_those_of_transformers() -> None:
    if locate_embedded(DEFAULT_MODEL) is None:
        pytest.skip("needs the embedded model")
    tokenizer = HuggingFaceTokenizer(resolve(DEFAULT_MODEL))
    template = ChatTemplate(
        "chat", tokenizer.chat_templates, tokenizer.special_tokens, model=DEFAULT_MODEL
    )
    for conversation in CONVERSATIONS.values():
        assert template.render(*conversation) == by_transformers(tokenizer._tokenizer, conversation)


@pytest.mark.parametrize(
    "source",
    [
        "{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}{{ m.content }}"
        "{% if loop.index == 3 %}{% break %}{% endif %}{% endfor %}",
        "{% set x = 1 %}{% for m in messages %}{% generation %}{% set x = 2 %}{{ m.content ~ x }}"
        "{% endgeneration %}{{ x }}{{ loop.index }}{% endfor %}",
        "{{ messages | tojson(indent=2) }} {{ {'b': 'ü<', 'a': 1} | tojson(sort_keys=true) }}",
        "  {% if true %}  \n  {{ dict(a=1) }}{{ dict.fromkeys(['k']) }}\n  {% endif %}  \n",
        "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}"
        "{{ ns.n }}{{ unknown }}{{ unknown is defined }}{{ tools is none }}{{ documents is none }}",
        "{{ strftime_now('%Y-%m-%d %H:%M:%S %A') }}{{ eos_token }}{{ pad_token }}",
        "{%- macro show(m) -%}[{{ m.content }}]{%- endmacro -%}{{ show(messages[-1]) }}\n\n",
    ],
)
def test_the_environment_is_that_of_transformers(
    source: str, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoTokenizer
    from transformers.utils import chat_template_utils

    monkeypatch.setattr(chat_template_utils, "datetime", FixedClock)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = source
    for name in ("one turn", "two rounds"):
        conversation = CONVERSATIONS[name]
        assert chat(source).render(*conversation) == by_transformers(tokenizer, conversation)


# Structures


def test_tools_and_calls_are_objects() -> None:
    template = chat("{{ tools | tojson }}{{ messages[1].tool_calls | tojson }}"
                    "{{ messages[1].content }}|{{ messages[1].reasoning_content }}")  # fmt: skip
    turn = Turn.of_assistant("Wait.", reasoning="Why?", tool_calls=json.dumps([CALL]))
    assert turn.text == f"<think>\nWhy?\n</think>\n\nWait.\n{json.dumps([CALL])}"
    made = template.render([QUESTION, turn], json.dumps([TIDE]))
    assert made == json.dumps([TIDE], ensure_ascii=False) + json.dumps([CALL]) + "Wait.|Why?"
    assert json.dumps([CALL]) in load_template("plain").render([QUESTION, turn])


@pytest.mark.parametrize(
    "stored",
    [
        [CALL],
        [{"function": {"name": "tide", "arguments": '{"port": "Oban", "day": 3}'}}],
        [{"name": "tide", "arguments": {"port": "Oban", "day": 3}}],
        {"name": "tide", "arguments": '{"port": "Oban", "day": 3}'},
    ],
)
@pytest.mark.parametrize(
    ("style", "expected"),
    [("qwen", '"arguments": {"port": "Oban", "day": 3}}'),
     ("deepseek", '```json\n{"port": "Oban", "day": 3}\n```')],
)  # fmt: skip
def test_arguments_are_given_as_the_template_expects(
    style: str, expected: str, stored: Any
) -> None:
    """Objects where it writes JSON itself, text where it joins texts."""
    turns = [QUESTION, Turn.of_assistant("", tool_calls=json.dumps(stored)), RESULT]
    assert expected in chat(STYLES[style]).render(turns)


def test_calls_that_are_no_json_stay_in_the_content() -> None:
    turn = Turn.of_assistant("Wait.", reasoning="Why?", tool_calls="tide(Oban)")
    message = message_of(turn)
    assert message["content"] == "Wait.\ntide(Oban)"
    assert "tool_calls" not in message


@given(st.text(), st.text(), st.text())
def test_a_turn_gives_its_parts_back(content: str, reasoning: str, calls: str) -> None:
    turn = Turn.of_assistant(content, reasoning=reasoning, tool_calls=calls)
    if calls or not content.endswith("\n"):
        assert turn.content == content
    assert content in turn.text
    assert Turn.of_assistant(content) == Turn("assistant", content)


# Named templates

NAMED = {
    "default": "D{{ messages[0].content }}",
    "tool_use": "T{{ messages[0].content }}",
    "rag": "R",
}


def test_one_of_several_templates_is_chosen() -> None:
    turns, tools = [Turn("user", "Hi")], json.dumps([TIDE])
    assert chat(NAMED).render(turns) == "DHi"
    assert chat(NAMED).render(turns, tools) == "THi"
    assert chat(NAMED, "chat:rag").render(turns, tools) == "R"
    assert chat(NAMED, "chat:default").render(turns, tools) == "DHi"
    assert (
        chat(NAMED).source
        == "{# default #}\n" + NAMED["default"] + "\n{# tool_use #}\n" + (NAMED["tool_use"])
    )
    assert chat(NAMED, "chat:rag").source == "R"


@pytest.mark.parametrize(
    ("sources", "name", "message"),
    [
        (NAMED, "chat:rgg", "model tiny has no chat template 'rgg': did you mean 'rag'?"),
        (NAMED, "chat:xyz", "'xyz': choose from default, tool_use, rag"),
        ({"default": "x"}, "chat:", "no chat template ''"),
        ({"a": "x", "b": "y"}, "chat", "none is the default: choose --template chat:a or chat:b"),
        (
            {},
            "chat",
            "tiny has no chat template: choose --template plain, alpaca, vicuna, wizardlm",
        ),
    ],
)
def test_the_message_for_a_missing_template_names_the_known_ones(
    sources: dict[str, str], name: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message.replace("?", r"\?")):
        chat(sources, name)


# Dates


@pytest.mark.parametrize("style", ["llama", "granite"])
def test_a_prompt_is_the_same_tomorrow(style: str) -> None:
    template = chat(STYLES[style])
    assert "2024" in template.render([QUESTION])
    assert template.date == "2024-07-26"
    other = chat(STYLES[style], date="2025-12-31")
    assert "31" in other.render([QUESTION])
    assert other.date == "2025-12-31"


def test_a_template_that_names_no_date_has_none() -> None:
    template = chat(STYLES["chatml"], date="2025-12-31")
    template.render([QUESTION])
    assert template.date is None
    assert load_template("plain").date is None


# Whole runs


class Notes(Progress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def score(
    tiny_model: Path, tmp_path: Path
) -> Callable[..., tuple[ScoreSummary, list[dict[str, Any]], list[str]]]:
    """Score a case under a chat template: the summary, the rows and the notes."""

    def run(data: str, source: str | dict[str, Any], **options: Any) -> Any:
        model = tmp_path / "model"
        shutil.copytree(tiny_model, model, dirs_exist_ok=True)
        (model / "chat_template.jinja").unlink(missing_ok=True)
        path = model / "tokenizer_config.json"
        config = json.loads(path.read_text())
        config.pop("chat_template", None)
        if isinstance(source, str):
            (model / "chat_template.jinja").write_text(source)
        path.write_text(json.dumps(config | (source if isinstance(source, dict) else {})))
        chosen = {"metrics": ("ppl", "ifd"), "template": "chat", "device": "cpu"} | options
        settings = Settings(model=str(model), store=str(tmp_path / "store"), **chosen)
        output, notes = tmp_path / "out.jsonl", Notes()
        summary = score_to_file(str(CASES / data), output, settings, ReadOptions(), notes)
        rows = [json.loads(line) for line in output.read_text().splitlines()]
        return summary, rows, notes.lines

    return run


def case(name: str) -> str:
    return (CASES / name).read_text()


def test_the_words_of_the_template_are_the_reason(
    score: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    summary, rows, _ = score("allsys.jsonl", case("gemma_like.jinja"))
    assert [(row["status"], row["reason"]) for row in rows] == [
        ("invalid", "System role not supported")
    ] * 3
    (reason,) = summary.reasons
    assert (reason.status, reason.reason, reason.count) == (
        "invalid", "System role not supported", 3)  # fmt: skip
    print_summary(summary)
    assert "3 invalid: System role not supported" in capsys.readouterr().out
    assert summary.as_json()["reasons"][0]["count"] == 3


def test_a_dropped_system_prompt_is_noted(score: Any) -> None:
    summary, rows, notes = score("chat.jsonl", case("dropsys_t.jinja"))
    assert {row["status"] for row in rows if row["id"] != "startgpt"} == {"ok"}
    assert summary.manifest.template_omissions["system"] == 1
    assert f"the chat template leaves out the system prompt in 1 of {len(rows)} examples" in notes
    assert summary.manifest.template_date is None
    assert Manifest.from_json(summary.manifest.as_json(), "here") == summary.manifest


def test_scores_do_not_depend_on_the_day(score: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    summary, rows, _ = score("chat.jsonl", case("date_t.jinja"))
    assert summary.manifest.template_date == "2024-07-26"
    monkeypatch.setattr(time, "time", lambda: 4e9)
    tomorrow, again, _ = score("chat.jsonl", case("date_t.jinja"))
    assert again == rows
    assert tomorrow.manifest.requests_scored == 0
    other, moved, _ = score("chat.jsonl", case("date_t.jinja"), template_date="2025-01-02")
    assert other.manifest.template_date == "2025-01-02"
    assert moved != rows


def test_a_list_of_templates_has_a_default(score: Any) -> None:
    config = json.loads(case("chat_template_list.json"))
    summary, rows, _ = score("chat.jsonl", config)
    default, tool_use = (one["template"] for one in config["chat_template"])
    assert default in summary.manifest.template_text
    assert tool_use in summary.manifest.template_text
    assert all(row["status"] in ("ok", "empty_instruction") for row in rows)
    chosen, _, _ = score("chat.jsonl", config, template="chat:tool_use")
    assert chosen.manifest.template == "chat:tool_use"
    assert chosen.manifest.template_text == tool_use


def test_a_template_date_is_a_date() -> None:
    for bad in ("tomorrow", "2024-7-26", "20240726"):
        with pytest.raises(UsageError, match="--template-date"):
            Settings(template_date=bad)


def test_the_template_of_the_tiny_model_is_unchanged(score: Any) -> None:
    summary, _, _ = score("chat.jsonl", tiny.CHAT_TEMPLATE)
    assert summary.manifest.template_text == tiny.CHAT_TEMPLATE
