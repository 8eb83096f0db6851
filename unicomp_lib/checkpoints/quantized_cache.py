"""Keys and values held as integers in the cache, and read from there whether tokens come one by one or all at once.

What a checkpoint says of its cache is an entry of its ``config.json``; its weights may be in any form. Each token's
keys and values are quantized on arrival, for good, as in QuaRot (Ashkboos et al., 2404.00456): every group of
consecutive channels of a head has a scale and a lowest value of its own, and a Hadamard rotation of the head's channels
may come before it. Deviation from QuaRot: ranges are not clipped.

KIVI (Liu et al., 2402.02750) shares the scales of keys between 32 tokens, channel by channel, and holds the most recent
tokens in full precision until a group of them is complete. That is not done here: what a token reads would depend on
how many come after those it reads, and so on how a sequence is cut, padded and packed.
"""

import functools
import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from unicomp_lib import files
from unicomp_lib.checkpoints import decoder, given, models, saving

VERSION = "1"

BITS = {"int8": 8, "int4": 4, "int2": 2, "": 0}  # "" is the model's own type
OF_GROUP = 4  # bytes of a group's scale and lowest value, float16 both


class Settings(NamedTuple):
    """What ``config.json`` says of a cache: names of ``BITS``, and the channels of a head that share a grid.

    ``hadamard``: they are quantized after a rotation, see ``rotated``, which is undone where they are read.
    """

    keys: str
    values: str
    group_size: int
    hadamard: bool


class QuantizedLayer(DynamicLayer):
    """Keys and values of one decoder layer. Each ``update`` dequantizes all of them: that takes time, and saves bytes.

    ``keys`` and ``values`` are uint8 (batch, heads, tokens, bytes): of each token and head, scale and lowest value of
    every group as float16, then the codes, two or four to a byte below 8 bits. What is "" is in the model's own type.
    So rows and tokens are selected, repeated and padded as those of a cache in full precision.
    """

    keeps = True  # what it has read of every token: see ``prefix.keeps``

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Hold no token yet."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys, self.values = self._packed(key_states[:, :, :0], value_states[:, :, :0])
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Quantize new keys and values (batch, heads, tokens, channels); all that are held, dequantized."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        new_keys, new_values = self._packed(key_states, value_states)
        self.keys = torch.cat([self.keys, new_keys], dim=-2)  # type: ignore[list-item]
        self.values = torch.cat([self.values, new_values], dim=-2)  # type: ignore[list-item]
        keys, values, size, hadamard = self.settings
        return (
            unpack(self.keys, BITS[keys], size, key_states, hadamard=hadamard),
            unpack(self.values, BITS[values], size, value_states, hadamard=hadamard),
        )

    def _packed(self, key_states: torch.Tensor, value_states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values, size, hadamard = self.settings
        return (
            pack(key_states, BITS[keys], size, hadamard=hadamard),
            pack(value_states, BITS[values], size, hadamard=hadamard),
        )


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
    """Bytes of ``states`` (..., channels), see ``QuantizedLayer``; with 0 bits the states themselves.

    Codes are q = round((x - m) / s) with m the lowest value of a group and s = (highest - m) / (2^bits - 1), both
    rounded to float16 first.
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


class _Reading(NamedTuple):
    """Before a forward pass: whatever cache it is given, or none, becomes one that holds integers.

    So where a whole sequence is read at once, as for fidelity and for ranked tasks, each token attends to the
    same dequantized keys and values, its own included, as when the tokens come one by one (teacher forcing).
    """

    settings: Settings

    def __call__(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        cache = kwargs.get("past_key_values")
        if cache is None:
            cache = DynamicCache(config=module.config)  # type: ignore[arg-type]
        self._quantize(cache, module)
        return args, kwargs | {"past_key_values": cache}

    def _quantize(self, cache: Cache, module: Any) -> None:
        layers = cache.layers
        if layers and all(isinstance(layer, QuantizedLayer) for layer in layers):
            return
        if not isinstance(cache, DynamicCache) or cache.get_seq_length():
            raise ValueError(
                f"the cache of {type(module).__name__} is quantized, and it was given a {type(cache).__name__} in full "
                "precision; give it none, or an empty DynamicCache"
            )
        cache.layers = [QuantizedLayer(self.settings) for _ in DynamicCache(config=module.config).layers]
        cache.layer_class_to_replicate = None


@torch.no_grad()
def attach(network: PreTrainedModel) -> PreTrainedModel:
    """Let a model read its keys and values from a cache such as its configuration's entry says, and return it.

    A ``ValueError`` names an entry that is not allowed, or a family that keeps other things than the keys and values
    of all tokens.
    """
    if any(isinstance(hook, _Reading) for hook in network._forward_pre_hooks.values()):
        return network
    settings = parsed(getattr(network.config, decoder.CACHE))
    family = type(network).__name__
    layers = DynamicCache(config=network.config).layers
    if not layers or any(type(layer) is not DynamicLayer for layer in layers):
        raise ValueError(
            f"the cache of {family} does not hold the keys and values of all tokens in every layer, as a window or a "
            "state does not; choose a model whose layers all attend to all tokens"
        )
    # Both, since either may be called: OPT's head calls a part of its base model.
    reading = _Reading(settings)
    parts: list[Any] = [network, network.base_model]
    hooks = [part.register_forward_pre_hook(reading, with_kwargs=True) for part in parts]
    cache = DynamicCache(config=network.config)
    try:
        network(input_ids=torch.tensor([[1, 2]], device=network.device), past_key_values=cache, use_cache=False)
        if any(type(layer) is not QuantizedLayer or layer.get_seq_length() != 2 for layer in cache.layers):
            raise ValueError(
                f"{family} does not put its keys and values into the cache it is given; choose another model"
            )
    except Exception:
        for hook in hooks:
            hook.remove()
        raise
    return network


def parsed(entry: object) -> Settings:
    """The settings of a configuration's entry; a ``ValueError`` says what is not allowed in it."""
    if not isinstance(entry, dict) or set(entry) != set(Settings._fields):
        raise ValueError(f"{decoder.CACHE} is {entry!r}; it must have the keys {', '.join(Settings._fields)}")
    settings = Settings(**entry)
    allowed = list(BITS)  # of which what cannot be hashed is no member, without an error
    if settings.keys not in allowed or settings.values not in allowed or not (settings.keys or settings.values):
        raise ValueError(
            f"keys {settings.keys!r} and values {settings.values!r} are no form of a quantized cache; allowed are "
            f"{', '.join(map(repr, allowed))}, and not '' for both"
        )
    if type(settings.group_size) is not int or settings.group_size < 1:
        raise ValueError(f"group_size is {settings.group_size!r}; give the channels of a group, such as 32")
    if type(settings.hadamard) is not bool:
        raise ValueError(f"hadamard is {settings.hadamard!r}; allowed are true and false")
    return settings


def save(network: PreTrainedModel, folder: Path, *, source: str) -> None:
    """Write the files of ``source``, a name as in ``models.checkpoint``, with the entry of ``network`` in its config.

    The weights stay in their form, packed or not.
    """
    for file in given.parts(given.located(source)):
        if file.name not in (models.COMPLETE, saving.DEVICE_MEMORY):
            shutil.copyfile(file, folder / file.name)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    entry = {decoder.CACHE: getattr(network.config, decoder.CACHE)}
    files.write_text(folder / "config.json", json.dumps(config | entry, indent=2))
