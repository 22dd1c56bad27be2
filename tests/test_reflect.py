"""`ifdkit.reflect` from dataset to output, with a scripted server on a real socket."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ifdkit
from ifdkit.data.dataset import open_dataset
from ifdkit.errors import OracleError, UsageError
from ifdkit.reflection.choosing import VariantScores, choose
from ifdkit.reflection.options import ReflectOptions
from ifdkit.reflection.result import Recycled
from ifdkit.reflection.run import estimate_run
from ifdkit.scoring.rows import score_columns
from tests.limits import PEAK_BYTES, needs_proc
from tests.oracle_server import FINAL, OracleServer, rewritten, seeded

pytestmark = pytest.mark.long

Make = Callable[..., Path]
pytest.importorskip("openai")

ROWS: list[dict[str, Any]] = [
    {"id": f"r{i}", "instruction": f"Write about {i}", "input": "" if i % 3 else f"the number {i}",
     "output": f"Here is {i}. " * (i + 1), "keep": {"me": [i, None]}}
    for i in range(6)
]  # fmt: skip


@pytest.fixture(autouse=True)
def a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def run(server: OracleServer, data: Any, output: Path, **options: Any) -> Recycled:
    return ifdkit.reflect(data, output, **{"oracle": "scripted", "base_url": server.base_url,
                                           "retries": 0, **options})  # fmt: skip


def provenance(done: Recycled) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(done.provenance).read_text().splitlines()]


def fail_on(*wanted: tuple[str, str]) -> Callable[[str, int], str | None]:
    """A script that makes calls fail: (part of the user message, fault)."""

    def fault(text: str, attempt: int) -> str | None:
        return next((kind for part, kind in wanted if part in text), None)

    return fault


def is_response(text: str) -> bool:
    return "better_response" in text


def test_texts_are_rewritten_and_everything_else_is_unchanged(write: Make) -> None:
    source = write("data.json", ROWS)
    with OracleServer() as server:
        done = run(server, source, source.with_name("new.json"))
    texts = [one.text for one in server.calls]
    assert len(texts) == 12
    new = json.loads(Path(done.output).read_text())
    instructions = {rewritten(text) for text in texts if not is_response(text)}
    responses = {rewritten(text): text for text in texts if is_response(text)}
    for old, row in zip(ROWS, new, strict=True):
        assert {**row, "instruction": "", "output": ""} == {**old, "instruction": "", "output": ""}
        assert list(row) == list(old)
        assert row["instruction"] in instructions
        assert row["instruction"] in responses[row["output"]], "it answers the NEW instruction"
        assert old["instruction"] not in responses[row["output"]]
        assert old["output"] in responses[row["output"]]
        assert old["input"] in responses[row["output"]]
    assert done.outcomes == {"instruction": {"rewritten": 6}, "response": {"rewritten": 6}}
    assert (done.rows, done.rows_changed, done.in_output) == (
        6, 6, {"instruction": 6, "response": 6})  # fmt: skip
    assert (done.stopped, done.cost) == (None, None)
    billed = done.prompt_tokens + done.completion_tokens
    assert billed == server.billed
    assert json.loads(Path(f"{done.output}.manifest.json").read_text()) == done.as_json()


def test_provenance_has_a_line_per_row_and_stage(write: Make) -> None:
    source = write("data.json", ROWS[:2])
    with OracleServer() as server:
        done = run(server, source, source.with_name("new.json"))
    lines = provenance(done)
    assert [(one["id"], one["row"], one["stage"]) for one in lines] == [
        ("r0", 0, "instruction"), ("r0", 0, "response"),
        ("r1", 1, "instruction"), ("r1", 1, "response"),
    ]  # fmt: skip
    for one in lines:
        assert one["oracle"] == "scripted"
        assert one["prompt_version"].startswith("1-")
        assert one["outcome"] == "rewritten"
        assert one["criticism"] == "It is short."
        assert one["in_output"]
        assert one["accepted"] is None, "no student was asked"
        assert one["prompt_tokens"] > 0
    assert lines[1]["answers_instruction"] == "new"


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX permissions")
def test_only_the_owner_can_read_journal_and_provenance(write: Make) -> None:
    mask = os.umask(0o022)
    try:
        with OracleServer() as server:
            done = run(server, write("data.json", ROWS[:2]), write("new.json", ""))
    finally:
        os.umask(mask)
    modes = {path: stat.S_IMODE(Path(path).stat().st_mode)
             for path in (done.journal, done.provenance, done.output)}  # fmt: skip
    assert modes == {done.journal: 0o600, done.provenance: 0o600, done.output: 0o644}


@pytest.mark.parametrize("stage", ["instruction", "response"])
def test_one_stage_leaves_the_other_half_unchanged(write: Make, stage: str) -> None:
    source = write("data.json", ROWS)
    with OracleServer() as server:
        done = run(server, source, source.with_name("new.json"), stages=stage)
    assert len(server.calls) == 6
    changed, same = ("instruction", "output")[:: 1 if stage == "instruction" else -1]
    for old, row in zip(ROWS, json.loads(Path(done.output).read_text()), strict=True):
        assert row[same] == old[same]
        assert row[changed] != old[changed]


@pytest.mark.parametrize("fault", [*FINAL, "500"])
def test_original_stays_without_a_clean_rewrite(write: Make, fault: str) -> None:
    """Row 0: no new instruction, but a new response to the old one.  Row 1: a new instruction whose
    response fails, so the pair is unchanged.  Row 2: neither.  Row 4: both."""
    source = write("data.json", ROWS)

    def fails(text: str, attempt: int) -> str | None:
        for row, stages in ((0, [False]), (1, [True]), (2, [False, True])):
            # The old response identifies the row, whatever the instruction.
            if f"Here is {row}." in text and is_response(text) in stages:
                return fault
        return None

    with OracleServer(fails) as server:
        done = run(server, source, source.with_name("new.json"))
    new = json.loads(Path(done.output).read_text())
    assert new[0]["instruction"] == ROWS[0]["instruction"]
    assert new[0]["output"].startswith("Rewritten")
    assert new[1:3] == ROWS[1:3]
    assert new[4]["instruction"].startswith("Rewritten")
    outcomes = {(one["row"], one["stage"]): one for one in provenance(done)}
    wanted = {"refusal": "refused", "refusal_text": "refused", "length": "truncated",
              "500": "failed"}.get(fault, "unparsed")  # fmt: skip
    for key in ((0, "instruction"), (1, "response"), (2, "instruction"), (2, "response")):
        assert outcomes[key]["outcome"] == wanted
        assert outcomes[key]["reason"]
        assert outcomes[key]["text"] is None
    orphan = outcomes[1, "instruction"]
    assert (orphan["outcome"], orphan["in_output"]) == ("rewritten", False)
    assert "there is no clean response to it" in orphan["why"]
    assert sum(done.outcomes["instruction"].values()) == 6


TALK = [
    ("system", "Be kind."), ("user", "Hi there"), ("assistant", "Hello you"),
    ("user", "Sing now"), ("assistant", "La la"),
]  # fmt: skip


def talk() -> dict[str, Any]:
    return {"n": 1, "messages": [{"role": r, "content": c} for r, c in TALK]}


def test_last_turn_of_a_conversation_is_rewritten_with_the_others_as_context(write: Make) -> None:
    source = write("talk.jsonl", json.dumps(talk()))
    with OracleServer() as server:
        done = run(server, source, source.with_name("new.jsonl"))
    row = json.loads(Path(done.output).read_text())
    assert row["messages"][:3] == talk()["messages"][:3]
    assert all(one["content"].startswith("Rewritten") for one in row["messages"][3:])
    assert len(server.calls) == 2
    for one in server.calls:
        assert all(text in one.text for text in ("Be kind.", "Hi there", "Hello you"))


def test_with_all_turns_each_sees_the_rewritten_ones_before_it(write: Make) -> None:
    source = write("talk.jsonl", json.dumps(talk()))
    with OracleServer() as server:
        done = run(server, source, source.with_name("new.jsonl"), turns="all")
        texts = [one.text for one in server.calls]
        again = run(server, source, source.with_name("new.jsonl"), turns="all")
    row = json.loads(Path(done.output).read_text())
    content = [one["content"] for one in row["messages"]]
    assert content[0] == "Be kind."
    assert all(text.startswith("Rewritten") for text in content[1:])
    assert len(texts) == len(server.calls) == 4
    assert content[1] in texts[2]
    assert content[2] in texts[2]
    assert "Hi there" not in texts[2]
    assert again.output_sha256 == done.output_sha256
    with pytest.raises(UsageError, match="--select works on the last turn"):
        run(server, source, source.with_name("x.jsonl"), turns="all", select=True)


def test_unusable_rows_are_copied_and_counted(write: Make) -> None:
    call = {
        "messages": [
            {"role": "user", "content": "Go"},
            {"role": "assistant", "content": None, "tool_calls": [{"f": 1}]},
        ]
    }
    lines = [json.dumps(talk()), '{"torn', json.dumps({"messages": [], "n": 2}), json.dumps(call),
             json.dumps({"messages": [{"role": "assistant", "content": "Alone"}]})]  # fmt: skip
    source = write("data.jsonl", "\n".join(lines) + "\n")
    with OracleServer() as server:
        done = run(server, source, source.with_name("new.jsonl"), stages="response")
    assert len(server.calls) == 1
    assert Path(done.output).read_text().splitlines()[1:] == lines[1:]
    assert (done.rows, done.rows_rejected, done.rows_left_out, done.rows_changed) == (5, 2, 0, 1)
    assert done.outcomes == {"response": {"rewritten": 1, "kept": 2}}
    rejects = Path(f"{done.output}.rejects.jsonl").read_text().splitlines()
    assert [json.loads(one)["row"] for one in rejects] == [1, 2]
    reasons = [one["reason"] for one in provenance(done)[1:]]
    assert reasons == [
        "not asked: the text has no field of its own, as with a function call",
        "not asked: there is no instruction",
    ]


def test_recorded_replies_are_not_asked_again(write: Make) -> None:
    source, output = write("data.json", ROWS), Path("new.json")
    output = source.with_name("new.json")
    with OracleServer() as server:
        first = run(server, source, output)
        bytes_ = output.read_bytes()
        asked = len(server.seen)
        output.unlink()
        second = run(server, source, output)
        assert len(server.seen) == asked
        assert output.read_bytes() == bytes_
        assert (second.prompt_tokens, second.completion_tokens) == (0, 0)
        assert second.outcomes == first.outcomes
        # Negative control: another temperature is another question.
        run(server, source, output, temperature=0.5)
        assert len(server.calls) > asked


def test_fatal_error_leaves_no_output_and_loses_no_reply(write: Make) -> None:
    source = write("data.json", ROWS)
    output = source.with_name("new.json")
    with OracleServer() as server:
        run(server, source, source.with_name("half.json"), limit=3)
        Path(f"{source.with_name('half.json')}.journal.sqlite").rename(f"{output}.journal.sqlite")
        asked = len(server.calls)
        server.status = (401, {"error": {"message": "no"}})
        with pytest.raises(OracleError, match="wants an API key, and none was sent"):
            run(server, source, output)
        assert not output.exists()
        assert not Path(f"{output}.provenance.jsonl").exists()
        server.status = None
        before = len(server.calls)
        run(server, source, output)
        assert len(server.calls) - before == 12 - asked


def test_cap_stops_cleanly_and_the_same_command_resumes(write: Make) -> None:
    source = write("data.json", ROWS)
    output = source.with_name("new.json")
    with OracleServer() as server:
        free = run(server, source, source.with_name("free.json"))
        cap = 6000
        before = server.billed
        done = run(server, source, output, max_tokens_total=cap, max_tokens=500, concurrency=1)
        assert 0 < server.billed - before <= cap
        assert done.stopped is not None
        assert done.prompt_tokens + done.completion_tokens <= cap
        rows = json.loads(output.read_text())
        assert 0 < done.rows_changed < 6
        assert [row["id"] for row in rows] == [row["id"] for row in ROWS]
        unasked = [one for one in provenance(done) if one["outcome"] == "failed"]
        assert unasked
        for one in unasked:
            assert rows[one["row"]]["output"] == ROWS[one["row"]]["output"]
        whole = run(server, source, output, max_tokens=500)
        assert whole.stopped is None
        assert whole.rows_changed == free.rows_changed == 6


def test_base_url_from_the_environment_is_part_of_the_key(
    write: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the journal would serve one server's replies as another's."""
    source = write("data.json", ROWS[:2])
    output = source.with_name("new.json")
    options: dict[str, Any] = {"oracle": "scripted", "retries": 0}
    with OracleServer() as one, OracleServer() as other:
        for server in (one, other):
            monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
            done = ifdkit.reflect(source, output, **options)
            assert done.endpoint in server.base_url
            assert len(server.calls) == 4
    monkeypatch.setenv("OPENAI_BASE_URL", "http://user:word@localhost/v1")
    with pytest.raises(UsageError, match="must not contain a user name"):
        ifdkit.reflect(source, output, **options)


