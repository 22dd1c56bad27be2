"""Compiled and quantised forward passes against the engine's own, on real rows.

    python -m benchmarks.compiled ../shared/data/alpaca_1k.json --rows 12 --only openvino

`engine` is the whole scoring of a run: sequences end to end, head and NLL.  The others run the body
of the model over sequences side by side, padded to few lengths, because neither torch.compile nor
OpenVINO can compile attention within segments; the LM head is the engine's, and for OpenVINO also
one that OpenVINO compiled.  ifdkit does not install it: `pip install openvino --no-deps` does.

One thread, and CPU seconds instead of time: other processes do not change these.  All take turns
in every round and the least counts; the first round, which compiles, does not.  Writes
`reports/compiled.md`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import stats

from benchmarks.machine import load, machine
from benchmarks.scorers import ratios
from benchmarks.speed import requests_of
from ifdkit.engine.batching import Budget, plan
from ifdkit.engine.forward import PackedForward
from ifdkit.engine.huggingface import HuggingFaceBackend
from ifdkit.engine.layout import Batch, Padded
from ifdkit.engine.models import DEFAULT_MODEL, resolve
from ifdkit.engine.precision import fast_float32
from ifdkit.records import NLL, Request

Body = Callable[[torch.Tensor], torch.Tensor]
"""Ids (batch, tokens) → hidden states (batch, tokens, hidden)."""
Head = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Hidden rows (rows, hidden) and targets (rows,) → NLLs (rows,)."""
Scoring = Callable[[Sequence[Request]], list[NLL]]
KINDS = ("openvino", "compile", "int8")
ROWS_PER_CHUNK = 128
TOKENS_PER_BATCH = 512
LENGTH_MULTIPLE = 8
"""Lengths are filled up to a multiple of this, so that little is compiled."""


class Hidden(torch.nn.Module):
    """The body of a model, which takes ids and returns one tensor."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.body = getattr(model, model.base_model_prefix)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Last hidden states, (batch, tokens, hidden)."""
        states: torch.Tensor = self.body(input_ids=ids, use_cache=False).last_hidden_state
        return states


class Nats(torch.nn.Module):
    """The output embeddings and the NLL of each target."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.head = model.get_output_embeddings()

    def forward(self, rows: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """NLL of each target (rows,) given its hidden row (rows, hidden): (rows,)."""
        logits: torch.Tensor = self.head(rows)
        return torch.logsumexp(logits, -1) - logits.gather(1, targets[:, None])[:, 0]


def causal_attention(
    _module: Any, query: Any, key: Any, value: Any, _mask: Any, scaling: Any = None, **_: Any
) -> tuple[torch.Tensor, None]:
    """Attention of transformers' interface without a mask, which compilers can trace."""
    times = query.shape[1] // key.shape[1]
    key, value = (t.repeat_interleave(times, dim=1) for t in (key, value))
    out = F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling)
    return out.transpose(1, 2).contiguous(), None


def open_model(folder: Path, dtype: torch.dtype) -> Any:
    """The model with `causal_attention`."""
    from transformers import AttentionInterface, AutoModelForCausalLM

    AttentionInterface.register("benchmark_causal", causal_attention)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
    model.set_attn_implementation("benchmark_causal")
    return model


def padded(body: Body, head: Head, backend: HuggingFaceBackend) -> Scoring:
    """Scoring of batches side by side, with this body and this head."""

    def score(requests: Sequence[Request]) -> list[NLL]:
        batch = Batch(requests)
        laid_out = Padded.of(batch.sequences)
        missing = -laid_out.ids.shape[1] % LENGTH_MULTIPLE
        ids, predicting = (
            torch.from_numpy(np.pad(one, ((0, 0), (0, missing))))
            for one in (laid_out.ids, laid_out.predicting)
        )
        with torch.no_grad():
            rows = body(ids)[predicting]  # (scored, hidden)
            with fast_float32(backend.device, backend.dtype):
                return batch.split(head(rows, torch.from_numpy(batch.targets)).numpy())

    return score


