"""Unpacking a quantised GGUF file into a folder of float32 safetensors."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import tempfile
from contextlib import redirect_stderr, suppress
from io import StringIO
from pathlib import Path

from ifdkit.engine.gguf_header import check_header
from ifdkit.engine.kept_files import file_state, keep_file
from ifdkit.errors import ModelError, brief

log = logging.getLogger(__name__)


def unpack(gguf: Path, cache: Path) -> Path:
    """Folder in `cache` with the model of a GGUF file as float32 safetensors, made only once.

    The name of the folder contains the file's digest, so another version of the file gets another
    folder.  Raises ModelError if the file cannot be read or the folder cannot be written.
    """
    record = cache / f".{hashlib.sha256(file_state(gguf).encode()).hexdigest()[:32]}"
    digits = _recorded(record)
    if not (digits and (cache / f"{gguf.stem}-{digits}").is_dir()):
        with gguf.open("rb") as stream:
            digits = hashlib.file_digest(stream, "sha256").hexdigest()[:16]
        if not (folder := cache / f"{gguf.stem}-{digits}").is_dir():
            _unpack(gguf, folder)
        with suppress(OSError):
            keep_file(record, digits.encode())
    return cache / f"{gguf.stem}-{digits}"


def _recorded(record: Path) -> str | None:
    """The beginning of the digest of a file in this state; None if that is not known."""
    try:
        digits = record.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    return digits if re.fullmatch("[0-9a-f]{16}", digits) else None


def _unpack(gguf: Path, folder: Path) -> None:
    cache = folder.parent
    log.info("unpacking %s into the cache, once", gguf.name)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        # Written under another name, flushed to the disk and only then renamed, so that a folder
        # with the final name is complete, whenever this process is killed.
        unfinished = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=cache))
        try:
            _dequantise(gguf, unfinished)
            _sync(unfinished)
            unfinished.replace(folder)
        except OSError:
            # Another process may have renamed its own copy first, which is identical.
            if not folder.is_dir():
                raise
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise ModelError(f"cannot unpack {gguf.name} into {cache}: {error}") from error


def _dequantise(gguf: Path, folder: Path) -> None:
    """Write the model and tokenizer of a GGUF file into a folder. Raises ModelError."""
    check_header(gguf)
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from ifdkit.engine.quiet import quiet_libraries

    # This loader draws its progress bar whatever transformers' own switch says.
    with quiet_libraries(), redirect_stderr(StringIO()):
        try:
            model = AutoModelForCausalLM.from_pretrained(
                gguf.parent,
                gguf_file=gguf.name,
                quantization_config=GgufConfig(dequantize=True),
                dtype=torch.float32,
                trust_remote_code=False,  # None would ask on a terminal
            )
            tokenizer = AutoTokenizer.from_pretrained(
                gguf.parent, gguf_file=gguf.name, trust_remote_code=False
            )
        except Exception as error:  # the reader fails on a damaged file in many ways
            raise ModelError(f"{gguf.name} cannot be dequantised: {brief(error)}") from error
        # The weights are float32 now.  With the quantisation in its config, the folder would not
        # load again.
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _sync(folder: Path) -> None:
    """Flush the files of a folder to the disk."""
    for file in folder.iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
