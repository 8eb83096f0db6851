"""Whether an engine serves the model that was measured: the same tokens, read in the engine and here."""

import hashlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import torch
from transformers import PreTrainedModel

from unicomp_lib import hardware
from unicomp_lib.checkpoints import models
from unicomp_lib.evaluate import efficiency

VERSION = "1"

TOP = 1000  # likeliest tokens whose probabilities an engine is asked for; all others count as one
# An engine rounds in its own way: llama.cpp rounds inputs to 8 bits. Right exports of SmolLM2-135M are up to 0.006 nats
# from the float32 model, up to twice as far as rounding to bfloat16 takes it here. Queries and keys in a wrong order
# take it 0.018 nats away in one layer, and 0.9 in all.
TIMES, FLOOR = 5.0, 0.01
NOISE = 1e-9  # of a sum of probabilities
SCHEMA = {"doc_id": pl.Int64, "doc_hash": pl.String, "metric": pl.String, "value": pl.Float64}


@dataclass(frozen=True)
class Read:
    """What a model says of ``n`` tokens, each after those before it in its block, in float64.

    ``right`` (n,): log-likelihood of the token that is there, in nats. ``likely`` (n, top): log-probabilities of the
    tokens that the engine finds likeliest.
    """

    right: torch.Tensor
    likely: torch.Tensor


def compare(
    checkpoint: str,
    dense: str,
    tokens: torch.Tensor,
    *,
    precision: str,
    engine: str = "",
    interpreter: str = "",
    export: Callable[[Path, Path], object] | None = None,
) -> pl.DataFrame:
    """Means over the blocks of ``tokens`` (blocks, length): rows of doc_id (the block), doc_hash, metric, value.

    The same weights are read three times: in the engine, here in ``precision``, and here in float32, which rounds least
    and is what the other two are compared with. ``nll_engine``, ``nll_here`` and ``nll``: negative log-likelihood of
    the next token in each, in nats. ``nll_change``: by how much the engine's is above that of float32.
    ``kl_engine`` and ``kl_here``: KL(float32 || engine) and KL(float32 || here). ``kl_dense_engine`` and ``kl_dense``:
    KL of the dense model, in float32 too, to the engine and to the model here. ``agreement``: share of positions where
    the engine's likeliest token is that of float32. In each KL the tokens other than the engine's 1,000 likeliest count
    as one, which makes it smaller, by 3 to 7 % for the KL to dense of this study's 4-bit models. OpenVINO tells of the
    token that is there alone: there all others count as one, and there is no ``agreement``.

    ``kl_limit``, once: the mean ``kl_engine`` above which a warning says that the engine does not serve this model:
    0.01 nats, or 5 times ``kl_here`` where that is more. A few wrong rows of one matrix may stay below it: those are
    found by reading an export back.

    ``engine``, ``interpreter`` and ``export``: see ``efficiency.compare``; without an engine, the model here in
    ``precision``.
    """
    interpreter = efficiency.python_of(engine, interpreter)
    context, top = tokens.shape[1] + 1, min(TOP, len(models.load_tokenizer(checkpoint)))
    if engine == "vllm":
        batch = 1 if hardware.device().type == "cpu" else 0  # see vllm_process
        process = efficiency.vllm_process(interpreter, checkpoint, precision, context, batch)
        served, ids = _asked(process, tokens, top)
    elif engine:
        process = efficiency.exported_process(engine, interpreter, checkpoint, export, context, 1)
        served, ids = _asked(process, tokens, top)
    else:
        served, ids = _likeliest(models.load(checkpoint, precision=precision)[0], tokens)
    exact, here, reference = (
        _read(models.load(name, precision=numbers)[0], tokens, ids)
        for name, numbers in ((checkpoint, "float32"), (checkpoint, precision), (dense, "float32"))
    )
    values = {
        "nll_engine": -served.right,
        "nll_here": -here.right,
        "nll": -exact.right,
        "nll_change": exact.right - served.right,
        "kl_engine": divergence(exact.likely, served.likely),
        "kl_here": divergence(exact.likely, here.likely),
        "kl_dense_engine": divergence(reference.likely, served.likely),
        "kl_dense": divergence(reference.likely, here.likely),
    }
    if ids.shape[-1] > 1:  # of the engine's likeliest tokens the first is its own choice
        values["agreement"] = (exact.likely.argmax(-1) == 0).double()
    blocks = [{"doc_id": number, "doc_hash": _digest(block)} for number, block in enumerate(tokens)]
    rows: list[dict[str, object]] = [
        {**block, "metric": metric, "value": value}
        for metric, each in values.items()
        for block, value in zip(blocks, each.view(len(tokens), -1).mean(-1).tolist(), strict=True)
    ]
    limit = max(FLOOR, TIMES * values["kl_here"].mean().item())
    _warn(values["kl_engine"].mean().item(), limit, engine, checkpoint)
    return pl.DataFrame([*rows, {**blocks[0], "metric": "kl_limit", "value": limit}], schema=SCHEMA)


