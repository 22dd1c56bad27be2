"""README and docs say what the program does: their commands parse, their snippets run."""

from __future__ import annotations

import html
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import click
import pytest

import ifdkit
from docs import hooks, refresh_outputs
from ifdkit.auditing.rule_settings import configured, from_tables
from ifdkit.auditing.rules import RULES
from ifdkit.cli import flags
from ifdkit.cli.config import load_config
from ifdkit.cli.main import cli
from ifdkit.oracle import local
from ifdkit.prompting.protocols import PROTOCOLS
from ifdkit.prompting.templates import BUILT_IN, CHAT
from ifdkit.records import Status
from ifdkit.reflection.outcomes import Outcome
from ifdkit.scoring.metrics import METRICS
from ifdkit.scoring.rows import IDENTITY_FIELDS, TOKEN_FIELDS, score_columns
from ifdkit.scoring.settings import Settings
from ifdkit.selection.methods import METHODS
from tests.oracle_server import OracleServer

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[1]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (*refresh_outputs.pages(), ROOT / "CONTRIBUTING.md")
}
ALL = "\n".join(PAGES.values())


class Snippet(NamedTuple):
    """A fenced block of a page."""

    page: str
    number: int
    text: str

    def __str__(self) -> str:
        return f"{self.page}-{self.number}"


def snippets(language: str) -> list[Snippet]:
    fence = re.compile(rf"^```{language}\n(.*?)^```", re.DOTALL | re.MULTILINE)
    return [
        Snippet(page, number, text)
        for page, content in PAGES.items()
        for number, text in enumerate(fence.findall(content))
    ]


def commands(snippet: Snippet) -> Iterator[list[str]]:
    """The arguments of every `ifdkit …` in a console block, a step of a workflow or a hook."""
    for line in re.findall(r"^(?:\$|\s*- run:|\s*entry:) (.*)$", snippet.text, re.MULTILINE):
        for part in re.split(r"\||&&", line):
            words = shlex.split(part, comments=True)
            if words[:1] == ["ifdkit"]:
                yield words[1:]


COMMANDS = [words for one in snippets("console") + snippets("yaml") for words in commands(one)]


# Snippets


def parse(words: list[str]) -> None:
    with cli.make_context("ifdkit", list(words)) as context:
        name, command, rest = cli.resolve_command(context, list(words))
        assert name is not None
        assert command is not None
        command.make_context(name, rest, parent=context)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_parses(words: list[str]) -> None:
    parse(words)


def test_a_wrong_command_would_be_caught() -> None:
    """Negative control."""
    with pytest.raises(click.UsageError):
        parse(["score", "data.json", "--modle", "x"])


