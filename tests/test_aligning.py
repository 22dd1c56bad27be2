"""Passes that other processes make are those that this one makes, whatever becomes of them."""

from __future__ import annotations

import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from functools import partial
from operator import mul
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ifdkit.data.options import ReadOptions
from ifdkit.engine import program_pool
from ifdkit.engine.programs import start_program
from ifdkit.errors import InputError, UsageError
from ifdkit.prompting.templates import BUILT_IN
from ifdkit.records import Example, Passes, Turn
from ifdkit.scoring import aligning, run
from ifdkit.scoring.cost import cost_plan
from ifdkit.scoring.prefetching import in_order
from ifdkit.scoring.progress import Progress
from ifdkit.scoring.run import score_to_file
from ifdkit.scoring.scorer import Scorer
from ifdkit.scoring.settings import Settings

pytestmark = pytest.mark.long

ROWS = [
    {"instruction": f"Name {i} colours. {{{{ {i} }}}}", "input": "warm ones" * (i % 3),
     "output": ("blue green red " * (i % 7)) + "é世🙂" * (i % 2)}
    for i in range(96)
]  # fmt: skip
TEMPLATES = [*BUILT_IN, "chat", "own.jinja"]
OWN = "{{ system }}{% for turn in turns %}[{{ turn.role }}] {{ turn.text }}{% endfor %}\n"


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Processes from the first blocks on, and the ids of those that were started."""
    found: list[int] = []
    start = start_program

    def recorded(*args: Any, **more: Any) -> Any:
        started = start(*args, **more)
        found.append(started[0].pid)
        return started

    monkeypatch.setattr(program_pool, "start_program", recorded)
    monkeypatch.setattr(aligning, "MIN_EXAMPLES", 1)
    monkeypatch.setattr(aligning, "MIN_SHARE", 0.0)
    monkeypatch.setattr(aligning, "MIN_SECONDS", 0.0)
    monkeypatch.setattr(aligning, "available_threads", lambda: 3)
    monkeypatch.setattr(run, "EXAMPLES_PER_BLOCK", 8)
    return found


@pytest.fixture
def scored(tmp_path: Path, tiny_model: Path) -> Callable[..., bytes]:
    """Scores rows; returns the bytes of the scores file."""
    (tmp_path / "own.jinja").write_text(OWN)
    numbers = iter(range(100))

    def score(rows: Sequence[Any] = ROWS, **chosen: Any) -> bytes:
        number = next(numbers)
        data, output = tmp_path / "data.jsonl", tmp_path / f"{number}.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        if str(chosen.get("template", "")).endswith(".jinja"):
            chosen["template"] = str(tmp_path / chosen["template"])
        of_all: dict[str, Any] = {"model": str(tiny_model), "store": str(tmp_path / f"{number}.db"),
                                  "metrics": ("ppl", "ifd", "rifd"), "max_length": 64}  # fmt: skip
        score_to_file(data, output, Settings(**{**of_all, **chosen}), ReadOptions(), Progress())
        return output.read_bytes()

    return score


def ended(pids: Sequence[int], within_s: float = 10.0) -> bool:
    deadline = time.monotonic() + within_s
    while any(_is_alive(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_run_gives_the_same_bytes(
    always: list[int], scored: Callable[..., bytes], template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_processes = scored(template=template)
    assert 1 <= len(always) <= 2
    assert ended(always)
    monkeypatch.setattr(aligning, "MIN_EXAMPLES", 10**9)
    assert scored(template=template) == with_processes
    assert len(always) <= 2  # the control: no further process


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [
        (ROWS, {"protocol": "superfiltering", "metrics": ("ppl", "ifd")}),
        (ROWS, {"metrics": ("ppl", "ifd", "noise"), "noise_copies": 2}),
        ([{"text": "The sea is wide. " * (i % 40)} for i in range(60)], {"metrics": ("ppl",)}),
    ],
    ids=["joined", "noise", "documents"],
)
def test_protocols_noise_and_documents(
    always: list[int],
    scored: Callable[..., bytes],
    monkeypatch: pytest.MonkeyPatch,
    rows: list[Any],
    chosen: dict[str, Any],
) -> None:
    with_processes = scored(rows, **chosen)
    assert always
    monkeypatch.setattr(aligning, "MIN_EXAMPLES", 10**9)
    assert scored(rows, **chosen) == with_processes


def test_a_second_run_finds_the_rows_of_the_first(
    always: list[int], tmp_path: Path, scored: Callable[..., bytes]
) -> None:
    store = str(tmp_path / "store")
    first = scored(store=store)
    n = len(always)
    assert scored(store=store) == first
    assert len(always) == n  # nothing was left to align


@pytest.mark.parametrize("when", ["at the start", "later"])
def test_a_process_that_dies_costs_nothing(
    always: list[int],
    scored: Callable[..., bytes],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    when: str,
) -> None:
    start, killed = start_program, list[int]()

    def fatal(*args: Any, **more: Any) -> Any:
        process, connection = start(*args, **more)
        if when == "at the start":
            process.kill()
        killed.append(process.pid)
        return process, connection

    class Killing(Progress):
        def begin_block(self, n_rows: int, n_examples: int) -> None:
            del n_rows, n_examples
            while killed:
                os.kill(killed.pop(), signal.SIGKILL)

    monkeypatch.setattr(program_pool, "start_program", fatal)
    if when == "later":
        monkeypatch.setattr(f"{__name__}.Progress", Killing)
    with caplog.at_level(logging.INFO, "ifdkit"):
        found = scored()
    assert "a process of ifdkit.scoring.aligning_worker has ended" in caplog.text
    monkeypatch.setattr(aligning, "MIN_EXAMPLES", 10**9)
    assert scored() == found


def test_a_function_as_template_stays_here(
    always: list[int], scored: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def own(messages: list[dict[str, Any]]) -> str:
        return "\n".join(str(one["content"]) for one in messages)

    found = scored(template=own)
    assert not always
    monkeypatch.setattr(aligning, "MIN_EXAMPLES", 10**9)
    assert scored(template=own) == found


def test_a_template_that_could_name_the_date_stays_here_until_it_did(
    always: list[int], tmp_path: Path, scored: Callable[..., bytes]
) -> None:
    clock = "{{ strftime_now('%Y') }}"
    rarely = "{% if 'today' in instruction %}" + clock + "{% endif %}{{ instruction }}"
    (tmp_path / "rarely.jinja").write_text(rarely)
    (tmp_path / "always.jinja").write_text(clock + "{{ instruction }}")
    rows = [*ROWS, {"instruction": "today", "output": "a day"}]
    scored(rows, template="rarely.jinja")
    assert not always
    assert json.loads((tmp_path / "0.jsonl.manifest.json").read_text())["template_date"]
    scored(rows, template="always.jinja")
    assert always
    assert json.loads((tmp_path / "1.jsonl.manifest.json").read_text())["template_date"]


def test_a_plan_counts_the_same(
    always: list[int], scored: Callable[..., bytes], tmp_path: Path, tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    scored()
    always.clear()
    chosen = Settings(model=str(tiny_model), store="off", metrics=("ppl", "noise"), noise_copies=2)
    counted = []
    for at_least in (1, 10**9):
        monkeypatch.setattr(aligning, "MIN_EXAMPLES", at_least)
        plan = cost_plan(tmp_path / "data.jsonl", chosen, ReadOptions())
        counted.append((plan.requests, plan.tokens, plan.computed_tokens, plan.scored_tokens))
        assert bool(always) == (at_least == 1)
        always.clear()
    assert counted[0] == counted[1]


def test_results_come_in_the_order_of_their_items() -> None:
    made: list[int] = []

    def begun() -> Iterator[tuple[int, Callable[[], int]]]:
        for i in range(5):
            made.append(i)
            yield i, partial(mul, i, 10)

    found = []
    for item, result in in_order(begun(), lambda: 2):
        found.append((item, result, len(made)))
    assert found == [(0, 0, 3), (1, 10, 4), (2, 20, 5), (3, 30, 5), (4, 40, 5)]


class Slow:
    """In place of an Aligner: takes its time there, and must not be asked here."""

    template = SimpleNamespace(n_exceeded=0)

    def __init__(self) -> None:
        self.driver = os.getpid()

    def align(self, _: Sequence[Example]) -> list[Passes]:
        assert os.getpid() != self.driver, "aligned after the end"
        time.sleep(600)
        return []


def test_an_early_end_waits_for_no_block() -> None:
    stub: Any = Slow()
    pool = aligning._Pool(stub, 2)
    waiting = [pool.begin([]) for _ in range(6)]
    while len(pool._programs._started) < 2:
        time.sleep(0.01)
    pool.close()
    assert ended([process.pid for process, _ in pool._programs._started])
    for one in waiting:
        with pytest.raises(CancelledError):
            one()


def test_a_process_that_starts_during_an_early_end_ends_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, pids = threading.Event(), list[int]()

    def slow(*args: Any, **more: Any) -> Any:
        begun.set()
        time.sleep(0.5)
        started = start_program(*args, **more)
        pids.append(started[0].pid)
        return started

    monkeypatch.setattr(program_pool, "start_program", slow)
    stub: Any = Slow()
    pool = aligning._Pool(stub, 1)
    waiting = pool.begin([])
    begun.wait(10)
    pool.close()
    assert len(pids) == 1
    assert ended(pids)
    with pytest.raises(CancelledError):
        waiting()


def test_an_interrupted_run_waits_for_no_block(
    always: list[int], scored: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither if the interrupt comes while a block is scored, nor while one is waited for."""

    class Interrupted(Progress):
        def begin_block(self, n_rows: int, n_examples: int) -> None:
            del n_rows, n_examples
            if always:
                for pid in always:  # as if each took for ever for its block
                    os.kill(pid, signal.SIGSTOP)
                raise KeyboardInterrupt

    monkeypatch.setattr(f"{__name__}.Progress", Interrupted)
    done = threading.Event()

    def run_it() -> None:
        with pytest.raises(KeyboardInterrupt):
            scored()
        done.set()

    threading.Thread(target=run_it, daemon=True).start()
    assert done.wait(60)
    assert ended(always)


