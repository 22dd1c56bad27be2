"""What the files of a model may not ask for unless its code is trusted.

A model is a folder of weights and JSON.  Some keys of that JSON name Python code, which the
libraries below import or download when they load the model.  They refuse most of it themselves, but
not in all versions that ifdkit supports: sentence-transformers 5 imports any class that the
`modules.json` of a folder names.  So the keys are checked before any of them sees the folder.
"""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ifdkit.errors import ModelError
from ifdkit.visible import one_line

MAX_JSON_BYTES = 2**24
"""A longer file with settings is refused; vocabularies, which are longer, have no settings."""
_CLASSES = (
    *("Transformer", "Pooling", "Normalize", "Dense", "Dropout", "LayerNorm", "StaticEmbedding"),
    *("WeightedLayerPooling", "WordEmbeddings", "WordWeights", "BoW", "CNN", "LSTM", "CLIPModel"),
    *("Router", "Asym", "WhitespaceTokenizer", "PhraseTokenizer", "WordTokenizer"),
)
_KNOWN_CLASS = re.compile(
    rf"sentence_transformers(\.\w+)*\.({'|'.join(_CLASSES)})|torch\.nn\.modules(\.\w+)*\.[A-Z]\w*"
)
"""Classes that sentence-transformers saves in a model."""
_CLASS_KEYS = ("type", "types", "activation_function", "activation_fn", "tokenizer_class")
_ATTENTION_KEYS = (
    "attn_implementation",
    "_attn_implementation",
    "_attn_implementation_internal",
    "experts_implementation",
)
"""transformers downloads and runs a kernel if the value is a name on the hub."""
_MEGATRON = "megatron_config"
"""peft imports the module that `megatron_core` names if an adapter has this key."""
_PARTS = re.compile(r"(num|n)_.*(layer|expert|block|stage|head)")
_MAX_PARTS = 100_000
_MAX_GROWTH = 1000
"""Characters per character, if each step of a normalizer replaces all of them."""
_MAX_ADDED_IDS, _MAX_TOKEN_CHARS, _MAX_TOKEN_ID = 10_000, 10_000, 2**24
_MAX_ADDED_TOKENS = 100_000
"""Tokens beside the vocabulary, which take 0.1 ms each to load. Models that write images or speech
as tokens have up to 65,536."""
_MAX_TOKENIZER_BYTES = 2**27
"""A vocabulary of a million tokens takes half of it."""
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "added_tokens.json",
                    "special_tokens_map.json")  # fmt: skip
_ADDED = ("added_tokens", "added_tokens_decoder", "additional_special_tokens",
          "extra_special_tokens")  # fmt: skip
"""Keys under which the files of a tokenizer add tokens."""
_WITHOUT_SETTINGS = ("tokenizer.json", "vocab.json", "added_tokens.json")


def check_regular(name: str, folder: Path) -> None:
    """Raise ModelError if a folder contains a pipe, socket or device, which blocks a reader."""
    for file in folder.rglob("*"):
        try:
            mode = file.stat().st_mode
        except OSError:  # a broken link, which nothing can open
            continue
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise ModelError(f"model {name}: {file.name} is not a regular file")


def check_no_code(name: str, folder: Path) -> None:
    """Raise ModelError if a setting in a model's folder asks for code that is not trusted."""
    for file in _settings_files(folder):
        for key, value in _members(_read(name, file)):
            if problem := _problem(key, value):
                where = file.relative_to(folder).as_posix()
                raise ModelError(
                    f"model {name}: {where} {problem}; --trust-remote-code loads it, and runs code"
                    " that its author chose"
                )


def check_size(name: str, config: Mapping[str, Any]) -> None:
    """Raise ModelError if a config asks for more parts than any model has.

    The library makes an object of each, for minutes and gigabytes, before it looks at the weights.
    """
    for key, value in _members(config):
        is_number = isinstance(value, int) and not isinstance(value, bool)
        if _PARTS.match(key) and is_number and value > _MAX_PARTS:
            what = f"config.json: {one_line(key, 60)} is over {_MAX_PARTS:,}"
            raise ModelError(f"model {name}: {what}")


