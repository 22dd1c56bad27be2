"""Noisy copies of the passes: against the slow reference, and what the noise depends on."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

import ifdkit
from ifdkit.cli.main import main
from ifdkit.data.options import ReadOptions
from ifdkit.engine.huggingface import HuggingFaceBackend
from ifdkit.engine.models import resolve
from ifdkit.engine.noise import drawn
from ifdkit.errors import InputError, ModelError
from ifdkit.records import Noise, Pass, Passes, Request
from ifdkit.scoring.cost import cost_plan
from ifdkit.scoring.noise import with_noise
from ifdkit.scoring.settings import Settings
from tests.reference import ReferenceModel

pytestmark = pytest.mark.long

ROWS = [
    {"instruction": f"{verb} {thing}", "output": f"{thing} and {thing}, {verb.lower()} it: 1, 2."}
    for verb in ("Name", "Draw", "Sing")
    for thing in ("a cat", "the blue sea")
]
FIELDS = ["ifd_smoothed", "s_ifd_smoothed", "s_ifd_deviation"]


def score(rows: Any, model: Path, **more: Any) -> pd.DataFrame:
    options: dict[str, Any] = {"metrics": "ifd,noise", "store": "off", "noise_copies": 3, **more}
    found: pd.DataFrame = ifdkit.score(rows, model=str(model), **options)
    return found


@pytest.fixture(scope="module")
def frame(tiny_model: Path) -> pd.DataFrame:
    return score(ROWS, tiny_model)


def noise_of(ids: list[int], start: int, copy: int, seed: int = 0) -> NDArray[np.float64]:
    """By the definition in `ifdkit.scoring.noise`: (tokens, 32 dimensions)."""
    span = b"".join(n.to_bytes(8, "little") for n in (start, len(ids)))
    content = span + b"".join(one.to_bytes(4, "little") for one in ids)
    name = f"{seed} {copy} ".encode() + content
    key = int.from_bytes(hashlib.blake2b(name, digest_size=16).digest(), "little")
    draws = np.random.Generator(np.random.Philox(key=key)).random((len(ids), 32), np.float32)
    scaled: NDArray[np.float64] = (2.0 * draws - 1) * 5 / math.sqrt(len(ids) * 32)
    return scaled


def test_against_the_reference_model(frame: pd.DataFrame, tiny_model: Path) -> None:
    own = ReferenceModel(tiny_model)
    bos = [own.tokenizer.bos_token_id]
    for i, row in enumerate(ROWS[:4]):
        prompt = bos + own.tokenizer(row["instruction"] + "\n")["input_ids"]
        target = own.tokenizer(row["output"])["input_ids"]
        ifds, s_ifds = [], []
        for copy in range(3):
            added = noise_of(prompt + target, len(prompt), copy)
            c = own.token_nll(prompt + target, len(prompt), added)
            of_direct = np.concatenate([np.zeros((1, 32)), added[len(prompt) :]])
            d = own.token_nll(bos + target, 1, of_direct)
            ifds.append(math.exp(c.mean() - d.mean()))
            changes = c - d
            s_ifds.append(math.exp(changes[np.abs(changes) > 0.125].mean()))
        assert frame["ifd_smoothed"][i] == pytest.approx(np.mean(ifds), rel=1e-3)
        assert frame["s_ifd_smoothed"][i] == pytest.approx(np.mean(s_ifds), rel=1e-3)
        assert frame["s_ifd_deviation"][i] == pytest.approx(np.std(s_ifds), rel=5e-3, abs=1e-4)


def test_noise_depends_on_the_row_and_the_seed_alone(frame: pd.DataFrame, tiny_model: Path) -> None:
    expected = frame.set_index("id")[FIELDS]
    for rows in (ROWS[::-1], ROWS[2:3]):
        again = score(rows, tiny_model).set_index("id")[FIELDS]
        pd.testing.assert_frame_equal(again, expected.loc[again.index], rtol=1e-4, atol=1e-5)
    other = score(ROWS, tiny_model, noise_seed=1)
    assert (abs(other["s_ifd_smoothed"] - frame["s_ifd_smoothed"]) > 1e-3).all()
    assert (abs(frame["ifd_smoothed"] - frame["ifd"]) > 1e-4).all()


def test_more_copies_begin_with_fewer() -> None:
    one = passes()
    few, many = with_noise(one, 2, 0).noisy, with_noise(one, 5, 0).noisy
    assert [[each.content for each in copy] for copy in many[:2]] == [
        [each.content for each in copy] for copy in few
    ]
    assert len({each.content for copy in many for each in copy}) == 10
    assert not with_noise(Passes(2, 3, response_direct=one.response_direct), 5, 0).noisy
    assert with_noise(one, 0, 0) is one


def passes(skipped: int = 0) -> Passes:
    """A prompt of 4 tokens and a response of 5, after an anchor or, with `skipped`, without one."""
    ids = np.arange(10, 19, dtype=np.int32)
    direct = ids[4:] if skipped else np.concatenate([[1], ids[4:]]).astype(np.int32)
    return Passes(
        4,
        5,
        response_direct=Pass((Request(direct, 1, len(direct)),), skipped),
        response_conditional=Pass((Request(ids, 4, 9),)),
    )


@pytest.mark.parametrize("skipped", [0, 1])
def test_a_response_token_has_the_same_noise_in_both_passes(skipped: int) -> None:
    ((direct, conditional),) = with_noise(passes(skipped), 1, 7).noisy
    assert direct.noise is not None
    assert conditional.noise is not None
    a = drawn(direct.noise, direct.stop, 16)
    b = drawn(conditional.noise, conditional.stop, 16)
    np.testing.assert_array_equal(a[-5:], b[-5:])
    assert (a[:-5] == 0).all()  # the anchor
    limit = 5 / math.sqrt(9 * 16)
    assert 0.9 * limit < np.abs(b).max() <= limit
    assert abs(b.mean()) < 0.2 * limit


def test_other_numbers_keep_their_bits(frame: pd.DataFrame, tiny_model: Path) -> None:
    """Noisy passes are batched apart."""
    plain = score(ROWS, tiny_model, metrics="ifd")
    pd.testing.assert_frame_equal(plain, frame[list(plain.columns)], check_exact=True)
    assert not set(FIELDS) & set(plain.columns)
    assert "noise_copies" not in plain.attrs["manifest"]


def test_a_second_run_computes_nothing_and_has_the_same_bits(
    frame: pd.DataFrame, tiny_model: Path, tmp_path: Path
) -> None:
    store = str(tmp_path / "s.sqlite")
    first, again = (score(ROWS, tiny_model, store=store) for _ in range(2))
    assert first.attrs["manifest"]["requests_scored"] == len(ROWS) * 2 * (1 + 3)
    assert again.attrs["manifest"]["requests_scored"] == 0
    pd.testing.assert_frame_equal(first, again, check_exact=True)
    more = score(ROWS, tiny_model, store=store, noise_copies=4)
    assert more.attrs["manifest"]["requests_scored"] == len(ROWS) * 2
    manifest = first.attrs["manifest"]
    assert (manifest["noise_copies"], manifest["noise_seed"]) == (3, 0)


def test_the_cost_is_known_beforehand(tiny_model: Path) -> None:
    settings = Settings(
        model=str(tiny_model), metrics=("ifd", "noise"), noise_copies=3, store="off"
    )
    planned = cost_plan(ROWS, settings, ReadOptions())
    assert planned.passes == planned.requests == len(ROWS) * 2 * (1 + 3)
    plain = cost_plan(ROWS, replace(settings, metrics=("ifd",)), ReadOptions())
    assert plain.requests == len(ROWS) * 2
    assert planned.computed_tokens > 3 * plain.computed_tokens


def test_scores_with_other_noise_are_not_compared(tiny_model: Path, tmp_path: Path) -> None:
    data, scores = tmp_path / "rows.json", [tmp_path / f"{seed}.jsonl" for seed in (0, 1)]
    data.write_text(json.dumps(ROWS))
    common = ["score", str(data), "-m", str(tiny_model), "--store", "off", "-q"]
    for seed, output in enumerate(scores):
        noise = ["--metrics", "ifd,noise", "--noise-copies", "2", "--noise-seed", str(seed)]
        assert main([*common, *noise, "-o", str(output)]) == 0
    with pytest.raises(InputError, match="noise_seed 0 and 1"):
        ifdkit.compare(*scores)


def test_a_model_that_does_not_take_embeddings_is_refused(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = HuggingFaceBackend(resolve(str(tiny_model)), device="cpu", dtype="float32")
    request = Request(np.arange(20, dtype=np.int32), 1, 20, noise=Noise(b"x" * 16, 5.0, 20, 0, 0))
    right = backend.nll([request])[0]
    assert np.isfinite(right).all()
    other = backend.model.get_input_embeddings()
    monkeypatch.setattr(backend.model, "get_input_embeddings", lambda: lambda ids: other(ids * 0))
    backend._takes_embeddings = None
    with pytest.raises(ModelError, match="does not take embeddings"):
        backend.nll([request])
