"""Class folders: the images of a data set by class, with the same classes in both splits."""

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from unicomp_lib import paths
from unicomp_lib.inputs import assets, digests

VERSION = "1"

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
FOREIGN = ("__MACOSX", "@eaDir")  # what macOS puts into an archive and Synology into a folder: copies and thumbnails
SPLITS = ("train", "val")
EMOJI = "emoji"
# The assets behind them: where the images of each lie, and how their names end.
VENDORS = {
    "emoji-google": ("img/google/64", ".png"),
    "emoji-twitter": ("img/twitter/64", ".png"),
    "emoji-fluent": ("assets", ".webp"),
}
NAMED = 8  # how many classes or files a sentence names


@dataclass
class Split:
    """What lies in one split's folder."""

    folder: Path
    images: dict[str, list[str]] = field(default_factory=dict)  # class -> paths inside its folder; none is empty
    outside: list[str] = field(default_factory=list)  # images that are in no class's folder
    others: Counter[str] = field(default_factory=Counter)  # suffixes of files that are not read

    @property
    def files(self) -> list[str]:
        """Class and path of every image, in order."""
        return [f"{name}/{inside}" for name in sorted(self.images) for inside in self.images[name]]


def root(data: str) -> Path:
    """The folder ``data``; a relative path starts here, or else at the checkout."""
    given = Path(data).expanduser()
    return next((place for place in (given, paths.project() / given) if place.is_dir()), given)


def read(folder: Path, split: str) -> Split:
    """What lies in the folder of ``split``: hidden files and folders do not count, links are followed.

    Raises a ``ValueError`` for a folder that is not there or cannot be read, and for a link to nothing.
    """
    found = Split(folder / split)
    if not found.folder.is_dir():
        raise ValueError(
            f"data {str(folder)!r} has no folder {split!r}; give 'emoji', or a folder that contains train and val, "
            "each with one folder of images per class"
        )
    for path in _files(str(found.folder)):
        name, _, inside = path.partition("/")
        suffix = os.path.splitext(path)[1].lower()
        if suffix not in SUFFIXES:
            found.others[suffix or "no suffix"] += 1
        elif inside:
            found.images.setdefault(name, []).append(inside)
        else:
            found.outside.append(path)
    return found


def entries(folder: Path, split: str, pattern: str = "") -> tuple[list[tuple[Path, int, str]], list[str]]:
    """File, label and group of each image of a split, and the names of the classes.

    The classes are the training split's, in the order of their names: those that have an image. Where there is no
    folder ``train``, they are the split's own, and that is said. A class without images in ``split`` is said too; one
    that ``train`` has no images of is a ``ValueError``. ``pattern`` is that of ``groups``.
    """
    own = read(folder, split)
    if not own.images:
        raise ValueError(f"{own.folder} contains no images; allowed are {', '.join(SUFFIXES)}, in one folder per class")
    alone = split != "train" and not (folder / "train").is_dir()
    train = own if alone or split == "train" else read(folder, "train")
    classes = sorted(train.images)
    _check_classes(own, train)
    _say(own, classes, alone=alone)
    named = groups(own.files, pattern)
    if pattern and train is not own and (both := set(named) & set(groups(train.files, pattern))):
        print(f"{len(both)} groups of {split} are in train too: {_listed(both)}; accuracy on them is no held-out one")
    label = {name: place for place, name in enumerate(classes)}
    found = zip(own.files, named, strict=True)
    return [(own.folder / file, label[file.partition("/")[0]], group) for file, group in found], classes


def groups(files: list[str], pattern: str) -> list[str]:
    """What each of ``files`` (class/file name) shows, as intervals count it: each its own, or what ``pattern`` finds.

    ``pattern`` is a regular expression that is looked for in ``class/file name``: its first group in brackets, or all
    that it matches, is the name of the group. A ``ValueError`` names a file in which it is not found.
    """
    if not pattern:
        return files
    try:
        found = [re.search(pattern, file) for file in files]
    except re.error as error:
        raise ValueError(f"groups {pattern!r} is no regular expression ({error}); correct it") from error
    for file, match in zip(files, found, strict=True):
        if not (match and (match[match.re.groups and 1] or "")):
            raise ValueError(f"groups {pattern!r} finds no name in {file!r}; give one that finds one in every image")
    return [match[match.re.groups and 1] for match in found if match]


