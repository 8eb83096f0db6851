"""SparseGPT (Frantar and Alistarh, 2023, arXiv 2301.00774): prune, and let the remaining weights compensate."""

from collections.abc import Sequence

import torch
from torch import nn
from transformers import PreTrainedModel

from unicomp_lib.checkpoints import decoder
from unicomp_lib.compress import hessian, sequential, weight_masks
from unicomp_lib.compress.hessian import BLOCK  # inputs whose mask is chosen together, as in the paper
from unicomp_lib.compress.input_statistics import Statistic

VERSION = "3"


@torch.no_grad()
def compress(
    model: PreTrainedModel,
    tokens: torch.Tensor,
    *,
    sparsity: float = 0.5,
    pattern: str = "",
    percdamp: float = 0.01,
    true_sequential: bool = True,
) -> PreTrainedModel:
    """Prune every linear map of the decoder layers in place and return the model.

    ``tokens`` (samples, length) is the calibration text. In every block of 128 inputs the
    lowest ``sparsity`` share is removed, or all but n of every m inputs with ``pattern="n:m"``,
    and the weights not yet visited are updated to preserve the layer's output. Layers are pruned in
    order, each on the outputs of the pruned ones before it, and with ``true_sequential`` so are the maps
    within a layer (``sequential``). That is the default, since it takes one pass; without it the maps of a layer
    are pruned on the inputs they have in the unpruned layer, in two passes, as in the authors' code. Weights of
    inputs that are zero on all of ``tokens`` become zero. A ``ValueError`` names a sparsity, pattern or
    ``percdamp`` out of range, a linear map whose inputs are not finite, or what of the model cannot be
    compressed (``decoder.compressible``).
    """
    decoder.compressible(model)
    _span(pattern, sparsity)
    hessian.check_percdamp(percdamp)

    def change(maps: dict[str, nn.Linear], statistic: Statistic) -> None:
        shared = statistic.value / statistic.tokens
        weight = torch.cat([linear.weight for linear in maps.values()]).float()
        rows = [linear.out_features for linear in maps.values()]
        factor = hessian.inverse_factor(shared, percdamp)
        weight = prune(hessian.without_dead(weight, shared), factor, sparsity=sparsity, pattern=pattern, rows=rows)
        for linear, own in zip(maps.values(), weight.split(rows), strict=True):
            linear.weight.copy_(own)

    sequential.compress(model, tokens, hessian.gram, change, true_sequential=true_sequential)
    return model


def prune(
    weight: torch.Tensor, factor: torch.Tensor, *, sparsity: float = 0.5, pattern: str = "", rows: Sequence[int] = ()
) -> torch.Tensor:
    """Algorithm 1 on one matrix (outputs, inputs), with ``factor`` from ``hessian.inverse_factor``.

    The score of a weight is the error of removing it, S_ij = W_ij^2 / [H^-1]_jj (equation 3), with U_jj^2 = [H^-1]_jj.
    With a pattern the weights of each group of m are chosen when the sweep reaches it, after all
    earlier updates. Several matrices that share their inputs may be stacked: ``rows`` are the outputs of
    each, and each has its own mask.
    """
    span = _span(pattern, sparsity)
    if pattern:
        weight_masks.check_divides(pattern, span, weight.shape[1])
    transposed, diagonal = weight.T.contiguous(), factor.diagonal()
    keep = torch.empty(span, len(weight), dtype=torch.bool, device=weight.device)

    def choose(j: int, column: torch.Tensor) -> torch.Tensor:
        if j % span == 0:
            score = (transposed[j : j + span].square() / diagonal[j : j + span, None].square()).T.contiguous()
            masks = [
                weight_masks.mask(part, sparsity=sparsity, pattern=pattern, per_row=False)
                for part in score.split(list(rows) or len(weight))
            ]
            keep[: len(score.T)] = torch.cat(masks).T
        return column * keep[j % span]

    hessian.sweep(transposed, factor, choose, span)
    return transposed.T.contiguous()


def _span(pattern: str, sparsity: float) -> int:
    """Inputs whose mask is chosen together; a ``ValueError`` where a pattern's groups would cross blocks."""
    weight_masks.check_sparsity(sparsity)
    span = weight_masks.parse_pattern(pattern, sparsity)[1] if pattern else BLOCK
    if BLOCK % span:
        raise ValueError(f"pattern={pattern!r} does not fit blocks of {BLOCK} inputs; give n:m whose m divides {BLOCK}")
    return span
