"""What a million Alpaca-length rows and ten billion tokens cost, from the counts of `score --plan`.

    python -m benchmarks.cost ../shared/data/alpaca_1k.json

The counts are exact for the data.  Times on GPUs are computed from peak rates.  Those of this CPU
are measured on some rows and multiplied; a model too deep for its memory is measured with two and
with four layers, whose difference is multiplied too.  What a model costs does not depend on its
weights, so that those of the larger ones are random.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.machine import machine
from benchmarks.scorers import Task, engine
from benchmarks.speed import requests_of
from ifdkit.data.options import ReadOptions
from ifdkit.engine.flops import GPUS, UTILISATION, ModelSize, gpu_seconds
from ifdkit.engine.loading import model_size
from ifdkit.engine.models import DEFAULT_MODEL, resolve
from ifdkit.format import duration
from ifdkit.records import Request
from ifdkit.scoring import cost
from ifdkit.scoring.settings import Settings

_LLAMA = {"num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128_256,
          "bos_token_id": 0, "eos_token_id": 0}  # fmt: skip
OTHERS: dict[str, dict[str, Any]] = {
    "Llama-3.2-1B": {**_LLAMA, "hidden_size": 2048, "intermediate_size": 8192,
                     "num_hidden_layers": 16, "tie_word_embeddings": True},
    "Llama-3.1-8B": {**_LLAMA, "hidden_size": 4096, "intermediate_size": 14_336,
                     "num_hidden_layers": 32, "tie_word_embeddings": False},
}  # fmt: skip
"""What decides the size, from the published configs."""
MOST_LAYERS = 16
"""More are measured with two and four layers: weights of 8B take 16 GB."""
ROWS, TOKENS = 1_000_000, 10_000_000_000
DTYPE = "bfloat16"


def size_of(config: dict[str, Any]) -> ModelSize:
    """Size of a model, of which no weights are made."""
    with torch.device("meta"):
        return ModelSize.of(LlamaForCausalLM(LlamaConfig(**config)))


def elapsed_s(folder: Path, requests: list[Request]) -> float:
    """Seconds that scoring takes here with a model, loading aside: the better of two rounds."""
    score = engine(Task(folder, requests, "cpu", DTYPE))
    times_s = []
    for _ in range(2):
        begin = time.perf_counter()
        score()
        times_s.append(time.perf_counter() - begin)
    return min(times_s)


def random_model_s(config: dict[str, Any], requests: list[Request]) -> float:
    """The same with random weights."""
    layers = int(config["num_hidden_layers"])
    few, more = (layers, layers) if layers <= MOST_LAYERS else (2, 4)
    found = []
    for n in sorted({few, more}):
        with tempfile.TemporaryDirectory() as folder:
            torch.set_default_dtype(getattr(torch, DTYPE))
            model = LlamaForCausalLM(LlamaConfig(**{**config, "num_hidden_layers": n}))
            torch.set_default_dtype(torch.float32)
            model.save_pretrained(folder)
            del model
            found.append(elapsed_s(Path(folder), requests))
    if len(found) == 1:
        return found[0]
    return found[0] + (layers - few) / (more - few) * (found[1] - found[0])


def table(data: Path, sample: int) -> list[str]:
    """The rows of the report."""
    cost.PROBE_S = 0.0
    settings = Settings(metrics=("ifd",), store="off")
    plan = cost.cost_plan(data, settings, ReadOptions())
    own = model_size(resolve(DEFAULT_MODEL))
    sizes = {DEFAULT_MODEL.split("/")[1]: own}
    sizes |= {name: size_of(config) for name, config in OTHERS.items()}
    rest = plan.flops - own.flops(plan.computed_tokens, plan.scored_tokens, 0)
    pairs = round(rest / own.flops(0, 0, 1))
    per_row = plan.computed_tokens / plan.examples
    lines = [
        f"{plan.examples:,} rows: {per_row:.0f} tokens a row through the model (two passes, IFD),"
        f" {plan.scored_tokens / plan.examples:.0f} of them scored.",
        f"| model | work | operations | this CPU, {DTYPE}, **measured** | "
        + " | ".join(GPUS) + " |\n|---|---|--:|" + "--:|" * (len(GPUS) + 1),
    ]  # fmt: skip
    rows = []
    for name, size in sizes.items():
        # Fewer rows for larger models: seconds here are about proportional to operations.
        n = max(4, round(sample * own.body / size.body))
        _, requests = requests_of(str(data), n, "aligned", DEFAULT_MODEL)
        config = OTHERS.get(name)
        here_s = (
            random_model_s(config, requests)
            if config
            else elapsed_s(resolve(DEFAULT_MODEL).folder, requests)
        )
        print(f"{name}: {n} rows in {here_s:.1f} s", file=sys.stderr)
        tokens = sum(request.stop for request in requests)
        flops = size.flops(plan.computed_tokens, plan.scored_tokens, pairs)
        for what, scale in ((f"{ROWS:,} rows", ROWS / plan.examples),
                            (f"{TOKENS:,} tokens", TOKENS / plan.computed_tokens)):  # fmt: skip
            here = duration(here_s / tokens * plan.tokens * scale)
            cells = " | ".join(map(duration, gpu_seconds(flops * scale).values()))
            rows.append(f"| {name} | {what} | {flops * scale:.2g} | {here} | {cells} |")
    lines[-1] += "\n" + "\n".join(rows)
    return lines


def main() -> None:
    """Compute and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", type=Path)
    parser.add_argument("--sample", type=int, default=64, help="rows measured here, default model")
    parser.add_argument("--output", type=Path, default=Path("reports/cost.md"))
    arguments = parser.parse_args()
    text = [
        "# What large runs cost",
        f"Made by `python -m benchmarks.cost {' '.join(sys.argv[1:])}` on {machine()}. Tokens and"
        f" operations are counted. Times on this CPU are measured on up to {arguments.sample} rows,"
        f" fewer for larger models, and multiplied; of models with more than {MOST_LAYERS} layers,"
        " two and four were measured. Weights of the Llamas were random. **Times on GPUs are"
        f" computed** from the peak rate of one GPU at {UTILISATION:.0%} of it; none was"
        " measured.",
        *table(arguments.data, arguments.sample),
    ]
    arguments.output.write_text("\n\n".join(text) + "\n", encoding="utf-8")
    print(arguments.output.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
