"""The images that excite and silence each unit most, in one pass over the images."""

import torch
from torch import nn

from unicomp_lib.vision.googlenet import convolutions
from unicomp_lib.vision.images import Images

VERSION = "1"


class Extremes:
    """The ``count`` largest and smallest values of each unit seen so far, and where they were.

    Memory is units times count, however many images pass. Of equal values, the earlier image stays.
    """

    def __init__(self, units: int, count: int) -> None:
        self.count = count
        self.values = {side: torch.empty(units, 0) for side in ("top", "bottom")}
        self.places = {side: torch.empty(units, 0, dtype=torch.long) for side in ("top", "bottom")}

    def add(self, activations: torch.Tensor, places: torch.Tensor) -> None:
        """Take in ``activations`` (images, units) of the images at ``places``."""
        for side, values in self.values.items():
            joined = torch.cat([values, activations.T], dim=1)
            where = torch.cat([self.places[side], places.expand(activations.shape[1], -1)], dim=1)
            order = joined.argsort(dim=1, descending=side == "top", stable=True)[:, : self.count]
            self.values[side], self.places[side] = joined.gather(1, order), where.gather(1, order)


@torch.no_grad()
def extremes(model: nn.Module, images: Images, count: int) -> tuple[Extremes, torch.Tensor]:
    """The ``count`` most and least exciting images of every unit, and which units are constant: (units,).

    A unit is an output channel of a convolution, its activation the mean over places, before BatchNorm.
    A unit is constant where no two images differ by more than a millionth of its size.
    """
    kept: list[torch.Tensor] = []
    layers = convolutions(model)
    handles = [
        layer.register_forward_hook(lambda _, __, out: kept.append(out.mean(dim=(2, 3)))) for layer in layers.values()
    ]
    found = Extremes(sum(layer.out_channels for layer in layers.values()), count)
    model.eval()
    device = next(model.parameters()).device
    for places, batch in images.batches():
        kept.clear()
        model(batch.to(device))
        found.add(torch.cat(kept, dim=1).cpu(), places)
    for handle in handles:
        handle.remove()
    high, low = found.values["top"][:, 0], found.values["bottom"][:, 0]
    return found, high - low <= 1e-6 * torch.maximum(high.abs(), low.abs())


def units(model: nn.Module) -> list[tuple[str, int]]:
    """Layer and channel of every unit, in the order of ``extremes``."""
    return [(name, channel) for name, layer in convolutions(model).items() for channel in range(layer.out_channels)]
