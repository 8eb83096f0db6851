"""Second-order statistics of a linear map's inputs, shared by the methods that correct their errors."""

import math
from collections.abc import Iterable

import torch
from torch import nn

from unicomp_lib.compress import layers

VERSION = "2"


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


def check(statistics: dict[str, torch.Tensor], expected: Iterable[str], index: int) -> None:
    """Raise a ``ValueError`` naming a linear map of layer ``index`` that got no inputs, or NaN or infinite ones."""
    for name in expected:
        if name not in statistics:
            raise ValueError(
                f"{name} of layer {index} got no inputs from the calibration text; it cannot be compressed"
            )
        if not statistics[name].isfinite().all():
            raise ValueError(
                f"the inputs of {name} of layer {index} are NaN or infinite on the calibration text; "
                "compress in float32 or bfloat16, from a checkpoint that is whole"
            )


def without_dead(weight: torch.Tensor, hessian: torch.Tensor) -> torch.Tensor:
    """A copy of weights (outputs, inputs) with zeros where an input is zero on all calibration tokens.

    Such a weight changes no output and would spoil the grid of its group or take the place of one that
    does, so it is removed, as in the codes of GPTQ and SparseGPT.
    """
    return weight * (hessian.diagonal() != 0).to(weight)


def check_percdamp(percdamp: float) -> None:
    """Raise a ``ValueError`` unless 0 <= percdamp < infinity."""
    if not 0 <= percdamp < math.inf:
        raise ValueError(f"percdamp={percdamp} is not allowed; give a number from 0 on, such as 0.01")


def inverse_factor(hessian: torch.Tensor, percdamp: float = 0.01) -> torch.Tensor:
    """Upper Cholesky factor U of the damped inverse: U^T U = (H + percdamp * mean(diag H) * I)^-1.

    Row i of U holds what the OBS update of GPTQ and SparseGPT needs once inputs before i are
    fixed. Inputs that are always zero get a diagonal of one, so that the inverse exists, and count
    neither in the mean nor in any other row. (The authors' codes include those ones in the mean, where
    they weigh the more the smaller the other inputs are.) Raises a ``ValueError`` where the inverse
    does not exist.
    """
    check_percdamp(percdamp)
    damped = hessian.clone()
    diagonal = damped.diagonal()
    dead = diagonal == 0
    if not dead.all():
        diagonal += percdamp * diagonal[~dead].mean()
    diagonal[dead] = 1
    try:
        return torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True)
    except RuntimeError as error:
        raise ValueError(
            f"the Hessian of a linear map's {len(hessian)} inputs has no inverse with percdamp={percdamp}; "
            "give a larger one, such as 0.01, or more calibration tokens than inputs"
        ) from error
