"""Remove what is pruned, and count what remains."""

import copy
import time
from typing import cast

import torch
import torch_pruning
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from unicomp_lib.vision.googlenet import convolutions

VERSION = "1"


class Gathered(nn.Module):
    """A convolution that reads only some of its input channels."""

    def __init__(self, layer: nn.Conv2d, inputs: torch.Tensor) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            len(inputs), layer.out_channels, cast(int, layer.kernel_size), cast(int, layer.stride),
            cast(int, layer.padding), bias=False,
        )  # fmt: skip
        self.conv.weight.data = layer.weight.data[:, inputs].clone()
        self.register_buffer("inputs", inputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, all inputs, height, width) to (batch, outputs, ...)."""
        return self.conv(x.index_select(1, cast(torch.Tensor, self.inputs)))


def removed(model: nn.Module, *, size: int = 64) -> nn.Module:
    """A copy without silent filters and unread input channels, which gives the same outputs.

    Silent filters are removed with everything that reads them (torch-pruning's dependency graph). Input
    channels that one convolution does not read may be read by another: that convolution skips them. Single
    zeros stay: without a kernel for them they save nothing.
    """
    small = copy.deepcopy(model).eval()
    for name, layer in convolutions(small).items():
        silent = (layer.weight.flatten(1) == 0).all(1).nonzero().flatten().tolist()
        if silent:
            graph = torch_pruning.DependencyGraph().build_dependency(small, torch.zeros(1, 3, size, size))
            target = convolutions(small)[name]
            graph.get_pruning_group(target, torch_pruning.prune_conv_out_channels, idxs=silent).prune()
    for name, layer in convolutions(small).items():
        read = (layer.weight.transpose(0, 1).flatten(1) != 0).any(1).nonzero().flatten()
        if len(read) < layer.in_channels:
            holder, _, last = name.rpartition(".")
            setattr(small.get_submodule(holder), last, Gathered(layer, read))
    return small.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


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
    models: dict[str, nn.Module], *, size: int = 64, batch: int = 16, repeats: int = 5
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
