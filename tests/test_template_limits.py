"""Untrusted templates that loop, grow or fail: bounded time and memory, and one line."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifdkit.errors import UsageError
from ifdkit.prompting import sandbox
from ifdkit.prompting.sandbox import Job, Sandbox, SandboxLimits
from ifdkit.records import Turn
from tests.chat_styles import (
    QUESTION,
    chat,
)
from tests.limits import time_limit

pytestmark = pytest.mark.long

GROWING = {
    "loop": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "doubling": "{% set ns = namespace(a='xy') %}{% for i in range(99) %}"
    "{% set ns.a = ns.a ~ ns.a %}{% endfor %}{{ ns.a }}",
    "list": "{% set ns = namespace(a=[]) %}{% for i in range(90000) %}"
    "{% set ns.a = ns.a + ['x' * 100000 * (1 + i)] %}{% endfor %}",
    "power": "{{ messages | length * 10 ** (messages | length * 10 ** 9) }}",
    "center": "{{ messages[0].content | center(10 ** 10) }}",
    "format": "{{ '%1000000000d' | format(messages | length) }}",
    "str.format": "{{ '{:>1000000000}'.format(messages | length) }}",
    "prompt": "{% for i in range(99999) %}{{ 'x' * 1000 * messages | length }}{% endfor %}",
    "macro": "{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(1) }}",
}
SMALL = SandboxLimits(cpu_s=0.5, wall_s=20, memory_bytes=2**28, extra_chars=10_000)


def variables(text: str = "Hi") -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


@pytest.mark.parametrize("name", GROWING)
def test_a_template_that_loops_or_grows_ends_within_limits(name: str) -> None:
    with time_limit(60):
        made = Sandbox("bad", {"t": GROWING[name], "good": "ok"}, style="chat", limits=SMALL)
        bad, good = made.render([Job("t", variables(), 2), Job("good", {}, 0)])
    assert bad.text is None
    assert bad.problem.startswith("template 'bad' ")
    assert bad.is_limit or "RecursionError" in bad.problem
    assert good.text == "ok", "the next prompt is rendered"


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("{{ 1 / 0 }}", "fails: ZeroDivisionError"),
        ("{{ range(10 ** 9) | length }}", "fails: OverflowError: Range too big"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "fails: RecursionError"),
        ("{{ messages.nothing.more }}", "has no attribute 'nothing'"),
        ("{{ messages.__class__.__mro__ }}", "is unsafe"),
        ("{{ namespace(_x=1) }}", "no private attribute"),
        ("{{ messages.append(1) }}", "is unsafe"),
        (r"{{ '\ud800' }}", "not valid Unicode"),
        ("{{ raise_exception() }}", "template 'chat' refuses this conversation"),
        ("{% include '/etc/passwd' %}", "no loader"),
    ],
)
def test_a_template_that_fails_says_why_in_one_line(source: str, problem: str) -> None:
    (prompt,) = chat(source).prompts([([QUESTION], "")])
    assert prompt.text is None
    assert problem in prompt.problem
    assert "\n" not in prompt.problem


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{% if %}", "template 'chat' fails: Expected an expression"),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "RecursionError"),
        ("{{ 7 ** (9 ** 9) }}", "takes more than 2 s"),
        (GROWING["center"], "MiB of memory for a one-word instruction"),
        (GROWING["loop"], "takes more than 2 s for a one-word instruction"),
    ],
)
def test_a_template_that_cannot_render_at_all_is_a_usage_error(source: str, message: str) -> None:
    with time_limit(60), pytest.raises(UsageError, match=message) as caught:
        chat(source)
    assert "\n" not in str(caught.value)


def test_a_run_ends_when_many_prompts_exceed_a_limit() -> None:
    limits = SandboxLimits(cpu_s=0.2, max_exceeded=3)
    source = "{% if messages[0].content == 'x' %}" + GROWING["loop"] + "{% endif %}."
    made = Sandbox("bad", {"t": source}, style="chat", limits=limits)
    jobs = [Job("t", variables(text), 1) for text in "axbxc"]
    assert [one.text for one in made.render(jobs)] == [".", None, ".", None, "."]
    with pytest.raises(UsageError, match="like 2 prompts before: choose another --template"):
        made.render(jobs)


def test_a_system_without_limits_on_processes_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, which has no CPU timer, and on macOS, which has no limit on memory."""
    made = Sandbox(
        "bad", {"t": GROWING["loop"]}, style="chat", limits=SandboxLimits(cpu_s=99, wall_s=3)
    )
    (slow,) = made.render([Job("t", {}, 1)])
    assert slow.problem == "template 'bad' takes more than 3 s"
    sizes = iter([2**40])
    monkeypatch.setattr(sandbox, "_resident_bytes", lambda _: next(sizes, 0))
    (large,) = made.render([Job("t", {}, 1)])
    assert large.problem == "template 'bad' takes more than 1,024 MiB of memory"


def test_the_process_has_no_secrets_and_ends_with_its_template(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import psutil

    monkeypatch.setenv("SECRET_KEY", "secret")
    made = Sandbox("t", {"t": "."}, style="chat")
    process = psutil.Process(made._process._popen.pid)
    assert process.environ().keys() <= {"PYTHONPATH", "SYSTEMROOT", "LC_CTYPE"}
    del made
    assert not process.is_running()


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(1, 3))
def test_any_text_reaches_the_prompt_unchanged(text: str, n: int) -> None:
    assert ECHO.render([Turn("user", text)] * n) == text * n


ECHO = chat("{% for m in messages %}{{ m.content }}{% endfor %}")


def test_long_conversations_go_through_in_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_CHARS_PER_FRAME", 1000)
    texts = [str(i) * (1 + i * 37 % 900) for i in range(300)]
    made = ECHO.prompts([([Turn("user", text)], "") for text in texts], checked=False)
    assert [one.text for one in made] == texts
