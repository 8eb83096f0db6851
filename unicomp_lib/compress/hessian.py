"""Second-order statistics of a linear map's inputs, shared by the methods that correct their errors."""

import torch
from torch import nn

from unicomp_lib.compress import layers

VERSION = "1"


def hessians(feed: layers.Feed, also: layers.Observe | None = None) -> dict[str, torch.Tensor]:
    """H = X^T X / tokens of every linear map of a layer, float32 of shape (inputs, inputs).

    The Hessian of the layer-wise squared error with respect to a row of weights, up to a factor that cancels.
    Linear maps that read the same tensor (query, key and value) share one matrix. ``also``
    observes the same inputs in the same pass.
    """
    sums: dict[str, torch.Tensor] = {}
    tokens: dict[str, int] = {}
    same_inputs: dict[str, str] = {}
    last: list[tuple[torch.Tensor, str]] = []

    def observe(name: str, linear: nn.Linear, inputs: torch.Tensor) -> None:
        if also:
            also(name, linear, inputs)
        if last and last[0][0] is inputs:
            same_inputs[name] = last[0][1]
            return
        last[:] = [(inputs, name)]
        rows = inputs.reshape(-1, inputs.shape[-1]).float()
        sums[name] = sums[name].addmm_(rows.T, rows) if name in sums else rows.T @ rows
        tokens[name] = tokens.get(name, 0) + len(rows)

    feed(observe)
    means = {name: total / tokens[name] for name, total in sums.items()}
    return means | {name: means[first] for name, first in same_inputs.items()}


def inverse_factor(hessian: torch.Tensor, percdamp: float = 0.01) -> torch.Tensor:
    """Upper Cholesky factor U of the damped inverse: U^T U = (H + percdamp * mean(diag H) * I)^-1.

    Row i of U holds what the OBS update of GPTQ and SparseGPT needs once inputs before i are
    fixed. Inputs that are always zero get a diagonal of one, so that the inverse exists.
    """
    damped = hessian.clone()
    diagonal = damped.diagonal()
    diagonal[diagonal == 0] = 1
    diagonal += percdamp * diagonal.mean()
    return torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True)
