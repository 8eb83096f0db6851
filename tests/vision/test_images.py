import pytest
import torch
from PIL import Image

from unicomp_lib.vision import efficientnet, images


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


def test_another_file_is_another_identity(image_folder, tmp_path):
    first = images.identity(str(image_folder))
    assert images.identity(str(image_folder)) == first
    (tmp_path / "b.png").write_bytes(b"1")
    assert images.identity(str(tmp_path)) != first
    assert len(images.identity("emoji")) == 3
