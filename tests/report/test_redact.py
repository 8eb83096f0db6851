import base64
import html
import json
import tempfile
from pathlib import Path
from urllib.parse import quote

import pytest

from unicomp_lib import paths
from unicomp_lib.report import redact


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine whose user has a home behind a link, with letters that JSON, HTML and addresses write otherwise."""
    real = tmp_path / "disk" / "jos\u00e9 & co"
    for folder in ("study", "study2", ".cache/unicomp", "data/imagenet"):
        (real / folder).mkdir(parents=True)
    (tmp_path / "scratch-of-jose").mkdir()
    (tmp_path / "home").symlink_to(real)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("UNICOMP_HOME", str(tmp_path / "home" / ".cache" / "unicomp"))
    monkeypatch.setenv("PWD", str(tmp_path / "home" / "study"))
    monkeypatch.setattr(paths, "project", lambda: real / "study")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch-of-jose"))
    return tmp_path


@pytest.mark.parametrize("home", ["home", "disk/jos\u00e9 & co"], ids=["link", "what it leads to"])
@pytest.mark.parametrize(
    "form",
    [
        str, lambda path: json.dumps(path)[1:-1], lambda path: json.dumps(path)[1:-1].replace("/", "\\/"), html.escape,
        quote,
    ],
    ids=["plain", "JSON", "JSON with slashes", "HTML", "address"],
)  # fmt: skip
def test_no_form_of_a_folder_is_left(machine, home, form):
    root = machine / home
    for path, shown in (
        (root / "study" / "runs" / "a", "runs/a"),
        (root / ".cache" / "unicomp" / "b", "b"),
        (root / "notes.txt", "~/notes.txt"),
        (machine / "scratch-of-jose" / "x", "tmp/x"),
    ):
        for text in ("'{}'", "file://{}", "in {}.", "one\n{}", "one\\n{}", '<a href="{}">', "{}"):
            found = redact.redacted(text.format(form(str(path))))
            assert found.replace("\\/", "/") == text.format(shown)


def test_folders_themselves_are_not_named(machine):
    home = machine / "home"
    text = f"{home}, {home / 'study'} and {home.resolve()}"
    assert redact.redacted(text) == "~, . and ~"


def test_what_only_begins_alike_is_left(machine):
    home = machine / "home"
    for text in (f"{home}2/a", f"{home}-old/a", f"/x{home}/a", f"https://host{home}/a", "runs/a", "a / b", "", "/"):
        assert redact.redacted(text) == text


def test_a_given_path_is_its_last_part_and_one_in_the_checkout_is_relative(machine):
    given = {
        "data": str(machine / "home" / "data" / "imagenet"), "data_dir": "/srv/secret/benchmarks",
        "lists": [{"deep": "/srv/other/file.csv"}], "user": "~/data/imagenet", "number": 3, "text": "a/b",
        "checkpoint": str(paths.project() / "runs" / "a" / "checkpoint"), "no": None,
    }  # fmt: skip
    assert redact.redacted(given, given) == {
        "data": "imagenet", "data_dir": "benchmarks", "lists": [{"deep": "file.csv"}], "user": "imagenet", "number": 3,
        "text": "a/b", "checkpoint": "runs/a/checkpoint", "no": None,
    }  # fmt: skip
    assert redact.redacted("read /srv/secret/benchmarks/mmlu.json", given) == "read benchmarks/mmlu.json"
    assert redact.redacted(f"read {machine}/disk/jos\u00e9 & co/data/imagenet/val") == "read ~/data/imagenet/val"


def test_pictures_stay_as_they_are_but_drawings_are_text(machine):
    picture = base64.b64encode(b"\xfe\xd3\xe8" * 4).decode() + f"+{machine / 'home'}/"
    output = {"data": {"image/png": picture, "image/svg+xml": f"<svg><!-- {machine / 'home'}/a --></svg>"}}
    found = redact.redacted([output])[0]["data"]
    assert found["image/png"] == picture
    assert found["image/svg+xml"] == "<svg><!-- ~/a --></svg>"


def test_a_home_at_the_root_takes_nothing_out(monkeypatch):
    monkeypatch.setenv("HOME", "/")
    assert redact.redacted("a / b and /opt/c") == "a / b and /opt/c"


def test_the_folders_of_this_machine_are_among_them():
    for folder in (Path.home(), paths.project(), paths.home()):
        assert str(folder) not in redact.redacted(f"{folder}/x and {folder}")