def test_cost(write: Make) -> None:
    source = write("data.json", ROWS)
    with OracleServer() as server:
        done = run(server, source, source.with_name("new.json"), price_in=2.0, price_out=10.0)
    wanted = (done.prompt_tokens * 2 + done.completion_tokens * 10) / 1e6
    assert done.cost == pytest.approx(wanted)


def test_students_choice_agrees_with_separate_scores(
    write: Make, tiny_model: Path, tmp_path: Path
) -> None:
    """The four variants scored again by `ifdkit.score`, each as a dataset of its own."""
    rows = [{"id": f"r{i}", "instruction": f"Write about {i}", "output": "word " * (i + 3)}
            for i in range(24)]  # fmt: skip
    source = write("data.json", rows)
    model = {"model": str(tiny_model), "store": str(tmp_path / "s.sqlite")}
    failing = fail_on(("Write about 3\n", "refusal"), ("\nword word word word word \n", "length"))
    with OracleServer(failing) as server:
        done = run(server, source, source.with_name("new.json"), select=True, **model)
    lines = {(one["row"], one["stage"], one.get("answers_instruction")): one
             for one in provenance(done)}  # fmt: skip
    choices = [one for (_, stage, _), one in lines.items() if stage == "choice"]
    assert done.student == str(tiny_model)
    assert len(choices) >= 20
    names = ("original", "instruction", "response", "both")
    scored: dict[str, dict[int, Any]] = {}
    for name in names:
        data = [{"id": str(one["row"]), **one["variants"][name]} for one in choices
                if name in one["variants"]]  # fmt: skip
        texts = [{"id": row["id"], "instruction": row["instruction"], "output": row["response"]}
                 for row in data]  # fmt: skip
        frame = ifdkit.score(texts, metrics="ifd,rifd", model=str(tiny_model), store="off")
        assert set(score_columns()) <= set(frame.columns)
        scored[name] = {int(str(row.id)): row for row in frame.itertuples()}
    new = json.loads(Path(done.output).read_text())
    seen = set()
    for one in choices:
        marks = {name: VariantScores(scored[name][one["row"]].ifd, scored[name][one["row"]].rifd)
                 for name in names if name in one["variants"]}  # fmt: skip
        for name, mark in marks.items():
            assert one["variants"][name]["ifd"] == pytest.approx(mark.ifd, rel=1e-5)
            assert one["variants"][name]["rifd"] == pytest.approx(mark.rifd, rel=1e-5)
        wanted = choose(marks).variant  # type: ignore[arg-type]
        assert one["variant"] == wanted
        seen.add(wanted)
        texts_ = one["variants"][wanted]
        assert new[one["row"]]["instruction"] == texts_["instruction"]
        assert new[one["row"]]["output"] == texts_["response"]
    assert len(seen) > 1, "a constant choice would prove nothing"
    assert sum(done.variants.values()) == 24
    accepted = [one for one in lines.values() if one.get("accepted")]
    assert accepted
    assert all(one["in_output"] and one["text"] for one in accepted)
    # Failures: row 3 keeps its instruction, and row 2's responses are cut off.
    assert lines[3, "instruction", None]["accepted"] is None
    assert new[3]["instruction"] == rows[3]["instruction"]
    assert new[2] == rows[2]


