"""Several datasets against one baseline, paired and unpaired, through scores files."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import ifdkit
from ifdkit.cli.main import main
from ifdkit.comparison.folders import default_folder, part_folder
from ifdkit.comparison.gate import parse_condition, value_of
from ifdkit.comparison.overview import Comparisons
from ifdkit.errors import InputError, UsageError
from ifdkit.format import signed
from ifdkit.report.comparison.overview_html import render_overview_html
from ifdkit.report.comparison.overview_markdown import render_overview_markdown
from ifdkit.report.terminal.overview import print_overview
from ifdkit.report.terminal.screen import Screen
from ifdkit.stats.columns import holm

pytestmark = pytest.mark.long

Make = Callable[..., Path]


def scores(n: int = 60, *, shift: float = 0.0, longer: int = 0, seed: int = 0) -> pd.DataFrame:
    """Scores without a model or texts: IFD and length, independent of each other."""
    rng = np.random.default_rng(seed)
    nll = rng.normal(2.0, 0.3, n)
    return pd.DataFrame(
        {
            "id": [f"row-{i}" for i in range(n)],
            "row": range(n),
            "turn": 0,
            "status": "ok",
            "instruction_tokens": rng.integers(5, 30, n),
            "response_tokens": rng.integers(20, 200, n) + longer,
            "nll_response_direct": nll,
            "ifd": rng.lognormal(-0.5, 0.2, n) + shift,
        }
    )


def several(*others: pd.DataFrame, **options: Any) -> Comparisons:
    return ifdkit.compare_several(scores(), others, force=True, store="off", **options)


@pytest.fixture(scope="module")
def paired() -> Comparisons:
    return several(scores(shift=0.2, seed=0), scores(seed=1), scores(shift=-0.1, seed=2))


@pytest.fixture(scope="module")
def unpaired() -> Comparisons:
    return several(scores(150, shift=0.2, seed=3), scores(45, seed=4), unpaired=True)


def test_each_comparison_is_that_of_two_but_for_the_correction(paired: Comparisons) -> None:
    alone = ifdkit.compare(scores(), scores(shift=-0.1, seed=2), force=True, store="off")
    made = paired.comparisons[2]
    assert made.summary.pairing == alone.summary.pairing
    for name, metric in alone.summary.metrics.items():
        together = made.summary.metrics[name]
        assert (metric.before, metric.after) == (together.before, together.after), name
        assert metric.change.p == together.change.p
        assert metric.change.median_ci95 == together.change.median_ci95
    assert made.rows.equals(alone.rows)


@pytest.mark.parametrize("kind", ["paired", "unpaired"])
def test_holm_is_over_all_metrics_of_all_datasets(
    kind: str, request: pytest.FixtureRequest
) -> None:
    overview = request.getfixturevalue(kind).overview
    ps = {
        (i, name): metric.change.p
        for i, one in enumerate(overview.others)
        for name, metric in one.metrics.items()
    }
    expected = holm({f"{i} {name}": p for (i, name), p in ps.items()})
    assert overview.n_tests == len(ps) > len(overview.others)
    for i, one in enumerate(overview.others):
        for name, metric in one.metrics.items():
            assert metric.change.p_holm == expected[f"{i} {name}"]
    # Negative control: corrected within each dataset alone, some p would be smaller.
    alone = [holm({n: m.change.p for n, m in one.metrics.items()}) for one in overview.others]
    assert any((alone[i][name] or 0) < (expected[f"{i} {name}"] or 0) for i, name in ps)


def test_the_reports_of_the_parts_have_the_corrected_p(paired: Comparisons) -> None:
    for one, made in zip(paired.overview.others, paired.comparisons, strict=True):
        assert one.metrics == made.summary.metrics
        assert one.verdict == made.summary.verdict
        n = paired.overview.n_tests
        assert any(f"corrected for all {n} tests" in text for text in made.summary.warnings)


def test_the_planted_shift_is_found_and_the_rest_is_silent(unpaired: Comparisons) -> None:
    shifted, same = unpaired.overview.others
    assert (shifted.n_before, shifted.n_after) == (60, 150)
    assert shifted.metrics["ifd"].change.p_holm is not None
    assert shifted.metrics["ifd"].change.p_holm < 0.05
    assert shifted.metrics["ifd"].change.median == pytest.approx(0.2, abs=0.06)
    assert shifted.verdict.startswith("Unpaired. IFD is higher. At matched lengths, too.")
    assert same.verdict == "Unpaired. IFD shows no clear difference."
    assert shifted.pairing is None
    assert not unpaired.comparisons


def test_the_order_of_rows_does_not_matter_without_pairs() -> None:
    other = scores(80, shift=0.1, seed=5)
    order = np.random.default_rng(0).permutation(len(other))
    first = several(other, unpaired=True).overview.others[0]
    second = several(other.iloc[order].reset_index(drop=True), unpaired=True).overview.others[0]
    for name, metric in first.metrics.items():
        moved = second.metrics[name].change
        assert (metric.change.median, metric.change.effect) == (moved.median, moved.effect)


def test_a_gate_is_about_each_dataset(paired: Comparisons, unpaired: Comparisons) -> None:
    condition = parse_condition("ifd.median_change < -0.05 and ifd.p_holm < 0.05")
    found = [condition.check(one) for one in paired.overview.others]
    assert [why is not None for why in found] == [False, False, True]
    (shifted, _) = unpaired.overview.others
    assert value_of("ifd.median_change", shifted) == shifted.metrics["ifd"].change.median
    assert value_of("length_control.ifd.matched_change", shifted) is not None
    # What needs pairs or texts is undefined without them, and fails the gate.
    for name in ("pairing.n_pairs", "findings.refusal.count",
                 "length_control.ifd.common_length_change"):  # fmt: skip
        assert value_of(name, shifted) is None, name
        assert parse_condition(f"{name} > 3").check(shifted) is not None


def test_a_saved_overview_has_a_folder_for_each_comparison(
    paired: Comparisons, unpaired: Comparisons, tmp_path: Path
) -> None:
    folder = paired.save(tmp_path / "paired")
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["schema"] == "ifdkit.comparisons/1"
    assert summary == json.loads(json.dumps(paired.as_json()))
    page = (folder / "index.html").read_text()
    for one in summary["others"]:
        assert (folder / one["folder"] / "index.html").is_file()
        assert f'href="{one["folder"]}/index.html"' in page
        part = json.loads((folder / one["folder"] / "summary.json").read_text())
        assert part["schema"] == "ifdkit.comparison/1"
    paired.save(folder)  # which replaces an earlier one
    folder = unpaired.save(tmp_path / "unpaired")
    assert {path.name for path in folder.iterdir()} == {"index.html", "summary.json", "report.md"}


def test_unpaired_is_said_everywhere(paired: Comparisons, unpaired: Comparisons) -> None:
    for result, is_said in ((unpaired, True), (paired, False)):
        screen = Screen(width=100, file=(out := io.StringIO()))
        print_overview(result.overview, console=screen)
        forms = {
            "terminal": out.getvalue(),
            "page": render_overview_html(result),
            "markdown": render_overview_markdown(result.overview),
            "notebook": result._repr_html_(),
            "repr": repr(result),
            "axis": result.plot().axes[0].get_xlabel(),
        }
        for form, text in forms.items():
            assert ("unpaired" in text.casefold()) is is_said, form
    assert all(one.verdict.startswith("Unpaired.") for one in unpaired.overview.others)


@pytest.mark.parametrize("width", [40, 60, 80, 140])
def test_every_dataset_is_in_the_table_of_a_terminal(paired: Comparisons, width: int) -> None:
    screen = Screen(width=width, file=(out := io.StringIO()))
    print_overview(paired.overview, console=screen)
    assert max(map(len, out.getvalue().splitlines())) <= width
    for one in paired.overview.others:
        change = one.metrics["ifd"].change.median
        assert change is not None
        assert signed(change) in out.getvalue()


def test_hostile_names_are_text(tmp_path: Path) -> None:
    base, other = tmp_path / "base.csv", tmp_path / "<img src=x onerror=alert(1)>|_a_.csv"
    scores().to_csv(base, index=False)
    scores(shift=0.1).to_csv(other, index=False)
    result = ifdkit.compare_several(base, [other], force=True, store="off")
    (one,) = result.overview.others
    assert one.folder is not None
    assert set(one.folder) <= set(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
    )
    assert "<img" not in render_overview_html(result)
    assert "<img" not in result._repr_html_()
    (row, *_) = [
        x for x in render_overview_markdown(result.overview).splitlines() if x[:5] == "| IFD"
    ]
    assert row.replace("\\|", "").count("|") == 10


def test_names_of_folders() -> None:
    assert part_folder(2, "some/new.scores.jsonl") == "2-new"
    assert part_folder(1, "../..") == "1"
    assert default_folder("a.json", "b.json") == Path("reports/a-vs-b")
    assert default_folder("a.json", "b.json", unpaired=True) == Path("reports/a-vs-b-unpaired")
    assert default_folder(*"abcde") == Path("reports/a-vs-4-others")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unpaired": True, "pair_by": "row"}, "--pair-by pairs rows"),
        ({"unpaired": True, "sample": 5}, "--sample draws the same rows"),
    ],
)
def test_options_that_need_pairs(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        several(scores(), **options)


def test_nothing_to_compare_with() -> None:
    with pytest.raises(UsageError, match="nothing to compare the baseline with"):
        several()


@pytest.mark.long
def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    for name, frame in (
        ("base", scores()), ("b", scores(shift=0.2)), ("c", scores(40, shift=-0.2, seed=2)),
    ):  # fmt: skip
        frame.to_csv(f"{name}.csv", index=False)
    common = ["--force", "--store", "off", "-q"]
    gate = ["--fail-if", "ifd.median_change < -0.05"]
    assert main(["compare", "base.csv", "b.csv", "c.csv", *common, *gate]) == 1
    out, err = capsys.readouterr()
    assert "reports/base-vs-b-vs-c/index.html" in out.replace("\n", "")
    assert err.count("gate failed") == 1
    assert "gate failed: 2 c.csv: --fail-if" in err
    assert main(["compare", "base.csv", "c.csv", "--unpaired", *common, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made == json.loads(Path("reports/base-vs-c-unpaired/summary.json").read_text())
    assert made["is_paired"] is False
    # The folder of one kind of report is not overwritten by the other.
    assert main(["compare", "base.csv", "b.csv", *common, "-o", "reports/base-vs-c-unpaired"]) == 2
    assert "is not an earlier comparison" in capsys.readouterr().err


def test_a_limit_is_in_every_form_of_an_overview(tmp_path: Path) -> None:
    """Datasets of any size: the first rows of each."""
    said = "Limited: only the first 40 rows of each side."
    for options in ({"unpaired": True}, {}):
        found = several(scores(45, seed=1), scores(90, seed=2), limit=40, **options)
        assert found.overview.limit == 40
        assert all(len(old) == len(new) == 40 for one in found.columns for old, new in one.values())
        place = found.save(tmp_path / str(len(options)))
        assert json.loads((place / "summary.json").read_text())["limit"] == 40
        for name in ("index.html", "report.md"):
            assert said in (place / name).read_text(), name
        print_overview(found.overview, console=Screen(width=100, file=(out := io.StringIO())))
        assert said in " ".join(out.getvalue().split())
        assert all("limited" in " ".join(one.warnings) for one in found.overview.others)
    assert several(scores(45, seed=1), scores(90, seed=2), unpaired=True).overview.limit is None


def test_a_limit_without_a_pair_is_named() -> None:
    after = scores().iloc[::-1].assign(row=range(60))
    with pytest.raises(InputError, match="in the first 10 rows of each"):
        ifdkit.compare(scores(), after, pair_by="id", limit=10, force=True, store="off")
