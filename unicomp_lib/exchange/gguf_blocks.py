"""Weights as GGUF stores them: blocks of 32 codes with their scale, made without loss or refused."""

from dataclasses import dataclass

import numpy as np
import torch
from gguf import GGML_QUANT_SIZES
from gguf import GGMLQuantizationType as Kind

VERSION = "1"

BLOCK = 32  # weights that share a scale, along the inputs
ROUNDING = 2**-11  # largest relative error of a number that float16 has in its range
MIDDLE = 8  # GGUF's codes of 4 bits are 0 to 15, those of this study -8 to 7
DENSE = {"BF16": Kind.BF16, "F16": Kind.F16, "F32": Kind.F32}  # by the names of types in safetensors
CODED = {(4, True): Kind.Q4_0, (4, False): Kind.Q4_1, (8, True): Kind.Q8_0}  # by bits, and whether without zero points


@dataclass(frozen=True)
class Coded:
    """Weights s * (q - z): ``codes`` int8 (outputs, inputs), ``scale`` and ``zero`` (outputs, groups).

    Groups are of consecutive inputs. ``zero`` is None where it is 0 throughout, in a symmetric form.
    """

    codes: torch.Tensor
    scale: torch.Tensor
    zero: torch.Tensor | None = None

    def values(self) -> torch.Tensor:
        """The weights in float32 (outputs, inputs); exact for scales of up to 16 bits of precision."""
        grouped = self.codes.float().reshape(*self.scale.shape, -1)
        shifted = grouped if self.zero is None else grouped - self.zero.float()[..., None]
        return (shifted * self.scale.float()[..., None]).view(self.codes.shape)


def kind(bits: int, symmetric: bool, inputs: int, group_size: int) -> Kind:
    """The type that holds codes of ``bits``; a ``ValueError`` says why there is none."""
    if (bits, symmetric) not in CODED:
        points = "without" if symmetric else "with"
        raise ValueError(
            f"GGUF has no type for codes of {bits} bits {points} zero points; allowed are 4 bits with or without, and "
            "8 bits without: compress with one of these"
        )
    if inputs % BLOCK or group_size % BLOCK:
        raise ValueError(
            f"GGUF stores one scale for {BLOCK} consecutive inputs, and {inputs} inputs in groups of {group_size} are "
            f"no multiples of it; compress with groups of {BLOCK}"
        )
    return CODED[bits, symmetric]


def bytes_of(kind: Kind, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape in bytes of a tensor of ``shape`` that is stored as ``kind``."""
    weights, size = GGML_QUANT_SIZES[kind]
    return (*shape[:-1], shape[-1] // weights * size)


def dense(tensor: torch.Tensor) -> np.ndarray:
    """A tensor's own bytes, uint8 (rows, bytes of a row), in a type of ``DENSE``; a vector's elements are rows."""
    return tensor.reshape(len(tensor), -1).contiguous().view(torch.uint8).numpy()


def pack(coded: Coded, kind: Kind) -> np.ndarray:
    """The bytes of codes as ``kind`` stores them, uint8 (outputs, bytes of a row).

    Groups of a multiple of 32 repeat their scale. A ``ValueError`` gives the number of blocks whose scale or minimum
    float16 does not hold, in which GGUF stores them, and how far off they would be.
    """
    outputs, inputs = coded.codes.shape
    blocks = coded.codes.reshape(outputs, inputs // BLOCK, BLOCK)
    repeats = blocks.shape[1] // coded.scale.shape[1]
    scale = coded.scale.double().repeat_interleave(repeats, dim=1)
    zero = torch.zeros_like(scale) if coded.zero is None else coded.zero.double().repeat_interleave(repeats, dim=1)
    # Where all weights are zero no scale matters, and theirs may be too small for float16.
    scale = torch.where((blocks == zero[..., None]).all(-1), 0, scale)
    if kind == Kind.Q4_1:
        return _q4_1(blocks, scale, zero)
    head = _half(scale, kind)
    body = blocks.view(torch.uint8) if kind == Kind.Q8_0 else _nibbles(blocks + MIDDLE)
    return _rows(head, body)


def _q4_1(blocks: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor) -> np.ndarray:
    """Values d * q + m. A minimum that takes too many bits is avoided by counting down from the group's maximum.

    s * (c - z) with codes c from -8 to 7 is s * (c + 8) - s * (z + 8), and also -s * (7 - c) + s * (7 - z). Of z + 8
    and 7 - z, whose sum is 15, one has 3 bits at most: together with the 8 bits of a bfloat16 scale, 11 as in float16.
    """
    up, down = -scale * (zero + MIDDLE), scale * (MIDDLE - 1 - zero)
    turned = (_error(up) > 0) & (_error(down) == 0)
    head = _half(torch.stack([torch.where(turned, -scale, scale), torch.where(turned, down, up)], -1), Kind.Q4_1)
    codes = torch.where(turned[..., None], MIDDLE - 1 - blocks, blocks + MIDDLE)
    return _rows(head, _nibbles(codes))


def _half(numbers: torch.Tensor, kind: Kind) -> torch.Tensor:
    """Numbers (outputs, blocks, …) in float16, if that holds all of them."""
    error = _error(numbers).view(*numbers.shape[:2], -1).amax(-1)
    wrong, largest = int((error > 0).sum()), float(error.max())
    if wrong:
        what = "a scale or minimum" if kind == Kind.Q4_1 else "a scale"
        fits = "bfloat16" if kind == Kind.Q4_1 else "bfloat16 or float16"
        advice = (
            f"compress with scales in {fits}" if largest <= ROUNDING else "its range is too small: choose another form"
        )
        raise ValueError(
            f"{wrong} of {error.numel()} blocks have {what} that float16, in which {kind.name} stores it, does not "
            f"hold; it would be off by up to {largest:.1e} of itself; {advice}"
        )
    return numbers.half()


def _error(numbers: torch.Tensor) -> torch.Tensor:
    """Relative error of numbers (float64) in float16; infinite where they overflow."""
    return torch.where(numbers == 0, 0, (numbers.half().double() - numbers).abs() / numbers.abs())


def _nibbles(codes: torch.Tensor) -> torch.Tensor:
    """Codes from 0 to 15 (outputs, blocks, 32) two to a byte: the first half of a block is in the lower bits."""
    low, high = codes.to(torch.uint8).split(BLOCK // 2, dim=-1)
    return low | high << 4


def _rows(head: torch.Tensor, body: torch.Tensor) -> np.ndarray:
    """Blocks, each of its float16 numbers and then its codes, row by row."""
    numbers = head.view(*body.shape[:2], -1).view(torch.uint8)
    return torch.cat([numbers, body], dim=-1).flatten(1).numpy()
