"""Runs Liger's kernels on a CPU, in Triton's interpreter, and prints what they give as JSON.

A process of its own, because Triton decides at its import whether it interprets, and because Liger
and Triton are not installed where the tests run: `make cuda-tools` puts them into a folder.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from ifdkit.engine import fused_head
from ifdkit.engine.fused_head import FusedHead
from ifdkit.engine.head import ChunkedHead
from ifdkit.engine.huggingface import HuggingFaceBackend
from ifdkit.engine.models import Weights
from tests.test_engine import some_requests


def head_of(model: Any, kind: type[ChunkedHead]) -> ChunkedHead:
    head = kind(model, rows_per_chunk=16)
    head.hidden(input_ids=torch.tensor([[1, 2]]))
    return head


def random_head(case: dict[str, Any]) -> dict[str, Any]:
    """NLLs of random hidden states under random weights: by Liger, by the own head, in float64."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(case["vocabulary"])
    sizes = {"vocab_size": case["vocabulary"], "hidden_size": 32, "intermediate_size": 16,
             "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2,
             "head_dim": 16, "tie_word_embeddings": False, "pad_token_id": None}  # fmt: skip
    model: Any = LlamaForCausalLM(LlamaConfig(**sizes))
    with torch.no_grad():
        model.lm_head.weight.normal_()
        if case["bias"]:
            model.lm_head.bias = torch.nn.Parameter(torch.randn(case["vocabulary"]))
    model = model.to(getattr(torch, case["dtype"])).eval()
    rows = torch.randn(case["rows"], 32).to(model.dtype)
    targets = torch.randint(case["vocabulary"], (case["rows"],))
    targets[-1] = case["vocabulary"] - 1  # the last block of a row is the shortest
    with torch.inference_mode():
        fused, own = (head_of(model, kind).nll(rows, targets) for kind in (FusedHead, ChunkedHead))
    logits = rows.double() @ model.lm_head.weight.double().T
    if case["bias"]:
        logits = logits + model.lm_head.bias.double()
    exact = logits.logsumexp(-1) - logits.gather(1, targets[:, None])[:, 0]
    return {
        "dtype": str(fused.dtype),
        "fused": fused.tolist(),
        "own": own.tolist(),
        "exact": exact.tolist(),
    }


def anywhere(device: torch.device) -> bool:
    return True


def whole_model(case: dict[str, Any]) -> dict[str, Any]:
    """NLLs of a saved model, and the head that its self-check chose."""
    fused_head.is_available = anywhere
    folder = Path(case["folder"])
    backend = HuggingFaceBackend(
        Weights(folder.name, folder, "test"), device="cpu", dtype=case["dtype"]
    )
    kind, head = backend._chosen
    nlls = [one.tolist() for one in backend.nll(some_requests())]
    return {"strategy": kind.name, "head": getattr(head, "__name__", ""), "nlls": nlls}


def main() -> None:
    cases = json.load(sys.stdin)
    answers = [(whole_model if "folder" in case else random_head)(case) for case in cases]
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
