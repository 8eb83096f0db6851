import os
import shutil

import pytest
from PIL import Image

from unicomp_lib.study import steps
from unicomp_lib.vision import folders, images

CLASSES = ("blue", "green", "red")


def put(folder, *names):
    """Pictures of one pixel; their folders are made."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2), (len(name), 0, 0)).save(folder / name)


@pytest.fixture
def data(home):
    """Three classes of two pictures in both splits."""
    for split in ("train", "val"):
        put(home / "set" / split, *(f"{name}/{index}.png" for name in CLASSES for index in range(2)))
    return home / "set"


def labels(data, split="val"):
    """Class and file of every picture, as they are loaded."""
    loaded = images.load(str(data), split, size=32)
    return [
        (loaded.classes[label], os.path.relpath(file, data / split))
        for file, label in zip(loaded.files, loaded.labels.tolist(), strict=True)
    ]


def right(data, split="val"):
    return all(inside.startswith(f"{name}/") for name, inside in labels(data, split))


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize(
    "extra",
    [
        ".ipynb_checkpoints/0.png", ".DS_Store", "__MACOSX/blue/._0.png", "__MACOSX/a.png", "@eaDir/0.png",
        "blue/.ipynb_checkpoints/0-checkpoint.png", "blue/._0.png", "blue/.hidden.png", "blue/@eaDir/0.png",
        "blue/__MACOSX/0.png", ".git/x.png",
    ],
)  # fmt: skip
def test_what_is_hidden_or_foreign_does_not_count(data, split, extra, capsys):
    before = labels(data, split)
    put(data / split, f"{extra}.png")
    (data / split / extra).parent.mkdir(parents=True, exist_ok=True)
    (data / split / extra).write_bytes(b"")
    assert labels(data, split) == before
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("split", ["train", "val"])
def test_folders_without_images_are_no_classes(data, split):
    before = labels(data, split)
    for name in ("aaa", "blue2/inside", "zzz", "blue/empty"):
        (data / split / name).mkdir(parents=True)
    (data / split / "aab").mkdir()
    (data / split / "aab" / "notes.txt").write_text("none")
    assert labels(data, split) == before


@pytest.mark.parametrize("gone", CLASSES)
def test_a_class_that_val_lacks_shifts_no_label_and_is_said(data, gone, capsys):
    shutil.rmtree(data / "val" / gone)
    assert right(data)
    assert images.load(str(data), "val", size=32).classes == list(CLASSES)
    assert f"val has no images of a class that train has: {gone}\n" in capsys.readouterr().out


def test_all_that_val_lacks_is_named_up_to_a_number(data, capsys):
    put(data / "train", *(f"class{index:02d}/0.png" for index in range(20)))
    assert right(data)
    said = capsys.readouterr().out
    assert "no images of 20 classes that train has: class00, class01" in said
    assert said.rstrip().endswith("class07 and 12 more")


@pytest.mark.parametrize("new", ["aqua", "indigo", "violet"])
def test_a_class_that_train_lacks_is_refused(data, new):
    put(data / "val", f"{new}/0.png")
    with pytest.raises(ValueError, match=rf"val has a class that .*train has no images of: {new}; add some there, or"):
        images.load(str(data), "val", size=32)
    (data / "train" / new).mkdir()
    with pytest.raises(ValueError, match=f"no images of: {new}"):
        images.load(str(data), "val", size=32)
    assert right(data, "train")


@pytest.mark.parametrize(
    ("train", "val"),
    [("Cat", "cat"), ("cat", "CAT"), ("caf\u00e9", "cafe\u0301"), ("cat", "cat "), ("Straße", "STRASSE")],
)
def test_names_that_differ_in_case_or_form_are_refused_with_both(home, train, val):
    put(home / "train", f"{train}/0.png")
    put(home / "val", f"{val}/0.png")
    with pytest.raises(ValueError, match=f"rename one of the two: {val!r} is {train!r} there"):
        images.load(str(home), "val", size=32)


def test_letters_in_both_cases_are_two_classes(home):
    for split in ("train", "val"):
        put(home / split, "A/0.png", "a/0.png")
    assert images.load(str(home), "val", size=32).classes == ["A", "a"]
    assert right(home)


def test_without_a_training_split_the_classes_are_vals_and_that_is_said(data, capsys):
    shutil.rmtree(data / "train")
    assert right(data)
    assert "has no folder train: the 3 classes are those of val" in capsys.readouterr().out
    (data / "train").mkdir()
    with pytest.raises(ValueError, match=r"val has 3 classes that .*train has no images of: blue, green, red"):
        images.load(str(data), "val", size=32)


def test_what_is_not_read_is_said(data, capsys):
    put(data / "val", "stray.png")
    for name in ("red/a.heic", "red/b.heic", "red/notes.txt", "readme"):
        (data / "val" / name).write_text("x")
    assert right(data)
    said = capsys.readouterr().out
    assert "val: not read, in no class's folder: stray.png\n" in said
    assert "val: not read as images: 1 .txt, 1 no suffix, 2 .heic\n" in said


def test_folders_in_a_class_and_capital_suffixes_are_read(data):
    put(data / "val", "red/deep/er/2.PNG", "red/3.JPEG", "red/4.TiF", "red/5.gif")
    found = [inside for name, inside in labels(data) if name == "red"]
    assert found == ["red/0.png", "red/1.png", "red/3.JPEG", "red/4.TiF", "red/5.gif", "red/deep/er/2.PNG"]
    assert right(data)


@pytest.mark.parametrize("what", ["", "train", "val", "val/red", "train/blue", "val/red/0.png"])
def test_links_are_followed(data, what):
    whole, known = labels(data), folders.identity(str(data))
    target = data.parent / "elsewhere"
    shutil.move(data / what, target)
    (data / what).symlink_to(target)
    assert labels(data) == whole
    assert folders.identity(str(data)) == known


def test_links_that_lead_back_end(data):
    whole = labels(data)
    (data / "val" / "red" / "again").symlink_to(data / "val" / "red")
    (data / "val" / "blue" / "up").symlink_to(data / "val")
    (data / "val" / "loop").symlink_to(data / "val")
    found = labels(data)
    assert set(whole) <= set(found)
    assert {inside for name, inside in found if name == "loop"} == set()
    assert len(found) < 20


@pytest.mark.parametrize("target", ["nowhere.png", "broken.png"])
def test_a_link_to_nothing_is_named(data, target):
    (data / "val" / "red" / "broken.png").symlink_to(target)
    with pytest.raises(ValueError, match=r"red/broken.png is a link to nothing, or no file; remove or restore it"):
        images.load(str(data), "val", size=32)


def test_a_pipe_is_no_image(data):
    os.mkfifo(data / "val" / "red" / "pipe.png")
    with pytest.raises(ValueError, match=r"pipe.png is a link to nothing, or no file"):
        images.load(str(data), "val", size=32)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_named(data):
    (data / "val" / "red").chmod(0)
    with pytest.raises(ValueError, match="red cannot be read"):
        images.load(str(data), "val", size=32)
    (data / "val" / "red").chmod(0o755)


@pytest.mark.parametrize("found", ["", "~"])
def test_a_relative_folder_starts_here_at_home_or_at_the_checkout(data, monkeypatch, found):
    monkeypatch.chdir(data.parent)
    monkeypatch.setenv("HOME", str(data.parent))
    assert folders.root(f"{found}/set".lstrip("/")).resolve() == data
    monkeypatch.chdir("/")
    monkeypatch.setattr(folders.paths, "project", lambda: data.parent)
    assert folders.root("set") == data


def test_images_are_groups_of_their_own_whatever_their_names(home):
    put(home / "val", *(f"{name}/{index:03d}.png" for name in "abc" for index in range(4)), "a/x/000.png")
    groups = images.load(str(home), "val", size=32).groups
    assert len(set(groups)) == len(groups) == 13


def test_a_pattern_groups_images(home, capsys):
    put(home / "train", "cat/tom-1.png", "dog/rex-1.png", "dog/bo-1.png")
    put(home / "val", "cat/tom-2.png", "cat/tom-3.png", "dog/tom-1.png", "dog/zoe-1.png")
    load = lambda pattern: images.load(str(home), "val", size=32, groups=pattern).groups  # noqa: E731
    assert load(r"/(\w+)-") == ["tom", "tom", "tom", "zoe"]
    said = capsys.readouterr().out
    assert "4 images of val show 2 different things" in said
    assert "1 groups of val are in train too: tom" in said
    assert load(r"^\w+/\w+") == ["cat/tom", "cat/tom", "dog/tom", "dog/zoe"]


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("(", r"groups '\(' is no regular expression"),
        ("tom", "groups 'tom' finds no name in 'dog/rex.png'"),
        ("x*", "finds no name in 'cat/tom.png'"),
        ("cat|(dog)", "finds no name in 'cat/tom.png'"),
    ],
)
def test_a_pattern_that_names_no_group_is_refused(home, pattern, says):
    put(home / "val", "cat/tom.png", "dog/rex.png")
    with pytest.raises(ValueError, match=says):
        images.load(str(home), "val", size=32, groups=pattern)


def test_identity_follows_names_and_contents_and_no_place_or_time(data):
    first = folders.identity(str(data))
    shutil.copytree(data, data.parent / "copy")
    (data / "val" / ".DS_Store").write_text("x")
    (data / "val" / "empty").mkdir()
    os.utime(data / "val" / "red" / "0.png")
    assert folders.identity(str(data)) == folders.identity(str(data.parent / "copy")) == first


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "val/red/0.png").write_bytes(bytes((root / "val/red/0.png").stat().st_size)),  # same size
        lambda root: (root / "val/red/0.png").rename(root / "val/blue/9.png"),
        lambda root: (root / "train/red/0.png").unlink(),
        lambda root: put(root, "train/red/new.png"),
        lambda root: (root / "train/red").rename(root / "train/pink"),
        lambda root: (root / "train/red/0.png").rename(root / "val/red/00.png"),
        lambda root: put(root, "val/red/0.tif"),
    ],
    ids=["content", "class", "gone", "new", "renamed", "split", "suffix"],
)
@pytest.mark.parametrize("linked", [False, True])
def test_another_data_set_has_another_identity(data, change, linked):
    place = data
    if linked:
        place = data.parent / "linked"
        place.mkdir()
        for split in ("train", "val"):
            (place / split).symlink_to(data / split)
    first = folders.identity(str(place))
    change(data)
    assert folders.identity(str(place)) != first


def test_a_plan_looks_at_a_folder_once(data, monkeypatch):
    looked, read = [], folders.read
    monkeypatch.setattr(folders, "read", lambda folder, split: looked.append(split) or read(folder, split))
    with folders.looked_at_once():
        assert len({folders.identity(str(data)) for _ in range(5)}) == 1
    assert looked == ["train", "val"]
    put(data, "val/red/9.png")
    folders.identity(str(data))
    assert len(looked) == 4


def test_the_key_of_a_step_follows_a_linked_folders_content(data):
    (data.parent / "linked").symlink_to(data)
    made = steps.Step(
        steps.Stage.VISION, "vision/train", {"data": "linked"}, located={"data": str(data.parent / "linked")},
        topic="train",
    )  # fmt: skip
    first = steps.keys([made])
    assert steps.keys([made]) == first
    put(data, "val/red/9.png")
    assert steps.keys([made]) != first
