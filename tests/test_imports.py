"""The layers: which package may import which, and what an import costs."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

import ifdkit

PACKAGE = Path(ifdkit.__file__).parent

# A package imports from lower layers only; a layer's packages do not import each other.
LAYERS = (
    {
        "records",
        "row_type",
        "errors",
        "version",
        "format",
        "visible",
        "regular",
        "stats",
        "expressions",
        "tracking",
    },
    {"data", "prompting"},
    {"engine", "findings", "topics", "diversity"},
    {"scoring", "oracle"},
    {
        *("comparison", "selection", "auditing", "reflection"),
        *("training", "generation", "judging", "prediction"),
    },
    {"tuning"},
    {"report"},
    {"viewing"},
    {"cli"},
)
LAYER = {package: layer for layer, packages in enumerate(LAYERS) for package in packages}
BASE = LAYERS[0]
"""Core types, text, statistics: every package may import them, also each other."""
ROOT = {"__init__", "__main__"}
"""The composition root: it names the public functions and is imported by nobody."""
HEAVY = {"torch", "transformers", "sentence_transformers", "pandas", "click", "rich"}
PURE = (
    *("records", "errors", "format", "visible", "expressions", "prompting", "scoring/metrics"),
    *("data/json_rows", "data/layouts", "data/messages", "data/turns", "data/detection"),
)


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def package_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports_of(path: Path) -> set[str]:
    """Modules that a file imports anywhere, inside functions and for types too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "ifdkit":
            names |= {f"ifdkit.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def packages_imported(paths: Iterable[Path]) -> set[str]:
    names = {name for path in paths for name in imports_of(path)}
    return {name.split(".")[1] for name in names if name.startswith("ifdkit.")}


def graph() -> dict[str, set[str]]:
    """Package → the packages that it imports."""
    found: dict[str, set[str]] = {}
    for path in modules():
        if (package := package_of(path)) not in ROOT:
            imported = packages_imported([path]) - {package}
            found.setdefault(package, set()).update(imported)
    return found


def upward(edges: dict[str, set[str]]) -> list[str]:
    return [
        f"{package} imports {other}"
        for package, others in edges.items()
        for other in others
        if LAYER[other] >= LAYER[package] and not {package, other} <= BASE
    ]


def test_every_package_has_a_layer() -> None:
    assert set(graph()) == set(LAYER)


def test_no_package_imports_upwards() -> None:
    assert upward(graph()) == []


def test_no_cycle() -> None:
    graphlib.TopologicalSorter(graph()).prepare()


def test_the_check_sees_a_violation(tmp_path: Path) -> None:
    """Negative control, with the import inside a function."""
    bad = tmp_path / "bad.py"
    bad.write_text("def f():\n    from ifdkit.report.terminal import progress\n")
    assert upward({"scoring": packages_imported([bad])}) == ["scoring imports report"]


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_import_no_heavy_library(name: str) -> None:
    path = PACKAGE / name
    paths = path.rglob("*.py") if path.is_dir() else [path.with_suffix(".py")]
    imported = {one.split(".")[0] for path in paths for one in imports_of(path)}
    assert not imported & HEAVY


def test_only_the_engine_imports_torch() -> None:
    users = {package_of(path) for path in modules() if "torch" in imports_of(path)}
    assert users == {"engine"}


@pytest.mark.parametrize("arguments", [["--help"], ["score", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    script = (
        "import sys; from ifdkit.cli.main import main; code = main(sys.argv[1:]);"
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


def test_a_command_imports_the_renderers_of_results_when_it_saves_one() -> None:
    script = (
        "import sys, ifdkit.report.terminal.scores, ifdkit.scoring.run\n"
        "from ifdkit.data import later\n"
        "late = {'ifdkit.report.renderers', 'ifdkit.comparison.result', 'ifdkit.auditing.result'}\n"
        "assert not late & set(sys.modules)\n"
        "later.import_registered()\n"
        "assert late <= set(sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_the_public_face_is_exact() -> None:
    assert sorted(ifdkit.__all__) == ifdkit.__all__
    for name in ifdkit.__all__:
        assert getattr(ifdkit, name) is not None
    assert set(ifdkit._MODULES) == set(ifdkit.__all__) - {"__version__"}
    with pytest.raises(AttributeError, match="has no attribute 'scores'"):
        _ = ifdkit.scores


def test_no_class_name_is_defined_twice_and_no_module_is_long() -> None:
    names = [
        node.name
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    ]
    assert len(names) > 300
    assert sorted(name for name in set(names) if names.count(name) > 1) == []
    assert [path.name for path in modules() if len(path.read_text().splitlines()) > 400] == []
