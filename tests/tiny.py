"""Tiny random models of several architectures, in real classes and real files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

_CORPUS = [
    "Below is the response to an instruction, please guess the corresponding instruction.",
    "Write a short poem about the sea. Summarise the text, then list three facts about cats.",
    "def add(a, b):\n    return a + b\n\nprint(add(1, 2))",
    "### Instruction:\n### Response:\nThe answer is 42, because 6 × 7 = 42.",
    "Übersetze den Satz ins Englische: Guten Morgen! ¿Cómo estás? 你好，世界",
    "A chat between a curious user and an artificial intelligence assistant. USER: ASSISTANT:",
] * 3
VOCABULARY = 400
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
    "<{{ message.role }}>{{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def save_tokenizer(folder: Path, *, adds_bos: bool = False, has_special: bool = True) -> None:
    """A byte-level BPE of 400 tokens; with `has_special`, ids 0 and 1 are BOS and EOS."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<s>", "</s>"] if has_special else []
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        _CORPUS,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    if adds_bos:
        bpe.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 0)]
        )
    names = {"bos_token": "<s>", "eos_token": "</s>"} if has_special else {}
    fast = PreTrainedTokenizerFast(tokenizer_object=bpe, **names)
    if has_special:
        fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)


def _sizes(**more: Any) -> dict[str, Any]:
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": None,
        # Much more than the usual 0.02, so that logits differ enough to show a mistake.
        "initializer_range": 0.4,
        **more,
    }


def _gpt2() -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=256,
        bos_token_id=0,
        eos_token_id=1,
        initializer_range=0.4,
    )
    return GPT2LMHeadModel(config)


def _llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(**_sizes()))


def _qwen3() -> Any:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return Qwen3ForCausalLM(Qwen3Config(**_sizes(head_dim=8)))


def _gemma3() -> Any:
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    config = Gemma3TextConfig(
        **_sizes(
            head_dim=8,
            num_hidden_layers=4,
            layer_types=[
                "sliding_attention",
                "sliding_attention",
                "full_attention",
                "sliding_attention",
            ],
            sliding_window=16,
            final_logit_softcapping=5.0,
        )
    )
    return Gemma3ForCausalLM(config)


def _granite() -> Any:
    from transformers import GraniteConfig, GraniteForCausalLM

    return GraniteForCausalLM(GraniteConfig(**_sizes(logits_scaling=3.0)))


ARCHITECTURES: dict[str, Callable[[], Any]] = {
    "gpt2": _gpt2,
    "llama": _llama,
    "qwen3": _qwen3,
    "gemma3": _gemma3,
    "granite": _granite,
}


def save_model(
    folder: Path, architecture: str = "llama", *, adds_bos: bool = False, seed: int = 0
) -> Path:
    """A random model with its tokenizer, in a folder that `--model` accepts."""
    import torch

    torch.manual_seed(seed)
    ARCHITECTURES[architecture]().save_pretrained(folder)
    save_tokenizer(folder, adds_bos=adds_bos)
    return folder


def save_embedder(folder: Path) -> Path:
    """A random sentence-embedding model."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    body = folder.parent / f"{folder.name}-body"
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(body)
    save_tokenizer(body)
    _give_padding(body)
    transformer = Transformer(str(body), max_seq_length=48)
    SentenceTransformer(modules=[transformer, Pooling(16)]).save(str(folder))
    return folder


def _give_padding(folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = "</s>"
    tokenizer.save_pretrained(folder)
