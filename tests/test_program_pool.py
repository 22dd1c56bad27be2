"""Programs that answer requests side by side: those that die are replaced, a few times."""

from __future__ import annotations

import time
from concurrent.futures import CancelledError
from typing import Any

import pytest

from ifdkit.auditing import text_hits
from ifdkit.auditing.text_worker import checks_by_rule
from ifdkit.engine import program_pool
from ifdkit.engine.program_pool import MAX_DEATHS, ProgramPool
from ifdkit.engine.programs import start_program
from ifdkit.findings.texts import Corpus

MODULE = "ifdkit.auditing.text_worker"
JOB = (["empty"], [""], [""])


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The processes that were started; a test may kill those to come."""
    found: list[Any] = []

    def recorded(*args: Any, **more: Any) -> Any:
        one = start_program(*args, **more)
        found.append(one[0])
        return one

    monkeypatch.setattr(program_pool, "start_program", recorded)
    return found


def test_answers_are_those_of_the_program(started: list[Any]) -> None:
    rule = next(name for name, check in checks_by_rule().items() if check.is_of_examples)
    pool = ProgramPool(MODULE, 2)
    try:
        answers = [
            pool.begin(lambda: ([rule], ["Say x."], ["x"]), lambda one: one) for _ in range(6)
        ]
        assert [sorted(one.result(120)) for one in answers] == [[rule]] * 6
    finally:
        pool.close()
    assert 1 <= len(started) <= 2
    assert all(process.poll() is not None for process in started)


def test_a_program_that_dies_again_and_again_is_not_started_for_ever(started: list[Any]) -> None:
    """An unknown rule ends it, as a lack of memory would."""
    pool = ProgramPool(MODULE, 1)
    try:
        answers = [pool.begin(lambda: (["no rule"], [""], [""]), lambda one: one) for _ in range(9)]
        assert [one.result(120) for one in answers] == [None] * 9
    finally:
        pool.close()
    assert len(started) == MAX_DEATHS + 1


def test_nothing_is_answered_after_the_end(started: list[Any]) -> None:
    def slowly() -> object:
        time.sleep(0.1)
        return JOB

    pool = ProgramPool(MODULE, 1)
    answers = [pool.begin(slowly, lambda one: one) for _ in range(200)]
    pool.close()
    with pytest.raises(CancelledError):
        answers[-1].result(1)
    assert all(process.poll() is not None for process in started)


@pytest.mark.parametrize(("cores", "expected"), [(1, None), (3, 3)])
def test_text_rules_use_the_cores_that_a_container_may_use(
    cores: int, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_hits, "available_threads", lambda: cores)
    monkeypatch.setattr(text_hits, "MIN_EXAMPLES", 2)
    corpus = Corpus(["a", "b"], ["c", "d"], ["e", "f"])
    with text_hits.text_workers(corpus, checks_by_rule(), None) as workers:
        assert (workers and workers._programs.size) == expected
