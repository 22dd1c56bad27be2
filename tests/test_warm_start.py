"""What is kept in the cache to start sooner gives what a load without it gives."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ifdkit.engine import known_nlls, layout, tokenizer_facts
from ifdkit.engine.forward import PlainForward
from ifdkit.engine.huggingface import HuggingFaceBackend
from ifdkit.engine.kept_files import file_state, keep_file
from ifdkit.engine.known_nlls import KnownNlls
from ifdkit.engine.models import Weights
from ifdkit.engine.tokenizer import HuggingFaceTokenizer
from tests import tiny
from tests.test_fast_tokens import KINDS, TEXTS

DIGEST = "0" * 64


def test_a_kept_file_is_whole_or_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "folder" / "one.json"
    keep_file(file, b"first")

    def full(path: Path, content: bytes) -> int:
        path.touch()
        raise OSError(28, "No space left on device", content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        keep_file(file, b"second")
    assert [one.name for one in file.parent.iterdir()] == ["one.json"]
    assert file.read_bytes() == b"first"


def test_the_state_of_a_file_changes_with_the_file(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"one")
    before, times = file_state(file), file.stat()
    assert file_state(file) == before
    file.write_bytes(b"two")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert file_state(file) != before


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own for each test."""
    folder = tmp_path_factory.mktemp("cache")
    for module in (known_nlls, tokenizer_facts):
        monkeypatch.setattr(module, "cache_folder", lambda: folder)
    return folder


def saved_tokenizer(folder: Path, post_processor: Any = None) -> Weights:
    tiny.save_tokenizer(folder)
    file = folder / "tokenizer.json"
    whole = json.loads(file.read_text())
    whole["post_processor"] = post_processor
    file.write_text(json.dumps(whole))
    return Weights("tiny", folder, "folder")


def is_loaded(tokenizer: HuggingFaceTokenizer) -> bool:
    """Whether transformers has loaded it."""
    return "_tokenizer" in vars(tokenizer)


def facts_of(tokenizer: HuggingFaceTokenizer) -> tuple[Any, ...]:
    return (
        tokenizer.fingerprint,
        tokenizer.anchor_id,
        tokenizer.eos_id,
        tokenizer.added_ids,
        tokenizer.vocabulary,
        tokenizer.chat_templates,
        tokenizer.special_tokens,
        tokenizer.end_of_response("</s>\n"),
        tokenizer.end_of_response("\n"),
    )


@pytest.fixture(scope="module", params=KINDS)
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[HuggingFaceTokenizer, HuggingFaceTokenizer]:
    """A tokenizer that transformers loaded, and the same from the cache."""
    weights = saved_tokenizer(tmp_path_factory.mktemp("tokenizer"), KINDS[request.param][0])
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setattr(tokenizer_facts, "cache_folder", lambda: folder)
        loaded = HuggingFaceTokenizer(weights, digest=DIGEST)
        kept = HuggingFaceTokenizer(weights, digest=DIGEST)
    assert is_loaded(loaded)
    assert not is_loaded(kept)
    return loaded, kept


@given(st.lists(TEXTS, max_size=4), st.booleans(), st.integers(0, 3))
@settings(max_examples=40)
def test_a_kept_tokenizer_is_the_one_that_transformers_loads(
    pair: tuple[HuggingFaceTokenizer, HuggingFaceTokenizer],
    texts: list[str],
    special: bool,
    first: int,
) -> None:
    loaded, kept = pair
    assert facts_of(kept) == facts_of(loaded)
    by_transformers = [loaded._tokenizer(one, add_special_tokens=special) for one in texts]
    assert kept.encode(texts, special=special) == [one["input_ids"] for one in by_transformers]
    assert kept.encode_from(texts, special=special, first=first) == loaded.encode_from(
        texts, special=special, first=first
    )
    for text in texts:
        slow = loaded._tokenizer(text, add_special_tokens=special, return_offsets_mapping=True)
        assert kept.offsets(text, special=special) == slow["offset_mapping"]
    assert not is_loaded(kept)


