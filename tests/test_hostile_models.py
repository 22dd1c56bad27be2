"""Settings and tokenizers of models that take the machine down: refused in one line."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ifdkit.cli.main import main
from ifdkit.engine import patterns, pieces
from ifdkit.engine.embedder import SentenceEmbedder
from ifdkit.engine.gguf_header import check_header
from ifdkit.engine.models import resolve
from ifdkit.engine.panics import without_panic
from ifdkit.engine.patterns import check_patterns
from ifdkit.engine.tokenizer import HuggingFaceTokenizer
from ifdkit.engine.untrusted import check_tokenizer
from ifdkit.errors import ModelError
from tests.limits import PEAK_BYTES, needs_proc, time_limit
from tests.test_adapters import broken, nats, save_adapter

pytestmark = pytest.mark.long

ROW = {"id": "r", "instruction": "Add 2 and 3", "output": "It is 5, as 2 and 3 are 5."}
HANGS = r"(\w+\.?)+!"
"""Takes twice the time for each character of a name."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d.jsonl").write_text(json.dumps(ROW) + "\n")
    return tmp_path


@pytest.fixture
def model(folder: Path, tiny_model: Path) -> Path:
    shutil.copytree(tiny_model, folder / "m")
    return folder / "m"


def error_of(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The only line that a command prints."""
    capfd.readouterr()
    assert main([*arguments, "-q"]) == 2
    err = capfd.readouterr().err
    assert err.startswith("ifdkit: "), err
    assert err.count("\n") == 1, err
    assert "internal error" not in err
    return err


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_bytes()) | values))


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "MAX_SECONDS", 2)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": HANGS},
        {"exclude_modules": HANGS},
        {"rank_pattern": {HANGS: 2}},
        {"alpha_pattern": {HANGS: 2}},
        {"modules_to_save": [HANGS]},
        {"layers_to_transform": [0], "layers_pattern": [HANGS]},
        {"target_modules": "base_model" + HANGS + "|" + HANGS},
        {"target_modules": r"(\w|\w\w|\.)*!"},
        {"target_modules": ".*" * 12 + "!"},
    ],
)
def test_a_pattern_of_an_adapter_that_never_ends_is_refused(
    settings: dict[str, Any], model: Path, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    adapter = save_adapter(model, folder / "adapter")
    broken(adapter, **settings)
    with time_limit(60):
        last = error_of(capfd, "score", "d.jsonl", "-m", "./adapter", "--metrics", "ifd")
    assert "adapter_config.json has a pattern that takes more than 2 s to match" in last


@pytest.mark.parametrize(
    "targets", [r".*\.(q|v)_proj", r"model\.layers\.\d+\.self_attn\.(q_proj|v_proj)"]
)
def test_an_honest_pattern_gives_the_same_numbers(targets: str, model: Path, folder: Path) -> None:
    adapter = save_adapter(model, folder / "adapter")
    before = nats(adapter)
    broken(adapter, target_modules=targets)
    assert nats(adapter).tolist() == before.tolist()


@pytest.mark.usefixtures("soon")
def test_a_pattern_of_a_quantization_that_never_ends_is_refused(
    model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    quantization = {"quant_method": "fp8", "modules_to_not_convert": [HANGS]}
    change(model / "config.json", quantization_config=quantization)
    with time_limit(60):
        last = error_of(capfd, "score", "d.jsonl", "-m", "./m", "--metrics", "ifd")
    assert "config.json has a pattern" in last


@pytest.mark.usefixtures("soon")
def test_patterns_are_found_at_any_depth_and_only_they_start_a_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = [f"model.layers.{i}.self_attn.q_proj" for i in range(100)]
    check_patterns(
        "m", "f", {"a": [{"b": r".*\.\d+\.(self_attn|mlp)\..*", "(": "x"}]}, lambda: names
    )
    with pytest.raises(ModelError, match="f has a pattern"):
        check_patterns("m", "f", {"a": [{"b": {HANGS: 1}}]}, lambda: names)
    monkeypatch.setattr(subprocess, "run", None)
    check_patterns("m", "f", {"a": ["q_proj", "v_proj"], "r": 8, "n": None}, lambda: names)


@pytest.mark.parametrize(
    "settings", [{"r": 10**9}, {"rank_pattern": {"q_proj": 10**8}}, {"init_r": 10**7}]
)
def test_the_rank_of_an_adapter_is_bounded(
    settings: dict[str, Any], model: Path, folder: Path
) -> None:
    adapter = save_adapter(model, folder / "adapter")
    broken(adapter, **settings)
    with pytest.raises(ModelError, match="the rank of its adapter is over 65,536"):
        nats(adapter)


def test_ranks_for_very_many_names_are_refused(model: Path, folder: Path) -> None:
    adapter = save_adapter(model, folder / "adapter")
    broken(adapter, rank_pattern={f"q{i}": 4 for i in range(100_000)})
    with time_limit(60), pytest.raises(ModelError, match="more than 10,000 ranks"):
        nats(adapter)


def test_an_embedder_with_a_pattern_in_an_adapter_is_refused(
    tiny_embedder: Path, folder: Path
) -> None:
    copy = Path(shutil.copytree(tiny_embedder, folder / "embedder"))
    content = {"peft_type": "LORA", "base_model_name_or_path": "./x*", "target_modules": HANGS}
    (copy / "adapter_config.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match="list the names of modules instead"):
        SentenceEmbedder("e", copy, device="cpu")


N_TOKENS = 300_000


def token(i: int, **more: Any) -> dict[str, Any]:
    return {"id": 400 + i, "content": f"a{i}", "single_word": False, "lstrip": False,
            "rstrip": False, "normalized": False, "special": False, **more}  # fmt: skip


def in_tokenizer(model: Path) -> None:
    content = json.loads((model / "tokenizer.json").read_bytes())
    content["added_tokens"] += [token(i) for i in range(N_TOKENS)]
    (model / "tokenizer.json").write_text(json.dumps(content))


def in_decoder(model: Path) -> None:
    decoder = {str(400 + i): {"content": f"a{i}"} for i in range(N_TOKENS)}
    change(model / "tokenizer_config.json", added_tokens_decoder=decoder)


def as_special(key: str) -> Callable[[Path], None]:
    def write(model: Path) -> None:
        change(model / "tokenizer_config.json", **{key: [f"a{i}" for i in range(N_TOKENS)]})

    write.__name__ = key
    return write


def in_map(model: Path) -> None:
    content = {"additional_special_tokens": [f"a{i}" for i in range(N_TOKENS)]}
    (model / "special_tokens_map.json").write_text(json.dumps(content))


def in_file(model: Path) -> None:
    content = {f"a{i}": 400 + i for i in range(N_TOKENS)}
    (model / "added_tokens.json").write_text(json.dumps(content))


ADDED = (in_tokenizer, in_decoder, in_map, in_file, as_special("additional_special_tokens"),
         as_special("extra_special_tokens"))  # fmt: skip


@pytest.mark.parametrize("add", ADDED, ids=lambda one: one.__name__)
def test_a_tokenizer_with_hundreds_of_thousands_of_added_tokens_is_refused(
    add: Callable[[Path], None], model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    add(model)
    with time_limit(30):
        last = error_of(capfd, "score", "d.jsonl", "-m", "./m", "--metrics", "ifd")
    assert "adds too many tokens to the vocabulary: 300,0" in last
    assert "is over 100,000" in last


def test_an_embedder_with_hundreds_of_thousands_of_added_tokens_is_refused(
    tiny_embedder: Path, folder: Path
) -> None:
    copy = Path(shutil.copytree(tiny_embedder, folder / "embedder"))
    in_tokenizer(next(copy.rglob("tokenizer.json")).parent)
    with time_limit(30), pytest.raises(ModelError, match="adds too many tokens"):
        SentenceEmbedder("e", copy, device="cpu")


def test_a_tokenizer_with_tens_of_thousands_of_added_tokens_is_read(model: Path) -> None:
    """As of models that write images or speech."""
    content = json.loads((model / "tokenizer.json").read_bytes())
    content["added_tokens"] += [token(i, content=f"<|image {i:05}|>") for i in range(30_000)]
    (model / "tokenizer.json").write_text(json.dumps(content))
    with time_limit(60):
        made = HuggingFaceTokenizer(resolve("./m"))
        (ids,) = made.encode(["the <|image 00012|> sea"], special=False)
    assert 412 in ids
    assert made.vocabulary == 30_400


def test_a_tokenizer_file_of_any_length_is_not_parsed(model: Path) -> None:
    with (model / "tokenizer.json").open("ab") as file:
        file.truncate(2**30)  # a hole
    with pytest.raises(ModelError, match=r"tokenizer\.json is longer than 134,217,728 bytes"):
        check_tokenizer("m", model)


def test_what_a_tokenizer_leaves_out_hides_nothing(model: Path) -> None:
    content = json.loads((model / "tokenizer.json").read_bytes())
    del content["added_tokens"]
    content["normalizer"] = {"type": "Prepend", "prepend": "x" * 5000}
    (model / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match="makes a text too much longer"):
        check_tokenizer("m", model)


def backtracks(model: Path) -> None:
    """A regex that Oniguruma gives up on, over which the library panics."""
    pattern = {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""}
    change(model / "tokenizer.json", normalizer=pattern)


@pytest.mark.parametrize("command", ["score", "show", "train", "generate"])
def test_a_panic_is_one_line(command: str, model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    backtracks(model)
    row = ROW | {"instruction": "a" * 60 + "!", "output": "a" * 60 + "!"}
    Path("d.jsonl").write_text(json.dumps(row) + "\n")
    more = {"show": ["0"], "train": ["-o", "t"], "generate": ["-o", "g.jsonl"]}.get(command, [])
    with time_limit(120):
        last = error_of(capfd, command, "d.jsonl", *more, "-m", "./m")
    assert "the tokenizer of the model fails" in last


PANIC = """
import os, sys, threading
from ifdkit.engine.panics import without_panic
from ifdkit.errors import ModelError

class PanicException(BaseException):
    pass

def panics(i):
    try:
        with without_panic():
            os.write(2, b"warning %d\\n" % i)
            os.write(2, b"\\nthread '<unnamed>' panicked at src/lib.rs:1:1:\\nregex\\nnote: run\\n")
            raise PanicException(f"regex {i}")
    except ModelError as error:
        print(error)

panics(0)
panics(1)
print("still here", file=sys.stderr)
with without_panic():
    print("inside", file=sys.stderr)
    with without_panic():
        os.write(2, b"deeper\\n")
print("after", file=sys.stderr)
if sys.argv[1:] == ["thread"]:
    started = threading.Event()
    def works():
        with without_panic():
            started.set()
            threading.Event().wait()
    threading.Thread(target=works, daemon=True).start()
    started.wait()
    print("while a thread works", file=sys.stderr)
"""


@pytest.mark.parametrize("arguments", [[], ["thread"]])
def test_only_the_lines_of_a_panic_are_left_out(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", PANIC, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"the tokenizer of the model fails: regex {i}" for i in range(2)
    ]
    expected = ["warning 0", "warning 1", "still here", "inside", "deeper", "after"]
    assert done.stderr.splitlines() == expected + ["while a thread works"] * len(arguments)


CLOSED = """
import os
os.close(2)
from ifdkit.engine.panics import without_panic
from ifdkit.errors import ModelError
try:
    with without_panic():
        raise type("PanicException", (BaseException,), {})("regex")
except ModelError as error:
    print(error)
"""


def test_a_closed_standard_error_is_no_error() -> None:
    done = subprocess.run([sys.executable, "-c", CLOSED], stdout=subprocess.PIPE, text=True)
    assert done.stdout == "the tokenizer of the model fails: regex\n"


def test_threads_capture_at_the_same_time(capfd: pytest.CaptureFixture[str]) -> None:
    def write(i: int) -> None:
        for k in range(50):
            with without_panic():
                os.write(2, f"{i}-{k}\n".encode())

    threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(capfd.readouterr().err.split()) == sorted(
        f"{i}-{k}" for i in range(4) for k in range(50)
    )


WORD = "thesea"
"""Repeated, a word that is tokenised differently from wherever one begins."""


@pytest.fixture
def low_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    from ifdkit.engine import tokenizer

    monkeypatch.setattr(pieces, "MAX_WHOLE_CHARS", 20_000)
    monkeypatch.setattr(tokenizer, "LONG_CHARS", 2000)
    encode: Callable[..., Any] = pieces.encode_in_pieces
    monkeypatch.setattr(tokenizer, "encode_in_pieces", lambda *one: encode(*one, 2000, 100))


@pytest.mark.usefixtures("low_limit")
@pytest.mark.parametrize("field", ["instruction", "output", "text"])
@pytest.mark.parametrize("protocol", ["aligned", "superfiltering"])
def test_a_row_with_too_long_a_word_is_invalid_and_no_other(
    field: str, protocol: str, tiny_model: Path
) -> None:
    import random

    word = "".join(random.Random(1).choices(WORD, k=30_000))
    good = {"text": "The sea is wide."} if field == "text" else ROW
    rows = [good, {**good, "id": "long", field: word}, {**good, "id": "c"}]
    Path("d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    call = ["score", "d.jsonl", "-o", "o.jsonl", "-m", str(tiny_model), "--metrics", "ppl", "-q"]
    assert main([*call, "--protocol", protocol]) == 0
    found = [json.loads(line) for line in Path("o.jsonl").read_text().splitlines()]
    assert [one["status"] == "invalid" for one in found] == [False, True, False]
    assert found[1]["reason"].endswith("for the tokenizer, which takes 20,000 at once")
    assert found[1]["response_tokens"] is None
    assert found[1]["ppl_response_direct"] is None
    assert found[0]["ppl_response_direct"] == found[2]["ppl_response_direct"]


SCORE = f"""{PEAK_BYTES}
import sys
from ifdkit.cli.main import main
code = main(sys.argv[1:])
print(code, peak_bytes(), file=sys.stderr)
"""


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("n_chars", [4_000_000, 30_000_000])
@pytest.mark.parametrize("command", ["score", "audit", "show"])
def test_memory_of_one_word_is_bounded(
    command: str, n_chars: int, tiny_model: Path, folder: Path
) -> None:
    def peak(row: dict[str, Any]) -> int:
        (folder / "d.jsonl").write_text("".join(json.dumps(one) + "\n" for one in (row, ROW)))
        more = ["0"] if command == "show" else []
        done = subprocess.run(
            [sys.executable, "-c", SCORE, command, "d.jsonl", *more, "-q", "-m", str(tiny_model),
             "--metrics", "ifd", "--store", "off"],
            capture_output=True, text=True)  # fmt: skip
        code, n_bytes = map(int, done.stderr.split()[-2:])
        assert code in (0, 1), done.stderr
        return n_bytes

    word = "".join("thesea"[i * i % 6] for i in range(1000)) * (n_chars // 1000)
    assert peak(ROW | {"output": word}) - peak(ROW) < 10**9


def text(value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(value) if length is None else length) + value


def pair(key: bytes, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def gguf(
    pairs: list[bytes], *, n_pairs: int | None = None, n_tensors: int = 0, tensors: bytes = b""
) -> bytes:
    count = len(pairs) if n_pairs is None else n_pairs
    return b"GGUF" + struct.pack("<IQQ", 3, n_tensors, count) + b"".join(pairs) + tensors


ARCHITECTURE = pair(b"general.architecture", 8, text(b"llama"))
HEADERS: dict[str, tuple[bytes, str]] = {
    "pairs": (gguf([ARCHITECTURE], n_pairs=2**60), "pairs of metadata"),
    "tensors": (gguf([ARCHITECTURE], n_tensors=2**60), "tensors"),
    "a text": (gguf([pair(b"a", 8, text(b"x", 2**62))]), "a text of"),
    "a key": (gguf([text(b"x", 2**62)]), "a text of"),
    "an array": (gguf([pair(b"a", 9, struct.pack("<IQ", 0, 2**62))]), "elements in arrays"),
    "an array of bytes": (
        gguf([pair(b"a", 9, struct.pack("<IQ", 0, 10**7) + bytes(10**7))]),
        "more than 5,000,000 elements in arrays",
    ),
    "an array of arrays": (
        gguf([pair(b"a", 9, struct.pack("<IQ", 9, 3) + bytes(100))]),
        "a value of unknown type 9",
    ),
    "layers": (
        gguf([ARCHITECTURE, pair(b"llama.block_count", 4, struct.pack("<I", 10**8))]),
        "llama.block_count is over 100,000",
    ),
    "a width": (
        gguf([ARCHITECTURE, pair(b"llama.embedding_length", 4, struct.pack("<I", 2**20)),
              pair(b"llama.vocab_size", 4, struct.pack("<I", 2**20))]),
        "weights that are larger than the file",
    ),
    "a tensor": (
        gguf([ARCHITECTURE], n_tensors=1,
             tensors=text(b"output.weight") + struct.pack("<IQQIQ", 2, 2**31, 2**31, 0, 0)),
        "weights that are larger than the file",
    ),
    "dimensions": (
        gguf([], n_tensors=1, tensors=text(b"output.weight") + struct.pack("<I", 2**31)),
        "dimensions",
    ),
    "another version": (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1 of GGUF"),
    "another format": (b"GGML" + struct.pack("<IQQ", 3, 0, 0), "GGUF"),
    "no header": (b"GGUF", "damaged or cut"),
    "a cut text": (gguf([pair(b"a", 8, text(b"x", 100))]), "damaged or cut"),
    "a name that is not UTF-8": (gguf([pair(b"\xff", 4, bytes(4))]), "damaged or cut"),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
def test_a_gguf_file_that_lies_is_refused(
    name: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content, message = HEADERS[name]
    (folder / "m.gguf").write_bytes(content)
    with time_limit(30):
        last = error_of(capfd, "score", "d.jsonl", "-m", "./m.gguf", "--metrics", "ifd")
    assert message in last


def test_a_gguf_file_cut_anywhere_is_refused(folder: Path) -> None:
    whole = gguf([ARCHITECTURE, pair(b"a", 9, struct.pack("<IQ", 8, 2) + text(b"xy") * 2),
                  pair(b"b", 9, struct.pack("<IQ", 5, 3) + bytes(12)), pair(b"c", 6, bytes(4))],
                 n_tensors=1, tensors=text(b"t") + struct.pack("<IQIQ", 1, 4, 0, 0))  # fmt: skip
    file = folder / "m.gguf"
    file.write_bytes(whole)
    check_header(file)
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(ModelError):
            check_header(file)
