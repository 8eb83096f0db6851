"""Strips of images."""

import torch
from matplotlib.axes import Axes

from unicomp_lib.figures import style
from unicomp_lib.vision.images import Images

VERSION = "1"


def draw(axes: Axes, indices: list[int], images: Images, title: str) -> None:
    """Images side by side, without an axis, below a title."""
    pixels = images.pixels(torch.tensor(indices))
    # Drawings for print hold the pixels themselves, not a larger copy.
    axes.imshow(torch.cat(list(pixels.permute(0, 2, 3, 1)), dim=1).numpy(), interpolation="none")
    axes.set_title(title, fontsize=min(7, style.points("axes.titlesize")))
    axes.axis("off")
