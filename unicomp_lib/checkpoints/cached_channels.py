"""Keys quantized channel by channel, over groups of tokens, as in KIVI (Liu et al., 2024, arXiv 2402.02750).

Some channels of the keys are large for every token, so that the numbers of a channel are closer to each other than
those of a token. A group is one channel of ``group_size`` consecutive tokens of a text, counted from its first. A token
reads the keys of its own group in full precision, and those of earlier groups quantized. So what it reads depends on
its place in its text alone, not on how the text is cut into calls or padded.

KIVI's rule is the same where its residual length is its group size. Deviations: it also keeps the values of the most
recent tokens in full precision, which are quantized on arrival here; and it lets a prompt attend to all of itself in
full precision, and quantizes what it keeps of it.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.cache_utils import DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from unicomp_lib.checkpoints.cache_codes import BITS, pack, rotated, unpack

if TYPE_CHECKING:
    from unicomp_lib.checkpoints.quantized_cache import Settings

VERSION = "1"

NOT_FOLLOWED = "its attention cannot choose between two forms of the keys, as groups of tokens need it"
ATTENTION = "keys_per_channel"  # the name of ``attend`` in transformers
QUERIES = 512  # whose masks over all keys are held at once


class ChannelLayer(DynamicLayer):
    """Keys and values of one decoder layer; of the keys, those of complete groups as integers.

    ``keys`` are uint8 (batch, heads, groups, channels, bytes), ``recent`` the keys behind them in the model's own type
    (batch, heads, at most ``group_size`` - 1 tokens, channels), and ``values`` as in ``QuantizedLayer``. Rows may be
    padded: groups are counted in the tokens of each.
    """

    keys: torch.Tensor
    values: torch.Tensor
    is_croppable = False  # a complete group is held as integers, of which none can be taken away

    def __init__(self, settings: "Settings") -> None:
        super().__init__()
        self.settings = settings
        self.places = self.arriving = torch.zeros(1, 0, dtype=torch.long)
        self.unread = False  # whether both forms of the keys were returned and ``attend`` has not chosen yet

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Hold no token yet."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self.recent = key_states[:, :, :0]
        self.keys = self._packed(self.recent)
        _, values, size, hadamard, _ = self.settings
        self.values = pack(value_states[:, :, :0], BITS[values], size, hadamard=hadamard)
        self.is_initialized = True

    def get_seq_length(self) -> int:
        """Tokens that are held, padding included."""
        return self.places.shape[1]

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Hold new keys and values (batch, heads, tokens, channels), and return all that are held, dequantized.

        Where the new tokens are of several groups, the keys in full precision follow behind the dequantized ones, and
        ``attend`` chooses between the two; the values follow once more.
        """
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        (rows, _, count, _), size = key_states.shape, self.settings.group_size
        places = self.arriving.to(key_states.device).expand(rows, -1)
        if places.shape[1] != self.get_seq_length() + count:
            raise ValueError(
                "the layers of this cache do not hold the same tokens, as after a pass that was interrupted, or were "
                "called without their model; begin with a new cache"
            )
        held = functional.pad(places[:, :-count], (1, 0), value=-1).amax(1, keepdim=True) + 1
        start, end = (tokens // size * size for tokens in (held, places.amax(1, keepdim=True) + 1))
        exact = self._exact(key_states, (places[:, -count:] - start).clamp(min=-1))
        self._quantize(exact, start // size, end // size)
        self.recent = _at(functional.pad(exact, (0, 0, 0, size)), end - start + torch.arange(size, device=exact.device))
        self.recent = self.recent[:, :, : int((places.amax(1, keepdim=True) + 1 - end).max())]
        self.places = self.arriving
        return self._read(places, count, _at(exact, places - start), self._values(value_states))

    def _exact(self, key_states: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
        """Recent and new keys by place, from that of ``slots`` 0 on, in whole groups; those at slot -1 are left out."""
        width = (int(slots.max()) // self.settings.group_size + 1) * self.settings.group_size
        found = key_states.new_zeros(*key_states.shape[:2], max(width, self.recent.shape[2]) + 1, key_states.shape[3])
        found[:, :, : self.recent.shape[2]] = self.recent
        target = torch.where(slots < 0, found.shape[2] - 1, slots)
        return found.scatter(2, target[:, None, :, None].expand_as(key_states), key_states)[:, :, :width]

    def _quantize(self, exact: torch.Tensor, first: torch.Tensor, end: torch.Tensor) -> None:
        """Hold the groups of ``exact``, of which the first is number ``first`` of its row (rows, 1), before ``end``."""
        arrived, most = self._packed(exact), int(end.max())
        numbers = torch.arange(most, device=exact.device).expand(len(exact), -1)
        held = functional.pad(self.keys, (0, 0, 0, 0, 0, max(most - self.keys.shape[2], 0)))
        self.keys = torch.where(_over(numbers >= first, held), _at(arrived, numbers - first), held)

    def _read(
        self, places: torch.Tensor, count: int, exact: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What the ``count`` last tokens read: keys and values, or twice as many for ``attend`` to choose from."""
        keys, _, size, hadamard, _ = self.settings
        groups = places // size
        codes = unpack(self.keys, BITS[keys], size, exact.new_empty(size)).transpose(-1, -2).flatten(2, 3)
        rounded = _at(rotated(codes.float()).to(exact) if hadamard else codes, places)
        whole = (places.amax(1, keepdim=True) + 1) // size
        rounded = torch.where(_over(groups < whole, rounded), rounded, exact)
        own = groups[:, -count:]
        if bool((own == own[:, -1:]).all()):
            return torch.where(_over(groups == own[:, -1:], exact), exact, rounded), values
        self.unread = True
        both = torch.cat([rounded, exact], dim=2)
        both.choice = _Choice(self, groups, own)  # type: ignore[attr-defined]
        return both, torch.cat([values, values], dim=2)

    def _values(self, value_states: torch.Tensor) -> torch.Tensor:
        _, values, size, hadamard, _ = self.settings
        new = pack(value_states, BITS[values], size, hadamard=hadamard)
        self.values = torch.cat([self.values, new], dim=2)
        return unpack(self.values, BITS[values], size, value_states, hadamard=hadamard)

    def _packed(self, states: torch.Tensor) -> torch.Tensor:
        """Keys (batch, heads, tokens, channels) of whole groups as they are held."""
        keys, _, size, hadamard, _ = self.settings
        turned = rotated(states.float()) if hadamard else states
        return pack(turned.unflatten(2, (-1, size)).transpose(-1, -2), BITS[keys], size)

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Keep these rows, in this order."""
        rows = beam_idx.to(self.device)
        self.keys, self.values, self.recent = (part[rows] for part in (self.keys, self.values, self.recent))
        if len(self.places) > 1:
            self.places = self.places[rows.to(self.places.device)]

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep these rows."""
        self.reorder_cache(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Every row so many times."""
        self.reorder_cache(torch.arange(len(self.keys)).repeat_interleave(repeats))

    def crop(self, tokens_to_remove: int) -> None:
        """A ``ValueError``: what is held of a group cannot be turned back into its tokens."""
        raise ValueError(
            "tokens cannot be taken back out of a cache whose keys share scales, as assisted generation does; generate "
            "without it"
        )


class _Choice(NamedTuple):
    """Which of two forms of a key each token reads: the groups (rows, tokens) of all tokens held, and of the new."""

    layer: ChannelLayer
    groups: torch.Tensor
    own: torch.Tensor


def attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention as torch computes it, where each token reads its own group's keys in full precision."""
    choice: _Choice | None = getattr(key, "choice", None)
    if choice is None:
        return sdpa_attention_forward(module, query, key, value, mask, **kwargs)
    choice.layer.unread = False
    parts = range(0, query.shape[2], QUERIES)
    read = [
        sdpa_attention_forward(
            module, query[:, :, first : first + QUERIES], key, value, _chosen(choice, mask, first), **kwargs
        )[0]
        for first in parts
    ]
    return torch.cat(read, dim=1), None


def _chosen(choice: _Choice, mask: torch.Tensor | None, first: int) -> torch.Tensor:
    """What tokens from number ``first`` on read of both forms: (rows, 1, at most ``QUERIES``, 2 x tokens held)."""
    part = slice(first, first + QUERIES)
    own = (choice.own[:, part, None] == choice.groups[:, None])[:, None]
    if mask is None:
        total, count = choice.groups.shape[1], choice.own.shape[1]
        order = torch.arange(total, device=own.device)
        seen = order <= order[total - count :][part, None]
    else:
        seen = mask[..., part, :]
        seen = seen if seen.dtype == torch.bool else seen > torch.finfo(seen.dtype).min / 2
    return torch.cat([seen & ~own, seen & own], dim=-1)


AttentionInterface.register(ATTENTION, attend)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def use(network: PreTrainedModel) -> None:
    """Let a model attend by ``attend``; a ``ValueError`` where transformers cannot exchange its attention."""
    now = network.config._attn_implementation
    if now == "sdpa":
        network.set_attn_implementation(ATTENTION)
    if network.config._attn_implementation != ATTENTION:
        raise ValueError(
            f"{type(network).__name__} ({now}): {NOT_FOLLOWED}; choose another model, or quantize keys token by token"
        )


def check(part: Any) -> None:
    """Raise a ``ValueError`` where the attention of a model or its base was set to another one after ``use``."""
    if (now := part.config._attn_implementation) != ATTENTION:
        raise ValueError(
            f"the attention of {type(part).__name__} was set to {now!r}, which cannot choose between two forms of the "
            f"keys; set it back with set_attn_implementation({ATTENTION!r})"
        )


def announce(layers: list[Any], mask: Any, count: int) -> None:
    """Tell a cache's layers where in their texts the next ``count`` tokens stand; padding, by ``mask``, has no place.

    A mask of pairs of tokens is a ``ValueError``: of several texts in one row, it does not say where each begins.
    """
    if isinstance(mask, torch.Tensor) and mask.ndim == 2:
        real = mask[:, -count:].bool()
    elif mask is None:
        real = torch.ones(len(layers[0].places), count, dtype=torch.bool)
    else:
        raise ValueError(
            "its keys share scales between tokens, and this mask does not say where a text begins; give one of "
            "shape (rows, tokens)"
        )
    before = layers[0].places.to(real.device).expand(len(real), -1)
    last = functional.pad(before, (1, 0), value=-1).amax(1, keepdim=True)
    places = torch.cat([before, torch.where(real, last + real.cumsum(1), -1)], dim=1)
    for layer in layers:
        layer.arriving, layer.unread = places, False


def _over(choice: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
    """(rows, tokens) as it broadcasts over (rows, heads, tokens, ...)."""
    return choice[:, None].reshape(len(choice), 1, -1, *[1] * (states.ndim - 3))


def _at(states: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """``states`` (rows, heads, places, ...) at ``places`` (rows, tokens) of each row; anything where there is none."""
    if not states.shape[2]:
        return states.new_zeros(*states.shape[:2], places.shape[1], *states.shape[3:])
    index = _over(places.clamp(0, states.shape[2] - 1), states)
    return states.gather(2, index.expand(-1, states.shape[1], -1, *states.shape[3:]))
