"""What MkDocs adds to the pages in docs/ while it builds the site.

Pages from other places of the repository (README.md becomes the home page), tables made from the
registries of the code, and links that work both on the site and in the repository.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ifdkit.auditing.rules import RULES
from ifdkit.cli.main import cli
from ifdkit.data.layouts import LAYOUTS
from ifdkit.diversity.measures import DIVERSITY
from ifdkit.prompting.protocols import PROTOCOLS
from ifdkit.prompting.templates import BUILT_IN
from ifdkit.scoring.metric import Metric
from ifdkit.scoring.metrics import METRICS

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""File of the repository → page of the site; reports keep their paths."""
_LINK = re.compile(r"(\]\()([^()\s:#]+)(#[^()\s]*)?\)")
_MARKER = re.compile(r"^<!-- generated: (\w+)((?: \w+)*) -->$", re.MULTILINE)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; a vertical bar in a cell is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(text) for text in line) + " |" for line in lines)


def metric_table() -> str:
    """Every metric that is a column of each scores file, in their order."""
    return table(
        ("field", "what it is", "unit", "`--metrics`"),
        (
            (
                f"`{metric.name}`",
                f"**{metric.label}.** {metric.definition}"
                + (f" {_with_arxiv_links(metric.source)}." if metric.source else ""),
                metric.unit,
                f"`{metric.group}`" if metric.group else "always",
            )
            for metric in METRICS.values()
            if not metric.is_optional
        ),
    )


def optional_table() -> str:
    """Every metric on request: what it is and takes."""
    return table(
        ("field", "what it is", "formula", "unit, range", "larger means", "takes", "`--metrics`"),
        (
            (
                f"`{metric.name}`",
                f"**{metric.label}.** {metric.definition}"
                + (f" {_with_arxiv_links(metric.source)}." if metric.source else ""),
                metric.formula,
                f"{metric.unit}{_range(metric)}",
                _meaning(metric),
                metric.cost,
                f"`{metric.group}`",
            )
            for metric in METRICS.values()
            if metric.is_optional
        ),
    )


def _range(metric: Metric) -> str:
    low, high = metric.low, metric.high
    if low is None and high is None:
        return ""
    if high is None:
        return f", at least {low:g}"
    return f", at most {high:g}" if low is None else f", {low:g} to {high:g}"


def _meaning(metric: Metric) -> str:
    if metric.higher_means:
        return metric.higher_means
    names = {True: "harder", False: "easier", None: "–"}
    return names[metric.higher_is_harder]


def diversity_table() -> str:
    """Every measure of the diversity of a set of rows."""
    return table(
        ("measure", "what it is", "unit", "more diverse if"),
        (
            (
                f"`{one.name}`",
                f"**{one.label}.** {one.definition}"
                + (f" {_with_arxiv_links(one.source)}." if one.source else ""),
                one.unit,
                "larger" if one.higher_is_more_diverse else "smaller",
            )
            for one in DIVERSITY.values()
        ),
    )


def evidence_table() -> str:
    """What `benchmarks.metrics` measured of each metric."""
    found = json.loads((ROOT / "reports" / "metrics.json").read_text(encoding="utf-8"))
    rows = [
        (
            f"`{name}`",
            _correlation(one.get("length"), one.get("length_ci95"), one.get("length_n")),
            _auc(one, "auc", "ci95", "n"),
            _auc(one, "auc_length_matched", "ci95_length_matched", "n_length_matched"),
            _correlation(one.get("predict_partial"), one.get("predict_partial_ci95"), None),
            _beyond_length(one),
        )
        for name in METRICS
        if (one := found.get(name))
    ]
    head = ("field", "with length", "AUC", "AUC, length-matched", "length removed", "beyond length")
    return table(head, rows)


def authors_table() -> str:
    """Which metrics and measures were compared with their authors' programs."""
    found = json.loads((ROOT / "tests" / "golden" / "authors.json").read_text(encoding="utf-8"))
    return table(
        ("number", "program", "equal within", "how it was run, and what differs"),
        (
            (
                f"`{name}`",
                f"{one['repository']} {one['commit'][:7]}",
                f"{one['tolerance']:.0e}" if one["tolerance"] else "the draw",
                one["how"],
            )
            for name in (*METRICS, *DIVERSITY)
            if (one := found.get(name))
        ),
    )


def _correlation(value: float | None, ci95: Sequence[float] | None, n: int | None) -> str:
    if value is None or ci95 is None:
        return "–"
    rows = "" if n is None else f", {n:,} rows"
    return f"{value:+.2f} ({ci95[0]:+.2f} to {ci95[1]:+.2f}{rows})".replace("-", "−")


def _auc(one: Mapping[str, Any], value: str, ci95: str, n: str) -> str:
    auc, interval = one.get(f"predict_{value}"), one.get(f"predict_{ci95}")
    if auc is None or interval is None:
        return "–"
    return f"{auc:.2f} ({interval[0]:.2f} to {interval[1]:.2f}, {one[f'predict_{n}']} pairs)"


def _beyond_length(one: Mapping[str, Any]) -> str:
    """Whether it predicts more than length: over all pairs, and over the length-matched ones."""
    p, matched = (
        one.get(name)
        for name in ("predict_partial_p_holm", "predict_partial_length_matched_p_holm")
    )
    if p is None:
        return "not measured"
    if p >= 0.05:
        return "nothing shown"
    return "yes" if matched is not None and matched < 0.05 else "on all pairs only"


def protocol_table() -> str:
    """Every protocol with its templates and its maximum length."""
    return table(
        ("`--protocol`", "templates", "prompt and response", "maximum length", "source"),
        (
            (
                f"`{one.name}`",
                ", ".join("any other" if t == "*" else f"`{t}`" for t in one.templates),
                "joined as text, then tokenized" if one.joined else "tokenized apart, ids joined",
                f"{one.max_length:,} tokens",
                _with_arxiv_links(one.source),
            )
            for one in PROTOCOLS.values()
        ),
    )


def template_sources() -> str:
    """The Jinja source of every built-in template."""
    return "\n\n".join(f"### {name}\n\n```jinja\n{BUILT_IN[name]}\n```" for name in BUILT_IN)


def layout_table() -> str:
    """Every layout with the names of its columns."""
    return table(
        ("layout", "columns"),
        (
            (
                layout.name,
                "; ".join(
                    f"{slot}: {' or '.join(f'`{name}`' for name in names)}"
                    for slot, names in layout.columns.items()
                ),
            )
            for layout in LAYOUTS
        ),
    )


def rule_table() -> str:
    """Every audit rule with its defaults."""
    return table(
        ("rule", "what it finds", "severity", "`most`", "`threshold`"),
        (
            (
                f"`{rule.name}`",
                f"{rule.title[:1].upper()}{rule.title[1:]}. {rule.sentence}",
                rule.severity,
                f"{100 * rule.most:g} %",
                "" if rule.threshold is None else f"{rule.threshold:g}",
            )
            for rule in RULES
        ),
    )


def help_text(*names: str) -> str:
    """What `ifdkit COMMAND --help` prints, 96 characters wide."""
    command: click.Command = cli
    context = click.Context(cli, info_name="ifdkit", terminal_width=96)
    for name in names:
        assert isinstance(command, click.Group)
        command = command.commands[name]
        context = click.Context(command, context, name)
    return f"```text\n{command.get_help(context)}\n```"


GENERATED: dict[str, Callable[..., str]] = {
    "help": help_text,
    "layouts": layout_table,
    "metrics": metric_table,
    "optional_metrics": optional_table,
    "diversity": diversity_table,
    "evidence": evidence_table,
    "authors": authors_table,
    "protocols": protocol_table,
    "rules": rule_table,
    "templates": template_sources,
}
"""Name in `<!-- generated: NAME -->` → what replaces the marker."""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _with_arxiv_links(source: str) -> str:
    return re.sub(r"(\d{4}\.\d{5})", r"[\1](https://arxiv.org/abs/\1)", source)


def site_path(path: str) -> str:
    """The path on the site of a file of the repository, both relative to their roots."""
    if path.startswith("reports/") and path.endswith("/report.md"):
        path = path.removesuffix("report.md") + "index.html"  # the whole report, not its summary
    return OUTSIDE.get(path, path.removeprefix("docs/"))


def with_site_links(markdown: str, source: str) -> str:
    """The links of a file of the repository as links of its page on the site."""
    folder = posixpath.dirname(site_path(source))

    def replace(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[2]))
        relative = posixpath.relpath(site_path(target), folder or ".")
        return f"{link[1]}{relative}{link[3] or ''})"

    return _LINK.sub(replace, markdown)


def outside_files() -> list[str]:
    """The files of the repository outside docs/ that are part of the site."""
    reports = [*ROOT.glob("reports/*.md"), *ROOT.glob("reports/*/index.html")]
    return [*OUTSIDE, *sorted(path.relative_to(ROOT).as_posix() for path in reports)]


# Called by MkDocs


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files outside docs/."""
    from mkdocs.structure.files import File

    for path in outside_files():
        files.append(File.generated(config, site_path(path), abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in what is generated, and point links to the site."""
    del config, files
    markdown = _MARKER.sub(lambda marker: GENERATED[marker[1]](*marker[2].split()), markdown)
    here = page.file.src_uri
    outside = {site_path(path): path for path in outside_files()}
    return with_site_links(markdown, outside.get(here, f"docs/{here}"))


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Show a Sphinx role such as :class:`Settings` of a docstring as plain code."""
    del page, config, files
    return re.sub(r":(?:class|data|func):(?=<code>)", "", html)
