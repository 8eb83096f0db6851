"""A picture file as the square of bytes that a network sees."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

VERSION = "1"

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # no other reader of Pillow sees a file
SIXTEEN = 65535  # white in 16 bits
BITS, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0  # of TIFF's tags


def decode(file: Path, size: int) -> torch.Tensor:
    """A picture as bytes (3, size, size): transparency on white, the middle square, resized.

    A photograph is turned as its EXIF orientation says, since that is how people see and label it. torchvision does
    not turn: its networks were trained with such photographs lying on their side. 16 bits are scaled to 8. Colour
    profiles are not applied. Raises a ``ValueError`` that names a file that is no picture, is damaged or cut short,
    is larger than Pillow's limit, has several pictures, or has numbers whose black and white are not defined.
    """
    try:
        with Image.open(file, formats=FORMATS) as opened:
            reason = _refused(opened)
            picture = opened if reason else _rgba(opened)
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise ValueError(f"{file} has more than {limit:,} pixels, Pillow's limit; make the picture smaller") from error
    except Exception as error:  # Pillow's readers raise what they happen to meet in a damaged file
        raise ValueError(f"{file} is not a readable image ({error}); remove or fix it") from error
    if reason:
        raise ValueError(f"{file} {reason}")
    flat = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    edge = min(flat.size)
    left, top = (flat.width - edge) // 2, (flat.height - edge) // 2
    square = flat.crop((left, top, left + edge, top + edge)).resize((size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1)


def _refused(opened: Image.Image) -> str:
    """Why a picture has no one meaning in 8 bits, or nothing."""
    # A phone's JPEG may carry a preview or a depth map as further pictures (MPO): the first is the photograph.
    if opened.format != "MPO" and (frames := getattr(opened, "n_frames", 1)) > 1:
        return f"has {frames} pictures, as an animation or pages; save the one that is meant as a file of its own"
    if opened.mode == "F" or (opened.mode == "I" and opened.format != "PPM"):
        kind = "floating-point numbers" if opened.mode == "F" else "integers of 32 bits or with a sign"
        return f"has {kind}, whose black and white are not defined; save it with 8 or 16 bits per channel"
    # Pillow compares the colour that is to be transparent with pixels of another depth, and finds none.
    tiles = getattr(opened, "tile", [])
    depth = str(tiles[0].args).partition(";")[2].rstrip("BLN") if tiles else ""
    if "transparency" in opened.info and opened.mode != "P" and depth in ("2", "4", "16"):
        return f"has a transparent colour in {depth} bits, which is not read; save it with an alpha channel"
    return ""


def _rgba(opened: Image.Image) -> Image.Image:
    upright = ImageOps.exif_transpose(opened)
    if not opened.mode.startswith("I"):
        return upright.convert("RGBA")
    tags = getattr(opened, "tag_v2", {})
    white = min(2 ** tags.get(BITS, (16,))[0] - 1, SIXTEEN)  # 12 bits lie in 16 unscaled
    grey = np.asarray(upright).astype(np.float64) / white
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        grey = 1 - grey
    return Image.fromarray((255 * grey.clip(0, 1)).round().astype(np.uint8)).convert("RGBA")
