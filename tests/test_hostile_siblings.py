"""Attacks like those of the hostile matrix, by the places where each of them is stopped."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import ifdkit.cli.main as cli
from ifdkit.cli.main import main
from ifdkit.data import expansion, parquet_files, table_rows
from ifdkit.data.atomic import OutputFiles
from ifdkit.data.dataset import open_dataset
from ifdkit.data.parquet_files import n_text_bytes, parquet_batches
from ifdkit.engine.models import resolve
from ifdkit.engine.tokenizer import HuggingFaceTokenizer
from ifdkit.engine.untrusted import check_size
from ifdkit.errors import InputError, ModelError, OutputError, StoreError, UsageError
from ifdkit.oracle import wire
from ifdkit.scoring.settings import Settings
from ifdkit.scoring.store import Store
from tests.refusals import error_of
from tests.test_api_keys import Recorder, completion

ROW = {"id": "r", "instruction": "Add 2 and 3", "output": "It is 5, as 2 and 3 are 5."}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d.jsonl").write_text(json.dumps(ROW) + "\n")
    (tmp_path / "e.jsonl").write_text(json.dumps(ROW | {"output": "Five."}) + "\n")
    return tmp_path


@pytest.mark.parametrize(
    "setting",
    ["limit = 1979-05-27", "limit = 12:00:00", "limit = inf", "limit = [1]", "limit = {a = 1}",
     f"limit = {'9' * 5000}", 'model = ["a"]', "metrics = {a = 1}", 'against = "e.jsonl"',
     "against = [1]", 'rule = 5', "seed = nan"],
)  # fmt: skip
def test_a_setting_of_a_wrong_type_is_one_line(
    setting: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file, text in (
        ("ifdkit.toml", setting),
        ("pyproject.toml", f"[tool.ifdkit]\n{setting}"),
    ):
        (folder / file).write_text(text + "\n")
        assert error_of(capsys, "audit", "d.jsonl", "--no-model").startswith(f"ifdkit: {file}: ")
        (folder / file).unlink()


def test_a_list_of_texts_is_a_setting(folder: Path) -> None:
    (folder / "ifdkit.toml").write_text('against = ["e.jsonl"]\nlimit = 1\n')
    assert main(["audit", "d.jsonl", "--no-model", "-q"]) == 1  # the row is in e.jsonl


@pytest.mark.parametrize("name", ["workers", "threads"])
def test_a_settings_file_cannot_ask_for_a_million_processes(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "ifdkit.toml").write_text(f"{name} = 1_000_000\n")
    assert f"--{name} 1000000: at most" in error_of(capsys, "score", "d.jsonl")
    with pytest.raises(UsageError):
        Settings(**cast(Any, {name: 1_000_000}))
    assert Settings(**cast(Any, {name: 16}))


def make_device(path: Path) -> None:
    try:
        os.mknod(path, 0o020666, os.makedev(1, 3))
    except OSError:
        path.symlink_to(os.devnull)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="makes a pipe")
@pytest.mark.parametrize("make", [os.mkfifo, make_device])
@pytest.mark.parametrize("place", ["", ".manifest.json", ".rejects.jsonl"])
def test_a_pipe_or_device_is_not_replaced(
    place: str, make: Callable[[Path], None], folder: Path
) -> None:
    path = folder / f"o.jsonl{place}"
    make(path)
    before = path.lstat()
    with (
        pytest.raises(OutputError, match="not a file"),
        OutputFiles(folder / "o.jsonl", ".rejects.jsonl", ".manifest.json") as files,
    ):
        files.open().write(b"x")
    assert (path.lstat().st_mode, path.lstat().st_ino) == (before.st_mode, before.st_ino)


COMPANIONS = {
    "score": (["score", "IN", "-o", "o.jsonl"], [".manifest.json", ".rejects.jsonl"]),
    "join": (["score", "IN", "--join", "-o", "o.jsonl"], [".manifest.json", ".rejects.jsonl"]),
    "select": (["select", "IN", "--method", "random", "--top", "1", "-o", "o.jsonl"],
               [".manifest.json", ".rows.jsonl"]),
    "clean": (["audit", "IN", "--no-model", "--clean", "o.jsonl"], [".dropped.jsonl"]),
    "against": (["audit", "d.jsonl", "--no-model", "--against", "IN", "--clean", "o.jsonl"],
                ["", ".dropped.jsonl"]),
    "generate": (["generate", "IN", "-o", "o.jsonl"], [".manifest.json", ".rejects.jsonl"]),
    "reflect": (["reflect", "IN", "-o", "o.jsonl", "--oracle", "m", "--base-url",
                 "http://127.0.0.1:9"], [".manifest.json", ".provenance.jsonl", ".rejects.jsonl"]),
    "judge": (["judge", "d.jsonl", "IN", "-o", "o.jsonl", "--oracle", "m", "--base-url",
               "http://127.0.0.1:9"], [".manifest.json"]),
}  # fmt: skip


@pytest.mark.parametrize("command", COMPANIONS)
def test_an_input_is_not_replaced_as_a_companion(
    command: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As of who scores the rejects of an earlier run, and names the output as before."""
    call, companions = COMPANIONS[command]
    for companion in companions:
        file = folder / f"o.jsonl{companion}"
        file.write_text((folder / "d.jsonl").read_text())
        before = file.read_bytes()
        arguments = [file.name if one == "IN" else one for one in call]
        assert "choose another name" in error_of(capsys, *arguments, "-q")
        assert file.read_bytes() == before
        file.unlink()
        assert not list(folder.glob("o.jsonl*"))


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE people (name TEXT)",
        "CREATE VIEW nll AS WITH RECURSIVE n(x) AS (VALUES(1) UNION ALL SELECT x+1 FROM n)"
        " SELECT x AS key FROM n",
        "CREATE TABLE nll (key BLOB); CREATE TRIGGER t AFTER INSERT ON nll BEGIN SELECT 1; END",
    ],
)
@pytest.mark.parametrize("version", [0, 4])
def test_a_database_of_another_program_is_not_changed(
    statement: str, version: int, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = sqlite3.connect("other.db")
    database.executescript(f"{statement}; PRAGMA user_version = {version}")
    database.close()
    before = (folder / "other.db").read_bytes()
    with pytest.raises(StoreError, match="is not a score store"):
        Store("other.db")
    for command in ("verify", "info", "prune"):
        assert "is not a score store" in error_of(capsys, "store", command, "--store", "other.db")
    assert (folder / "other.db").read_bytes() == before


def same_texts(n: int, n_chars: int, kind: pa.DataType) -> pa.Table:
    values = pa.array(["x" * n_chars], kind)
    references = pa.DictionaryArray.from_arrays(pa.array([0] * n, pa.int32()), values)
    return pa.table({"instruction": ["Add 2 and 3"] * n, "output": references})


def write_bomb(kind: str, path: Path, n: int = 80, n_chars: int = 250_000) -> None:
    options: dict[str, Any] = {"compression": "zstd", "store_schema": False}
    if kind == "fixed":
        table = same_texts(n, n_chars, pa.binary(n_chars))
        pq.write_table(table, path, dictionary_pagesize_limit=2**30, **options)
        return
    how = {"plain": "PLAIN", "shared": "DELTA_BYTE_ARRAY"}[kind]
    table = same_texts(n, n_chars, pa.string())
    table = table.set_column(1, "output", table["output"].cast(pa.string()))
    encoding = {"output": how, "instruction": "PLAIN"}
    pq.write_table(table, path, use_dictionary=False, column_encoding=encoding, **options)


@pytest.mark.parametrize("kind", ["plain", "shared", "fixed"])
def test_a_batch_of_a_parquet_file_is_bounded_however_it_is_encoded(
    kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_files, "MAX_BATCH_BYTES", 4 * 2**20)
    monkeypatch.setattr(parquet_files, "_MAX_GROUP_BYTES", 16 * 2**20)
    path = folder / "bomb.parquet"
    write_bomb(kind, path)
    assert path.stat().st_size < 50_000
    batches = [(one.num_rows, n_text_bytes(one)) for one in parquet_batches(path, path)]
    assert sum(n for n, _ in batches) == 80
    assert max(size for _, size in batches) <= 4 * 2**20


def test_a_parquet_file_that_says_how_far_it_expands_is_refused_unread(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "bomb.parquet"
    write_bomb("plain", path, n=20, n_chars=1_000_000)
    monkeypatch.setattr(expansion, "MAX_TEXT_BYTES", 2**20)
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", None)
    with pytest.raises(InputError, match="write it as JSON Lines"):
        list(parquet_batches(path, path))


def test_values_of_all_lists_of_a_row_group_count(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "lists.parquet"
    pq.write_table(pa.table({f"c{i}": [[1] * 50] for i in range(3)}), path)
    monkeypatch.setattr(parquet_files, "_MAX_VALUES_PER_GROUP", 150)
    assert list(parquet_batches(path, path))
    monkeypatch.setattr(parquet_files, "_MAX_VALUES_PER_GROUP", 149)
    with pytest.raises(InputError, match="values in lists"):
        list(parquet_batches(path, path))


def save_dataset(folder: Path, table: pa.Table, compression: str | None) -> None:
    folder.mkdir()
    (folder / "state.json").write_text('{"_data_files": [{"filename": "a.arrow"}]}')
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(str(folder / "a.arrow"), table.schema, options=options) as writer:
        writer.write_table(table)


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
@pytest.mark.parametrize("is_dictionary", [False, True])
def test_a_compressed_batch_of_a_saved_dataset_is_refused(
    compression: str, is_dictionary: bool, folder: Path
) -> None:
    table = pa.Table.from_pylist([ROW] * 100)
    if is_dictionary:
        table = table.set_column(2, "output", table["output"].dictionary_encode())
    save_dataset(folder / "small", table, compression)
    with pytest.raises(InputError, match="its batches are compressed"):
        open_dataset(folder / "small")
    save_dataset(folder / "plain", table, None)
    assert len(list(open_dataset(folder / "plain"))) == 100


def test_a_file_of_a_saved_dataset_that_is_a_pipe_is_refused(folder: Path) -> None:
    save_dataset(folder / "saved", pa.Table.from_pylist([ROW]), None)
    (folder / "saved" / "a.arrow").unlink()
    os.mkfifo(folder / "saved" / "a.arrow")
    with pytest.raises(InputError, match="it is a pipe"):
        open_dataset(folder / "saved")


def test_a_quote_that_swallows_many_short_lines_is_bounded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_rows, "MAX_VALUES", 100)
    rows = "".join(f'{i},"Add {i}",It is {i}\n' for i in range(300))
    (folder / "x.csv").write_text(f'id,instruction,output\n0,"lost,x\n{rows}')
    with (folder / "x.csv").open("rb") as file:
        raws = list(table_rows.csv_rows(file, "x.csv"))
    assert len(raws) == 301
    assert raws[0].error is not None
    assert all(one.error is None for one in raws[1:])
    (folder / "y.csv").write_text('id,instruction,output\n0,"' + "x\n" * 300)
    with (folder / "y.csv").open("rb") as file:
        first = next(table_rows.csv_rows(file, "y.csv"))
    assert first.error == "has more than 100 lines"


def test_a_folder_with_a_link_to_itself_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "shards").mkdir()
    for name in ("a", "b"):
        (folder / "shards" / f"{name}.jsonl").write_text(json.dumps(ROW | {"id": name}))
    (folder / "shards" / "loop.jsonl").symlink_to("loop.jsonl")
    assert "loop.jsonl" in error_of(capsys, "audit", "shards", "--no-model")


def change_tokenizer(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    file = folder / "tokenizer.json"
    content = json.loads(file.read_bytes())
    change(content)
    file.write_text(json.dumps(content))


def replaces(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


TOKENIZERS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "grows": (
        lambda one: one.update(
            normalizer={
                "type": "Sequence",
                "normalizers": [replaces({"String": "a"}, "a" * 50)] * 6,
            }
        ),
        "makes a text too much longer",
    ),
    "prepends": (
        lambda one: one.update(normalizer={"type": "Prepend", "prepend": "x" * 5_000_000}),
        "makes a text too much longer",
    ),
    "backtracks": (
        lambda one: one.update(normalizer=replaces({"Regex": "(a+)+$"}, "")),
        "the tokenizer of the model fails",
    ),
    "adds": (
        lambda one: one.update(
            post_processor={
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}] * 1000
                + [{"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [],
                "special_tokens": {"<s>": {"id": "<s>", "ids": [0] * 100, "tokens": ["<s>"] * 100}},
            }
        ),
        "adds too many tokens",
    ),
    "numbers": (lambda one: one["model"]["vocab"].update(a=2**31), "too large an id"),
    "long": (lambda one: one["added_tokens"][0].update(content="x" * 20_000), "too long"),
}


@pytest.fixture
def model(folder: Path, tiny_model: Path) -> Path:
    shutil.copytree(tiny_model, folder / "m")
    return folder / "m"


@pytest.mark.parametrize("attack", TOKENIZERS)
def test_a_tokenizer_that_takes_the_machine_down_is_refused(attack: str, model: Path) -> None:
    change, message = TOKENIZERS[attack]
    assert HuggingFaceTokenizer(resolve("./m")).encode(["aaa!"], special=True)
    change_tokenizer(model, change)
    with pytest.raises(ModelError, match=message):
        HuggingFaceTokenizer(resolve("./m")).encode(["a" * 60 + "!"], special=True)


def test_a_tokenizer_with_settings_of_a_wrong_type_is_refused(model: Path) -> None:
    file = model / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_bytes()) | {"model_max_length": "x"}))
    with pytest.raises(ModelError, match="does not work"):
        HuggingFaceTokenizer(resolve("./m"))


