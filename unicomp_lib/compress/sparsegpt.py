"""SparseGPT (Frantar and Alistarh, 2023, arXiv 2301.00774): prune, and let the remaining weights compensate."""

import torch
from transformers import PreTrainedModel

from unicomp_lib.checkpoints import decoder
from unicomp_lib.compress import hessian, layers, weight_masks

VERSION = "2"

BLOCK = 128  # inputs whose mask is chosen together, as in the paper


@torch.no_grad()
def compress(
    model: PreTrainedModel,
    tokens: torch.Tensor,
    *,
    sparsity: float = 0.5,
    pattern: str = "",
    percdamp: float = 0.01,
) -> PreTrainedModel:
    """Prune every linear map of the decoder layers in place and return the model.

    ``tokens`` (samples, length) is the calibration text. In every block of 128 inputs the
    lowest ``sparsity`` share is removed, or all but n of every m inputs with ``pattern="n:m"``,
    and the weights not yet visited are updated to preserve the layer's output. Layers are pruned in
    order, each on the outputs of the pruned ones before it. Weights of inputs that are zero on all of
    ``tokens`` become zero. A ``ValueError`` names a sparsity, pattern or ``percdamp`` out of range, a
    linear map whose inputs are not finite, or what of the model cannot be compressed
    (``decoder.compressible``).
    """
    decoder.compressible(model)
    _span(pattern, sparsity)
    hessian.check_percdamp(percdamp)
    for index, layer, feed in layers.walk(model, tokens):
        statistics = hessian.hessians(feed)
        hessian.check(statistics, decoder.linears(layer), index)
        factors: dict[int, torch.Tensor] = {}
        for name, linear in decoder.linears(layer).items():
            shared = statistics[name]
            if id(shared) not in factors:
                factors[id(shared)] = hessian.inverse_factor(shared, percdamp)
            weight = hessian.without_dead(linear.weight.float(), shared)
            linear.weight.copy_(prune(weight, factors[id(shared)], sparsity=sparsity, pattern=pattern))
    return model


def prune(weight: torch.Tensor, factor: torch.Tensor, *, sparsity: float = 0.5, pattern: str = "") -> torch.Tensor:
    """Algorithm 1 on one matrix (outputs, inputs), with ``factor`` from ``hessian.inverse_factor``.

    The score of a weight is the error of removing it, S_ij = W_ij^2 / U_jj^2 (equation 3).
    With a pattern the weights of each group of m are chosen when the sweep reaches it, after all
    earlier updates.
    """
    weight = weight.clone()
    span = _span(pattern, sparsity)
    inputs = weight.shape[1]
    if pattern:
        weight_masks.check_divides(pattern, span, inputs)
    for start in range(0, inputs, BLOCK):
        end = min(start + BLOCK, inputs)
        errors = _sweep(weight[:, start:end], factor[start:end, start:end], span, sparsity, pattern)
        weight[:, end:] -= errors @ factor[start:end, end:]
    return weight


def _span(pattern: str, sparsity: float) -> int:
    """Inputs whose mask is chosen together; a ``ValueError`` where a pattern's groups would cross blocks."""
    weight_masks.check_sparsity(sparsity)
    span = weight_masks.parse_pattern(pattern, sparsity)[1] if pattern else BLOCK
    if BLOCK % span:
        raise ValueError(f"pattern={pattern!r} does not fit blocks of {BLOCK} inputs; give n:m whose m divides {BLOCK}")
    return span


def _sweep(block: torch.Tensor, factor: torch.Tensor, span: int, sparsity: float, pattern: str) -> torch.Tensor:
    """Prune one block of inputs in place and return the errors that the inputs after it absorb."""
    errors = torch.zeros_like(block)
    diagonal = factor.diagonal()
    for column in range(block.shape[1]):
        if column % span == 0:
            score = block[:, column : column + span].square() / diagonal[column : column + span].square()
            keep = weight_masks.mask(score, sparsity=sparsity, pattern=pattern, per_row=False)
        removed = block[:, column] * ~keep[:, column % span]
        errors[:, column] = removed / diagonal[column]
        block[:, column:] -= errors[:, column : column + 1] * factor[column, column:]
        block[:, column] *= keep[:, column % span]
    return errors