def _digest(block: torch.Tensor) -> str:
    return hashlib.sha256(str(block.tolist()).encode()).hexdigest()


def divergence(exact: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """KL(exact || other) in nats (n,), of log-probabilities (n, top); the tokens that are not among them are one."""
    rest, others = ((1 - each.exp().sum(-1)).clamp(min=NOISE) for each in (exact, other))
    return (exact.exp() * (exact - other)).sum(-1) + rest * (rest / others).log()


def _warn(found: float, limit: float, engine: str, checkpoint: str) -> None:
    if not found <= limit:
        warnings.warn(
            f"{engine or 'the model here'} does not serve {checkpoint} as it is: its next-token distributions are "
            f"{found:.2g} nats a token away from those of the same weights here, where rounding explains up to "
            f"{limit:.2g}; check the export, and do not use its speed",
            stacklevel=3,
        )


def _asked(
    process: AbstractContextManager[efficiency.Pipe], tokens: torch.Tensor, top: int
) -> tuple[Read, torch.Tensor]:
    """What an engine says of the tokens, and the tokens (n, top) that it tells of, likeliest first."""
    with process as pipe:
        answer = efficiency.ask(pipe, {"rows": tokens.tolist(), "top": top})
    right, likely = (torch.tensor(answer[name], dtype=torch.float64) for name in ("right", "likely"))
    return Read(right, likely), torch.tensor(answer["ids"])


def _likeliest(model: PreTrainedModel, tokens: torch.Tensor) -> tuple[Read, torch.Tensor]:
    """What a model here says, and its likeliest tokens (n, top), likeliest first."""
    ids = torch.cat([each.topk(min(TOP, each.shape[-1])).indices for each in _distributions(model, tokens)])
    return _read(model, tokens, ids), ids


def _read(model: PreTrainedModel, tokens: torch.Tensor, ids: torch.Tensor) -> Read:
    """What a model here says of the tokens, and of the tokens ``ids`` (n, top) in their places."""
    of_block = ids.view(len(tokens), -1, ids.shape[-1])
    right, likely = [], []
    for block, wanted, scores in zip(tokens, of_block, _distributions(model, tokens), strict=True):
        right.append(scores.gather(-1, block[1:, None])[:, 0])
        likely.append(scores.gather(-1, wanted))
    return Read(torch.cat(right), torch.cat(likely))


@torch.no_grad()
def _distributions(model: PreTrainedModel, tokens: torch.Tensor) -> Iterator[torch.Tensor]:
    """Log-probabilities of the tokens after each but the last of a block: float64 (length - 1, vocabulary)."""
    for block in tokens:
        logits = model(block.unsqueeze(0).to(model.device), use_cache=False).logits[0, :-1]
        yield logits.double().log_softmax(-1).cpu()
