"""Images with labels: the packaged emoji set, or any folder with one folder per class."""

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
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from unicomp_lib import files, hardware, locks, paths
from unicomp_lib.inputs import assets, digests
from unicomp_lib.vision import folders, pictures
from unicomp_lib.vision.folders import EMOJI, VENDORS
from unicomp_lib.vision.pictures import decode

VERSION = "2"

SMALLEST = 16  # pixels, below which nothing is left after the network's strides
IN_MEMORY = 2e9  # bytes of decoded images held in memory; larger sets are decoded at every pass


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
    def digests(self) -> list[str]:
        """SHA-256 of each file."""
        return digests.of(self.files)

    @cached_property
    def _decoded(self) -> torch.Tensor:
        return self.cached("pixels", lambda: torch.stack([decode(file, self.size) for file in self.files]))

    def cached(self, name: str, compute: Callable[[], torch.Tensor], made_with: object = None) -> torch.Tensor:
        """What ``compute`` gives for these images, computed once for all processes and stored on disk.

        It is computed again where the contents of the files, the size, how they are decoded or whatever else it is
        ``made_with`` have changed, and where the stored file is damaged.
        """
        content = [pictures.VERSION, self.size, self.digests, made_with]
        digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]
        target = paths.home() / "images" / f"{digest}.{name}.safetensors"
        target.parent.mkdir(parents=True, exist_ok=True)
        with locks.held(target.with_suffix(".lock")):
            if (stored := _stored(target, name)) is not None:
                return stored
            computed = compute().contiguous()
            checked = {"sha256": _digest(computed)}
            files.write_whole(target, lambda part: save_file({name: computed}, part, checked))
            return computed

    def pixels(self, indices: torch.Tensor) -> torch.Tensor:
        """Images at ``indices`` as bytes: (indices, 3, size, size)."""
        if 3 * self.size**2 * len(self) <= IN_MEMORY:
            return self._decoded[indices]
        with ThreadPoolExecutor(hardware.cores()) as threads:  # Pillow decodes outside Python's lock
            decoded = threads.map(lambda index: decode(self.files[index], self.size), indices.tolist())
            return torch.stack(list(decoded))

    def batches(self, size: int = 128) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Indices and images scaled to -1 to 1, in order."""
        for indices in torch.arange(len(self)).split(size):
            yield indices, scaled(self.pixels(indices)).contiguous(memory_format=torch.channels_last)


def load(data: str, split: str, *, size: int = 64, number: int = 0, groups: str = "") -> Images:
    """The images of ``split`` (train or val) of a data set.

    ``data`` is ``emoji``, or a folder with a folder ``train`` and one ``val``, each with one folder per class
    (the layout of ImageNet and of torchvision's ImageFolder, see ``folders.entries``). ``number`` is how many to
    load, a fixed random sample; 0 loads all. Intervals resample what an image shows: an emoji in all vendors'
    versions; in a folder each image, unless ``groups`` says what belongs together (see ``folders.groups``). A
    ``ValueError`` says what is missing.
    """
    if split not in folders.SPLITS:
        raise ValueError(f"split {split!r} is not known; allowed are {', '.join(folders.SPLITS)}")
    if size < SMALLEST or number < 0:
        raise ValueError(
            f"size {size} and number {number} are not allowed; give a size from {SMALLEST} pixels, and a number of "
            "images or 0 for all"
        )
    if data == EMOJI and groups:
        raise ValueError(f"groups {groups!r} is for folders of images; emoji are grouped by what they show")
    entries, classes = _emoji(split) if data == EMOJI else folders.entries(folders.root(data), split, groups)
    if number and number < len(entries):
        drawn = np.random.default_rng(0).permutation(len(entries))[:number]
        entries = [entries[index] for index in sorted(drawn)]
    names, labels, shown = zip(*entries, strict=True)
    if groups:
        print(f"{len(names)} images of {split} show {len(set(shown))} different things, by groups {groups!r}")
    return Images(list(names), torch.tensor(labels), list(shown), classes, size)


def scaled(pixels: torch.Tensor) -> torch.Tensor:
    """Bytes scaled to -1 to 1, as torchvision's GoogLeNet does with its inputs (``transform_input``)."""
    return pixels.float() / 127.5 - 1


def _stored(target: Path, name: str) -> torch.Tensor | None:
    """The tensor in a cached file; None where it is not there, or is not the one that was written."""
    try:
        with safe_open(target, "pt") as opened:
            tensor = opened.get_tensor(name)
            return tensor if opened.metadata()["sha256"] == _digest(tensor) else None
    except (OSError, SafetensorError, KeyError, TypeError):
        return None


def _digest(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.numpy().data).hexdigest()


def _emoji(split: str) -> tuple[list[tuple[Path, int, str]], list[str]]:
    """One image per emoji and vendor, by category. An emoji is in the same split in all vendors' sets."""
    folders = {name: assets.fetch(name) / "package" for name in VENDORS}
    emoji = json.loads((folders["emoji-google"] / "emoji.json").read_text(encoding="utf-8"))
    emoji = [entry for entry in emoji if entry["category"] != "Component"]
    classes = sorted({entry["category"] for entry in emoji})
    entries = []
    for entry in sorted(emoji, key=lambda entry: entry["unified"]):
        held_out = zlib.crc32(entry["unified"].encode()) % 5 == 0
        if held_out != (split == "val"):
            continue
        long = entry["unified"].lower()
        names = dict.fromkeys([long, long.replace("-fe0f", ""), (entry.get("non_qualified") or long).lower()])
        for vendor, (inside, suffix) in VENDORS.items():
            files = [folders[vendor] / inside / f"{name}{suffix}" for name in names]
            if file := next((file for file in files if file.is_file()), None):
                entries.append((file, classes.index(entry["category"]), entry["unified"]))
    return entries, classes
