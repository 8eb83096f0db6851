"""Which layer hurts: the dense model with one part of it as the compressed model has it, and all else dense."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import polars as pl
import torch
from torch import nn
from torch.nn.functional import kl_div
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from unicomp_lib.checkpoints import decoder
from unicomp_lib.evaluate import statistics

VERSION = "1"
SCHEMA = {"part": pl.String, "doc_id": pl.Int64, "value": pl.Float64}
SUMMARY = {"part": pl.String, "metric": pl.String, "value": pl.Float64, "low": pl.Float64, "high": pl.Float64}

Parts = dict[str, list[str]]


def layers(dense: PreTrainedModel, compressed: PreTrainedModel) -> Parts:
    """Every decoder layer as a part, by its number.

    A ``ValueError`` says why the compressed model's layers do not fit between dense ones: some were removed, or what
    lies outside the layers, such as the embeddings, is not dense's, so that their inputs would be others too, or its
    cache is quantized.
    """
    if getattr(compressed.config, decoder.CACHE, None) is not None:
        raise ValueError(
            "the cache of the compressed model is quantized, which is no part of any layer; give the checkpoint that "
            "it was made from"
        )
    stack, others = _stacks(dense, compressed)
    if len(stack) != len(others):
        raise ValueError(
            f"the compressed model has {len(others)} layers and the dense one {len(stack)}; "
            "give a model that keeps all layers, so that each can take the place of its dense one"
        )
    if name := _other_than(_outside(dense, stack), _outside(compressed, others)):
        raise ValueError(
            f"{name} of the compressed model is not that of the dense one, so its layers expect other inputs; give "
            "two models that differ in their decoder layers alone, loaded in the same precision on the same device"
        )
    return {str(index): [str(index)] for index in range(len(stack))}


def maps(dense: PreTrainedModel, compressed: PreTrainedModel) -> Parts:
    """Every linear map as a part, by layer and name, such as ``3.mlp.up_proj``.

    Raises what ``layers`` raises, and a ``ValueError`` for a method that changes more of a layer than its linear
    maps, or their sizes: scales that it has moved into a norm belong to all maps behind it.
    """
    found: Parts = {}
    for index, layer, other in zip(layers(dense, compressed), *_stacks(dense, compressed), strict=True):
        known = decoder.linears(layer)
        changed = _other_than(_outside_of(layer, known), _outside_of(other, known)) or next(
            (name for name, linear in known.items() if _size(linear) != _size(dict(other.named_modules()).get(name))),
            "",
        )
        if changed:
            raise ValueError(
                f"{changed} of layer {index} does not fit the dense layer, so its linear maps cannot be replaced one "
                "by one: this method changes more than them, such as scales in a norm; compare whole layers"
            )
        found |= {f"{index}.{name}": [f"{index}.{name}"] for name in known}
    return found


@torch.no_grad()
def compare(dense: PreTrainedModel, compressed: PreTrainedModel, tokens: torch.Tensor, parts: Parts) -> pl.DataFrame:
    """KL divergence from the dense model of the same model with one of ``parts`` compressed, for every part and block.

    Each part names the layers and linear maps that are replaced together: those of ``layers`` or ``maps``, or any of
    them joined. Rows of part, doc_id (the block of ``tokens`` (blocks, length)) and value: the mean over positions
    of KL(dense || replaced) in nats per token, as ``kl`` of ``fidelity.compare``. Layers before the first one that is
    replaced are not computed again. Raises what ``layers`` and ``maps`` raise, and a ``ValueError`` that names a
    part that neither has, or one with which the value is not finite.
    """
    _check(parts, dense, compressed)
    stack, others = _stacks(dense, compressed)
    firsts = {
        part: min((int(name.split(".")[0]) for name in names), default=len(stack)) for part, names in parts.items()
    }
    work, rows = len(tokens) * sum(len(stack) - first for first in firsts.values()), []
    with tqdm(total=work, desc="parts replaced", unit="layer", mininterval=1) as bar:
        for index, block in enumerate(tokens.to(dense.device)):
            reference, outputs = _read(dense, block)
            for part, names in parts.items():
                with _replaced(stack, others, names), _given(stack, outputs, firsts[part]):
                    scores = _log_probabilities(dense, block)
                value = kl_div(scores, reference, log_target=True, reduction="none").sum(-1).mean().item()
                if not math.isfinite(value):
                    raise ValueError(f"KL with {part} replaced is {value} on block {index}; check both checkpoints")
                rows.append({"part": part, "doc_id": index, "value": value})
                bar.update(len(stack) - firsts[part])
    return pl.DataFrame(rows, schema=SCHEMA)


def summary(rows: pl.DataFrame) -> pl.DataFrame:
    """One row per part of what ``compare`` returns: metric, value, low and high, with a 95 % interval over blocks."""
    found = []
    for (part,), own in rows.group_by(["part"], maintain_order=True):
        mean = statistics.bootstrap(own["value"].to_numpy(), own["doc_id"].to_numpy())
        found.append((part, "kl", mean.value, mean.low, mean.high))
    return pl.DataFrame(found, schema=SUMMARY, orient="row")


def _check(parts: Parts, dense: PreTrainedModel, compressed: PreTrainedModel) -> None:
    wanted = {name for names in parts.values() for name in names}
    known = layers(dense, compressed)
    if wanted - set(known):
        known |= maps(dense, compressed)
    if unknown := sorted(wanted - set(known)):
        raise ValueError(f"{unknown[0]!r} is no layer or linear map of this model; allowed are {', '.join(known)}")


def _log_probabilities(model: PreTrainedModel, block: torch.Tensor) -> torch.Tensor:
    """Log probabilities (length - 1, vocabulary) of the next token of a block (length,), in float32."""
    return model(block.unsqueeze(0), use_cache=False).logits[0, :-1].float().log_softmax(-1)


def _read(model: PreTrainedModel, block: torch.Tensor) -> tuple[torch.Tensor, list[Any]]:
    """Log probabilities of a block, and what each layer has returned; nothing where they do not follow from that."""
    stack, outputs = decoder.layers(model), []
    handles = [layer.register_forward_hook(lambda _, __, output: outputs.append(output)) for layer in stack]
    try:
        reference = _log_probabilities(model, block)
    finally:
        for handle in handles:
            handle.remove()
    # A family may pass on more than one layer's output to the next, such as keys and values that layers share.
    with _given(stack, outputs, len(stack) // 2):
        again = _log_probabilities(model, block)
    return reference, outputs if torch.equal(again, reference) else []


@contextmanager
def _given(stack: nn.ModuleList, outputs: list[Any], first: int) -> Iterator[None]:
    """Let the layers before ``first`` compute nothing, and return what the last of them has returned before."""
    skipped = list(stack)[:first] if outputs else []
    for layer in skipped:
        layer.forward = lambda *_, **__: outputs[first - 1]
    try:
        yield
    finally:
        for layer in skipped:
            del layer.forward


@contextmanager
def _replaced(stack: nn.ModuleList, others: nn.ModuleList, names: Iterable[str]) -> Iterator[None]:
    """Put modules of another stack in the place of those of the same names."""
    originals = {name: stack.get_submodule(name) for name in names}
    try:
        for name in originals:
            stack.set_submodule(name, others.get_submodule(name))
        yield
    finally:
        for name, module in originals.items():
            stack.set_submodule(name, module)


def _stacks(dense: PreTrainedModel, compressed: PreTrainedModel) -> tuple[nn.ModuleList, nn.ModuleList]:
    """The decoder layers of both: those of the compressed model may have no ``nn.Linear`` to be found by."""
    stack = decoder.layers(dense)
    name = next(name for name, module in dense.named_modules() if module is stack)
    others = dict(compressed.named_modules()).get(name)
    if not isinstance(others, nn.ModuleList):
        raise ValueError(
            f"the compressed {type(compressed).__name__} has no {name} as the dense {type(dense).__name__}"
        )
    return stack, others


def _tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers, also those that are not saved, such as rotary frequencies."""
    return {**dict(module.named_parameters(remove_duplicate=False)), **dict(module.named_buffers())}


def _outside(model: PreTrainedModel, stack: nn.ModuleList) -> dict[str, torch.Tensor]:
    """All tensors of a model that are not in its decoder layers."""
    inside = {id(tensor) for tensor in _tensors(stack).values()}
    return {name: tensor for name, tensor in _tensors(model).items() if id(tensor) not in inside}


def _outside_of(layer: nn.Module, linears: Iterable[str]) -> dict[str, torch.Tensor]:
    """The tensors of a layer that belong to none of the linear maps of these names."""
    prefixes = tuple(f"{name}." for name in linears)
    return {name: tensor for name, tensor in _tensors(layer).items() if not name.startswith(prefixes)}


def _size(linear: Any) -> tuple[Any, Any]:
    return getattr(linear, "in_features", None), getattr(linear, "out_features", None)


def _other_than(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> str:
    """Name of the first tensor that only one of two has, or in which they differ; empty where there is none."""
    return next((name for name in {**ours, **theirs} if not _same(ours.get(name), theirs.get(name))), "")


def _same(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    if one is None or other is None:
        return False
    return (one.shape, one.dtype, one.device) == (other.shape, other.dtype, other.device) and torch.equal(one, other)