def check_tokenizer(name: str, folder: Path) -> None:
    """Raise ModelError if a tokenizer is far larger, or makes more of a text, than any real one.

    Text can only grow where a normalizer replaces or prepends something, and by the tokens that
    are added to all texts.
    """
    contents = {file: _content(name, folder / file) for file in _TOKENIZER_FILES}
    for file, one in contents.items():
        named = [one] if file == "added_tokens.json" else [one.get(key) for key in _ADDED]
        n_added = sum(len(tokens) for tokens in named if isinstance(tokens, (list, dict)))
        if n_added > _MAX_ADDED_TOKENS:
            raise ModelError(
                f"model {name}: its {file} adds too many tokens to the vocabulary: {n_added:,} is"
                f" over {_MAX_ADDED_TOKENS:,}"
            )
    try:
        content = contents["tokenizer.json"]
        growth = 1
        for key, value in _members([content.get(one) for one in ("normalizer", "pre_tokenizer")]):
            if key in ("content", "prepend") and isinstance(value, str):
                growth *= max(1, len(value))
        longest = max((len(one["content"]) for one in content.get("added_tokens") or ()), default=0)
        added = content.get("post_processor") or {}
        n_ids = sum(len(value) for key, value in _members(added) if key == "ids")
        n_ids *= max(1, len(added.get("single", ())))
        vocabulary = content["model"].get("vocab", {})
        largest = max(vocabulary.values(), default=0) if isinstance(vocabulary, dict) else 0
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return  # the library that loads it reports what is wrong
    for amount, limit, what in (
        (growth, _MAX_GROWTH, "makes a text too much longer"),
        (n_ids, _MAX_ADDED_IDS, "adds too many tokens to a text"),
        (longest, _MAX_TOKEN_CHARS, "has a token that is too long"),
        (largest, _MAX_TOKEN_ID, "has a token with too large an id"),
    ):
        if amount > limit:
            why = f"its tokenizer.json {what}: {amount:,} is over {limit:,}"
            raise ModelError(f"model {name}: {why}")


def _content(name: str, file: Path) -> dict[str, Any]:
    """The members of a file of a tokenizer; none if it is missing or malformed."""
    try:
        if file.stat().st_size > _MAX_TOKENIZER_BYTES:
            raise ModelError(
                f"model {name}: {file.name} is longer than {_MAX_TOKENIZER_BYTES:,} bytes"
            )
        content = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}  # the library that loads it reports what is wrong
    return content if isinstance(content, dict) else {}


def _settings_files(folder: Path) -> Iterator[Path]:
    """The JSON files of a model and of its modules, which are folders in it."""
    for pattern in ("*.json", "*/*.json", "*/*/*.json"):
        for file in sorted(folder.glob(pattern)):
            is_index = file.name.endswith(".index.json")
            if not is_index and file.name not in _WITHOUT_SETTINGS and file.is_file():
                yield file


def _read(name: str, file: Path) -> Any:
    with file.open("rb") as stream:
        data = stream.read(MAX_JSON_BYTES + 1)
    if len(data) > MAX_JSON_BYTES:
        raise ModelError(f"model {name}: {file.name} is longer than {MAX_JSON_BYTES:,} bytes")
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None  # the library that needs the file reports it


def _members(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, at any depth."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield from one.items()
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)


def _problem(key: str, value: Any) -> str | None:
    """What a setting asks for, in words; None if it is harmless."""
    texts = value.values() if isinstance(value, dict) else [value]
    named = [one for one in texts if isinstance(one, str)]
    if key in _CLASS_KEYS:
        for one in named:
            if "." in one and not _KNOWN_CLASS.fullmatch(one):
                return f"names the class {one_line(repr(one), 100)}"
    elif key in _ATTENTION_KEYS:
        for one in named:
            if "/" in one:
                return f"names the kernel {one_line(repr(one), 100)}"
    elif key == _MEGATRON and value:
        return "names a module to import (megatron_core)"
    return None