_looked: dict[str, str] | None = None


@contextmanager
def looked_at_once() -> Iterator[None]:
    """Within it the identity of a folder is that of the first look: listing a million files takes seconds."""
    global _looked
    _looked = {}
    try:
        yield
    finally:
        _looked = None


def identity(data: str) -> str | list[str]:
    """What identifies a data set in a step's key: hashes of the assets behind ``emoji``, or a digest of a folder.

    The digest is of its images' classes, names and contents, wherever the folder lies.
    """
    if data == EMOJI:
        return [assets.asset(name).archive for name in VENDORS]
    if _looked is not None and data in _looked:
        return _looked[data]
    folder = root(data)
    total = hashlib.sha256()
    for split in SPLITS:
        if (folder / split).is_dir():
            inside = read(folder, split).files
            for name, digest in zip(inside, digests.of([folder / split / name for name in inside]), strict=True):
                total.update(f"{split}/{name}\0{digest}\n".encode(errors="surrogateescape"))
    if _looked is not None:
        _looked[data] = total.hexdigest()
    return total.hexdigest()


def _files(folder: str, inside: str = "", above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[str]:
    """Paths within ``folder`` of all files, by name, links followed but never into a folder that leads here."""
    try:
        status = os.stat(folder)
        here = (status.st_dev, status.st_ino)
        if here in above:
            return
        with os.scandir(folder) as scanned:
            found = sorted((entry for entry in scanned if not _hidden(entry.name)), key=lambda entry: entry.name)
    except OSError as error:
        raise ValueError(f"{folder} cannot be read ({error.strerror}); allow reading it or remove it") from error
    for entry in found:
        if os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir():
            yield from _files(entry.path, f"{inside}{entry.name}/", above | {here})
        elif os.path.isfile(entry.path) if entry.is_symlink() else entry.is_file():
            yield f"{inside}{entry.name}"
        elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:
            raise ValueError(f"{entry.path} is a link to nothing, or no file; remove or restore it")


def _hidden(name: str) -> bool:
    return name.startswith(".") or name in FOREIGN


def _check_classes(own: Split, train: Split) -> None:
    unknown = sorted(set(own.images) - set(train.images))
    if not unknown:
        return
    written = {_plain(name): name for name in train.images}
    alike = [f"{name!r} is {written[_plain(name)]!r} there" for name in unknown if _plain(name) in written]
    what = f"rename one of the two: {_listed(alike)}" if alike else "add some there, or remove it here"
    raise ValueError(
        f"{own.folder} has {_count(unknown, 'class')} that {train.folder} has no images of: {_listed(unknown)}; {what}"
    )


def _say(own: Split, classes: list[str], *, alone: bool) -> None:
    """Say in a line each what of a split is not as one might think."""
    if alone:
        print(f"{own.folder.parent} has no folder train: the {len(classes)} classes are those of {own.folder.name}")
    if missing := [name for name in classes if name not in own.images]:
        print(f"{own.folder} has no images of {_count(missing, 'class')} that train has: {_listed(missing)}")
    if own.outside:
        print(f"{own.folder}: not read, in no class's folder: {_listed(own.outside)}")
    if own.others:
        print(f"{own.folder}: not read as images: {_listed(f'{n} {suffix}' for suffix, n in own.others.items())}")


def _plain(name: str) -> str:
    """A name without what file systems, archives and people change: case, composed letters, spaces around it."""
    return unicodedata.normalize("NFKC", name).casefold().strip()


def _count(names: list[str], noun: str) -> str:
    return f"a {noun}" if len(names) == 1 else f"{len(names)} {noun}es"


def _listed(names: Iterable[str]) -> str:
    known = sorted(names)
    more = f" and {len(known) - NAMED} more" if len(known) > NAMED else ""
    return ", ".join(known[:NAMED]) + more
