"""GoogLeNet with BatchNorm, as torchvision builds it, without its auxiliary heads.

The names of parameters and buffers are torchvision's, so that its ImageNet weights load. It is rebuilt here
because torchvision's CPU build cannot be imported with the pinned torch.
"""

from typing import NamedTuple

import torch
from torch import nn

VERSION = "1"


class Widths(NamedTuple):
    """Output channels of an inception block's branches (Szegedy et al., 2015, table 1)."""

    one: int
    reduce3: int
    three: int
    reduce5: int
    five: int
    pool: int

    @property
    def total(self) -> int:
        """Channels of the concatenated output."""
        return self.one + self.three + self.five + self.pool


BLOCKS = {
    "inception3a": Widths(64, 96, 128, 16, 32, 32),
    "inception3b": Widths(128, 128, 192, 32, 96, 64),
    "inception4a": Widths(192, 96, 208, 16, 48, 64),
    "inception4b": Widths(160, 112, 224, 24, 64, 64),
    "inception4c": Widths(128, 128, 256, 24, 64, 64),
    "inception4d": Widths(112, 144, 288, 32, 64, 64),
    "inception4e": Widths(256, 160, 320, 32, 128, 128),
    "inception5a": Widths(256, 160, 320, 32, 128, 128),
    "inception5b": Widths(384, 192, 384, 48, 128, 128),
}


class Convolution(nn.Module):
    """Convolution without bias, BatchNorm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, inputs, height, width) to (batch, outputs, height, width)."""
        return torch.relu_(self.bn(self.conv(x)))  # in place: a write to memory less


class Inception(nn.Module):
    """Four branches side by side. torchvision's third has a 3 x 3 kernel where the paper has 5 x 5."""

    def __init__(self, inputs: int, widths: Widths) -> None:
        super().__init__()
        self.branch1 = Convolution(inputs, widths.one, 1)
        self.branch2 = nn.Sequential(
            Convolution(inputs, widths.reduce3, 1), Convolution(widths.reduce3, widths.three, 3, padding=1)
        )
        self.branch3 = nn.Sequential(
            Convolution(inputs, widths.reduce5, 1), Convolution(widths.reduce5, widths.five, 3, padding=1)
        )
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1, ceil_mode=True), Convolution(inputs, widths.pool, 1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The branches' outputs, concatenated over channels."""
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], dim=1)


class GoogLeNet(nn.Module):
    """Images (batch, 3, height, width), scaled to -1 to 1, to class scores (batch, classes)."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.classes: list[str] = []  # their names, where they are known
        self.epochs = 0  # of retraining since the network was dense
        self.conv1 = Convolution(3, 64, 7, stride=2, padding=3)
        self.maxpool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.conv2 = Convolution(64, 64, 1)
        self.conv3 = Convolution(64, 192, 3, padding=1)
        self.maxpool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        inputs = 192
        for name, widths in BLOCKS.items():
            setattr(self, name, Inception(inputs, widths))
            inputs = widths.total
        self.maxpool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.maxpool4 = nn.MaxPool2d(2, stride=2, ceil_mode=True)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores before the softmax."""
        x = self.maxpool1(self.conv1(x))
        x = self.maxpool2(self.conv3(self.conv2(x)))
        for name in BLOCKS:
            if name == "inception4a":
                x = self.maxpool3(x)
            elif name == "inception5a":
                x = self.maxpool4(x)
            x = getattr(self, name)(x)
        return self.fc(self.dropout(self.avgpool(x).flatten(1)))


def convolutions(model: nn.Module) -> dict[str, nn.Conv2d]:
    """The convolutions by name, in the order of the network; their output channels are the units of the study."""
    return {name: part for name, part in model.named_modules() if isinstance(part, nn.Conv2d)}
