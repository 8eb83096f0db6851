"""The images that activate each unit most and least, in one pass over the images."""

import torch
from torch import nn

from unicomp_lib.vision import finite
from unicomp_lib.vision.googlenet import convolutions
from unicomp_lib.vision.images import Images

VERSION = "2"


class Extremes:
    """The ``count`` largest and smallest values of each unit seen so far, and the indices of their images.

    Those of a unit mean nothing unless it is ``finite``: all its values are, and the network's weights and scores.
    Memory is units times count, however many images are added. Of equal values, the earlier image stays.
    """

    def __init__(self, units: int, count: int) -> None:
        self.count = count
        self.finite = torch.ones(units, dtype=torch.bool)
        self.values = {side: torch.empty(units, 0) for side in ("top", "bottom")}
        self.places = {side: torch.empty(units, 0, dtype=torch.long) for side in ("top", "bottom")}

    def add(self, activations: torch.Tensor, indices: torch.Tensor) -> None:
        """Add the ``activations`` (images, units) of the images at ``indices``."""
        self.finite &= activations.isfinite().all(0)
        for side, values in self.values.items():
            joined = torch.cat([values, activations.T], dim=1)
            images = torch.cat([self.places[side], indices.expand(activations.shape[1], -1)], dim=1)
            order = joined.argsort(dim=1, descending=side == "top", stable=True)[:, : self.count]
            self.values[side], self.places[side] = joined.gather(1, order), images.gather(1, order)


@torch.no_grad()
def extremes(model: nn.Module, images: Images, count: int) -> tuple[Extremes, torch.Tensor]:
    """The ``count`` images that activate every unit most and least, and which units are constant: (units,).

    A unit is an output channel of a convolution, its activation the mean over positions, before BatchNorm.
    A unit is constant if its activations on any two images differ by at most a millionth of their size.
    """
    means: list[torch.Tensor] = []
    layers = convolutions(model)
    handles = [
        layer.register_forward_hook(lambda _, __, out: means.append(out.mean(dim=(2, 3)))) for layer in layers.values()
    ]
    seen = Extremes(sum(layer.out_channels for layer in layers.values()), count)
    seen.finite &= finite.are_finite(model.state_dict()).cpu().all()
    model.eval()
    device = next(model.parameters()).device
    for indices, batch in images.batches():
        means.clear()
        scores = model(batch.to(device))
        seen.add(torch.cat(means, dim=1).cpu(), indices)
        seen.finite &= scores.isfinite().all().cpu()
    for handle in handles:
        handle.remove()
    high, low = seen.values["top"][:, 0], seen.values["bottom"][:, 0]
    return seen, high - low <= 1e-6 * torch.maximum(high.abs(), low.abs())


def units(model: nn.Module) -> list[tuple[str, int]]:
    """Layer and channel of every unit, in the order of ``extremes``."""
    return [(name, channel) for name, layer in convolutions(model).items() for channel in range(layer.out_channels)]
