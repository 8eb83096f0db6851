"""Remove what is pruned, and count what remains."""

import copy
import time
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from unicomp_lib.vision.googlenet import BLOCKS, Convolution, GoogLeNet

VERSION = "3"


class Channels(NamedTuple):
    """What is left of a feature map: which of its channels are computed, and the value of each that is constant."""

    computed: torch.Tensor  # (channels,) booleans
    value: torch.Tensor  # (channels,), the same at every position of every image; 0 where computed

    @classmethod
    def joined(cls, parts: list["Channels"]) -> "Channels":
        """Those of feature maps that are concatenated."""
        return cls(torch.cat([part.computed for part in parts]), torch.cat([part.value for part in parts]))


class Gathered(nn.Module):
    """A convolution that reads only some of its input channels, and adds what constant ones contribute.

    Under padding with zeros, a constant channel does not contribute the same at the edge as inside: ``background``
    (outputs, 1, height, width) is the kernel with which all of them together act on an image of ones.
    """

    def __init__(self, layer: nn.Conv2d, weight: torch.Tensor, inputs: torch.Tensor, background: torch.Tensor) -> None:
        super().__init__()
        self.conv = _convolution(layer, weight)
        self.register_buffer("inputs", inputs)
        self.background = nn.Parameter(background) if background.any() else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, all computed inputs, height, width) to (batch, outputs, ...)."""
        y = self.conv(x.index_select(1, self.get_buffer("inputs")))
        if self.background is None:
            return y
        ones = x.new_ones(1, 1, *x.shape[2:])
        return y + functional.conv2d(ones, self.background, None, self.conv.stride, self.conv.padding)


@torch.no_grad()
def removed(model: nn.Module) -> nn.Module:
    """A copy of a GoogLeNet without the filters and input channels that do nothing, which gives the same outputs.

    A filter does nothing if all weights with which it reads channels that vary are zero, as those of a pruned filter
    are, or of one whose inputs are gone. Its output is then the same for all images and everywhere in them: it is
    folded into what follows, the statistics of a BatchNorm or the bias of the classifier, and the layers behind it
    are looked at in turn. Of a layer that does nothing at all, one filter is kept, since torch has no layer without
    outputs. An input channel that one convolution does not read may be read by another: that convolution skips it.
    Single zeros stay: without a kernel for them they save nothing. A ``ValueError`` says that ``model`` is no
    GoogLeNet.
    """
    if not isinstance(model, GoogLeNet):
        raise ValueError(f"only what is pruned from a GoogLeNet can be removed, not from {type(model).__name__}")
    small = copy.deepcopy(model).eval()
    weight = small.conv1.conv.weight
    channels = Channels(weight.new_ones(3, dtype=torch.bool), weight.new_zeros(3))
    for block in (small.conv1, small.conv2, small.conv3):
        channels = _shrink(block, channels)
    for name in BLOCKS:
        inception = getattr(small, name)
        ends = []
        for branch in (inception.branch1, inception.branch2, inception.branch3, inception.branch4):
            end = channels  # a maximum over constants is that constant
            for part in branch.modules():
                end = _shrink(part, end) if isinstance(part, Convolution) else end
            ends.append(end)
        channels = Channels.joined(ends)
    small.fc.bias.add_(small.fc.weight[:, ~channels.computed] @ channels.value[~channels.computed])
    small.fc.weight = nn.Parameter(small.fc.weight[:, channels.computed])
    small.fc.in_features = small.fc.weight.shape[1]
    return small.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _shrink(block: Convolution, channels: Channels) -> Channels:
    """Remove from a block what does nothing, given what is left of its input; what is left of its output."""
    layer, norm = block.conv, block.bn
    mean = norm.get_buffer("running_mean")
    reads = layer.weight[:, channels.computed]
    background = (layer.weight * channels.value[None, :, None, None]).sum(1, keepdim=True)
    varies = (reads != 0).flatten(1).any(1)
    if any(map(bool, layer.padding)):  # what constants give is the same for all images, but not at the edge
        varies |= (background != 0).flatten(1).any(1)
        shift = torch.zeros_like(mean)
    else:
        shift, background = background.sum((1, 2, 3)), torch.zeros_like(background)
    mean.sub_(shift)
    # What BatchNorm and ReLU make of a filter that gives zeros.
    value = torch.relu(norm(torch.zeros_like(shift)[None, :, None, None])).flatten()
    kept = varies.clone()
    if not kept.any():
        kept[0] = True
    used = (reads[kept] != 0).transpose(0, 1).flatten(1).any(1)
    if not used.any():
        used[0] = True
    weight, inputs = reads[kept][:, used], used.nonzero().flatten()
    plain = bool(used.all()) and not background[kept].any()
    block.conv = _convolution(layer, weight) if plain else Gathered(layer, weight, inputs, background[kept])  # type: ignore[assignment]
    block.bn = _norm(norm, kept)
    return Channels(kept, value.masked_fill(kept, 0))


def _convolution(layer: nn.Conv2d, weight: torch.Tensor) -> nn.Conv2d:
    """A convolution like ``layer`` with another weight (outputs, inputs, height, width)."""
    made = nn.Conv2d(1, 1, 1, layer.stride, layer.padding, bias=False)  # type: ignore[arg-type]
    made.out_channels, made.in_channels = weight.shape[:2]
    made.kernel_size = layer.kernel_size
    made.weight = nn.Parameter(weight.clone())
    return made


def _norm(norm: nn.BatchNorm2d, kept: torch.Tensor) -> nn.BatchNorm2d:
    made = nn.BatchNorm2d(int(kept.sum()), eps=norm.eps).to(kept.device).eval()
    for name, value in norm.state_dict().items():
        made.state_dict()[name].copy_(value[kept] if value.ndim else value)
    return made


def parameters(model: nn.Module) -> int:
    """Number of weights that a file would contain."""
    return sum(weight.numel() for weight in model.parameters())


@torch.no_grad()
def macs(model: nn.Module, *, size: int = 64) -> int:
    """Multiply-accumulate operations per image."""
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, size, size))
    return counter.get_total_flops() // 2


@torch.no_grad()
def latency(
    models: dict[str, nn.Module], *, size: int = 64, batch: int = 16, repeats: int = 6
) -> dict[str, list[float]]:
    """Seconds per batch of each model, measured in turn; a first round warms up."""
    images = torch.zeros(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for repeat in range(-1, repeats):
        for name, model in models.items():
            start = time.perf_counter()
            model(images)
            if repeat >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds
