"""Keys and values held as integers in the cache, and read from there whether tokens come one by one or all at once.

What a checkpoint says of its cache is an entry of its ``config.json``; its weights may be in any form. Each token's
values are quantized on arrival, for good, as in QuaRot (Ashkboos et al., 2404.00456): every group of consecutive
channels of a head has a scale and a lowest value of its own (``cache_codes``), and a Hadamard rotation of the head's
channels may come before it. Keys are quantized so too, or channel by channel as in KIVI (``cached_channels``).
"""

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer
from transformers.utils.generic import ModelOutput

from unicomp_lib import files
from unicomp_lib.checkpoints import cached_channels, decoder, given, models, saving
from unicomp_lib.checkpoints.cache_codes import BITS, pack, unpack

VERSION = "2"


class Settings(NamedTuple):
    """What ``config.json`` says of a cache: names of ``cache_codes.BITS``, and how many numbers share a grid.

    ``hadamard``: they are quantized after a rotation, see ``cache_codes.rotated``, which is undone where they are read.
    ``per_channel``: a group of keys is one channel of ``group_size`` consecutive tokens, and not so many channels of
    one token, as it always is of values.
    """

    keys: str
    values: str
    group_size: int
    hadamard: bool
    per_channel: bool = False


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
        keys, values, size, hadamard, _ = self.settings
        return (
            unpack(self.keys, BITS[keys], size, key_states, hadamard=hadamard),
            unpack(self.values, BITS[values], size, value_states, hadamard=hadamard),
        )

    def _packed(self, key_states: torch.Tensor, value_states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values, size, hadamard, _ = self.settings
        return (
            pack(key_states, BITS[keys], size, hadamard=hadamard),
            pack(value_states, BITS[values], size, hadamard=hadamard),
        )


class _Reading(NamedTuple):
    """Before a forward pass: whatever cache it is given, or none, becomes one that holds integers.

    So where a whole sequence is read at once, as for fidelity and for ranked tasks, each token attends to the
    same dequantized keys and values, its own included, as when the tokens come one by one (teacher forcing).
    """

    settings: Settings

    def __call__(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        cache, mask = kwargs.get("past_key_values"), kwargs.get("attention_mask")
        if cache is None:
            cache = DynamicCache(config=module.config)  # type: ignore[arg-type]
        if mask is None and not cache.get_seq_length() and _is_packed(kwargs.get("position_ids")):
            raise ValueError("several texts in one row have one cache, which is quantized; give each a row of its own")
        self._quantize(cache, module)
        if self.settings.per_channel:
            cached_channels.check(module)
            given = [kwargs.get("input_ids"), kwargs.get("inputs_embeds"), *args]
            count = next(tokens.shape[1] for tokens in given if tokens is not None)
            cached_channels.announce(cache.layers, mask, count)
        return args, kwargs | {"past_key_values": cache}

    def _quantize(self, cache: Cache, module: Any) -> None:
        layers = cache.layers
        kind = cached_channels.ChannelLayer if self.settings.per_channel else QuantizedLayer
        if layers and all(isinstance(layer, kind) for layer in layers):
            return
        if not isinstance(cache, DynamicCache) or cache.get_seq_length():
            raise ValueError(
                f"the cache of {type(module).__name__} is quantized, and it was given a {type(cache).__name__} in full "
                "precision; give it none, or an empty DynamicCache"
            )
        cache.layers = [kind(self.settings) for _ in DynamicCache(config=module.config).layers]
        cache.layer_class_to_replicate = None


def _is_packed(places: torch.Tensor | None) -> bool:
    """Whether places in a text begin again within a row, which transformers takes for another text."""
    return places is not None and bool((places.diff(dim=-1) != 1).any())


def _without_unasked(module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> Any:
    """A pass that is to return no cache returns none, though it has read from one: ``generate`` would go on with it."""
    asked = kwargs.get("use_cache")
    if asked is None:
        asked = getattr(module.config, "use_cache", True)
    if asked or not isinstance(output, ModelOutput):
        return output
    return type(output)(**{name: part for name, part in output.items() if name != "past_key_values"})


@torch.no_grad()
def attach(network: PreTrainedModel) -> PreTrainedModel:
    """Let a model read its keys and values from a cache such as its configuration's entry says, and return it.

    A ``ValueError`` names an entry that is not allowed, a family that keeps other things than the keys and values of
    all tokens, or one whose attention cannot choose between two forms of the keys, where it would have to.
    """
    if any(isinstance(hook, _Reading) for hook in network._forward_pre_hooks.values()):
        return network
    settings = parsed(getattr(network.config, decoder.CACHE))
    check_layers(network)
    # Both, since either may be called: OPT's head calls a part of its base model.
    reading = _Reading(settings)
    parts: list[Any] = [network, network.base_model]
    hooks = [part.register_forward_pre_hook(reading, with_kwargs=True) for part in parts]
    hooks += [part.register_forward_hook(_without_unasked, with_kwargs=True) for part in parts]
    before = network.config._attn_implementation
    try:
        if settings.per_channel:
            cached_channels.use(network)
        _try(network, settings)
    except Exception:
        for hook in hooks:
            hook.remove()
        network.set_attn_implementation(before)
        raise
    return network


def check_layers(network: PreTrainedModel) -> None:
    """Raise a ``ValueError`` for a family that keeps other things than the keys and values of all tokens."""
    layers = DynamicCache(config=network.config).layers
    if not layers or any(type(layer) is not DynamicLayer for layer in layers):
        raise ValueError(
            f"the cache of {type(network).__name__} does not hold the keys and values of all tokens in every layer, as "
            "a window or a state does not; choose a model whose layers all attend to all tokens"
        )


def _try(network: PreTrainedModel, settings: Settings) -> None:
    """Read a few tokens, of two groups where keys share scales; a ``ValueError`` unless they are in the cache then."""
    cache = DynamicCache(config=network.config)
    tokens = torch.ones(1, 1 + max(1, settings.per_channel * settings.group_size), dtype=torch.long)
    network(input_ids=tokens.to(network.device), past_key_values=cache, use_cache=False)
    family, layers = type(network).__name__, list[Any](cache.layers)
    if any(layer.get_seq_length() != tokens.shape[1] for layer in layers):
        raise ValueError(f"{family} does not put its keys and values into the cache it is given; choose another model")
    if any(getattr(layer, "unread", False) for layer in layers):
        raise ValueError(
            f"{family}: {cached_channels.NOT_FOLLOWED}; choose another model, or quantize keys token by token"
        )


def parsed(entry: object) -> Settings:
    """The settings of a configuration's entry; a ``ValueError`` says what is not allowed in it."""
    if not isinstance(entry, dict) or {*entry, *Settings._field_defaults} != set(Settings._fields):
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
    for name in ("hadamard", "per_channel"):
        if type(getattr(settings, name)) is not bool:
            raise ValueError(f"{name} is {getattr(settings, name)!r}; allowed are true and false")
    if settings.per_channel and (not settings.keys or settings.group_size * BITS[settings.keys] % 8):
        raise ValueError(
            f"per_channel is for keys in groups that fill whole bytes, not for keys {settings.keys!r} in groups of "
            f"{settings.group_size}; give keys of {', '.join(name for name in BITS if name)}, and a multiple of 4"
        )
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
