"""Integer grids: the values that a group of quantized weights may take."""

import math
from dataclasses import dataclass

import torch

VERSION = "1"

BITS = (2, 3, 4, 8)
LARGEST = 128  # group size that is proposed where one does not fit
SMALLEST = 1e-9  # scale of a group of zeros


@dataclass(frozen=True)
class Grid:
    """Values s * (q - z) with integer codes q, for groups of consecutive inputs.

    ``scale`` and ``zero`` have shape (outputs, groups); codes lie in [-2^(bits-1), 2^(bits-1) - 1].
    ``zero`` is 0 throughout where ``symmetric``.
    """

    scale: torch.Tensor
    zero: torch.Tensor
    bits: int
    symmetric: bool


def fit(weight: torch.Tensor, *, bits: int, group_size: int, symmetric: bool) -> Grid:
    """The grid on which every group of ``group_size`` inputs spans its own range.

    Symmetric grids have z = 0 and s = 2 max(abs(w)) / (2^bits - 1); asymmetric ones span from
    min(w, 0) to max(w, 0). Scales are rounded to bfloat16, the type in which they are saved. A
    ``ValueError`` names bits that are not allowed, or a group size that does not divide the inputs.
    """
    check_bits(bits)
    outputs, inputs = weight.shape
    check_groups({"": inputs}, group_size)
    groups = weight.float().view(outputs, inputs // group_size, group_size)
    steps = 2**bits - 1
    if symmetric:
        scale = 2 * groups.abs().amax(-1) / steps
        zero = torch.zeros_like(scale)
    else:
        low, high = groups.amin(-1).clamp(max=0), groups.amax(-1).clamp(min=0)
        scale = (high - low) / steps
        zero = -(2 ** (bits - 1)) - (low / scale.clamp(min=SMALLEST)).round()
    scale = scale.clamp(min=SMALLEST).bfloat16().float()
    return Grid(scale, zero.clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1), bits, symmetric)


def check_bits(bits: int) -> None:
    """Raise a ``ValueError`` unless ``bits`` is one of ``BITS``."""
    if bits not in BITS:
        raise ValueError(f"bits={bits} is not allowed; give one of {', '.join(map(str, BITS))}")


def check_groups(inputs: dict[str, int], group_size: int) -> None:
    """Raise a ``ValueError`` unless ``group_size`` divides the inputs of every linear map, given by its name.

    The sentence proposes the largest size up to 128 that divides them all.
    """
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


def values(codes: torch.Tensor, grid: Grid) -> torch.Tensor:
    """The bfloat16 weights s * (q - z) that codes represent."""
    scale, zero = _per_weight(grid, codes.shape[1])
    return (codes.float() - zero).bfloat16() * scale.bfloat16()


def _per_weight(grid: Grid, inputs: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and zero point of every weight, each (outputs, inputs)."""
    size = inputs // grid.scale.shape[1]
    return grid.scale.repeat_interleave(size, dim=1), grid.zero.repeat_interleave(size, dim=1)
