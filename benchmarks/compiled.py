"""Compiled forward passes against the engine's own, on real packed batches.

    python -m benchmarks.compiled ../shared/data/alpaca_1k.json --rows 12

`torch.compile` and OpenVINO (not installed with ifdkit: `pip install openvino --no-deps`) run the
body of the model on the packs that a run would make, with a block-diagonal mask in place of the
engine's attention within segments, which neither can compile.  The LM head is the engine's in every
case.  One thread, and CPU seconds instead of time: other processes do not change these.  Writes
`reports/compiled.md`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import stats

from benchmarks.machine import load, machine
from benchmarks.scorers import ratios
from benchmarks.speed import requests_of
from ifdkit.engine import attention
from ifdkit.engine.batching import plan
from ifdkit.engine.forward import PackedForward
from ifdkit.engine.huggingface import HuggingFaceBackend
from ifdkit.engine.layout import Batch, Packed
from ifdkit.engine.models import DEFAULT_MODEL, resolve
from ifdkit.engine.precision import fast_float32
from ifdkit.records import Request

Body = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Ids (1, tokens), positions (1, tokens) and a mask (1, 1, tokens, tokens) → hidden states."""
DTYPES = ("float32", "bfloat16")


class Masked(torch.nn.Module):
    """The body of a model with an explicit mask, which compilers can trace."""

    def __init__(self, body: Any) -> None:
        super().__init__()
        self.body = body

    def forward(
        self, ids: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """Last hidden states, (1, tokens, hidden)."""
        output = self.body(
            input_ids=ids, position_ids=positions, attention_mask=mask, use_cache=False
        )
        states: torch.Tensor = output.last_hidden_state
        return states


def masked_attention(
    _module: Any, query: Any, key: Any, value: Any, mask: Any, scaling: Any = None, **_: Any
) -> tuple[torch.Tensor, None]:
    """Attention of transformers' interface, with the given mask."""
    times = query.shape[1] // key.shape[1]
    key, value = (t.repeat_interleave(times, dim=1) for t in (key, value))
    out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling)
    return out.transpose(1, 2).contiguous(), None


def mask_of(pack: Packed, dtype: torch.dtype) -> torch.Tensor:
    """0 where a token attends, a large negative number elsewhere: (1, 1, tokens, tokens)."""
    n = len(pack.ids)
    mask = torch.full((n, n), torch.finfo(dtype).min, dtype=dtype)
    for one in pack.segments.parts:
        mask[one.begin : one.end, one.prefix_begin : one.prefix_end] = 0
        own = torch.ones(one.n_queries, one.n_queries, dtype=torch.bool).tril()
        mask[one.begin : one.end, one.begin : one.end].masked_fill_(own, 0)
    return mask[None, None]


def bodies(backend: HuggingFaceBackend, folder: Path, dtype: str) -> dict[str, Body]:
    """Name → body; the first is the engine's."""
    from transformers import AttentionInterface, AutoModelForCausalLM

    AttentionInterface.register("benchmark_mask", masked_attention)
    kind = getattr(torch, dtype)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=kind).eval()
    model.set_attn_implementation("benchmark_mask")
    masked = Masked(getattr(model, model.base_model_prefix))
    strategy = backend._strategy
    assert isinstance(strategy, PackedForward)
    found: dict[str, Body] = {
        "engine": lambda ids, positions, _: strategy._head.hidden(ids, position_ids=positions),
        "mask, not compiled": masked,
        "torch.compile": torch.compile(masked, dynamic=False),
    }
    try:
        found["OpenVINO"] = openvino_body(folder, dtype)
    except ImportError:
        print("openvino is not installed", file=sys.stderr)
    return found


