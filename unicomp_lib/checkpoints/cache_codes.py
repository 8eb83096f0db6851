"""The codes of a quantized cache: keys or values rounded to 8, 4 or 2 bits, a group of them with one scale.

Codes are q = round((x - m) / s) with m the lowest value of a group and s = (highest - m) / (2^bits - 1), as in QuaRot
(Ashkboos et al., 2404.00456) and KIVI (Liu et al., 2402.02750). Deviation from QuaRot: ranges are not clipped.
"""

import functools

import torch

VERSION = "1"

BITS = {"int8": 8, "int4": 4, "int2": 2, "": 0}  # "" is the model's own type
OF_GROUP = 4  # bytes of a group's scale and lowest value, float16 both


def rotated(states: torch.Tensor) -> torch.Tensor:
    """The last axis times a Hadamard matrix over the root of its size, which is its own inverse.

    Where the axis is no power of two, every block of the largest one that divides it.
    """
    width = states.shape[-1]
    size = width & -width
    matrix = _sylvester(size, states.dtype, states.device)
    return (states.unflatten(-1, (-1, size)) @ matrix).flatten(-2)


@functools.cache
def _sylvester(size: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    found = torch.ones(1, 1, dtype=dtype, device=device)
    while len(found) < size:
        found = torch.cat([torch.cat([found, found], 1), torch.cat([found, -found], 1)])
    return found / size**0.5


def pack(states: torch.Tensor, bits: int, group_size: int, *, hadamard: bool = False) -> torch.Tensor:
    """``states`` (..., n) as uint8 (..., bytes), ``group_size`` of the n to a group; with 0 bits the states themselves.

    The scales and lowest values of all groups come first, rounded to float16 before the codes are made, then the codes,
    two or four to a byte below 8 bits. With ``hadamard``, what is rounded is ``rotated``.
    """
    if not bits:
        return states
    if (width := states.shape[-1]) % group_size:
        raise ValueError(f"group_size {group_size} does not divide the {width} channels of a head; give a divisor")
    turned = rotated(states.float()) if hadamard else states.float()
    groups = turned.unflatten(-1, (-1, group_size))
    lowest = groups.amin(-1, keepdim=True).half()
    scale = ((groups.amax(-1, keepdim=True) - lowest.float()) / (2**bits - 1)).half()
    steps = torch.where(scale > 0, scale.float(), 1)
    codes = ((groups - lowest.float()) / steps).round().clamp(0, 2**bits - 1).to(torch.uint8).flatten(-2)
    held = codes.unflatten(-1, (-1, 8 // bits))
    shifts = torch.arange(0, 8, bits, dtype=torch.uint8, device=states.device)
    ends = torch.cat([scale, lowest], dim=-1).flatten(-2).view(torch.uint8)
    return torch.cat([ends, (held << shifts).sum(-1, dtype=torch.uint8)], dim=-1)


def unpack(
    held: torch.Tensor, bits: int, group_size: int, like: torch.Tensor, *, hadamard: bool = False
) -> torch.Tensor:
    """The states s q + m of ``pack``'s bytes, turned back, in the type and with the channels of ``like``."""
    if not bits:
        return held
    channels = like.shape[-1]
    ends, codes = held.split([channels // group_size * OF_GROUP, channels * bits // 8], dim=-1)
    shifts = torch.arange(0, 8, bits, dtype=torch.uint8, device=held.device)
    codes = (codes[..., None] >> shifts & 2**bits - 1).flatten(-2).unflatten(-1, (-1, group_size))
    ends = ends.clone(memory_format=torch.contiguous_format).view(torch.float16)  # a copy lies at a multiple of 2 bytes
    scale, lowest = ends.float().unflatten(-1, (-1, 2)).split(1, dim=-1)
    found = torch.addcmul(lowest, codes.float(), scale).flatten(-2)
    return (rotated(found) if hadamard else found).to(like.dtype)
