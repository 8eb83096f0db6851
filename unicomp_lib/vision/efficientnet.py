"""EfficientNet-Lite0 as a measure of how alike two images look, where DreamSim's weights are not available.

The parameters' names are those of the packaged weights, which were converted from TensorFlow's: hence the
padding only on the right and bottom where a stride of two halves an even size.
"""

import math

import torch
from torch import nn
from torch.nn import functional

from unicomp_lib import hardware
from unicomp_lib.inputs import assets
from unicomp_lib.vision.images import Images

VERSION = "1"

# Repeats, kernel, stride, expansion, outputs of each stage (Liu, 2020: B0 without squeeze-and-excitation and
# with ReLU6).
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
FEATURES = 1280
# Mean and deviation of ImageNet's colours, on the scale of 0 to 1.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Same(nn.Conv2d):
    """Convolution without bias whose output has the input's size divided by the stride, rounded up."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, inputs, height, width) to (batch, outputs, height / stride, width / stride)."""
        edges: list[int] = []
        for size, kernel, stride in zip(x.shape[:1:-1], self.kernel_size, self.stride, strict=True):
            padding = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            edges += [padding // 2, padding - padding // 2]
        return super().forward(functional.pad(x, edges))


class Block(nn.Module):
    """Inverted bottleneck: widen, filter each channel, narrow, and add the input where the shape allows."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        if expansion > 1:
            self._expand_conv = Same(inputs, wide, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(wide, eps=1e-3)
        self._depthwise_conv = Same(wide, wide, kernel, stride, groups=wide, bias=False)
        self._bn1 = nn.BatchNorm2d(wide, eps=1e-3)
        self._project_conv = Same(wide, outputs, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(outputs, eps=1e-3)
        self.widens, self.adds = expansion > 1, stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, inputs, height, width) to (batch, outputs, height / stride, width / stride)."""
        y = functional.relu6(self._bn0(self._expand_conv(x))) if self.widens else x
        y = functional.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.adds else y


class EfficientNetLite0(nn.Module):
    """Images (batch, 3, height, width) with ImageNet's mean and deviation, to features (batch, 1280)."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = Same(3, 32, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(32, eps=1e-3)
        blocks, inputs = [], 32
        for repeats, kernel, stride, expansion, outputs in STAGES:
            for repeat in range(repeats):
                blocks.append(Block(inputs, outputs, kernel, 1 if repeat else stride, expansion))
                inputs = outputs
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = Same(inputs, FEATURES, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(FEATURES, eps=1e-3)
        self._fc = nn.Linear(FEATURES, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The features before the classifier, averaged over positions."""
        x = functional.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        return functional.relu6(self._bn1(self._conv_head(x))).mean(dim=(2, 3))


def load() -> EfficientNetLite0:
    """The network with its ImageNet weights."""
    (inside,) = assets.asset("efficientnet-lite0").files
    model = EfficientNetLite0()
    model.load_state_dict(torch.load(assets.path("efficientnet-lite0", inside), weights_only=True))
    return model.eval()


def features(images: Images, *, size: int = 128) -> torch.Tensor:
    """Features of all images, of length one, so that a product is the cosine: (images, 1280).

    Images are enlarged to ``size`` pixels, close to what the network was trained on. Computed once, then read
    from the cache.
    """
    weights = assets.asset("efficientnet-lite0").files
    return images.cached(f"efficientnet-lite0-{VERSION}-{size}", lambda: _features(images, size), weights)


@torch.no_grad()
def _features(images: Images, size: int) -> torch.Tensor:
    device = hardware.device()
    model = load().to(device)
    mean, deviation = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (MEAN, DEVIATION))
    vectors = []
    for indices in torch.arange(len(images)).split(64):
        pixels = images.pixels(indices).to(device).float() / 255
        enlarged = functional.interpolate(pixels, size=size, mode="bilinear")
        vectors.append(functional.normalize(model((enlarged - mean) / deviation)).cpu())
    return torch.cat(vectors)
