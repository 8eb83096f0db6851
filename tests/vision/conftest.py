import pytest
import torch

from unicomp_lib.vision import images, network


@pytest.fixture(scope="session")
def squares(image_folder):
    return images.load(str(image_folder), "train", size=32)


@pytest.fixture(scope="session")
def held_out(image_folder):
    return images.load(str(image_folder), "val", size=32)


@pytest.fixture
def model():
    """A GoogLeNet of three classes with random weights, its BatchNorm statistics off their defaults."""
    googlenet = network.new(3)
    generator = torch.Generator().manual_seed(0)
    for part in googlenet.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.copy_(0.1 * torch.randn(part.running_mean.shape, generator=generator))
            part.bias.data.copy_(0.1 * torch.randn(part.bias.shape, generator=generator))
    return googlenet