def test_select_answers_the_old_instruction_too(write: Make, tiny_model: Path) -> None:
    source = write("data.json", ROWS[:2])
    with OracleServer() as server:
        done = run(server, source, source.with_name("new.json"), select=True,
                   model=str(tiny_model), store="off")  # fmt: skip
    assert len(server.calls) == 6
    (choice, *_) = [one for one in provenance(done) if one["stage"] == "choice"]
    assert list(choice["variants"]) == ["original", "response", "instruction", "both"]
    only = run_estimate(source, select=True)
    assert only.calls == {"instruction": 2, "response": 4}


def run_estimate(source: Path, **options: Any) -> Any:
    return estimate_run(source, ReflectOptions(oracle="scripted", **options))


def test_estimate_counts_the_calls_of_a_run_and_asks_nothing(write: Make) -> None:
    rows = [*ROWS, {"instruction": "", "output": "x"}, {"instruction": "a", "output": 3}]
    source = write("data.json", rows)
    found = run_estimate(source, price_in=1.0, price_out=2.0, max_tokens=300)
    with OracleServer() as server:
        done = run(server, source, source.with_name("new.json"))
    assert sum(found.calls.values()) == len(server.calls) == 12
    assert found.most_completion_tokens == 12 * 300
    assert 0 < found.likely_cost < found.most_cost
    assert len(set(found.prompts)) == 3
    sent = {one.text for one in server.calls}
    assert found.prompts[0][1].split("[user]\n")[1] in sent
    assert done.outcomes["instruction"]["kept"] == 1
    assert sorted(path.name for path in source.parent.iterdir() if "new" not in path.name) == [
        "data.json"
    ]


