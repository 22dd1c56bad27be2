"""5,000 random inputs to what reads text from outside, 100,000 by `make nightly`, within limits.

Each test runs in a process of limited memory, so that an input that expands fails the test instead
of the machine.  Commands on random files are in `test_fuzz_cli`, single readers in
`test_reading_fuzz`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FUZZ_IN_CI, FUZZ_BY_NIGHT = 5000, 100_000
FUZZ = int(os.environ.get("FUZZ", FUZZ_IN_CI))
MEMORY_BYTES = 6 * 2**30
"""Of addresses, of which the libraries reserve most."""
pytestmark = pytest.mark.long
pytest.importorskip("resource")

BEGIN = """
import resource, signal, sys, tempfile
from pathlib import Path
from hypothesis import HealthCheck, given, settings, strategies as st
from ifdkit.errors import IfdkitError

n, memory = int(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
folder = Path(tempfile.mkdtemp())
FUZZ = settings(
    deadline=60_000, max_examples=n, database=None, suppress_health_check=list(HealthCheck)
)
"""
TARGETS = {
    "reader": """
from tests.test_reading_fuzz import BYTES, read

@FUZZ
@given(BYTES, st.sampled_from(["x.json", "x.jsonl", "x.csv", "x.tsv", "x", "x.parquet"]))
def fuzz(data, name):
    path = folder / name
    path.write_bytes(data)
    read(path)
""",
    "journal": """
from ifdkit.oracle.journal import Journal
from tests.test_reflection_journal import key, replies

path = folder / "j.sqlite"
with Journal(path) as journal:
    journal.record(replies(5))
whole = path.read_bytes()

@FUZZ
@given(st.lists(st.tuples(st.integers(0, len(whole) - 1), st.binary(min_size=1, max_size=8)),
                max_size=4), st.integers(0, len(whole)) | st.none())
def fuzz(patches, size):
    for old in folder.glob("j*"):
        old.unlink()
    data = bytearray(whole)
    for place, new in patches:
        data[place : place + len(new)] = new
    path.write_bytes(data[:size])
    expected = replies(5)
    try:
        with Journal(path) as journal:
            for one, reply in expected.items():
                assert journal.reply(one) in (None, reply), "a damaged reply is a miss"
    except IfdkitError as error:
        assert "\\n" not in str(error)
""",
    "answers": """
from ifdkit.reflection.answers import parse
from ifdkit.oracle.calls import Reply
from ifdkit.reflection.outcomes import Outcome
from tests.test_reflection_answers import call

one = call()
PIECES = st.sampled_from([
    f"[[criticism {one.fence}]]", f"[[end criticism {one.fence}]]",
    f"[[better_response {one.fence}]]", f"[[end better_response {one.fence}]]", '{"criticism":',
    '"better_response":', '"x"', ",", "}", "{", "[", "```json", "```", "\\n", "<think>", "</think>",
    "I'm sorry, I can't", "\\ud800", "\\0", "\\\\", "x " * 500, "[" * 2000,
])

@FUZZ
@given(st.text() | st.lists(PIECES | st.text(max_size=9), max_size=20).map("".join),
       st.sampled_from(["stop", "length", "content_filter", None]))
def fuzz(text, finish):
    answer = parse(one, Reply(text, finish))
    assert (answer.text is not None) == (answer.outcome is Outcome.REWRITTEN)
    assert "\\n" not in (answer.reason or "")
""",
    "templates": """
from ifdkit.prompting.sandbox import Job, Sandbox
from tests.test_template_limits import GROWING, SMALL, variables

PIECES = st.sampled_from([
    "{{ messages[0].content }}", "{% for m in messages %}", "{% endfor %}", "{% if messages %}",
    "{% endif %}", "{{", "}}", "{%", "%}", "1 / 0", "messages.__class__", "| tojson", "'x' * 9",
    "{{ raise_exception('no') }}", "{% set a = 1 %}", "{% macro f() %}", "{{ f() }}", "{#", "#}",
    *GROWING.values(),
])

@FUZZ
@given(st.lists(PIECES | st.text(max_size=5), min_size=1, max_size=6).map("".join))
def fuzz(source):
    try:
        made = Sandbox("t", {"t": source}, style="chat", limits=SMALL)
        (found,) = made.render([Job("t", variables(), 1)])
    except IfdkitError as error:
        assert "\\n" not in str(error)
        return
    assert (found.text is None) == bool(found.problem)
    assert len(found.text or "") <= 20_000
""",
}
SHARES = {"reader": 0.5, "journal": 0.1, "answers": 0.39, "templates": 0.01}
"""Target → its share of the inputs; a template that loops takes half a second."""


END = """
count, test = 0, fuzz.hypothesis.inner_test

def counted(*arguments, **named):
    global count
    count += 1
    return test(*arguments, **named)

fuzz.hypothesis.inner_test = counted
fuzz()
assert count >= n, count
"""


def n_inputs(target: str) -> int:
    return round(FUZZ * SHARES[target])


def test_how_many_inputs() -> None:
    assert sum(map(n_inputs, TARGETS)) >= FUZZ
    assert f"FUZZ={FUZZ_BY_NIGHT} " in (ROOT / "Makefile").read_text()
    assert "FUZZ" not in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("target", TARGETS)
def test_any_input_within_limits(target: str) -> None:
    script = BEGIN + TARGETS[target] + END
    done = subprocess.run(
        [sys.executable, "-c", script, str(n_inputs(target)), str(MEMORY_BYTES)],
        capture_output=True, text=True, cwd=ROOT, timeout=120 + FUZZ * 0.1,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
