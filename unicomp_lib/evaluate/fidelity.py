"""How far a compressed model's next-token distribution lies from the dense one's."""

import math

import numpy as np
import polars as pl
import torch
from transformers import PreTrainedModel

VERSION = "1"
SCHEMA = {"doc_id": pl.Int64, "metric": pl.String, "value": pl.Float64}


@torch.no_grad()
def compare(model: PreTrainedModel, dense: PreTrainedModel, tokens: torch.Tensor) -> pl.DataFrame:
    """Per-block means over held-out ``tokens`` (blocks, length): rows of doc_id (the block), metric, value.

    ``nll`` and ``nll_dense``: negative log-likelihood of the next token in nats; ``kl``:
    KL(dense || compressed) in nats; ``agreement``: share of positions where both have the
    same most likely token. Perplexity is exp of the mean ``nll``. A ``ValueError`` names the block and
    measure that is not finite.
    """
    rows = []
    for index, block in enumerate(tokens):
        for metric, value in _block(model, dense, block).items():
            rows.append({"doc_id": index, "metric": metric, "value": _finite(value, metric, index)})
    return pl.DataFrame(rows, schema=SCHEMA)


@torch.no_grad()
def losses(model: PreTrainedModel, tokens: torch.Tensor) -> np.ndarray:
    """Mean negative log-likelihood of the next token in nats, of each block of ``tokens`` (blocks, length).

    A ``ValueError`` names a block on which it is not finite.
    """
    means = []
    for index, block in enumerate(tokens.to(model.device)):
        logits = model(block.unsqueeze(0), use_cache=False).logits[0, :-1].float()
        means.append(_finite(torch.nn.functional.cross_entropy(logits, block[1:]).item(), "nll", index))
    return np.array(means)


def _finite(value: float, metric: str, index: int) -> float:
    if not math.isfinite(value):
        model = "the dense model" if metric == "nll_dense" else "the model"
        raise ValueError(f"{metric} of {model} is {value} on block {index}; check that its checkpoint is whole")
    return value


def _block(model: PreTrainedModel, dense: PreTrainedModel, block: torch.Tensor) -> dict[str, float]:
    batch = block.unsqueeze(0).to(dense.device)
    reference = dense(batch, use_cache=False).logits[0, :-1].float().log_softmax(-1)
    compressed = model(batch, use_cache=False).logits[0, :-1].float().log_softmax(-1)
    target = batch[0, 1:, None]
    divergence = torch.nn.functional.kl_div(compressed, reference, log_target=True, reduction="none").sum(-1)
    return {
        "nll": -compressed.gather(-1, target).mean().item(),
        "nll_dense": -reference.gather(-1, target).mean().item(),
        "kl": divergence.mean().item(),
        "agreement": (compressed.argmax(-1) == reference.argmax(-1)).float().mean().item(),
    }
