"""The house: who may import whom, and what an import costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ifdkit

PACKAGE = Path(ifdkit.__file__).parent

# A room imports from lower floors, and on its own floor from rooms named before it.
FLOORS = [
    ["version", "errors", "records", "compared", "audited"],
    [
        "config",
        "templates",
        "protocols",
        "tokens",
        "planning",
        "metrics",
        "stats",
        "paired",
        "length_control.verdict",
        "length_control.cutting",
        "length_control.matching",
        "length_control",
        "pairing",
        "findings.texts",
        "findings.runs",
        "findings.phrases",
        "findings.signs",
        "findings.scripts",
        "findings.near",
        "findings.changes",
        "findings.shared_runs",
        "findings.recurring",
        "findings.personal",
        "findings.secrets",
        "findings.markup",
        "findings.languages",
        "findings.contamination",
        "findings",
        "gate",
        "facility",
        "ranking",
        "reading.raw",
        "reading.sources",
        "reading.json_rows",
        "reading.table_rows",
        "reading.layouts",
        "reading.hub",
        "reading",
        "writing",
        "rewriting",
        "row_files",
        "ragged",
        "score_table",
    ],
    [
        "store",
        "engine",
        "engine.quiet",
        "engine.models",
        "engine.tokenizer",
        "engine.precision",
        "engine.head",
        "engine.layout",
        "engine.attention",
        "engine.ways",
        "engine.huggingface",
        "coherence",
    ],
    [
        "inputs",
        "scorer",
        "drift",
        "scoring",
        "scored",
        "inspection",
        "reflection.outcomes",
        "reflection.prompts",
        "reflection.answers",
        "reflection.journal",
        "reflection.limits",
        "reflection.wire",
        "reflection.oracle",
        "reflection.options",
        "reflection.local",
        "reflection.choosing",
        "reflection.drafting",
        "reflection.estimate",
        "reflection.provenance",
        "reflection.settling",
        "reflection",
        "selection.options",
        "selection.rows",
        "selection.methods",
        "selection.reflected",
        "selection.sources",
        "selection.effect",
        "selection.account",
        "selection.work",
        "selection",
        "comparison.reference",
        "comparison.headline",
        "comparison.likeness",
        "comparison.sides",
        "comparison.caveats",
        "comparison.exploring",
        "comparison",
        "auditing.rules",
        "auditing.thresholds",
        "auditing.texts",
        "auditing.outcomes",
        "auditing.numbers",
        "auditing.repeats",
        "auditing.templates",
        "auditing.against",
        "auditing",
    ],
    [
        "report",
        "report.numbers",
        "report.progress",
        "report.screen",
        "report.terminal",
        "report.visible",
        "report.wording",
        "report.audit_wording",
        "report.confidential",
        "report.folder",
        "report.page",
        "report.svg",
        "report.scales",
        "report.figures",
        "report.explorer",
        "report.html",
        "report.markdown",
        "report.latex",
        "report.result",
        "report.terminal_comparison",
        "report.terminal_selection",
        "report.sarif",
        "report.audit_markdown",
        "report.audit_html",
        "report.audit_result",
        "report.terminal_audit",
        "report.terminal_reflection",
    ],
    ["cli_options", "cli_reflection", "cli_selection", "cli_audit", "cli"],
]
ORDER = [room for floor in FLOORS for room in floor]
# Doors of the house: they name the rooms behind them.
DOORS = {"", "__main__"}
PURE = {
    "templates",
    "protocols",
    "tokens",
    "planning",
    "metrics",
    "reading.layouts",
    "reading.json_rows",
}
HEAVY = {"torch", "transformers", "sentence_transformers", "pandas", "click", "rich"}


def rooms() -> dict[str, Path]:
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    return found


def imports_of(path: Path) -> set[str]:
    """Modules that a file imports anywhere, `from x import y` as both x and x.y."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_every_room_has_a_floor() -> None:
    assert set(rooms()) - DOORS == set(ORDER)


@pytest.mark.parametrize("room", ORDER)
def test_a_room_imports_only_from_below(room: str) -> None:
    inside = {name.removeprefix("ifdkit.") for name in imports_of(rooms()[room])}
    imported = {name for name in inside if name in ORDER and name != room}
    above = {name for name in imported if ORDER.index(name) > ORDER.index(room)}
    assert not above


def test_the_check_sees_a_violation(tmp_path: Path) -> None:
    """Negative control."""
    bad = tmp_path / "bad.py"
    bad.write_text("def f():\n    from ifdkit.report import progress\n")
    assert {"ifdkit.report", "ifdkit.report.progress"} <= imports_of(bad)


@pytest.mark.parametrize("room", sorted(PURE))
def test_pure_rooms_know_no_heavy_library(room: str) -> None:
    assert not {name.split(".")[0] for name in imports_of(rooms()[room])} & HEAVY


def test_torch_lives_in_the_engine() -> None:
    users = {room for room, path in rooms().items() if "torch" in imports_of(path)}
    backend = {
        "engine.huggingface",
        "engine.attention",
        "engine.head",
        "engine.precision",
        "engine.ways",
    }
    assert users == backend | {"engine.models"}, "models: to unpack a GGUF, no more"


@pytest.mark.parametrize("arguments", [["--help"], ["score", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    script = (
        "import sys; from ifdkit.cli import main; code = main(sys.argv[1:]);"
        "heavy = {'torch', 'transformers', 'pandas', 'numpy', 'scipy', 'rich', 'jinja2'};"
        "sys.exit(code or ','.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_importing_the_package_loads_nothing_heavy() -> None:
    script = "import sys, ifdkit; sys.exit(len({'torch', 'numpy', 'click'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_the_public_face_is_exact() -> None:
    assert sorted(ifdkit.__all__) == ifdkit.__all__
    for name in ifdkit.__all__:
        assert getattr(ifdkit, name) is not None
    assert set(ifdkit._HOMES) == set(ifdkit.__all__) - {"__version__"}
    with pytest.raises(AttributeError, match="has no attribute 'scores'"):
        _ = ifdkit.scores
