"""The shortcuts in tokenising give what transformers' own call gives, for any text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ifdkit.engine.models import Weights
from ifdkit.engine.tokenizer import HuggingFaceTokenizer
from ifdkit.prompting.tokens import TokenCache
from tests import tiny

TEXTS = st.text(max_size=30) | st.text(alphabet="ab é世🙂\n <s>/", max_size=40)


def _template(single: str) -> dict[str, Any]:
    return {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": piece, "type_id": 0}}
            if piece != "$A"
            else {"Sequence": {"id": "A", "type_id": 0}}
            for piece in single.split()
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {
            name: {"id": name, "ids": [i], "tokens": [name]}
            for i, name in enumerate(["<s>", "</s>"])
        },
    }


ROBERTA = {
    "type": "RobertaProcessing",
    "sep": ["</s>", 1],
    "cls": ["<s>", 0],
    "trim_offsets": True,
    "add_prefix_space": False,
}
BYTES = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
KINDS: dict[str, tuple[Any, tuple[list[int], list[int]]]] = {
    "nothing": (None, ([], [])),
    "bytes": (BYTES, ([], [])),
    "BOS": (_template("<s> $A"), ([0], [])),
    "BOS and EOS": (_template("<s> $A </s>"), ([0], [1])),
    "EOS": (_template("$A </s>"), ([], [1])),
    "RoBERTa": (ROBERTA, ([0], [1])),
    "bytes, then BOS": (
        {"type": "Sequence", "processors": [BYTES, _template("<s> $A")]},
        ([0], []),
    ),
}


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def tokenizer(kind: str, tmp_path_factory: pytest.TempPathFactory) -> HuggingFaceTokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    tiny.save_tokenizer(folder)
    file = folder / "tokenizer.json"
    whole = json.loads(file.read_text())
    # A tokenizer.json can ask for truncation, which scoring never wants.
    whole["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst",
                           "stride": 0}  # fmt: skip
    whole["post_processor"] = KINDS[kind][0]
    file.write_text(json.dumps(whole))
    return HuggingFaceTokenizer(Weights("tiny", folder, "folder"))


def plain_call(tokenizer: HuggingFaceTokenizer, text: str, special: bool) -> list[int]:
    found: list[int] = tokenizer._tokenizer(text, add_special_tokens=special)["input_ids"]
    return found


class Slow:
    """The same tokenizer, of which only what transformers' own call gives is used."""

    added_ids = None

    def __init__(self, tokenizer: HuggingFaceTokenizer) -> None:
        self._own = tokenizer
        self.anchor_id = tokenizer.anchor_id

    def encode(self, texts: Any, *, special: bool) -> list[list[int]]:
        return [plain_call(self._own, text, special) for text in texts]

    def encode_from(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("not asked for")

    def offsets(self, text: str, *, special: bool) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = self._own._tokenizer(
            text, add_special_tokens=special, return_offsets_mapping=True
        )["offset_mapping"]
        return found


def test_the_shortcuts_are_taken(kind: str, tokenizer: HuggingFaceTokenizer) -> None:
    assert tokenizer._rust is not None
    assert tokenizer.added_ids == KINDS[kind][1]


@given(st.lists(TEXTS, max_size=5), st.booleans())
@settings(max_examples=40, deadline=None)
def test_ids_are_those_of_transformers(
    tokenizer: HuggingFaceTokenizer, texts: list[str], special: bool
) -> None:
    expected = [plain_call(tokenizer, text, special) for text in texts]
    assert tokenizer.encode(texts, special=special) == expected
    fast = TokenCache(tokenizer)
    fast.prime(texts, special=special)
    assert [fast(text, special=special) for text in texts] == expected


@given(TEXTS, st.booleans(), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_bytes_are_those_of_the_offsets_wherever_the_span_begins_and_ends(
    tokenizer: HuggingFaceTokenizer, text: str, special: bool, primed: int
) -> None:
    fast, slow = TokenCache(tokenizer), TokenCache(Slow(tokenizer))
    fast.prime([text, "other"], special=special, first=primed)
    n_ids = len(slow(text, special=special))
    assert fast(text, special=special) == slow(text, special=special)
    for first in range(min(n_ids, 4) + 1):
        for stop in {first, n_ids // 2, n_ids - 1, n_ids}:
            if 0 <= stop <= n_ids:
                got = fast.n_bytes(text, first, stop, special=special)
                assert got == slow.n_bytes(text, first, stop, special=special), (first, stop)


def test_a_tokenizer_with_a_call_of_its_own_is_called(tmp_path: Path) -> None:
    """Negative control: what its class does to a text is not skipped."""
    tiny.save_tokenizer(tmp_path)
    tokenizer = HuggingFaceTokenizer(Weights("tiny", tmp_path, "folder"))
    kind = type(tokenizer._tokenizer)

    class Shouting(kind):  # type: ignore[valid-type, misc]
        def __call__(self, text: Any, **more: Any) -> Any:
            texts = [one.upper() for one in text] if isinstance(text, list) else text.upper()
            return super().__call__(texts, **more)

    tokenizer._tokenizer.__class__ = Shouting
    assert tokenizer._rust_tokenizer() is None
    tokenizer._rust, tokenizer.added_ids = None, None
    (ids,) = tokenizer.encode(["abc"], special=False)
    assert tokenizer.text(ids) == "ABC"
    (encoded,) = tokenizer.encode_from(["abc"], special=False, first=1)
    assert encoded.ids == ids
    assert encoded.end == 3
