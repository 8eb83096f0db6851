"""Second-order statistics of a linear map's inputs, shared by the methods that correct their errors."""

import math
from collections.abc import Callable, Iterable, Iterator

import torch
from scipy.linalg import blas, lapack

from unicomp_lib.compress import input_statistics, layers

VERSION = "3"

BLOCK = 128  # inputs between two updates of all that follow, as in the papers of GPTQ and SparseGPT
SUBBLOCK = 32  # inputs between two updates of those that follow in their block


def hessians(feed: layers.Feed) -> dict[str, torch.Tensor]:
    """H = X^T X / n of every linear map of a layer, float32 of shape (inputs, inputs); X (n tokens, inputs).

    Up to a factor of 2, which cancels, the Hessian of the squared output error per token in a row of weights.
    Linear maps that read the same tensor (query, key and value) share one matrix.
    """
    means: dict[int, torch.Tensor] = {}
    known = input_statistics.gather(feed, gram)
    return {name: means.setdefault(id(known[name]), value / tokens) for name, (value, tokens) in known.items()}


def gram(rows: torch.Tensor) -> torch.Tensor:
    """X^T X in float32 (inputs, inputs), for inputs X (tokens, inputs)."""
    lower = lower_gram(rows)
    return lower + lower.tril(-1).T


def lower_gram(rows: torch.Tensor) -> torch.Tensor:
    """The lower triangle of X^T X in float32, and zeros above it.

    On a CPU by the symmetric rank-k update of BLAS, which computes nothing else: half the work.
    """
    rows = rows.detach().float().contiguous()
    if rows.device.type != "cpu":
        return (rows.T @ rows).tril()
    # Nothing is copied: to BLAS, rows are columns, and its upper triangle is our lower one.
    return torch.from_numpy(blas.ssyrk(1.0, rows.numpy().T).T)


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
        # Of H with its inputs in reverse, H = L L^T; in their own order L^-1 is upper triangular, and U.
        return _inverse_triangular(torch.linalg.cholesky(damped.flip(0, 1))).flip(0, 1)
    except RuntimeError as error:
        raise ValueError(
            f"the Hessian of a linear map's {len(hessian)} inputs has no inverse with percdamp={percdamp}; "
            "give a larger one, such as 0.01, or more calibration tokens than inputs"
        ) from error


def _inverse_triangular(lower: torch.Tensor) -> torch.Tensor:
    if lower.device.type != "cpu":
        return torch.linalg.solve_triangular(lower, torch.eye(len(lower)).to(lower), upper=False)
    # LAPACK's own routine for an inverse takes half the time. To it, rows are columns.
    array = lower.contiguous().numpy().T
    inverse, _ = (lapack.dtrtri if array.dtype == "float64" else lapack.strtri)(array, lower=0)
    return torch.from_numpy(inverse.T)


def sweep(
    weight: torch.Tensor, factor: torch.Tensor, choose: Callable[[int, torch.Tensor], torch.Tensor], span: int = 1
) -> None:
    """Change every input's weights in order, and let those of later inputs make up for the error (OBS), in place.

    ``weight`` (inputs, outputs) is transposed, so that an input's weights lie together; ``factor`` is from
    ``inverse_factor``. ``choose(j, w)`` takes the weights w (outputs,) of input j, as updated by
    then, and returns what they become. Where j is a multiple of ``span`` all ``weight[j : j + span]`` are up to date.

    Errors reach the rest of a sub-block of ``SUBBLOCK`` inputs one by one, the rest of a block of ``BLOCK`` and
    all other inputs as products of matrices.
    """
    columns, diagonal = weight.unbind(), factor.diagonal().tolist()
    for start, end in _segments(0, len(weight), BLOCK, span):
        errors = torch.empty_like(weight[start:end])
        for low, high in _segments(start, end, SUBBLOCK, span):
            for j in range(low, high):
                value = choose(j, columns[j])
                error = torch.sub(columns[j], value, out=errors[j - start]).div_(diagonal[j])
                columns[j].copy_(value)
                if j + 1 < high:
                    weight[j + 1 : high].addr_(factor[j, j + 1 : high], error, alpha=-1)
            weight[high:end].addmm_(factor[low:high, high:end].T, errors[low - start : high - start], alpha=-1)
        weight[end:].addmm_(factor[start:end, end:].T, errors, alpha=-1)


def _segments(start: int, end: int, most: int, span: int) -> Iterator[tuple[int, int]]:
    """Cut [start, end) into at most ``most`` inputs each, at multiples of ``span`` where there are any."""
    while start < end:
        whole = (start + most) // span * span
        stop = min(end, whole if whole > start else start + most)
        yield start, stop
        start = stop
