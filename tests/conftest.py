"""Fixtures that many tests share: a private cache, tiny models, the real data where it is."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests import tiny
from tests.browsing import browser, visit

__all__ = ["browser", "visit"]  # fixtures

os.environ["HF_HUB_OFFLINE"] = "1"

# A shell makes what it starts in the background ignore Ctrl-C, which tests send to themselves and
# to commands.
signal.signal(signal.SIGINT, signal.default_int_handler)

# An example is not wrong for being slow, and a busy machine makes any example slow.
hypothesis.settings.register_profile("ifdkit", deadline=None)
hypothesis.settings.load_profile("ifdkit")

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that score with the real model first: begun last, one would keep a single core busy."""
    real = {item.path for item in items if item.get_closest_marker("real_model")}
    items.sort(key=lambda item: item.path not in real)


@pytest.fixture(scope="session", autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The user's cache and settings stay out of the tests."""
    folder = tmp_path_factory.mktemp("cache")
    for name in [name for name in os.environ if name.startswith("IFDKIT_")]:
        del os.environ[name]
    os.environ["IFDKIT_CACHE"] = str(folder)
    settings = folder / "config.toml"
    settings.touch()
    os.environ["IFDKIT_CONFIG"] = str(settings)
    return folder


@pytest.fixture(autouse=True)
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny models run several times faster on one thread, and do not fight over two cores.

    Nor do real ones where pytest-xdist has a process for each core.
    """
    import torch

    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # for the processes that tests start
    is_real = request.node.get_closest_marker("real_model") or request.node.get_closest_marker(
        "slow"
    )
    has_machine = is_real and "PYTEST_XDIST_WORKER" not in os.environ
    torch.set_num_threads((os.cpu_count() or 1) if has_machine else 1)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers whose tokenizer adds no BOS."""
    return tiny.save_model(tmp_path_factory.mktemp("tiny") / "llama")


@pytest.fixture(scope="session")
def tiny_embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of one layer."""
    return tiny.save_embedder(tmp_path_factory.mktemp("tiny") / "embedder")


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write rows or text to a file in a fresh folder."""

    def write_file(name: str, content: Any) -> Path:
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
            path.write_text(text, encoding="utf-8")
        return path

    return write_file


def shared(*parts: str) -> Path:
    """A real file; skips the test where it is absent."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs {'/'.join(('shared', *parts))}, which lies beside the repository")
    return path


@pytest.fixture
def shared_file() -> Callable[..., Path]:
    """`shared_file("data", "alpaca_1k.json")`, skipping where there is none."""
    return shared
