"""Images with labels: the packaged emoji set, or any folder of one folder a class."""

import hashlib
import json
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from PIL import Image, UnidentifiedImageError
from safetensors.torch import load_file, save_file

from unicomp_lib import files, hardware, paths
from unicomp_lib.inputs import assets

VERSION = "1"

EMOJI = "emoji"
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
IN_MEMORY = 2e9  # bytes of decoded images that are kept; beyond, they are decoded at every pass


@dataclass(frozen=True)
class Images:
    """Files with their class, decoded to squares of ``size`` pixels."""

    files: list[Path]
    labels: torch.Tensor  # (images,), the class of each
    groups: list[str]  # what an image shows: images of one emoji are not independent
    classes: list[str]
    size: int

    def __len__(self) -> int:
        return len(self.files)

    @cached_property
    def _decoded(self) -> torch.Tensor:
        return self.kept("pixels", lambda: torch.stack([decode(file, self.size) for file in self.files]))

    def kept(self, name: str, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        """What ``compute`` gives for these images, computed once for all processes and kept in the cache."""
        text = "\n".join(f"{file} {file.stat().st_size}" for file in self.files)
        digest = hashlib.sha256(f"{VERSION} {self.size}\n{text}".encode()).hexdigest()[:12]
        target = paths.home() / "images" / f"{digest}.{name}.safetensors"
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_suffix(".lock")):
            if not target.is_file():
                content = {name: compute()}
                files.write_whole(target, lambda part: save_file(content, part))
        return load_file(target)[name]

    def pixels(self, places: torch.Tensor) -> torch.Tensor:
        """Images at ``places`` as bytes: (places, 3, size, size)."""
        if 3 * self.size**2 * len(self) <= IN_MEMORY:
            return self._decoded[places]
        with ThreadPoolExecutor(hardware.cores()) as threads:  # Pillow decodes outside Python's lock
            decoded = threads.map(lambda place: decode(self.files[place], self.size), places.tolist())
            return torch.stack(list(decoded))

    def batches(self, size: int = 128) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Places and images scaled to -1 to 1, in order."""
        for places in torch.arange(len(self)).split(size):
            yield places, scaled(self.pixels(places)).contiguous(memory_format=torch.channels_last)


def load(data: str, split: str, *, size: int = 64, number: int = 0) -> Images:
    """The images of ``split`` (train or val) of a data set.

    ``data`` is ``emoji``, or a folder with a folder ``train`` and one ``val``, each with a folder a class
    (the layout of ImageNet and of torchvision's ImageFolder). ``number`` keeps so many, drawn at random once
    and for all; 0 keeps all. A ``ValueError`` says what is missing.
    """
    if split not in ("train", "val"):
        raise ValueError(f"split {split!r} is not known; allowed are train, val")
    found, classes = _emoji(split) if data == EMOJI else _folder(Path(data), split)
    if number and number < len(found):
        kept = np.random.default_rng(0).permutation(len(found))[:number]
        found = [found[place] for place in sorted(kept)]
    files_, labels, groups = zip(*found, strict=True)
    return Images(list(files_), torch.tensor(labels), list(groups), classes, size)


def scaled(pixels: torch.Tensor) -> torch.Tensor:
    """Bytes to -1 to 1, which is what torchvision's GoogLeNet makes of its inputs (``transform_input``)."""
    return pixels.float() / 127.5 - 1


def decode(file: Path, size: int) -> torch.Tensor:
    """An image as bytes (3, size, size): transparency on white, the middle square, resized."""
    try:
        with Image.open(file) as opened:
            picture = opened.convert("RGBA")
    except (OSError, UnidentifiedImageError) as error:
        raise ValueError(f"{file} is no readable image ({error}); remove or mend it") from error
    flat = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    edge = min(flat.size)
    left, top = (flat.width - edge) // 2, (flat.height - edge) // 2
    square = flat.crop((left, top, left + edge, top + edge)).resize((size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1)


def identity(data: str) -> object:
    """What tells one data set from another in a step's key: hashes of the assets, or a folder's files by size."""
    if data == EMOJI:
        return [assets.asset(name).archive for name in _VENDORS]
    found = sorted(file for file in Path(data).rglob("*") if file.suffix.lower() in SUFFIXES)
    text = "\n".join(f"{file.relative_to(data)} {file.stat().st_size}" for file in found)
    return [len(found), zlib.crc32(text.encode())]


_VENDORS = {
    "emoji-google": ("img/google/64", ".png"),
    "emoji-twitter": ("img/twitter/64", ".png"),
    "emoji-fluent": ("assets", ".webp"),
}


def _emoji(split: str) -> tuple[list[tuple[Path, int, str]], list[str]]:
    """One image an emoji and vendor, by category. An emoji is in one split in all vendors' sets."""
    folders = {name: assets.fetch(name) / "package" for name in _VENDORS}
    listed = json.loads((folders["emoji-google"] / "emoji.json").read_text(encoding="utf-8"))
    listed = [entry for entry in listed if entry["category"] != "Component"]
    classes = sorted({entry["category"] for entry in listed})
    found = []
    for entry in sorted(listed, key=lambda entry: entry["unified"]):
        held_out = zlib.crc32(entry["unified"].encode()) % 5 == 0
        if held_out != (split == "val"):
            continue
        long = entry["unified"].lower()
        names = dict.fromkeys([long, long.replace("-fe0f", ""), (entry.get("non_qualified") or long).lower()])
        for vendor, (inside, suffix) in _VENDORS.items():
            files = [folders[vendor] / inside / f"{name}{suffix}" for name in names]
            if file := next((file for file in files if file.is_file()), None):
                found.append((file, classes.index(entry["category"]), entry["unified"]))
    return found, classes


def _folder(root: Path, split: str) -> tuple[list[tuple[Path, int, str]], list[str]]:
    if not (root / split).is_dir():
        raise ValueError(
            f"data {str(root)!r} has no folder {split!r}; give {EMOJI!r}, or a folder that holds train and val, "
            "each with a folder of images a class"
        )
    classes = sorted(folder.name for folder in (root / split).iterdir() if folder.is_dir())
    found = [
        (file, place, file.name)
        for place, name in enumerate(classes)
        for file in sorted((root / split / name).rglob("*"))
        if file.suffix.lower() in SUFFIXES
    ]
    if not found:
        raise ValueError(f"{root / split} holds no images; allowed are {', '.join(SUFFIXES)}, in a folder a class")
    return found, classes
