"""A comparison as users hold it: its numbers, and its reports on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ifdkit.comparison.length_control import MIN_TOKENS
from ifdkit.comparison.pairing import By
from ifdkit.comparison.result import ExploredPair, Summary
from ifdkit.comparison.run import Options, compare_sides
from ifdkit.data.atomic import atomic, write_json
from ifdkit.data.dataset import Turns
from ifdkit.data.options import ReadOptions
from ifdkit.errors import UsageError
from ifdkit.report.comparison.html import render_html
from ifdkit.report.comparison.latex import render_latex
from ifdkit.report.comparison.markdown import render_markdown
from ifdkit.report.confidential import numbers_only, without_text
from ifdkit.report.folder import check_holds, make_folder, write_text
from ifdkit.scoring.run import default_output
from ifdkit.scoring.scorer import Progress, Settings, parse_metrics

if TYPE_CHECKING:
    import pandas as pd

    from ifdkit.scoring.inputs import Data


@dataclass(frozen=True, slots=True, eq=False)
class ComparisonResult:
    """What `ifdkit.compare` returns."""

    summary: Summary
    """Everything a report shows but the rows; `summary.json`."""
    rows: pd.DataFrame = field(repr=False)
    """One row per pair; `rows.parquet`."""
    explored: tuple[ExploredPair, ...] = field(default=(), repr=False)
    """The pairs of the report's explorer."""
    has_text: bool = True
    """Whether `explored` holds the texts; False where only scores files were compared."""

    def without_text(self) -> Summary:
        """The summary without a word of the datasets."""
        return without_text(self.summary)

    def as_json(self, *, text: bool = True) -> dict[str, Any]:
        """The object of `summary.json`."""
        return asdict(self.summary if text else self.without_text())

    def save(self, folder: str | Path, *, text: bool = True) -> Path:
        """Write index.html, summary.json, report.md, table.tex and rows.parquet into `folder`.

        Each file appears whole or not at all.  With `text=False` no word of the datasets is in
        any of them: numbers, ids and verdicts only.  Returns the folder.  Raises OutputError
        where something cannot be written.
        """
        place = Path(folder)
        make_folder(place)
        summary = self.summary if text else without_text(self.summary)
        # The texts of one side alone are no comparison, and the page says that it holds none.
        has_text = text and self.has_text
        explored = self.explored if has_text else numbers_only(self.explored)
        page = render_html(summary, self.rows, explored, has_text=has_text)
        write_text(place / "index.html", page)
        write_json(place / "summary.json", asdict(summary))
        write_text(place / "report.md", render_markdown(summary))
        write_text(place / "table.tex", render_latex(summary))
        _write_rows(place / "rows.parquet", self.rows)
        return place


def _write_rows(path: Path, rows: pd.DataFrame) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pa.Table.from_pandas(rows, preserve_index=False)
    except UnicodeEncodeError:  # an id that is no text: lone surrogates are spelt out
        ids = [one.encode(errors="backslashreplace").decode() for one in map(str, rows["id"])]
        table = pa.Table.from_pandas(rows.assign(id=ids), preserve_index=False)
    with atomic(path) as file:
        pq.write_table(table, file, compression="zstd")


def compare(
    before: Data,
    after: Data,
    *,
    pair_by: By | None = None,
    force: bool = False,
    min_tokens: int = MIN_TOKENS,
    seed: int = 0,
    columns: Mapping[str, str] | None = None,
    turns: Turns = "all",
    progress: Progress | None = None,
    **settings: Any,
) -> ComparisonResult:
    """Compare two datasets, or two sets of scores: what changed, and whether it is real.

    Each side is a path (a dataset or a scores file), any iterable of dictionaries, or a DataFrame,
    that of `ifdkit.score` too.  Datasets are scored first, with `settings` as `ifdkit.score` takes
    them, all metrics unless some are named; where a side is scored already, its settings hold.
    `pair_by` is `id`, `row` or `instruction`; `force` compares what was not scored alike;
    responses under `min_tokens` are left out where length is held fixed; `seed` is that of the
    bootstrap.  Raises IfdkitError.
    """
    unknown = settings.keys() - {f.name for f in fields(Settings)}
    if unknown:
        raise UsageError(f"compare() has no setting {sorted(unknown)[0]!r}")
    if isinstance(settings.get("metrics"), str):
        settings["metrics"] = parse_metrics(settings["metrics"])
    options = Options(pair_by=pair_by, force=force, min_tokens=min_tokens, seed=seed)
    read_options = ReadOptions(columns=columns, turns=turns)
    found = compare_sides(before, after, settings, read_options, options, progress)
    return ComparisonResult(found.summary, found.rows, found.explored, found.has_text)


def default_folder(before: Data, after: Data) -> Path:
    """`reports/old-vs-new` for `data/old.json` and `new.scores.jsonl`."""
    names = (default_output(data).name.removesuffix(".scores.jsonl") for data in (before, after))
    return Path("reports", "-vs-".join(name.removesuffix(".scores") for name in names))


def check_folder(folder: Path) -> None:
    """Refuse, before any work is done, a folder whose files are not a report of ours.

    Raises OutputError.
    """
    check_holds(folder, "report", file="summary.json", schema="ifdkit.comparison/")