def openvino_body(folder: Path, dtype: str) -> Body:
    """The body converted to OpenVINO, on one thread."""
    import openvino
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    model.set_attn_implementation("benchmark_mask")
    ids = torch.arange(32)[None]
    converted = openvino.convert_model(
        Masked(getattr(model, model.base_model_prefix)),
        example_input=(ids, ids, torch.zeros(1, 1, 32, 32)),
    )
    options = {
        "INFERENCE_PRECISION_HINT": "f32" if dtype == "float32" else "bf16",
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
    }
    compiled = openvino.Core().compile_model(converted, "CPU", options)
    kind = getattr(torch, dtype)

    def run(ids: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        inputs = [ids.numpy(), positions.numpy(), mask.float().numpy()]
        return torch.from_numpy(compiled(inputs)[0]).to(kind)

    return run


def nlls_of(
    backend: HuggingFaceBackend, body: Body, batches: list[list[Request]]
) -> tuple[float, list[np.ndarray[Any, Any]]]:
    """CPU seconds in the body, and the NLLs of all Requests."""
    strategy, kind, spent_s, found = backend._strategy, backend.dtype, 0.0, []
    assert isinstance(strategy, PackedForward)
    for requests in batches:
        batch = Batch(requests)
        pack = Packed.of(batch.sequences)
        ids, positions = (torch.from_numpy(a[None]) for a in (pack.ids, pack.positions))
        mask = mask_of(pack, kind)
        with torch.inference_mode(), fast_float32(backend.device, kind):
            begin = time.process_time()
            with attention.packed(pack.segments):
                states = body(ids, positions, mask)[0]
            spent_s += time.process_time() - begin
            rows = states[torch.from_numpy(pack.predicting)]
            nats = strategy._head.nll(rows, torch.from_numpy(batch.targets))
        found += batch.split(nats.numpy())
    return spent_s, found


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data")
    parser.add_argument("--rows", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--output", type=Path, default=Path("reports/compiled.md"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    _, requests = requests_of(arguments.data, arguments.rows, "superfiltering", arguments.model)
    weights = resolve(arguments.model)
    lines: list[str] = []
    exact: list[float] | None = None
    for dtype in DTYPES:
        backend = HuggingFaceBackend(weights, device="cpu", dtype=dtype)
        planned = plan(requests, backend.budget)
        batches = [[requests[i] for i in batch] for batch in planned]
        order = [i for batch in planned for i in batch]
        found = bodies(backend, weights.folder, dtype)
        best_s: dict[str, float] = {}
        means: dict[str, list[float]] = {}
        for number in range(arguments.rounds + 1):
            for name, body in found.items():
                spent_s, nlls = nlls_of(backend, body, batches)
                print(f"{dtype}, {name}: {spent_s:.1f} CPU s", file=sys.stderr)
                if number:  # the first round compiles
                    best_s[name] = min(spent_s, best_s.get(name, spent_s))
                by_request = dict(zip(order, nlls, strict=True))
                means[name] = [float(by_request[i].mean()) for i in range(len(requests))]
        exact = exact or means["engine"]
        for name, seconds in best_s.items():
            ifd, true = ratios(means[name]), ratios(exact)
            change = np.median(np.abs(np.array(ifd) - true))
            rank = stats.spearmanr(ifd, true).statistic
            lines.append(
                f"| {dtype} | {name} | {seconds:.1f} | {best_s['engine'] / seconds:.2f}"
                f" | {change:.1e} | {rank:.4f} |"
            )
    tokens = sum(request.stop for request in requests)
    text = [
        "# Compiled forward passes",
        "",
        f"Made by `python -m benchmarks.compiled {' '.join(sys.argv[1:])}`: {arguments.model},"
        f" {len(requests)} passes of {tokens:,} tokens in packs, the body alone on one thread, best"
        f" of {arguments.rounds} rounds in turn. {machine()}; load average {load():.1f}. Median"
        " |Δ IFD| and Spearman are against the engine in float32.",
        "",
        "| dtype | body | CPU seconds | × engine | median Δ IFD | Spearman IFD |",
        "|---|---|--:|--:|--:|--:|",
        *lines,
    ]
    arguments.output.write_text("\n".join(text) + "\n", encoding="utf-8")
    print(arguments.output.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