def with_openvino(folder: Path, backend: HuggingFaceBackend, dtype: str) -> dict[str, Scoring]:
    """Body by OpenVINO, with the engine's head and with one of OpenVINO."""
    import openvino

    model = open_model(folder, torch.float32)
    hint = {"float32": "f32", "bfloat16": "bf16"}[dtype]
    options = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    free = openvino.PartialShape([-1, -1])
    width = int(model.config.hidden_size)
    ids, core = torch.ones(2, 32, dtype=torch.long), openvino.Core()
    converted = openvino.convert_model(Hidden(model), example_input=ids, input=[free])
    body = core.compile_model(converted, "CPU", options)
    converted = openvino.convert_model(
        Nats(model),
        example_input=(torch.zeros(2, width), torch.zeros(2, dtype=torch.long)),
        input=[openvino.PartialShape([-1, width]), openvino.PartialShape([-1])],
    )
    head = core.compile_model(converted, "CPU", options)

    def hidden(ids: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(body(ids.numpy())[0]).to(backend.dtype)

    def nats(rows: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        parts = [
            head([rows[i : i + ROWS_PER_CHUNK].float().numpy(),
                  targets[i : i + ROWS_PER_CHUNK].numpy()])[0]
            for i in range(0, len(rows), ROWS_PER_CHUNK)
        ]  # fmt: skip
        return torch.from_numpy(np.concatenate(parts))

    own = own_head(backend)
    return {
        "OpenVINO": padded(hidden, own, backend),
        "OpenVINO, its head too": padded(hidden, nats, backend),
    }


def own_head(backend: HuggingFaceBackend) -> Head:
    """The engine's head."""
    strategy = backend._strategy
    assert isinstance(strategy, PackedForward)
    return strategy._head.nll


def compiled(folder: Path, backend: HuggingFaceBackend) -> Scoring:
    """Body by torch.compile."""
    from torch._inductor import config

    config.freezing = True  # lays the weights out for oneDNN
    body = torch.compile(Hidden(open_model(folder, backend.dtype)), dynamic=True)
    return padded(body, own_head(backend), backend)


def quantised(folder: Path, backend: HuggingFaceBackend) -> Scoring:
    """Body with int8 weights, one scale per row, and inputs quantised per product."""
    from torch.ao.quantization import per_channel_dynamic_qconfig, quantize_dynamic

    model = quantize_dynamic(  # type: ignore[no-untyped-call]
        Hidden(open_model(folder, torch.float32)), {torch.nn.Linear: per_channel_dynamic_qconfig}
    )
    return padded(model, own_head(backend), backend)


def scorings(
    kinds: Sequence[str], folder: Path, backend: HuggingFaceBackend, dtype: str
) -> dict[str, Scoring]:
    """Name → scoring; the engine's own comes first."""
    found: dict[str, Scoring] = {"engine": backend.nll}
    if "openvino" in kinds:
        found |= with_openvino(folder, backend, dtype)
    if "compile" in kinds:
        found["torch.compile"] = compiled(folder, backend)
    if "int8" in kinds and dtype == "float32":
        found["int8, dynamic"] = quantised(folder, backend)
    return found


def measured(
    score: Scoring, requests: Sequence[Request], budget: Budget
) -> tuple[float, NDArray[np.float64]]:
    """CPU seconds of all batches, and the mean NLL of each Request."""
    means = np.zeros(len(requests))
    begin = time.process_time()
    for batch in plan(requests, budget):
        for i, nll in zip(batch, score([requests[i] for i in batch]), strict=True):
            means[i] = nll.mean()
    return time.process_time() - begin, means


def lines_of(
    dtype: str, found: dict[str, Scoring], requests: list[Request], backend: HuggingFaceBackend,
    rounds: int, exact: list[float] | None,
) -> tuple[list[str], list[float]]:  # fmt: skip
    """One line of the table for each scoring, and the engine's means."""
    best_s: dict[str, float] = {}
    means: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        for name, score in found.items():
            budget = backend.budget if name == "engine" else Budget(TOKENS_PER_BATCH)
            spent_s, values = measured(score, requests, budget)
            print(f"{dtype}, {name}: {spent_s:.2f} CPU s", file=sys.stderr, flush=True)
            if number:  # the first round compiles
                best_s[name] = min(spent_s, best_s.get(name, spent_s))
            means[name] = values.tolist()
    true = ratios(exact or means["engine"])
    lines = []
    for name, seconds in best_s.items():
        ifd = ratios(means[name])
        change = np.median(np.abs(np.array(ifd) - true))
        rank = stats.spearmanr(ifd, true).statistic
        lines.append(
            f"| {dtype} | {name} | {seconds:.1f} | {best_s['engine'] / seconds:.2f}"
            f" | {change:.1e} | {rank:.4f} |"
        )
    return lines, means["engine"]


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data")
    parser.add_argument("--rows", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--dtypes", nargs="+", default=["float32"])
    parser.add_argument("--output", type=Path, default=Path("reports/compiled.md"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    _, requests = requests_of(arguments.data, arguments.rows, "superfiltering", arguments.model)
    weights = resolve(arguments.model)
    lines: list[str] = []
    exact: list[float] | None = None
    for dtype in arguments.dtypes:
        backend = HuggingFaceBackend(weights, device="cpu", dtype=dtype)
        found = scorings(arguments.only, weights.folder, backend, dtype)
        some, own = lines_of(dtype, found, requests, backend, arguments.rounds, exact)
        lines += some
        exact = exact or own
    tokens = sum(request.stop for request in requests)
    text = [
        "# Compiled and quantised forward passes",
        "",
        f"Made by `python -m benchmarks.compiled {' '.join(sys.argv[1:])}`: {arguments.model},"
        f" {len(requests)} passes of {tokens:,} tokens, body and head, on one thread; the least of"
        f" {arguments.rounds} rounds in turn. {machine()}; load average {load():.1f}. Median"
        " |Δ IFD| and Spearman are against the engine in float32.",
        "",
        "| dtype | scoring | CPU seconds | × engine | median Δ IFD | Spearman IFD |",
        "|---|---|--:|--:|--:|--:|",
        *lines,
    ]
    arguments.output.write_text("\n".join(text) + "\n", encoding="utf-8")
    print(arguments.output.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