@pytest.mark.parametrize("name", ["data.csv", "data.parquet", "data.jsonl.gz"])
def test_other_formats(write: Make, tmp_path: Path, name: str) -> None:
    import gzip

    import pandas as pd

    flat = [{k: row[k] for k in ("id", "instruction", "input", "output")} for row in ROWS]
    source, output = tmp_path / name, tmp_path / f"new{name.removeprefix('data')}"
    if name.endswith("parquet"):
        pd.DataFrame(flat).to_parquet(source)
    elif name.endswith("csv"):
        pd.DataFrame(flat).to_csv(source, index=False)
    else:
        source.write_bytes(gzip.compress("\n".join(map(json.dumps, flat)).encode()))
    with OracleServer() as server:
        run(server, source, output)
    before, after = (list(open_dataset(path).raw_rows()) for path in (source, output))
    for old, new in zip(before, after, strict=True):
        assert [old.value[k] for k in ("id", "input")] == [new.value[k] for k in ("id", "input")]
        assert new.value["output"].startswith("Rewritten")


def test_sample_of_rows_in_memory_inside_a_running_event_loop(tmp_path: Path) -> None:
    with OracleServer() as server:

        async def notebook() -> Recycled:
            return run(server, ROWS, tmp_path / "new.json", sample=2, seed=1)

        done = asyncio.run(notebook())
    chosen = [row["id"] for row in json.loads((tmp_path / "new.json").read_text())]
    assert len(chosen) == 2
    assert chosen == sorted(chosen)
    assert (done.rows, done.sample, done.seed) == (2, 2, 1)


