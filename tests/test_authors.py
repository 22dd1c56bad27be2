"""Our numbers beside those of the authors' own programs, on 48 real rows, by the embedded model.

`tests/golden/authors.json` has what each program gave, unchanged, and how it was run.  The rows are
those of `shared/golden/rows48.json`.  docs/metrics.md lists the same file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ifdkit.data.options import ReadOptions
from ifdkit.diversity.measures import DIVERSITY, row_set
from ifdkit.prompting.protocols import PROTOCOLS
from ifdkit.records import Example
from ifdkit.scoring.demonstrations import find_demonstrations
from ifdkit.scoring.inputs import open_data
from ifdkit.scoring.metrics import METRICS
from ifdkit.scoring.scorer import Scorer
from ifdkit.scoring.settings import Settings
from ifdkit.scoring.text_metrics import compression_ratio, mtld

FILE = Path(__file__).parent / "golden" / "authors.json"
GOLDEN: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
MODELS = ("s_ifd", "min_k", "min_k_plus_plus", "uncertain_difficulty", "high_entropy_sum",
          "mean_rank", "rank_surprisal", "mean_logprob", "miwv")  # fmt: skip
OF_SETS = ("novelsum", "vendi", "nearest_distance", "self_repetition")
# The prompts of the programs whose prompt is none of our templates.
TEMPLATES = {
    "high_entropy_sum": "{{ instruction }}{% if input %}\n{{ input }}{% endif %}",
    "miwv": "{% for turn in turns %}{% if turn.role == 'user' %}User: {{ turn.text }}"
    "{% if turn.input %}\n{{ turn.input }}{% endif %}\nAssistant: {% else %}{{ turn.text }}\n"
    "{% endif %}{% endfor %}",
}


@pytest.fixture
def examples(shared_file: Callable[..., Path]) -> list[Example]:
    data = open_data(shared_file("golden", "rows48.json"), ReadOptions())
    return [example for found in data if isinstance(found, list) for example in found]


def theirs(name: str) -> list[float | None]:
    found: list[float | None] = GOLDEN[name]["values"]
    return found


def words(text: str) -> list[str]:
    """As the programs take them: separated by white space, without ASCII punctuation."""
    marks = str.maketrans("", "", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
    return [word for part in text.split() if (word := part.translate(marks).lower())]


def check(name: str, ours: Sequence[float | None], least: int) -> None:
    """Equal within the tolerance on at least so many rows, and undefined for a reason."""
    entry, compared = GOLDEN[name], 0
    for row, (mine, published) in enumerate(zip(ours, theirs(name), strict=True)):
        if row in entry.get("differ", ()):
            continue
        assert (mine is None) == (published is None), (name, row, mine, published)
        if mine is not None:
            compared += 1
            assert mine == pytest.approx(published, rel=entry["tolerance"], abs=1e-5), (name, row)
    assert compared >= least


def test_the_file_names_what_made_it() -> None:
    assert set(GOLDEN) == {*MODELS, "mtld", "compression_ratio", *OF_SETS}
    for name, entry in GOLDEN.items():
        assert name in METRICS or name in DIVERSITY
        assert entry["repository"].count("/") == 1, name
        assert len(entry["commit"]) >= 5, name
        assert entry["how"].endswith("."), name
        assert len(entry["values"]) in (1, 48), name


def test_lexical_diversity_is_that_of_the_library(examples: list[Example]) -> None:
    check("mtld", [mtld(words(one.response)) for one in examples], 42)


def test_compression_is_theirs_without_the_header(examples: list[Example]) -> None:
    """They keep the six bytes of zlib's header and checksum, give the inverse, and round it."""
    for row, (one, published) in enumerate(zip(examples, theirs("compression_ratio"), strict=True)):
        n_bytes, ratio = len(one.response.encode()), compression_ratio(one.response)
        assert ratio is not None
        assert published == pytest.approx((n_bytes / ratio + 6) / n_bytes, abs=5.1e-5), row


def score(examples: Sequence[Example], **options: Any) -> list[Any]:
    with Scorer(Settings(dtype="float32", protocol="superfiltering", **options)) as scorer:
        if "miwv" in scorer.settings.metrics:
            assert scorer.embeddings is not None
            scorer.further.demonstrations = find_demonstrations(examples, scorer.embeddings)
        return scorer.score(list(examples))


@pytest.fixture
def any_template(monkeypatch: pytest.MonkeyPatch) -> None:
    """The programs join prompt and response before they tokenize, whatever the prompt."""
    joined = replace(PROTOCOLS["superfiltering"], templates=("plain", "*"), max_length=2048)
    monkeypatch.setitem(PROTOCOLS, "superfiltering", joined)


@pytest.mark.slow
@pytest.mark.real_model
@pytest.mark.usefixtures("any_template")
@pytest.mark.parametrize("name", MODELS)
def test_numbers_of_the_model_are_those_of_the_authors(
    name: str, examples: list[Example], tmp_path: Path
) -> None:
    options: dict[str, Any] = {"metrics": (name,)}
    if name in TEMPLATES:
        (tmp_path / "prompt.jinja").write_text(TEMPLATES[name])
        options["template"] = str(tmp_path / "prompt.jinja")
    if name in ("mean_rank", "rank_surprisal", "mean_logprob"):
        options["template"] = "chat"
    if name == "s_ifd":
        options["informative_nats"] = GOLDEN[name]["limit"]
    rows = score(examples, **options)
    ours = [row[name] for row in rows]
    check(name, ours, 40)


@cache
def _vectors(path: Path) -> Any:
    data = open_data(path, ReadOptions())
    found = [one for block in data if isinstance(block, list) for one in block]
    with Scorer(Settings(metrics=("coherence",))) as scorer:
        assert scorer.embeddings is not None
        known = scorer.embeddings.embed(one.response for one in found)
    return np.array([known[one.response] for one in found]), [one.response for one in found]


@pytest.mark.slow
@pytest.mark.real_model
@pytest.mark.parametrize("name", OF_SETS)
def test_diversity_is_that_of_the_authors(name: str, shared_file: Callable[..., Path]) -> None:
    vectors, texts = _vectors(shared_file("golden", "rows48.json"))
    entry = GOLDEN[name]
    found = row_set(vectors, texts).measure(names=(name,))[name]
    assert found.value == pytest.approx(entry["values"][0], rel=entry["tolerance"])
