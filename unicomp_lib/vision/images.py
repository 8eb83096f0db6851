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
from filelock import FileLock
from PIL import Image, UnidentifiedImageError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from unicomp_lib import files, hardware, paths
from unicomp_lib.inputs import assets

VERSION = "1"

EMOJI = "emoji"
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
IN_MEMORY = 2e9  # bytes of decoded images held in memory; larger sets are decoded at every pass


@dataclass(frozen=True)
class Images:
    """Files with their class, decoded to squares of ``size`` pixels."""

    files: list[Path]
    labels: torch.Tensor  # (images,), the class of each
    groups: list[str]  # what an image shows: images of one emoji are not independent
    classes: list[str]
    size: int
    origin: tuple[str, ...] = ()  # SHA-256 of the archives the files are from, where they are pinned

    def __len__(self) -> int:
        return len(self.files)

    @cached_property
    def _decoded(self) -> torch.Tensor:
        return self.cached("pixels", lambda: torch.stack([decode(file, self.size) for file in self.files]))

    def cached(self, name: str, compute: Callable[[], torch.Tensor], made_with: object = None) -> torch.Tensor:
        """What ``compute`` gives for these images, computed once for all processes and stored on disk.

        It is computed again where the images, the size, this module's version or whatever else it is
        ``made_with`` have changed, and where the stored file is damaged.
        """
        content = [VERSION, self.size, self.origin, *map(_identity, self.files), made_with]
        digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]
        target = paths.home() / "images" / f"{digest}.{name}.safetensors"
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_suffix(".lock")):
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


def load(data: str, split: str, *, size: int = 64, number: int = 0) -> Images:
    """The images of ``split`` (train or val) of a data set.

    ``data`` is ``emoji``, or a folder with a folder ``train`` and one ``val``, each with one folder per class
    (the layout of ImageNet and of torchvision's ImageFolder). ``number`` is how many to load, a fixed random
    sample; 0 loads all. A ``ValueError`` says what is missing.
    """
    if split not in ("train", "val"):
        raise ValueError(f"split {split!r} is not known; allowed are train, val")
    entries, classes = _emoji(split) if data == EMOJI else _folder(Path(data), split)
    if number and number < len(entries):
        drawn = np.random.default_rng(0).permutation(len(entries))[:number]
        entries = [entries[index] for index in sorted(drawn)]
    files_, labels, groups = zip(*entries, strict=True)
    origin = _archives() if data == EMOJI else ()
    return Images(list(files_), torch.tensor(labels), list(groups), classes, size, origin)


def scaled(pixels: torch.Tensor) -> torch.Tensor:
    """Bytes scaled to -1 to 1, as torchvision's GoogLeNet does with its inputs (``transform_input``)."""
    return pixels.float() / 127.5 - 1


def decode(file: Path, size: int) -> torch.Tensor:
    """An image as bytes (3, size, size): transparency on white, the middle square, resized."""
    try:
        with Image.open(file) as opened:
            picture = opened.convert("RGBA")
    except (OSError, UnidentifiedImageError) as error:
        raise ValueError(f"{file} is not a readable image ({error}); remove or fix it") from error
    flat = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    edge = min(flat.size)
    left, top = (flat.width - edge) // 2, (flat.height - edge) // 2
    square = flat.crop((left, top, left + edge, top + edge)).resize((size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1)


def identity(data: str) -> object:
    """What identifies a data set in a step's key: hashes of the assets, or a folder's file names and sizes."""
    if data == EMOJI:
        return list(_archives())
    images = sorted(file for file in Path(data).rglob("*") if file.suffix.lower() in SUFFIXES)
    text = "\n".join(f"{file.relative_to(data)} {file.stat().st_size}" for file in images)
    return [len(images), zlib.crc32(text.encode())]


_VENDORS = {
    "emoji-google": ("img/google/64", ".png"),
    "emoji-twitter": ("img/twitter/64", ".png"),
    "emoji-fluent": ("assets", ".webp"),
}


def _archives() -> tuple[str, ...]:
    return tuple(assets.asset(name).archive for name in _VENDORS)


def _identity(file: Path) -> tuple[str, int, int]:
    """A file's path, size and time: hashing all bytes at each pass would cost more than it protects."""
    facts = file.stat()
    return str(file), facts.st_size, facts.st_mtime_ns


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
    folders = {name: assets.fetch(name) / "package" for name in _VENDORS}
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
        for vendor, (inside, suffix) in _VENDORS.items():
            files = [folders[vendor] / inside / f"{name}{suffix}" for name in names]
            if file := next((file for file in files if file.is_file()), None):
                entries.append((file, classes.index(entry["category"]), entry["unified"]))
    return entries, classes


def _folder(root: Path, split: str) -> tuple[list[tuple[Path, int, str]], list[str]]:
    if not (root / split).is_dir():
        raise ValueError(
            f"data {str(root)!r} has no folder {split!r}; give {EMOJI!r}, or a folder that contains train and val, "
            "each with one folder of images per class"
        )
    classes = sorted(folder.name for folder in (root / split).iterdir() if folder.is_dir())
    entries = [
        (file, label, file.name)
        for label, name in enumerate(classes)
        for file in sorted((root / split / name).rglob("*"))
        if file.suffix.lower() in SUFFIXES
    ]
    if not entries:
        raise ValueError(
            f"{root / split} contains no images; allowed are {', '.join(SUFFIXES)}, in one folder per class"
        )
    return entries, classes
