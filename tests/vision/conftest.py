import numpy as np
import pytest
import torch
from PIL import Image

from unicomp_lib.vision import images, network

COLOURS = {"blue": (30, 60, 220), "green": (40, 200, 60), "red": (220, 40, 30)}


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Squares of three noisy colours, a folder a class: 20 images of each to train on, 8 held out."""
    root, chance = tmp_path_factory.mktemp("squares"), np.random.default_rng(0)
    for split, count in (("train", 20), ("val", 8)):
        for name, colour in COLOURS.items():
            (root / split / name).mkdir(parents=True)
            for place in range(count):
                pixels = np.clip(np.array(colour) + chance.normal(0, 40, (40, 32, 3)), 0, 255).astype("uint8")
                Image.fromarray(pixels).save(root / split / name / f"{place}.png")
    return root


@pytest.fixture(scope="session")
def squares(folder):
    return images.load(str(folder), "train", size=32)


@pytest.fixture(scope="session")
def held_out(folder):
    return images.load(str(folder), "val", size=32)


@pytest.fixture
def model():
    """A GoogLeNet of three classes with random weights, its BatchNorm statistics off their defaults."""
    found = network.new(3)
    generator = torch.Generator().manual_seed(0)
    for part in found.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.copy_(0.1 * torch.randn(part.running_mean.shape, generator=generator))
            part.bias.data.copy_(0.1 * torch.randn(part.bias.shape, generator=generator))
    return found