def test_what_needs_transformers_loads_it(tmp_path: Path) -> None:
    weights = saved_tokenizer(tmp_path)
    HuggingFaceTokenizer(weights, digest=DIGEST)
    kept = HuggingFaceTokenizer(weights, digest=DIGEST)
    (ids,) = kept.encode(["abc def"], special=False)
    assert kept.text(ids) == "abc def"
    assert is_loaded(kept)


@given(st.data())
@settings(max_examples=15)
def test_a_damaged_file_is_not_used(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    weights = saved_tokenizer(tmp_path_factory.mktemp("tokenizer"))
    right = facts_of(HuggingFaceTokenizer(weights, digest=DIGEST))
    file = tokenizer_facts._file(DIGEST)
    whole = file.read_bytes()
    damaged = data.draw(
        st.integers(0, len(whole) - 1).map(lambda n: whole[:n])
        | st.binary(max_size=20)
        | st.sampled_from([b"{}", b"null", b"[1]", b'{"special_ids": [1]}'])
        | st.just(whole.replace(b"BPE", b"EPB"))
    )
    file.write_bytes(damaged)
    again = HuggingFaceTokenizer(weights, digest=DIGEST)
    assert is_loaded(again)
    assert facts_of(again) == right
    assert file.read_bytes() == whole


def _splits_special_tokens(folder: Path) -> None:
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "split_special_tokens": True}))


@pytest.mark.parametrize(
    ("change", "options"),
    [
        (_splits_special_tokens, {"digest": DIGEST}),  # not in its JSON
        (lambda _: None, {"digest": DIGEST, "trust_remote_code": True}),
        (lambda _: None, {}),
    ],
)
def test_a_tokenizer_that_is_more_than_its_file_is_not_kept(
    tmp_path: Path, cache: Path, change: Callable[[Path], None], options: dict[str, Any]
) -> None:
    weights = saved_tokenizer(tmp_path)
    change(tmp_path)
    HuggingFaceTokenizer(weights, **options)
    assert not list(cache.rglob("*.json"))
    assert is_loaded(HuggingFaceTokenizer(weights, **options))


def test_few_tokenizers_are_kept(tmp_path: Path, cache: Path) -> None:
    weights = saved_tokenizer(tmp_path)
    facts = HuggingFaceTokenizer(weights)._facts
    for n in range(tokenizer_facts._MAX_KEPT + 3):
        tokenizer_facts.keep(f"{n}", facts)
    assert len(list(cache.rglob("*"))) == tokenizer_facts._MAX_KEPT + 1
    assert tokenizer_facts.recall(f"{n}") == facts


def load(folder: Path, **options: Any) -> HuggingFaceBackend:
    weights = Weights("tiny", folder, "folder")
    return HuggingFaceBackend(weights, device="cpu", dtype="float32", **options)