SENTINEL = "sk-sentinel-5f1c09aa52be"


def test_key_is_in_no_file_log_or_result(
    write: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setenv("MY_KEY", SENTINEL)
    source = write("data.json", ROWS)
    with caplog.at_level(logging.DEBUG), OracleServer(seeded(0.3, 1)) as server:
        done = run(server, source, source.with_name("new.json"), api_key_env="MY_KEY", timeout=0.5)
        assert any(SENTINEL in one.headers["authorization"] for one in server.seen), "it was sent"
        server.status = (401, {"error": {"message": f"bad key {SENTINEL}"}})
        with pytest.raises(OracleError) as caught:
            run(server, source, source.with_name("x.json"), api_key_env="MY_KEY")
    shown = [repr(done), str(done.as_json()), repr(caught.value), caplog.text]
    shown += [path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file()]
    assert len(shown) > 6
    assert not any(SENTINEL in text for text in shown)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"stages": "answers"}, "--stages answers: must be instruction, response or both"),
        ({"max_cost": 1.0}, "price"),
        ({"oracle": "local", "base_url": "http://x/v1"}, "remove --base-url"),
        ({"temperature": 3.0}, "--temperature 3.0: must be between 0 and 2"),
        ({"timeout": 0.0}, "--timeout 0.0"),
        ({"max_tokens": 0}, "--max-tokens 0"),
        ({"retries": -1}, "--retries -1"),
        ({"concurrency": 0}, "--concurrency 0: must be at least 1"),
        ({"colour": "red"}, "no keyword 'colour'"),
    ],
)
def test_invalid_options(tmp_path: Path, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        ifdkit.reflect(ROWS, tmp_path / "x.json", **{"oracle": "o", **options})
    with pytest.raises(UsageError, match="needs an oracle"):
        ifdkit.reflect(ROWS, tmp_path / "x.json")
    assert list(tmp_path.iterdir()) == []


_MEASURE = f"""
import sys, ifdkit
{PEAK_BYTES}
done = ifdkit.reflect(sys.argv[1], sys.argv[2], oracle="o", base_url=sys.argv[3], concurrency=16,
                      stages="response")
assert done.rows_changed == done.rows, done
print(peak_bytes() // 1024)
"""


@pytest.mark.long
@needs_proc
def test_memory_does_not_grow_with_the_dataset(tmp_path: Path) -> None:
    """Peak memory for 10,000 rows of 2 kB, compared with 1,000."""
    peak_kb = {}
    with OracleServer(keep=False) as server:
        for n in (1000, 10_000):
            source = tmp_path / f"{n}.jsonl"
            with source.open("w") as file:
                for i in range(n):
                    row = {"instruction": f"Write {i}", "output": f"{i} " * 600}
                    file.write(json.dumps(row) + "\n")
            done = subprocess.run(
                [sys.executable, "-c", _MEASURE, source, tmp_path / f"{n}.out.jsonl",
                 server.base_url],
                capture_output=True, text=True, env=os.environ,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            peak_kb[n] = int(done.stdout)
    print(peak_kb)
    # The rows alone would be 25 MB and more.
    assert peak_kb[10_000] - peak_kb[1000] < 12_000