@pytest.fixture
def small_models(
    tiny_model: Path, tiny_embedder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Tiny default models, and a scripted server as the local oracle."""
    defaults = Settings.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "model", str(tiny_model))
    monkeypatch.setitem(defaults, "embedder", str(tiny_embedder))
    with OracleServer() as server:

        @contextmanager
        def scripted_oracle() -> Iterator[local.RunningServer]:
            yield local.RunningServer(server.base_url, "scripted", "a scripted server")

        monkeypatch.setattr(local, "local_oracle", scripted_oracle)
        yield


@pytest.mark.usefixtures("small_models")
@pytest.mark.parametrize("snippet", snippets("python"), ids=str)
def test_python_snippets_run(
    snippet: Snippet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    known = dict(METRICS)
    try:
        exec(compile(snippet.text, str(snippet), "exec"), {})
    finally:
        METRICS.clear()
        METRICS.update(known)


@pytest.mark.parametrize("snippet", snippets("toml"), ids=str)
def test_settings_snippets_load(snippet: Snippet, write: Callable[..., Path]) -> None:
    path = write("ifdkit.toml", snippet.text)
    (file,) = load_config(
        path.parent, (p for command in cli.commands.values() for p in command.params)
    ).files
    tables = tomllib.loads(snippet.text).get("audit", {})
    assert file.table("audit") == tables
    changed = {rule.name for rule in set(configured(from_tables(tables, path.name))) - set(RULES)}
    assert changed == set(tables), "each table changes its rule"


def test_yaml_snippets_are_a_workflow_and_a_hook() -> None:
    yaml = pytest.importorskip("yaml")

    found = [yaml.safe_load(one.text) for one in snippets("yaml")]
    workflow, hooks, action, published = found
    for steps in (workflow["jobs"]["audit"]["steps"], action):
        assert all(("uses" in step) != ("run" in step) for step in steps)
    (repo,) = hooks["repos"]
    assert {"id", "name", "entry", "language"} <= set(repo["hooks"][0])
    assert {"repo", "rev", "hooks"} == set(published[0])
    audits = [words for words in COMMANDS if words[0] == "audit" and "data/train.jsonl" in words]
    assert len(audits) == 2


def test_every_page_has_something_to_check() -> None:
    """Negative control of the patterns above."""
    for language, n in (("console", 20), ("python", 7), ("toml", 2), ("yaml", 4)):
        assert len(snippets(language)) >= n, language
    assert len(COMMANDS) >= 30


# Shown outputs


@pytest.mark.parametrize("snippet", snippets("console"), ids=str)
def test_outputs_are_made_by_refresh_outputs(snippet: Snippet) -> None:
    lines = snippet.text.splitlines()
    assert all(len(line) <= refresh_outputs.MAX_WIDTH for line in lines if line[:2] != "$ ")
    if not all(line.startswith("$ ") for line in lines):
        before = PAGES[snippet.page].split(f"```console\n{snippet.text}```")[0].splitlines()[-1]
        assert before.startswith("<!-- run"), "nobody edits an output by hand"


def test_refreshing_replaces_only_the_output(tmp_path: Path) -> None:
    page = "A\n\n<!-- run head=1 tail=1 -->\n```console\n$ seq 4  # four\nold\n$ true\n```\nB\n"
    shell = refresh_outputs.Shell(tmp_path, tmp_path / "cache")
    new = refresh_outputs.refreshed(page, shell, slow=False)
    assert new == page.replace("old", "1\n…\n4")
    assert refresh_outputs.refreshed(new, shell, slow=False) == new
    slow = new.replace("run head", "run slow head").replace("1\n…\n4", "old")
    assert refresh_outputs.refreshed(slow, shell, slow=False) == slow


def test_an_unknown_option_of_a_block_is_an_error() -> None:
    with pytest.raises(ValueError, match="unknown option 'haed=3'"):
        refresh_outputs.Options.parse(" haed=3 ")


def test_long_lines_and_progress_of_an_output_are_tidied(tmp_path: Path) -> None:
    shell = refresh_outputs.Shell(tmp_path, tmp_path / "cache")
    words = " ".join(["word"] * 30)
    progress = "echo '12 of 42 rows · 3.0 s left'"
    shown = shell.run(f"echo; {progress}; echo '  {words}'; echo; echo; echo 'end  '; echo")
    assert shown == [f"  {words[:94]}", f"  {words[95:]}", "", "end"]


@pytest.mark.slow
def test_outputs_are_those_of_this_version() -> None:
    """Durations and speeds aside."""
    assert refresh_outputs.main(["--check"]) == 0


def test_the_readme_is_short_and_its_picture_small() -> None:
    assert len(PAGES["README.md"].splitlines()) <= 150
    assert (ROOT / refresh_outputs.PICTURE).stat().st_size < 200_000


# What the pages name


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("README.md", [f"ifdkit {name}" for name in cli.commands]),
        ("docs/metrics.md", [*Status, *IDENTITY_FIELDS, *TOKEN_FIELDS]),
        ("docs/protocols.md", [*PROTOCOLS, CHAT]),
        ("docs/reflect.md", list(Outcome)),
        ("docs/select.md", list(METHODS)),
    ],
)
def test_names_are_documented(page: str, names: list[str]) -> None:
    for name in names:
        assert f"`{name}`" in PAGES[page] or f"`{name} " in PAGES[page], name


def test_every_public_name_is_in_the_api_reference() -> None:
    documented = re.findall(r"^::: ifdkit\.(\w+)$", PAGES["docs/python-api.md"], re.MULTILINE)
    assert sorted([*documented, "__version__"]) == ifdkit.__all__


def test_every_extra_is_in_the_table() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for name in project["optional-dependencies"]:
        assert f"| `ifdkit[{name}]` |" in PAGES["docs/getting-started.md"], name


def test_exit_codes_are_those_of_the_program() -> None:
    page = PAGES["docs/getting-started.md"].split("## Exit codes")[1].split("##")[0]
    codes = [int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)]
    assert codes == [flags.EXIT_DONE, flags.EXIT_GATE, flags.EXIT_ERROR, flags.EXIT_INTERRUPTED]


def test_the_fields_are_those_of_the_contract(shared_file: Callable[..., Path]) -> None:
    contract = shared_file("CONTRACT.md").read_text(encoding="utf-8")
    table = contract.split("## A row of scores")[1].split("## A comparison")[0]
    named = set(re.findall(r"`([a-z_]+)`", "\n".join(re.findall(r"^\| (`.*?) \|", table, re.M))))
    # `ppl_…` stands for four fields.
    perplexities = {name for name in score_columns(token_nll=True) if name.startswith("ppl_")}
    assert named | perplexities == set(score_columns(token_nll=True)) - {"ppl_"}


# The site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built with warnings as errors."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def text_of(page: Path) -> str:
    """The text of a page, with single spaces."""
    article = page.read_text(encoding="utf-8").split("<article")[1].split("</article>")[0]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", article)).split())


@pytest.mark.long
def test_the_field_table_is_the_registry(site: Path) -> None:
    rows = (site / "metrics.html").read_text(encoding="utf-8").split("<tr>")
    fields = [found[1] for row in rows if (found := re.match(r"\s*<td><code>(\w+)</code>", row))]
    # The table of what was measured of each metric names them again.
    assert [name for name in dict.fromkeys(fields) if name in METRICS] == list(METRICS)
    assert set(fields) >= set(score_columns(token_nll=True))
    shown = text_of(site / "metrics.html")
    for metric in METRICS.values():
        assert f"{metric.name} {metric.label}. {metric.definition.split('`')[0].strip()}" in shown
        if not metric.is_optional:
            assert f" {metric.unit} {metric.group or 'always'} " in shown
        else:
            assert f" {metric.cost} {metric.group} ".replace("`", "") in shown


@pytest.mark.long
def test_generated_parts_are_filled_in(site: Path) -> None:
    for page in site.glob("*.html"):
        assert "<!-- generated" not in page.read_text(encoding="utf-8"), page.name
    audit = text_of(site / "audit.html")
    assert all(f"{rule.name} {rule.title[:1].upper()}{rule.title[1:]}." in audit for rule in RULES)
    everything = " ".join(text_of(page) for page in site.glob("*.html") if page.stem != "404")
    for name, command in cli.commands.items():
        names = command.commands if isinstance(command, click.Group) else [""]
        for one in names:
            assert f"Usage: ifdkit {f'{name} {one}'.strip()} [OPTIONS]" in everything
    for name in BUILT_IN:
        assert f'<h3 id="{name}">' in (site / "protocols.html").read_text(encoding="utf-8")
    api = text_of(site / "python-api.html")
    assert "Add a metric to every command of this process" in api
    assert ":class:" not in api


@pytest.mark.long
def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    loaded = re.compile(r'<(?:script|img|iframe|link)[^>]* (?:src|href)="?(?:https?:)?//', re.I)
    for page in site.rglob("*.html"):
        assert not loaded.search(page.read_text(encoding="utf-8")), page


@pytest.mark.long
def test_pages_outside_docs_are_on_the_site(site: Path) -> None:
    for path in hooks.outside_files():
        built = site / Path(hooks.site_path(path)).with_suffix(".html")
        assert built.is_file(), path
    home = (site / "index.html").read_text(encoding="utf-8")
    assert 'href="metrics.html"' in home
    assert 'href="reports/before-vs-after/index.html"' in home
    assert 'src="images/report.png"' in home


@pytest.mark.parametrize(
    ("source", "link", "expected"),
    [
        ("README.md", "docs/metrics.md#a", "metrics.md#a"),
        ("README.md", "reports/x/report.md", "reports/x/index.html"),
        ("docs/compare.md", "../reports/speed.md", "reports/speed.md"),
        ("docs/compare.md", "metrics.md", "metrics.md"),
        ("CONTRIBUTING.md", "docs/metrics.md", "metrics.md"),
        ("reports/speed.md", "../CONTRIBUTING.md", "../contributing.md"),
        ("docs/compare.md", "#here", "#here"),
        ("docs/compare.md", "https://arxiv.org/abs/2402.10110", "https://arxiv.org/abs/2402.10110"),
    ],
)
def test_links_work_in_the_repository_and_on_the_site(
    source: str, link: str, expected: str
) -> None:
    assert hooks.with_site_links(f"[a]({link})", source) == f"[a]({expected})"


@pytest.mark.parametrize("page", PAGES)
def test_links_of_a_page_exist_in_the_repository(page: str) -> None:
    for target in re.findall(r"\]\(([^()\s:#]+)(?:#[^()\s]*)?\)", PAGES[page]):
        assert (ROOT / page).parent.joinpath(target).exists(), target
