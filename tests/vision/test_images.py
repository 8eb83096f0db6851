import pytest
import torch
from PIL import Image

from unicomp_lib.vision import efficientnet, folders, images


def test_emoji_are_held_out_in_all_vendors_sets():
    train, val = (images.load("emoji", split) for split in ("train", "val"))
    assert len(train) + len(val) == 5664
    assert len(train.classes) == 9
    assert not set(train.groups) & set(val.groups)
    assert 0.15 < len(val) / 5664 < 0.25
    pixels = val.pixels(torch.arange(3))
    assert pixels.shape == (3, 3, 64, 64)
    assert pixels.dtype == torch.uint8


def test_versions_of_one_emoji_look_more_alike_than_different_emoji():
    val = images.load("emoji", "val", number=150)
    features = efficientnet.features(val)
    assert torch.allclose(features.norm(dim=1), torch.ones(len(val)), atol=1e-4)
    similar = features @ features.T
    same = torch.tensor([[one == other for other in val.groups] for one in val.groups])
    same.fill_diagonal_(False)
    assert same.sum() > 10
    assert similar[same].mean() > similar[~same].mean() + 0.1


def test_a_folder_of_classes_is_read(image_folder, squares):
    assert squares.classes == ["blue", "green", "red"]
    assert len(squares) == 60
    blue = squares.pixels(torch.tensor([0])).float().mean(dim=(0, 2, 3))
    assert blue.argmax() == 2
    fewer = [images.load(str(image_folder), "train", size=32, number=7).files for _ in range(2)]
    assert fewer[0] == fewer[1]
    assert len(fewer[0]) == 7


def test_large_sets_are_decoded_as_they_are_read(image_folder, squares, monkeypatch):
    monkeypatch.setattr(images, "IN_MEMORY", 0)
    monkeypatch.setattr(images.Images, "cached", lambda *_: pytest.fail("was cached"))
    streamed = images.load(str(image_folder), "train", size=32)
    indices = torch.tensor([3, 50])
    assert torch.equal(streamed.pixels(indices), squares.pixels(indices))


@pytest.fixture
def pictures(home):
    """Two pictures in one folder, a function that loads them anew, and how often they have been decoded."""
    for name, colour in (("a", "red"), ("b", "blue")):
        for split in ("train", "val"):
            (home / "set" / split / name).mkdir(parents=True)
            Image.new("RGB", (8, 8), colour).save(home / "set" / split / name / "0.bmp")
    return home / "set"


@pytest.fixture
def decoded(monkeypatch):
    """Files that were decoded."""
    found, decode = [], images.decode

    def counted(file, size):
        found.append(file)
        return decode(file, size)

    monkeypatch.setattr(images, "decode", counted)
    return found


def pixels(folder, size=32):
    return images.load(str(folder), "val", size=size).pixels(torch.arange(2))


def test_pixels_are_decoded_once_for_all_processes(pictures, decoded):
    assert torch.equal(pixels(pictures), pixels(pictures))
    assert len(decoded) == 2


def test_another_picture_of_the_same_size_is_decoded(pictures, decoded):
    before = pixels(pictures)
    file = pictures / "val" / "a" / "0.bmp"
    size = file.stat().st_size
    Image.new("RGB", (8, 8), "green").save(file)
    assert file.stat().st_size == size
    after = pixels(pictures)
    assert len(decoded) == 4
    assert not torch.equal(after[0], before[0])
    assert torch.equal(after[1], before[1])


def test_what_goes_in_is_part_of_the_cached_pixels_name(pictures, decoded, monkeypatch):
    pixels(pictures)
    assert pixels(pictures, size=33).shape[-1] == 33
    assert len(decoded) == 4
    monkeypatch.setattr(images.pictures, "VERSION", "another")
    pixels(pictures)
    assert len(decoded) == 6


def test_pixels_follow_the_content_wherever_it_lies(pictures, decoded):
    before = pixels(pictures)
    (pictures / "val" / "a" / "0.bmp").touch()
    pictures.rename(pictures.with_name("moved"))
    assert torch.equal(pixels(pictures.with_name("moved")), before)
    assert len(decoded) == 2


def test_features_of_other_weights_are_computed_again(pictures):
    one, computed = images.load(str(pictures), "val", size=32), []

    def compute():
        computed.append(1)
        return torch.ones(2, 3)

    for weights in ("first", "first", "second"):
        one.cached("features", compute, {"weights": weights})
    assert len(computed) == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: content.replace(b"sha256", b"sha255"),
    ],
    ids=["cut short", "empty", "one bit", "without its hash"],
)
def test_damaged_pixels_are_decoded_again(pictures, decoded, damage):
    whole = pixels(pictures)
    (cached,) = pictures.parent.glob("images/*.pixels.safetensors")
    cached.write_bytes(damage(cached.read_bytes()))
    assert torch.equal(pixels(pictures), whole)
    assert torch.equal(pixels(pictures), whole)
    assert len(decoded) == 4


def test_emoji_are_identified_by_their_archives():
    assert len(folders.identity("emoji")) == 3
    assert all(len(archive) == 64 for archive in folders.identity("emoji"))


def test_transparency_is_white_and_the_middle_square_is_kept(tmp_path):
    picture = Image.new("RGBA", (64, 32), (0, 0, 0, 0))
    picture.paste((255, 0, 0, 255), (0, 0, 16, 32))  # cut off: outside the middle square
    picture.save(tmp_path / "wide.png")
    assert (images.decode(tmp_path / "wide.png", 32) == 255).all()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda root: None, "has no folder 'train'; give 'emoji', or a folder that contains train and val"),
        (lambda root: (root / "train" / "one").mkdir(parents=True), "contains no images; allowed are .png, .jpg"),
    ],
)
def test_a_wrong_folder_is_reported(tmp_path, make, says):
    make(tmp_path)
    with pytest.raises(ValueError, match=says):
        images.load(str(tmp_path), "train")


def test_a_broken_image_and_an_unknown_split_are_reported(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"a.png is not a readable image"):
        images.decode(tmp_path / "a.png", 32)
    with pytest.raises(ValueError, match="split 'test' is not known; allowed are train, val"):
        images.load("emoji", "test")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"size": 15}, "size 15 and number 0 are not allowed; give a size from 16 pixels"),
        ({"number": -1}, "size 64 and number -1 are not allowed"),
        ({"groups": "x"}, "groups 'x' is for folders of images; emoji are grouped by what they show"),
    ],
)
def test_what_is_not_allowed_is_reported(given, says):
    with pytest.raises(ValueError, match=says):
        images.load("emoji", "val", **given)
