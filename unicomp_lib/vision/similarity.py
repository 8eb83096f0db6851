"""How alike images look: the measure behind the Machine Interpretability Score."""

import importlib.metadata
from typing import Any

import torch
from torch.nn import functional

from unicomp_lib import hardware, paths
from unicomp_lib.vision import efficientnet
from unicomp_lib.vision.images import Images

VERSION = "1"

OFFLINE, DREAMSIM = "efficientnet-lite0", "dreamsim"
SIZE = 224  # pixels, what DreamSim was trained on


def features(images: Images, measure: str) -> torch.Tensor:
    """Features of all images, of length one, so that a product is how alike two look: (images, dimensions).

    ``efficientnet-lite0`` needs no network beyond the package registry; ``dreamsim`` (Fu et al., 2023, arXiv
    2306.09344), which the MIS was defined with, needs its package, and fetches its weights at first use. Computed
    once, then read from the cache. A ``ValueError`` names a measure that is not known or not installed.
    """
    if measure == OFFLINE:
        return efficientnet.features(images)
    if measure == DREAMSIM:
        return images.cached(f"dreamsim-{VERSION}", lambda: _dreamsim(images), made_with=_installed())
    raise ValueError(f"measure {measure!r} is not known; allowed are {OFFLINE}, {DREAMSIM}")


@torch.no_grad()
def _dreamsim(images: Images) -> torch.Tensor:
    device = hardware.device()
    model = load(device)
    vectors = []
    for indices in torch.arange(len(images)).split(64):
        pixels = functional.interpolate(images.pixels(indices).float() / 255, size=SIZE, mode="bicubic", antialias=True)
        vectors.append(functional.normalize(model.embed(pixels.clamp(0, 1).to(device))).cpu())
    return torch.cat(vectors)


def _installed() -> str:
    """The version of DreamSim's package, which says what its weights are; empty where it has none."""
    try:
        return importlib.metadata.version("dreamsim")
    except importlib.metadata.PackageNotFoundError:
        return ""


def load(device: torch.device) -> Any:
    """DreamSim's network, whose package fetches the weights at first use and keeps them in the cache."""
    try:
        from dreamsim import dreamsim
    except ImportError as error:
        raise ValueError(
            f"measure {DREAMSIM!r} needs a package that cannot be imported here ({error}); pip install dreamsim, "
            f"or use {OFFLINE}"
        ) from error
    model, _ = dreamsim(pretrained=True, device=str(device), cache_dir=str(paths.home() / "dreamsim"))
    return model.eval()
