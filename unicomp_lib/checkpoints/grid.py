"""Integer grids: the values that a group of quantized weights may take."""

import math
from dataclasses import dataclass

import torch

VERSION = "2"

BITS = (2, 3, 4, 8)
SCALES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}  # types of saved scales
LOSS = 2**-8  # largest relative error of a rounded scale: that of bfloat16
LARGEST = 128  # group size that is proposed where one does not fit
SMALLEST = 1e-9  # scale of a group of zeros


@dataclass(frozen=True)
class Grid:
    """Values s * (q - z) with integer codes q, for groups of consecutive inputs.

    ``scale`` and ``zero`` are float32 of shape (outputs, groups), and ``scales`` names the type in which
    scales are saved, which holds them exactly. Codes lie in [-2^(bits-1), 2^(bits-1) - 1]. ``zero`` is
    0 throughout where ``symmetric``.
    """

    scale: torch.Tensor
    zero: torch.Tensor
    bits: int
    symmetric: bool
    scales: str = "bfloat16"


def fit(weight: torch.Tensor, *, bits: int, group_size: int, symmetric: bool, scales: str = "bfloat16") -> Grid:
    """The grid on which every group of ``group_size`` inputs spans its own range.

    Symmetric grids have z = 0 and s = 2 max(abs(w)) / (2^bits - 1); asymmetric ones span from
    min(w, 0) to max(w, 0). Scales are rounded to the type ``scales`` in which they are saved. A
    ``ValueError`` names bits or ``scales`` that are not allowed, a group size that does not divide the
    inputs, or a scale that its type cannot hold.
    """
    outputs, inputs = weight.shape
    check({"": inputs}, bits, group_size, scales)
    groups = weight.float().view(outputs, inputs // group_size, group_size)
    steps = 2**bits - 1
    if symmetric:
        scale = 2 * groups.abs().amax(-1) / steps
        zero = torch.zeros_like(scale)
    else:
        low, high = groups.amin(-1).clamp(max=0), groups.amax(-1).clamp(min=0)
        scale = (high - low) / steps
        zero = -(2 ** (bits - 1)) - (low / torch.where(scale == 0, 1, scale)).round()
    scale = _rounded(scale, steps, scales)
    return Grid(scale, zero.clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1), bits, symmetric, scales)


def _rounded(scale: torch.Tensor, steps: int, scales: str) -> torch.Tensor:
    """Scales of groups that span ``steps`` of them, rounded to a type; those of groups of zeros are positive too."""
    scale = torch.where(scale == 0, max(SMALLEST, torch.finfo(SCALES[scales]).tiny), scale)
    wrong = scale[~_holds(scale, steps, scales)]
    if len(wrong):
        others = [name for name in SCALES if _holds(wrong, steps, name).all()]
        advice = f"give {' or '.join(others)}" if others else "no other type does: the model is not whole"
        raise ValueError(f"scales={scales!r} cannot hold the scale {wrong[0]:.3g} of a group of weights; {advice}")
    return scale.to(SCALES[scales]).float()


def _holds(scale: torch.Tensor, steps: int, scales: str) -> torch.Tensor:
    """Whether a type holds each scale, to bfloat16's precision at least, and the group that spans ``steps`` of it."""
    rounded = scale.to(SCALES[scales]).float()
    return ((rounded - scale).abs() <= LOSS * scale) & (steps * rounded <= torch.finfo(SCALES[scales]).max)


def check(inputs: dict[str, int], bits: int, group_size: int, scales: str) -> None:
    """Raise a ``ValueError`` unless settings are allowed for linear maps, given by their names and inputs.

    ``group_size`` must divide the inputs of each; the sentence proposes the largest size up to 128 that
    divides them all.
    """
    if bits not in BITS:
        raise ValueError(f"bits={bits} is not allowed; give one of {', '.join(map(str, BITS))}")
    if scales not in SCALES:
        raise ValueError(f"scales={scales!r} is not allowed; give one of {', '.join(SCALES)}")
    wrong = [name for name, width in inputs.items() if group_size < 1 or width % group_size]
    if not wrong:
        return
    shared = math.gcd(*inputs.values())
    near = max(size for size in range(1, min(shared, LARGEST) + 1) if shared % size == 0)
    near = shared if near == 1 else near  # a large prime: one group a row
    of = f" of {wrong[0]}" if wrong[0] else ""
    advice = f"give a divisor such as {near}" if near > 1 else "no group size divides those of all linear maps"
    raise ValueError(f"group_size={group_size} does not divide {inputs[wrong[0]]} inputs{of}; {advice}")


def codes(weight: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Nearest codes of weights (outputs, inputs), as int8 of the same shape."""
    scale, zero = _per_weight(grid, weight.shape[1])
    low, high = -(2 ** (grid.bits - 1)), 2 ** (grid.bits - 1) - 1
    return (weight.float() / scale + zero).round().clamp(low, high).to(torch.int8)


def values(codes: torch.Tensor, grid: Grid, dtype: torch.dtype | None = None) -> torch.Tensor:
    """The weights s * (q - z) that codes represent, in the type ``dtype`` of a model, by default that of the scales.

    The product is computed in the more precise of both types and rounded once, as on reading a checkpoint.
    """
    dtype = dtype or SCALES[grid.scales]
    scale, zero = _per_weight(grid, codes.shape[1])
    computed = torch.promote_types(SCALES[grid.scales], dtype)
    return ((codes.float() - zero).to(computed) * scale.to(computed)).to(dtype)


def _per_weight(grid: Grid, inputs: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and zero point of every weight, each (outputs, inputs)."""
    size = inputs // grid.scale.shape[1]
    return grid.scale.repeat_interleave(size, dim=1), grid.zero.repeat_interleave(size, dim=1)
