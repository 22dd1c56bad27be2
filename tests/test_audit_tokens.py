"""The rows of an audit's page with the NLLs of their tokens, if a model has scored them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ifdkit
from ifdkit.auditing import shading
from ifdkit.auditing.result import Audit
from ifdkit.cli.main import main
from ifdkit.data.options import ReadOptions
from ifdkit.findings import masking
from ifdkit.findings.masking import masked, masked_pieces
from ifdkit.findings.personal import SensitiveSpan
from ifdkit.report.audit.html import render_audit_html
from ifdkit.scoring.explored import ExploredSide, ShadedToken
from ifdkit.scoring.inputs import open_data
from ifdkit.scoring.inspect import find_example, inspect
from ifdkit.scoring.ragged import Ragged
from ifdkit.scoring.run import score_to_file
from ifdkit.scoring.scorer import Scorer
from ifdkit.scoring.settings import Settings
from tests.audit_fixtures import make_audit
from tests.viewing_fixtures import write_rows

pytestmark = pytest.mark.long

KEY = "AKIA" + "Q3EGRFZ7XK2PLMNB"


def some_rows(n: int = 30) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    words = ("the", "sea", "is", "wide", "and", "blue", "cats", "sing", "of", "old", "walls")
    rows = [
        {
            "id": f"r{i}",
            "instruction": f"Write {i} about {' '.join(rng.choice(words, 3))}",
            "output": " ".join(rng.choice(words, int(rng.integers(8, 16)))),
        }
        for i in range(n)
    ]
    rows[7]["output"] = f"Use {KEY} for it, and mail it to jo@gmx.net. Then wait."
    return rows


@pytest.fixture(scope="module")
def settings(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {
        "model": str(tiny_model),
        "dtype": "float32",
        "metrics": ("ifd",),
        "store": str(tmp_path_factory.mktemp("store") / "store.sqlite"),
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "data.jsonl", some_rows())


def score(data: Path, output: Path, settings: dict[str, Any], **more: Any) -> Path:
    score_to_file(str(data), output, Settings(**{**settings, **more}), ReadOptions())
    return output


def sides(found: Audit) -> dict[int, ExploredSide]:
    return {one.side.row: one.side for one in found.explored}


def shown(tokens: tuple[ShadedToken, ...]) -> str:
    return "".join(token.text for token in tokens)


def test_tokens_equal_those_of_show(settings: dict[str, Any], data: Path) -> None:
    found = sides(ifdkit.audit(data, **settings))
    assert len(found) == 30
    with Scorer(Settings(**settings)) as scorer:
        for row in (0, 5, 29):
            made = inspect(find_example(open_data(data, ReadOptions()), f"r{row}"), scorer)
            both = zip(made.conditional, made.direct, strict=True)
            assert [(one.text, one.nll, one.nll_direct) for one in found[row].tokens] == [
                (given.text, given.nats, alone.nats) for given, alone in both
            ]
            assert shown(found[row].tokens) == found[row].response


def test_secrets_are_hidden_in_the_tokens_too(settings: dict[str, Any], data: Path) -> None:
    side = sides(ifdkit.audit(data, **settings))[7]
    assert shown(side.tokens) == side.response == masked(some_rows()[7]["output"])
    assert "Then wait." in shown(side.tokens)
    assert not re.search("Q3EGRFZ7|gmx", shown(side.tokens))
    assert [one.text for one in side.tokens if one.nll is None] == [
        piece for i, piece in masked_pieces(some_rows()[7]["output"], [some_rows()[7]["output"]])
        if i is None
    ]  # fmt: skip


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 100])
def test_a_text_in_pieces_is_masked_like_the_whole(size: int) -> None:
    text = f"a {KEY}, jo@gmx.net {KEY} and more of it. {KEY}"
    pieces = re.findall(f"(?s).{{1,{size}}}", text)
    found = list(masked_pieces(text, pieces))
    assert "".join(piece for _, piece in found) == masked(text)
    assert not re.search("Q3EGRFZ7|gmx", masked(text))
    assert all(piece in pieces[i] for i, piece in found if i is not None)
    places = [i for i, _ in found if i is not None]
    assert places == sorted(places)
    assert list(masked_pieces("no secret", ["no", "", " sec"])) == [
        (0, "no"), (1, ""), (2, " sec"),
    ]  # fmt: skip


def test_spans_that_overlap_are_hidden_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    spans = [SensitiveSpan("b", 5, 20, "B…"), SensitiveSpan("a", 2, 10, "A…"),
             SensitiveSpan("c", 20, 22, "C…"), SensitiveSpan("d", 3, 4, "D…")]  # fmt: skip
    monkeypatch.setattr(masking, "_sensitive", lambda _: spans)
    assert masked("abcdefghijklmnopqrstuvwxyz") == "abA…C…wxyz"


@pytest.mark.parametrize("source", ["file", "store"])
@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_a_scores_file_has_them_itself_or_in_the_store(
    source: str,
    ending: str,
    settings: dict[str, Any],
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = source == "file"
    output = tmp_path / f"scores.{ending}"
    store = str(tmp_path / "another.sqlite") if own else settings["store"]
    scores = score(data, output, settings, token_nll=own)

    def explode(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("ifdkit.engine.huggingface.HuggingFaceBackend", explode)
    expected = sides(ifdkit.audit(data, **settings))
    found = sides(ifdkit.audit(scores, store=store))
    assert {row: one.tokens for row, one in found.items()} == {
        row: tuple(approximate(token) for token in one.tokens) for row, one in expected.items()
    }
    # The rows that a condition leaves keep their own tokens.
    some = sides(ifdkit.audit(scores, store=store, where="row > 20 and response_tokens > 0"))
    assert set(some) == set(range(21, 30))
    assert all(some[row].tokens == found[row].tokens for row in some)
    # Negative control: with neither, no row has tokens, and the page is that of numbers.
    if not own:
        other = ifdkit.audit(scores, store=str(tmp_path / "empty.sqlite"))
        assert not any(one.tokens for one in sides(other).values())
        assert 'id="heat"' not in render_audit_html(other)


def approximate(token: ShadedToken) -> ShadedToken:
    """Equal to the token as a scores file has it."""

    def near(nats: float | None) -> Any:
        return nats if nats is None else pytest.approx(nats, abs=1e-5)

    return replace(token, nll=near(token.nll), nll_direct=near(token.nll_direct))


def test_another_model_or_no_model_gives_no_tokens(
    settings: dict[str, Any], data: Path, tmp_path: Path
) -> None:
    assert not any(one.tokens for one in sides(ifdkit.audit(data, scores=False)).values())
    scores = score(data, tmp_path / "scores.jsonl", settings, token_nll=True)
    manifest = Path(f"{scores}.manifest.json")
    made = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**made, "weights_hash": "0" * 64}))
    found = ifdkit.audit(scores, store=settings["store"])
    assert found.manifest is not None
    assert not any(one.tokens for one in sides(found).values())
    manifest.write_text(json.dumps({**made, "model": "no-such-model"}))
    assert not any(one.tokens for one in sides(ifdkit.audit(scores)).values())


def test_many_rows_are_not_read_again(
    settings: dict[str, Any], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shading, "MAX_ROWS", 29)
    assert not any(one.tokens for one in sides(ifdkit.audit(data, **settings)).values())


def test_documents_have_tokens_of_one_pass(settings: dict[str, Any], tmp_path: Path) -> None:
    rows = [{"text": f"{row['instruction']} {row['output']}"} for row in some_rows()]
    found = sides(
        ifdkit.audit(
            write_rows(tmp_path / "texts.jsonl", rows), **{**settings, "metrics": ("ppl",)}
        )
    )
    tokens = found[3].tokens
    assert shown(tokens) == rows[3]["text"]
    assert all(one.nll is None for one in tokens)
    assert sum(one.nll_direct is not None for one in tokens) >= len(tokens) - 1 > 5


@pytest.mark.parametrize("flags", [(), ("--no-text",), ("--no-model",)])
def test_the_command_shows_them_on_the_page(
    flags: tuple[str, ...],
    settings: dict[str, Any],
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)
    options = ["--model", settings["model"], "--store", settings["store"], "--dtype", "float32"]
    output = str(tmp_path / "report")
    main(["audit", str(data), *options, "--metrics", "ifd", "-q", "-o", output, *flags])
    page = (tmp_path / "report" / "index.html").read_text()
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    has_tokens = ["tokens" in row["example"] for row in json.loads(text)["rows"]]
    assert len(has_tokens) == 30
    assert all(has_tokens) if not flags else not any(has_tokens)
    assert ('id="heat"' in page) is (not flags)


def test_the_size_of_a_page_with_tokens_is_bounded() -> None:
    audit = make_audit()
    tokens = tuple(ShadedToken(f"<{i}", i % 9 + 0.25, 1.5) for i in range(4000))
    explored = tuple(
        replace(one, side=replace(one.side, response=shown(tokens), tokens=tokens))
        for one in audit.explored
    )
    page = render_audit_html(replace(audit, explored=explored * 10))
    assert 1_000_000 < len(page.encode()) < 3_000_000
    assert 'id="heat"' in page


def test_a_part_of_a_ragged_array() -> None:
    values = Ragged(np.arange(6, dtype=np.float32), np.array([2, 0, 3, 1]))
    found = values.copy_of(np.array([3, 1, 0]))
    assert [None if one is None else one.tolist() for one in found] == [[5.0], None, [0.0, 1.0]]
    assert len(values.copy_of(np.array([], dtype=np.int64))) == 0


def test_scores_with_a_second_model_have_tokens_too(
    settings: dict[str, Any], data: Path, tmp_path: Path
) -> None:
    """In an audit and in a comparison: the second model is not needed to look NLLs up."""
    both = {"metrics": ("ifd", "reference"), "reference_model": settings["model"]}
    scores = score(data, tmp_path / "scores.jsonl", settings, **both)
    found = ifdkit.audit(scores, store=settings["store"])
    assert all(one.tokens for one in sides(found).values())
    compared = ifdkit.compare(scores, scores, store=settings["store"])
    assert all(one.before.tokens and one.after.tokens for one in compared.explored)


def test_a_part_of_a_scores_file_keeps_its_tokens(
    settings: dict[str, Any], data: Path, tmp_path: Path
) -> None:
    scores = score(data, tmp_path / "scores.jsonl", settings, token_nll=True)
    store = str(tmp_path / "empty.sqlite")
    whole = ifdkit.compare(scores, scores, store=store)
    part = ifdkit.compare(scores, scores, store=store, limit=12)
    tokens = {one.before.row: one.before.tokens for one in whole.explored}
    assert len(part.explored) == 12
    assert all(one.before.tokens == tokens[one.before.row] for one in part.explored)
    assert all(tokens.values())