@pytest.fixture
def plain_passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with every call of the slow strategy."""
    calls: list[int] = []
    whole = PlainForward.nll

    def counted(self: PlainForward, requests: Any, *more: Any) -> Any:
        calls.append(len(requests))
        return whole(self, requests, *more)

    monkeypatch.setattr(PlainForward, "nll", counted)
    return calls


def test_a_second_load_computes_no_plain_logits(
    tiny_model: Path, cache: Path, plain_passes: list[int]
) -> None:
    first = load(tiny_model)
    assert plain_passes
    plain_passes.clear()
    second = load(tiny_model)
    assert (first.strategy, second.strategy) == ("packed", "packed")
    assert not plain_passes
    (file,) = cache.rglob("*.npy")
    probes = second._probes()
    np.testing.assert_allclose(np.load(file), np.concatenate(second.nll(probes)), atol=1e-4)


def test_a_wrong_strategy_does_not_pass_for_what_is_kept(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, plain_passes: list[int]
) -> None:
    """Negative control: kept NLLs are compared with, not trusted."""
    load(tiny_model)
    plain_passes.clear()
    whole = layout.Packed.of

    def shifted(sequences: Any) -> Any:
        found = whole(sequences)
        return replace(found, ids=np.roll(found.ids, 1))

    monkeypatch.setattr(layout.Packed, "of", shifted)
    assert load(tiny_model).strategy == "padded"
    assert not plain_passes


@pytest.mark.parametrize(
    "wrong",
    [
        lambda nlls: nlls + 1,
        lambda nlls: nlls[:-1],
        lambda nlls: np.full_like(nlls, np.nan),  # which would agree with everything
        lambda nlls: nlls[:0],
        lambda nlls: nlls.astype(np.float64),
        lambda nlls: np.array([{"nlls": nlls}]),  # pickled
    ],
)
def test_wrong_numbers_in_the_cache_cost_time_alone(
    tiny_model: Path, cache: Path, plain_passes: list[int], wrong: Callable[[Any], Any]
) -> None:
    load(tiny_model)
    (file,) = cache.rglob("*.npy")
    right = np.load(file)
    np.save(file, wrong(right))
    plain_passes.clear()
    assert load(tiny_model).strategy == "packed"
    assert plain_passes
    np.testing.assert_array_equal(np.load(file), right)


def test_other_weights_versions_and_dtypes_have_a_file_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny.save_model(tmp_path / "model")
    weights = Weights("tiny", folder, "folder")
    keys = [known_nlls._key(weights, *one) for one in (("float32", "cpu"), ("bfloat16", "cpu"),
                                                       ("float32", "cuda"))]  # fmt: skip
    file = weights.files[0]
    file.write_bytes(file.read_bytes())  # as if they were other bytes
    keys.append(known_nlls._key(weights, "float32", "cpu"))
    monkeypatch.setattr(known_nlls, "VERSION", "another")
    keys.append(known_nlls._key(weights, "float32", "cpu"))
    assert len(set(keys)) == len(keys)
    assert known_nlls._key(weights, "float32", "cpu") == keys[-1]


def test_a_model_with_code_of_its_own_is_checked_anew(
    tiny_model: Path, plain_passes: list[int], cache: Path
) -> None:
    for _ in range(2):
        plain_passes.clear()
        load(tiny_model, trust_remote_code=True)
        assert plain_passes
    assert not list(cache.rglob("*.npy"))


def test_a_cache_that_cannot_be_written_is_done_without(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    for module in (known_nlls, tokenizer_facts):
        monkeypatch.setattr(module, "cache_folder", lambda: blocked)
    assert load(tiny_model).strategy == "packed"
    known = KnownNlls(Weights("t", tiny_model, "f"), "float32", "cpu", trusted=False)
    assert known.recall() is None
    assert is_loaded(HuggingFaceTokenizer(Weights("t", tiny_model, "f"), digest=DIGEST))


@pytest.mark.long
def test_only_the_process_of_a_command_searches_cycles_rarely() -> None:
    code = "import gc, sys, ifdkit, ifdkit.cli.main; print(gc.get_threshold())"
    own = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    bare = "import gc; print(gc.get_threshold())"
    python = subprocess.run(
        [sys.executable, "-c", bare], capture_output=True, text=True, check=True
    )
    assert own.stdout == python.stdout
    code = (
        "import gc, sys, runpy; sys.argv = ['ifdkit', '--version']\n"
        "try: runpy.run_module('ifdkit', run_name='__main__')\n"
        "except SystemExit: print(gc.get_threshold(), gc.get_freeze_count() > 10_000)"
    )
    command = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert command.stdout.splitlines()[-1] == "(50000, 20, 50) True"
    assert gc.get_threshold() != (50000, 20, 50)
    assert not gc.get_freeze_count()