def test_a_run_that_has_ended_begins_no_processes(always: list[int], tiny_model: Path) -> None:
    """The thread that prepares blocks may be about to start them when the run ends."""
    example = Example("x", 0, 0, (Turn("user", "Say a."),), "a")
    with Scorer(Settings(model=str(tiny_model), store="off")) as scorer:
        aligner = aligning.BlockAligner(scorer, 1000)
        aligner.begin([example], 1)
        aligner.close()
        with pytest.raises(CancelledError):
            aligner.begin([example], 1)
    assert ended(always)


def test_the_processes_are_closed_once_whatever_begins_meanwhile(
    always: list[int], tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads that close one connection: the second closes a descriptor that is not its own."""
    example = Example("x", 0, 0, (Turn("user", "Say a."),), "a")
    is_closing, may_close, n_closed, n_cancelled = threading.Event(), threading.Event(), [0], [0]
    close = aligning._Pool.close

    def slow(pool: Any) -> None:
        n_closed[0] += 1
        is_closing.set()
        may_close.wait(10)
        close(pool)

    monkeypatch.setattr(aligning._Pool, "close", slow)
    with Scorer(Settings(model=str(tiny_model), store="off")) as scorer:
        aligner = aligning.BlockAligner(scorer, 1000)
        for _ in range(2):
            assert len(aligner.begin([example], 1)()) == 1

        def begin() -> None:
            with pytest.raises(CancelledError):
                aligner.begin([example], 1)
            n_cancelled[0] += 1

        threads = [threading.Thread(target=one) for one in (aligner.close, begin)]
        threads[0].start()
        assert is_closing.wait(10)
        threads[1].start()
        threads[1].join(0.2)
        may_close.set()
        for one in threads:
            one.join(10)
    assert (n_closed, n_cancelled) == ([1], [1])
    assert ended(always)


class Exceeding:
    """In place of an Aligner, with a template that exceeds a limit in each block."""

    def __init__(self) -> None:
        self.template = SimpleNamespace(n_exceeded=0)
        self.driver = os.getpid()

    def align(self, _: Sequence[Example]) -> list[Any]:
        self.template.n_exceeded += 1
        if os.getpid() != self.driver and self.template.n_exceeded > 2:
            raise UsageError("too many there")
        return [os.getpid(), self.template.n_exceeded]


def test_prompts_that_exceed_a_limit_are_counted_here() -> None:
    """So that the number of processes does not decide whether a run ends."""
    stub: Any = Exceeding()
    pool = aligning._Pool(stub, 1)
    try:
        found: Any = [one() for one in [pool.begin([]) for _ in range(5)]]
    finally:
        pool.close()
    assert found == [[os.getpid(), n] for n in range(1, 6)]


def test_blocks_before_a_failure_are_not_lost() -> None:
    def begun() -> Iterator[tuple[int, Callable[[], int]]]:
        for i in range(3):
            yield i, partial(mul, i, 10)
        raise InputError("the file has changed")

    ahead = in_order(begun(), lambda: 8)
    assert [next(ahead) for _ in range(3)] == [(0, 0), (1, 10), (2, 20)]
    with pytest.raises(InputError, match="has changed"):
        next(ahead)


class Refusing:
    """In place of an Aligner: refuses a block, or fails as no program should."""

    template = SimpleNamespace(n_exceeded=0)

    def __init__(self, error: Exception) -> None:
        self.error = error

    def align(self, _: Sequence[Example]) -> list[Passes]:
        raise self.error


@pytest.mark.parametrize("error", [UsageError("template x: 31 prompts"), ValueError("no\nplan")])
def test_what_an_aligner_raises_is_raised_here(error: Exception) -> None:
    stub: Any = Refusing(error)
    pool = aligning._Pool(stub, 1)
    try:
        with pytest.raises(type(error), match=str(error)):
            pool.begin([])()
    finally:
        pool.close()


_SPACES = st.sampled_from(["", " ", "\n", "\t", "\u2028", "\x00", "世界", "🙂", "<think>", "</s>"])
_TEXTS = st.lists(st.one_of(_SPACES, st.text(max_size=12)), max_size=5).map("".join)
_EXAMPLES = st.builds(
    lambda texts, tools: Example(
        id="x", row=0, turn=0, response=texts[0], tools=tools,
        context=tuple(Turn("user" if i % 2 else "assistant", one)
                      for i, one in enumerate(texts[1:], 1)),
    ),
    st.lists(_TEXTS, min_size=1, max_size=4), st.sampled_from(["", '[{"name": "f"}]']),
)  # fmt: skip


@pytest.fixture(scope="module")
def pool(tiny_model: Path) -> Iterator[tuple[Any, Any]]:
    chosen = Settings(model=str(tiny_model), store="off", max_length=32, template="chat")
    with Scorer(chosen) as scorer:
        found = aligning._Pool(scorer.aligner, 1)
        yield scorer, found
        found.close()


def plain(passes: Passes) -> tuple[Any, ...]:
    named = {name: [(r.content, r.ids.dtype, one.skipped) for r in one.requests]
             for name, one in passes.present()}  # fmt: skip
    return (named, passes.instruction_tokens, passes.response_tokens, passes.truncated_tokens,
            passes.scored_bytes, passes.status, passes.reason, passes.omitted)  # fmt: skip


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(examples=st.lists(_EXAMPLES, max_size=5))
def test_any_texts_come_back_as_the_same_passes(
    pool: tuple[Scorer, Any], examples: list[Example]
) -> None:
    scorer, there = pool
    found = there._programs._answer(examples)  # in this thread: None would be a dead process
    assert list(map(plain, found)) == list(map(plain, scorer.aligner.align(examples)))


def test_an_aligner_is_opened_again_without_torch(tiny_model: Path, tmp_path: Path) -> None:
    with Scorer(Settings(model=str(tiny_model), store="off", template="chat")) as scorer:
        (tmp_path / "pickled").write_bytes(pickle.dumps(scorer.aligner))
    code = (
        "import pickle, sys; aligner = pickle.load(open(sys.argv[1], 'rb'))\n"
        "import ifdkit.scoring.aligning_worker\n"
        "print('torch' in sys.modules, aligner.template.name)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "pickled")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["False", "chat"]


def test_processes_end_with_a_driver_that_is_killed(tmp_path: Path, tiny_model: Path) -> None:
    code = f"""
import os, sys, time
from ifdkit.scoring import aligning
from ifdkit.scoring.scorer import Scorer
from ifdkit.scoring.settings import Settings
with Scorer(Settings(model={str(tiny_model)!r}, store="off")) as scorer:
    pool = aligning._Pool(scorer.aligner, 2)
    [one() for one in [pool.begin([]) for _ in range(8)]]
    print(*(process.pid for process, _ in pool._programs._started), flush=True)
    time.sleep(60)
"""
    driver = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert driver.stdout
    pids = [int(one) for one in driver.stdout.readline().split()]
    assert pids
    driver.kill()
    driver.wait()
    driver.stdout.close()
    assert ended(pids)
