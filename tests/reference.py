"""Slow reference for the engine: one sequence at a time, full logits, textbook formulas.

Shares no code with the package: no batching, no padding, no alignment.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class ReferenceModel:
    """A causal language model that scores one sequence at a time."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)

    def token_nll(
        self, ids: list[int], start: int, added: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """−log p(ids[t] | ids[:t]) in nats for t ≥ start, by a softmax in float64.

        `added`, of shape (tokens, dimensions), is added to the embeddings.
        """
        import torch

        with torch.no_grad():
            embedded = self._model.get_input_embeddings()(torch.tensor([ids]))
            if added is not None:
                embedded = embedded + torch.tensor(added, dtype=embedded.dtype)
            logits = self._model(inputs_embeds=embedded).logits[0].double().numpy()
        nlls = []
        for t in range(start, len(ids)):
            row = logits[t - 1]
            log_sum = row.max() + math.log(np.exp(row - row.max()).sum())
            nlls.append(log_sum - row[ids[t]])
        return np.array(nlls)

    def token_statistics(self, ids: list[int], start: int) -> NDArray[np.float64]:
        """Rank, entropy and spread of the tokens from `start` on, by definition: (tokens, 3)."""
        import torch

        with torch.no_grad():
            logits = self._model(input_ids=torch.tensor([ids])).logits[0].numpy()
        found = []
        for t in range(start, len(ids)):
            row = logits[t - 1]
            better = [score for score in row.tolist() if score > row[ids[t]]]
            weights = [math.exp(score - max(row.tolist())) for score in row.tolist()]
            p = [weight / math.fsum(weights) for weight in weights]
            log_p = [math.log(one) for one in p]
            mean = math.fsum(a * b for a, b in zip(p, log_p, strict=True))
            variance = math.fsum(a * (b - mean) ** 2 for a, b in zip(p, log_p, strict=True))
            found.append((1 + len(better), -mean, math.sqrt(variance)))
        return np.array(found)

    def aligned_ifd(self, instruction: str, response: str) -> float:
        """exp(mean NLL of the response after the prompt − after BOS alone), template `plain`."""
        bos = [self.tokenizer.bos_token_id]
        prompt = bos + self.tokenizer(instruction + "\n", add_special_tokens=False)["input_ids"]
        target = self.tokenizer(response, add_special_tokens=False)["input_ids"]
        conditional = self.token_nll(prompt + target, len(prompt)).mean()
        direct = self.token_nll(bos + target, 1).mean()
        return float(np.exp(conditional - direct))
