"""A model's folder of an unknown author: its code does not run, whichever file asks for it."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ifdkit.cli.main import main
from ifdkit.engine.embedder import SentenceEmbedder
from ifdkit.engine.models import resolve
from ifdkit.errors import ModelError
from tests.limits import time_limit

ROWS = [{"instruction": "Add 2 and 3", "output": "5"}]
SENTINEL = "ran"
"""A file that the attacker's code writes into the working folder."""
CODE = f"open({SENTINEL!r}, 'w').close()\n"


class Payload:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return exec, (CODE,)


@pytest.fixture
def folder(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the tiny model in the working folder, with Python files of every usual name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    shutil.copytree(tiny_model, tmp_path / "m")
    for name in ("modeling_evil", "configuration_evil", "tokenization_evil", "generate", "evil"):
        (tmp_path / "m" / f"{name}.py").write_text(CODE)
        (tmp_path / f"{name}.py").write_text(CODE)
    (tmp_path / "m" / "custom_generate").mkdir()
    (tmp_path / "m" / "custom_generate" / "generate.py").write_text(CODE)
    (tmp_path / "ifdkit.toml").write_text('model = "./m"\nmetrics = "ifd"\n')
    (tmp_path / "d.jsonl").write_text(json.dumps(ROWS[0]))
    return tmp_path / "m"


def change(file: Path, **values: Any) -> None:
    content = json.loads(file.read_bytes()) if file.exists() else {}
    file.write_text(json.dumps(content | values))


def auto_map(folder: Path) -> None:
    change(
        folder / "config.json",
        model_type="evil",
        architectures=["EvilForCausalLM"],
        auto_map={
            "AutoConfig": "configuration_evil.EvilConfig",
            "AutoModelForCausalLM": "modeling_evil.EvilForCausalLM",
        },
    )


def auto_map_of_a_known_type(folder: Path) -> None:
    change(folder / "config.json", auto_map={"AutoModelForCausalLM": "modeling_evil.Evil"})


def auto_map_of_the_tokenizer(folder: Path) -> None:
    change(
        folder / "tokenizer_config.json",
        tokenizer_class="EvilTokenizer",
        auto_map={"AutoTokenizer": ["tokenization_evil.Evil", "tokenization_evil.Evil"]},
    )


def custom_generate(folder: Path) -> None:
    change(folder / "generation_config.json", custom_generate="./m")


def kernel(folder: Path) -> None:
    change(folder / "config.json", attn_implementation="someone/evil-kernel")


def pickled_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Payload()))


def pickled_weights_beside_an_empty_safetensors_file(folder: Path) -> None:
    pickled_weights(folder)
    (folder / "other.safetensors").write_bytes(b"")


