"""Tiny models of five families, each with the chat template and the special tokens of its kind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import chat_styles, tiny


@dataclass(frozen=True)
class Family:
    """How a family differs from the others."""

    architecture: str
    template: str
    end_of_turn: str
    """The token with which its chat template ends a response."""
    adds_bos: bool


FAMILIES = {
    "gpt2": Family("gpt2", chat_styles.CHATML, "<|im_end|>", adds_bos=False),
    "llama": Family("llama", chat_styles.LLAMA, "<|eot_id|>", adds_bos=True),
    "qwen3": Family("qwen3", chat_styles.QWEN, "<|im_end|>", adds_bos=False),
    "gemma3": Family("gemma3", chat_styles.GEMMA, "<end_of_turn>", adds_bos=True),
    "granite": Family("granite", chat_styles.GRANITE, "<|end_of_text|>", adds_bos=False),
}
ROWS = [
    {"instruction": "Translate the text.", "input": "Guten Morgen!", "output": "Good morning!"},
    {"instruction": "What is 6 × 7?", "input": "", "output": "The answer is 42."},
    {"instruction": "你好，世界", "input": "", "output": "Hello, world.\nHow are you?"},
    {"instruction": "List facts.", "input": "", "output": "1. Cats purr.\n2. Dogs bark."},
]


def save_family(folder: Path, name: str, *, seed: int = 0) -> Path:
    """A random model of a family, whose tokenizer has its end-of-turn token."""
    import torch
    from transformers import AutoTokenizer

    family = FAMILIES[name]
    tiny.save_tokenizer(folder, adds_bos=family.adds_bos)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": [family.end_of_turn]})
    tokenizer.chat_template = family.template
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    model = tiny.ARCHITECTURES[family.architecture]()
    for rate in ("resid_pdrop", "embd_pdrop", "attn_pdrop"):  # GPT-2's, random in training
        if hasattr(model.config, rate):
            setattr(model.config, rate, 0.0)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.save_pretrained(folder)
    return folder
