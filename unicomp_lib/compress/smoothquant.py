"""SmoothQuant (Xiao et al., 2023, arXiv 2211.10438): move the inputs' outliers into the weights."""

import torch
from torch import nn
from transformers import PreTrainedModel

from unicomp_lib.checkpoints import decoder, int8
from unicomp_lib.compress import folds, hessian, input_statistics, layers

VERSION = "4"


@torch.no_grad()
def compress(model: PreTrainedModel, tokens: torch.Tensor, *, alpha: float = 0.5) -> PreTrainedModel:
    """Smooth and round weights and inputs of the decoder layers' linear maps to 8 bits, in place.

    ``tokens`` (samples, length) is the calibration text, ``alpha`` from 0 to 1 the share of the
    difficulty that moves from the inputs to the weights. The authors choose it by family: 0.5 for OPT
    and BLOOM, 0.75 for GLM-130B (their paper), 0.85 for Llama 2 (0.9 for its 70B) and Llama 3, 0.8 for
    Mistral and Mixtral, 0.6 and 0.7 for Falcon 7B and 40B (their README). As in the paper, only norms
    absorb scales; inputs are then rounded with one scale per token, weights with one per output. A
    ``ValueError`` names an ``alpha`` that is not allowed, a linear map whose inputs are not finite, or
    what of the model cannot be compressed (``decoder.compressible``).
    """
    smooth(model, tokens, alpha=alpha)
    return int8.replace(model)


@torch.no_grad()
def smooth(model: PreTrainedModel, tokens: torch.Tensor, *, alpha: float = 0.5) -> PreTrainedModel:
    """Fold the factors t into the norms, in place; the model's outputs do not change, up to rounding."""
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha={alpha} is not allowed; give the share to move to the weights, from 0 to 1")
    decoder.compressible(model)
    find = folds.Finder()
    for index, layer, feed in layers.walk(model, tokens, changes=False):
        norm_folds = [fold for fold in find(layer, feed) if not isinstance(layer.get_submodule(fold.source), nn.Linear)]
        largest = _largest_inputs(feed)
        hessian.check(largest, decoder.linears(layer), index)
        for fold in norm_folds:
            folds.apply(layer, fold, scale(largest[fold.readers[0]], folds.weights(layer, fold), alpha))
    return model


def scale(largest: torch.Tensor, weights: list[torch.Tensor], alpha: float) -> torch.Tensor:
    """t_j = max(abs(X_j))^alpha / max(abs(W_j))^(1 - alpha) (equation 4, with s for t), shape (inputs,).

    ``weights`` (outputs, inputs) all read these inputs; ``largest`` (inputs,) is max(abs(X)).
    """
    weight = torch.cat(weights).abs().amax(0).clamp(min=1e-5)
    return (largest.clamp(min=1e-5) ** alpha / weight ** (1 - alpha)).clamp(min=1e-5)


def _largest_inputs(feed: layers.Feed) -> dict[str, torch.Tensor]:
    known = input_statistics.gather(feed, lambda inputs: inputs.abs().amax(0), torch.maximum)
    return {name: largest.float() for name, (largest, _) in known.items()}
