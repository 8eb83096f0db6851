"""How far a compressed model's next-token distribution lies from the dense one's."""

import json
import math

import numpy as np
import polars as pl
import torch
from transformers import PreTrainedModel

from unicomp_lib import tables

VERSION = "2"
SCHEMA = {"doc_id": pl.Int64, "metric": pl.String, "value": pl.Float64, "output": pl.String}
DIGITS = 4  # of what is kept of every token


@torch.no_grad()
def compare(model: PreTrainedModel, dense: PreTrainedModel, tokens: torch.Tensor) -> pl.DataFrame:
    """Per-block means over held-out ``tokens`` (blocks, length): rows of doc_id (the block), metric, value.

    ``nll`` and ``nll_dense``: negative log-likelihood of the next token in nats; ``kl``:
    KL(dense || compressed) in nats; ``agreement``: share of positions where both have the
    same most likely token; ``p_change``: by how much the compressed model gives the next token a higher
    probability. Perplexity is exp of the mean ``nll``. ``output`` holds, as JSON, the ``kl`` and the
    ``p_change`` of every token. A ``ValueError`` names the block and measure that is not finite.
    """
    rows = []
    for index, block in enumerate(tokens):
        for metric, values in _block(model, dense, block).items():
            kept = json.dumps([float(f"{value:.{DIGITS}g}") for value in values.tolist()])
            row = {"doc_id": index, "metric": metric, "value": _finite(values.mean().item(), metric, index)}
            rows.append(row | {"output": kept if metric in tables.TOKEN_METRICS else None})
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


def _block(model: PreTrainedModel, dense: PreTrainedModel, block: torch.Tensor) -> dict[str, torch.Tensor]:
    """Each measure of the tokens that a block (length,) predicts: shape (length - 1,)."""
    batch = block.unsqueeze(0).to(dense.device)
    reference = dense(batch, use_cache=False).logits[0, :-1].float().log_softmax(-1)
    compressed = model(batch, use_cache=False).logits[0, :-1].float().log_softmax(-1)
    ours, theirs = (scores.gather(-1, batch[0, 1:, None])[:, 0] for scores in (compressed, reference))
    return {
        "nll": -ours,
        "nll_dense": -theirs,
        "kl": torch.nn.functional.kl_div(compressed, reference, log_target=True, reduction="none").sum(-1),
        "agreement": (compressed.argmax(-1) == reference.argmax(-1)).float(),
        "p_change": ours.exp() - theirs.exp(),
    }