@pytest.mark.parametrize(
    "config",
    [{"num_hidden_layers": 10**8}, {"text_config": {"num_local_experts": 10**9}},
     {"n_layer": 10**6}, {"num_attention_heads": 10**7}],
)  # fmt: skip
def test_a_config_of_a_hundred_million_layers_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="is over 100,000"):
        check_size("m", config)
    check_size(
        "m", {"num_hidden_layers": 96, "max_position_embeddings": 10**7, "n_positions": 10**6}
    )


def test_the_size_is_checked_before_a_model_is_built(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = model / "config.json"
    file.write_text(json.dumps(json.loads(file.read_bytes()) | {"num_hidden_layers": 10**8}))
    for plan in ([], ["--plan"]):
        arguments = ["score", "d.jsonl", "-m", "./m", "--metrics", "ifd", "--store", "off", *plan]
        assert "num_hidden_layers is over" in error_of(capsys, *arguments)
    file.write_text('{"a": ' + "[" * 100_000)
    assert "config.json is missing or broken" in error_of(capsys, *arguments)


@pytest.mark.parametrize("names", ["./m", "./n"])
def test_adapters_that_name_each_other_are_refused(names: str, model: Path) -> None:
    (model / "model.safetensors").unlink()
    (model / "adapter_model.safetensors").write_bytes(b"")
    shutil.copytree(model, "n")
    for folder, base in ((model, names), (Path("n"), "./m")):
        content = {"peft_type": "LORA", "base_model_name_or_path": base}
        (folder / "adapter_config.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match="is an adapter too"):
        resolve("./m")


def test_a_panic_of_a_library_in_rust_ends_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class PanicException(BaseException):
        pass

    def panic(*_: object) -> None:
        raise PanicException("index out of bounds")

    monkeypatch.setattr(cli.cli, "invoke", panic)
    assert main(["models"]) == 2
    err = capsys.readouterr().err
    assert err == "ifdkit: internal error: index out of bounds (please report it)\n"


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("is_compressed", [False, True])
def test_a_reply_of_any_length_is_not_read(
    status: int,
    is_compressed: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(wire, "MAX_REPLY_BYTES", 100_000)
    body = json.dumps(completion("x" * 200_000)).encode()
    head = "Content-Encoding: gzip\r\n" if is_compressed else ""
    body = gzip.compress(body) if is_compressed else body
    with Recorder(lambda *_: (status, head, body)) as server:
        call = ["reflect", "d.jsonl", "-o", "n.jsonl", "--oracle", "m", "--retries", "0"]
        last = error_of(capsys, *call, "--base-url", server.base_url)
    assert re.search("response is longer than 100,000 bytes", last)


def test_deep_json_of_a_working_folder_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "report").mkdir()
    (folder / "report" / "summary.json").write_text("[" * 100_000)
    (folder / "report" / "rows.parquet").write_bytes(b"PAR1")
    assert "report" in error_of(capsys, "view", "report", "--no-open")
    (folder / "dataset_info.json").write_text('{"a": ' + "[" * 100_000)
    call = ["select", "d.jsonl", "--method", "random", "--top", "1", "-o", "t.json"]
    assert "dataset_info.json" in error_of(capsys, *call, "--to", "llamafactory")
