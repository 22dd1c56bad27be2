"""The README and the contract hold what the program does."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from ifdkit.cli import main as cli
from ifdkit.cli.config import load_config
from ifdkit.prompting.protocols import PROTOCOLS
from ifdkit.prompting.templates import BUILT_IN
from ifdkit.records import Status
from ifdkit.scoring.rows import score_columns

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[list[str]]:
    """Every `$ ifdkit …` of the README, and every one behind a pipe."""
    lines = [line[2:] for block in blocks("console") for line in block.splitlines()]
    # Steps of a workflow and entries of a hook are commands too.
    text = "\n".join(blocks("yaml"))
    lines += re.findall(r"^\s*(?:- run|entry): (ifdkit .*)$", text, re.MULTILINE)
    parsed = [shlex.split(line.split("|")[-1], comments=True) for line in lines if "ifdkit" in line]
    return [words[1:] for words in parsed if words and words[0] == "ifdkit"]


def test_there_is_something_to_check() -> None:
    assert len(commands()) >= 6
    assert len(blocks("python")) == 1


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_is_one_that_the_program_takes(words: list[str]) -> None:
    with cli.cli.make_context("ifdkit", list(words), resilient_parsing=False) as context:
        name, command, rest = cli.cli.resolve_command(context, list(words))
        assert name is not None
        assert command is not None
        command.make_context(name, rest, parent=context)


def test_the_snippets_are_what_their_readers_take() -> None:
    yaml = pytest.importorskip("yaml")

    workflow, hooks = (yaml.safe_load(block) for block in blocks("yaml"))
    steps = workflow["jobs"]["audit"]["steps"]
    assert all(("uses" in step) != ("run" in step) for step in steps)
    (repo,) = hooks["repos"]
    assert {"id", "name", "entry", "language"} <= set(repo["hooks"][0])
    audits = [words for words in commands() if words[0] == "audit" and "data/train.jsonl" in words]
    assert len(audits) == 2


def test_a_wrong_command_would_be_caught() -> None:
    """Negative control."""
    with pytest.raises(click.UsageError), cli.cli.make_context("ifdkit", ["score"]) as context:
        cli.cli.commands["score"].make_context("score", ["data.json", "--modle", "x"], context)


@pytest.mark.real_model
def test_the_python_block_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    names: dict[str, object] = {}
    exec(blocks("python")[0], names)
    assert len(names["scores"]) == 4  # type: ignore[arg-type]


def test_the_settings_block_is_understood(write: Callable[..., Path]) -> None:
    (block,) = blocks("toml")
    path = write("ifdkit.toml", block)
    names = {p.name for command in cli.cli.commands.values() for p in command.params if p.name}
    _, settings = load_config(path.parent, names)
    assert settings["max_length"] == tomllib.loads(block)["max-length"]


def test_statuses_protocols_and_templates_are_all_named() -> None:
    for name in [*Status, *PROTOCOLS, *BUILT_IN, *cli.cli.commands]:
        assert f"`{name}`" in README or f"ifdkit {name}" in README, name


def test_the_fields_are_those_of_the_contract(shared_file: Callable[..., Path]) -> None:
    contract = shared_file("CONTRACT.md").read_text(encoding="utf-8")
    table = contract.split("## A row of scores")[1].split("## A comparison")[0]
    named = set(re.findall(r"`([a-z_]+)`", "\n".join(re.findall(r"^\| (`.*?) \|", table, re.M))))
    # `ppl_…` stands for four fields.
    perplexities = {name for name in score_columns(token_nll=True) if name.startswith("ppl_")}
    assert named | perplexities == set(score_columns(token_nll=True)) - {"ppl_"}