def an_index_that_names_a_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    (folder / "evil.bin").write_bytes(pickle.dumps(Payload()))
    index = {"metadata": {}, "weight_map": {"lm_head.weight": "evil.bin"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def pickled_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    for name in ("vocab.pkl", "tokenizer.pkl", "tokenizer.model", "vocab.bin"):
        (folder / name).write_bytes(pickle.dumps(Payload()))
    change(folder / "tokenizer_config.json", tokenizer_class="TransfoXLTokenizer")


def pickled_adapter(folder: Path) -> None:
    change(folder / "adapter_config.json", base_model_name_or_path="./m", peft_type="LORA")
    (folder / "adapter_model.bin").write_bytes(pickle.dumps(Payload()))


def adapter_that_names_a_module(folder: Path) -> None:
    change(
        folder / "adapter_config.json",
        base_model_name_or_path="./m",
        peft_type="LORA",
        megatron_core="evil",
        megatron_config={"tensor_model_parallel_size": 1},
    )
    (folder / "adapter_model.safetensors").write_bytes(b"")


def adapter_of_a_hub_model(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    change(folder / "adapter_config.json", base_model_name_or_path="someone/evil")
    (folder / "adapter_model.safetensors").write_bytes(b"")


def template_that_imports(folder: Path) -> None:
    source = f"{{{{ ''.__class__.__mro__[1].__subclasses__() }}}}{{{{ cycler.__init__ }}}}{CODE}"
    (folder / "chat_template.jinja").write_text(source)


MAYBE_HARMLESS = (auto_map_of_a_known_type, custom_generate)
"""transformers has the code of these itself, or never needs it."""
ATTACKS = (
    auto_map, auto_map_of_a_known_type, auto_map_of_the_tokenizer, custom_generate, kernel,
    pickled_weights, pickled_weights_beside_an_empty_safetensors_file,
    an_index_that_names_a_pickle, pickled_tokenizer, pickled_adapter,
    adapter_that_names_a_module, adapter_of_a_hub_model, template_that_imports,
)  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda one: one.__name__)
def test_a_model_in_a_cloned_folder_does_not_run_code(
    attack: Callable[[Path], None], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    attack(folder)
    chat = ["--template", "chat"] if attack is template_that_imports else []
    with time_limit(60):
        code = main(["score", "d.jsonl", *chat])
    err = capsys.readouterr().err
    assert not Path(SENTINEL).exists(), "code of the folder has run"
    assert code == (0 if attack in MAYBE_HARMLESS else 2), err
    assert "internal error" not in err
    assert "Traceback" not in err


def test_the_attack_works_if_the_code_is_trusted(folder: Path) -> None:
    """The negative control: the test above would notice."""
    auto_map(folder)
    main(["score", "d.jsonl", "--trust-remote-code"])
    assert Path(SENTINEL).exists()


@pytest.mark.parametrize(
    ("file", "values"),
    [
        ("modules.json", [{"idx": 0, "name": "0", "path": "", "type": "joblib.numpy_pickle"}]),
        ("modules.json", [{"idx": 0, "name": "0", "path": "", "type": "evil.Evil"}]),
        ("modules.json", [{"idx": 0, "path": "", "type": "sentence_transformers.util.misc.json"}]),
        ("1_Dense/config.json", {"activation_function": "os.abort"}),
        ("0_Words/wordembedding_config.json", {"tokenizer_class": "evil.Evil"}),
        ("router_config.json", {"types": {"query": "evil.Evil"}}),
    ],
)
def test_an_embedder_may_only_name_the_usual_classes(
    file: str, values: Any, tiny_embedder: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "embedder"
    shutil.copytree(tiny_embedder, copy)
    (copy / file).parent.mkdir(exist_ok=True)
    (copy / file).write_text(json.dumps(values))
    with pytest.raises(ModelError, match="names the class"):
        resolve(str(copy))
    assert resolve(str(copy), trust_remote_code=True)


def test_an_embedder_does_not_load_a_pickle_beside_its_safetensors(
    tiny_embedder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    copy = tmp_path / "embedder"
    shutil.copytree(tiny_embedder, copy)
    weights = next(copy.rglob("model.safetensors"))
    weights.rename(weights.with_name("other.safetensors"))
    weights.with_name("pytorch_model.bin").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(ModelError):
        SentenceEmbedder("x", resolve(str(copy)).folder, device="cpu")
    assert not Path(SENTINEL).exists()


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(path.name)


def link_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [make_pipe, make_socket, link_device])
@pytest.mark.parametrize(
    "name", ["more.safetensors", "code.py", "generation_config.json", "tokenizer.model"]
)
def test_a_folder_with_a_pipe_socket_or_device_is_refused(
    name: str, make: Callable[[Path], None], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / name).unlink(missing_ok=True)
    monkeypatch.chdir(folder)  # the path of a socket must be short
    make(folder / name)
    monkeypatch.chdir(folder.parent)
    with time_limit(20), pytest.raises(ModelError, match="not a regular file"):
        resolve("./m")


@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_a_pipe_or_device_as_the_model_itself_is_refused(kind: str, folder: Path) -> None:
    name = "/dev/zero"
    if kind == "fifo":
        os.mkfifo("pipe.gguf")
        name = "./pipe.gguf"
    with time_limit(20), pytest.raises(ModelError):
        resolve(name)
