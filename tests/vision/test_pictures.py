import io
import random
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from unicomp_lib.vision import pictures

RAMP = np.linspace(0, 1, 64)[None].repeat(64, 0)
GREY = (255 * RAMP).round().astype("uint8")
DEEP = (65535 * RAMP).round().astype("uint16")


def read(folder, name, picture, **options):
    picture.save(folder / name, **options)
    return pictures.decode(folder / name, 32).int()


def png(folder, values, *, bits, kind, **chunks):
    """A PNG written by hand: ``values`` (height, width, channels) of so many bits, and chunks by name."""
    rows = [
        np.packbits(np.unpackbits(row.astype(">u2").view("uint8").reshape(-1, 2), axis=1)[:, -bits:]) for row in values
    ]
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, kind, 0, 0, 0)
    parts = [
        (b"IHDR", header),
        *((name.encode(), data) for name, data in chunks.items()),
        (b"IDAT", body),
        (b"IEND", b""),
    ]
    framed = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    ]
    (folder / "hand.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(framed))
    return folder / "hand.png"


@pytest.fixture
def reference(tmp_path):
    """The ramp from black to white in 8 bits."""
    return read(tmp_path, "reference.png", Image.fromarray(GREY))


def close(one, other, by=2):
    return int((one - other).abs().max()) <= by


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {}),
        ("a.tif", {}),
        ("a.tif", {"compression": "tiff_lzw"}),
        ("a.pgm", {}),
        ("a.TIFF", {"big_tiff": True}),
    ],
)
def test_16_bits_of_grey_are_scaled(tmp_path, reference, name, options):
    assert close(read(tmp_path, name, Image.fromarray(DEEP), **options), reference)


def test_16_bits_of_grey_are_rounded_and_turned_too(tmp_path):
    values = np.full((40, 40), 65535 // 3, "uint16")
    assert (read(tmp_path, "a.png", Image.fromarray(values)) == 85).all()
    exif = Image.Exif()
    exif[274] = 6
    turned = read(tmp_path, "b.png", Image.fromarray(DEEP), exif=exif)
    assert turned[:, 0].float().mean() < 20 < 235 < turned[:, -1].float().mean()


@pytest.mark.parametrize("big", [False, True])
def test_16_bits_in_either_byte_order(tmp_path, reference, big):
    path = tmp_path / "order.pgm"
    if big:
        path.write_bytes(b"P5 64 64 65535\n" + DEEP.astype(">u2").tobytes())
    else:  # a TIFF of the other order, by hand: width, height, bits, uncompressed, black is zero, strip
        path = tmp_path / "order.tif"
        tags = [(256, 64), (257, 64), (258, 16), (259, 1), (262, 1), (273, 8), (277, 1), (278, 64), (279, 8192)]
        data = b"MM\0*" + struct.pack(">I", 8 + 8192) + DEEP.astype(">u2").tobytes() + struct.pack(">H", len(tags))
        path.write_bytes(data + b"".join(struct.pack(">HHII", tag, 4, 1, value) for tag, value in tags) + bytes(4))
    assert close(pictures.decode(path, 32).int(), reference)


@pytest.mark.parametrize("bits", [16, 8])
def test_a_tiff_whose_white_is_zero_is_inverted(tmp_path, reference, bits):
    values = ((2**bits - 1) * (1 - RAMP)).round().astype(f"<u{bits // 8}").tobytes()
    tags = [(256, 64), (257, 64), (258, bits), (259, 1), (262, 0), (273, 8), (277, 1), (278, 64), (279, len(values))]
    data = b"II*\0" + struct.pack("<I", 8 + len(values)) + values + struct.pack("<H", len(tags))
    (tmp_path / "a.tif").write_bytes(
        data + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags) + bytes(4)
    )
    assert close(pictures.decode(tmp_path / "a.tif", 32).int(), reference)


def test_12_bits_in_a_tiff_are_scaled(tmp_path, reference):
    values = (4095 * RAMP).round().astype("uint16").flatten()
    bits = np.unpackbits(values.astype(">u2").view("uint8").reshape(-1, 2), axis=1)[:, 4:]
    packed = np.packbits(bits).tobytes()
    tags = [(256, 64), (257, 64), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, 64), (279, len(packed))]
    data = b"II*\0" + struct.pack("<I", 8 + len(packed)) + packed + struct.pack("<H", len(tags))
    (tmp_path / "a.tif").write_bytes(
        data + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags) + bytes(4)
    )
    assert close(pictures.decode(tmp_path / "a.tif", 32).int(), reference)


@pytest.mark.parametrize(("kind", "channels"), [(2, 3), (6, 4), (4, 2), (0, 1)])
@pytest.mark.parametrize("bits", [8, 16])
def test_png_of_8_and_16_bits_of_every_kind(tmp_path, reference, kind, channels, bits):
    values = ((2**bits - 1) * RAMP).round()[..., None].repeat(channels, 2)
    if channels in (2, 4):
        values[..., -1] = 2**bits - 1
    assert close(pictures.decode(png(tmp_path, values, bits=bits, kind=kind), 32).int(), reference)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_png_of_few_bits_reaches_black_and_white(tmp_path, bits):
    values = ((2**bits - 1) * (RAMP > 0.5))[..., None]
    decoded = pictures.decode(png(tmp_path, values, bits=bits, kind=0), 32)
    assert (decoded[:, :, :15] == 0).all()
    assert (decoded[:, :, 17:] == 255).all()


@pytest.mark.parametrize(
    ("mode", "by"), [("L", 1), ("RGB", 1), ("RGBA", 1), ("LA", 1), ("P", 30), ("PA", 30), ("CMYK", 3), ("YCbCr", 3)]
)
def test_modes_give_the_same_picture(tmp_path, mode, by):
    colour = Image.new("RGB", (40, 40), (200, 30, 30) if mode not in ("L", "LA") else (90, 90, 90))
    name = "a.png" if mode in ("L", "RGB", "RGBA", "LA", "P") else "a.jpg" if mode in ("CMYK", "YCbCr") else "a.tif"
    decoded = read(tmp_path, name, colour.convert(mode))
    assert close(decoded.float().mean((1, 2)).round().int(), torch.tensor(colour.getpixel((0, 0))), by)


def test_one_bit_and_a_palette_with_transparency(tmp_path):
    half = Image.new("1", (40, 40))
    half.paste(1, (20, 0, 40, 40))
    decoded = read(tmp_path, "one.png", half)
    assert (decoded[:, :, :15] == 0).all()
    assert (decoded[:, :, 17:] == 255).all()
    palette = Image.new("P", (40, 40), 0)
    palette.putpalette([200, 30, 30, 10, 10, 10])
    palette.paste(1, (20, 0, 40, 40))
    for transparency in (1, bytes([255, 0])):
        decoded = read(tmp_path, "p.png", palette, transparency=transparency)
        assert decoded[:, 5, 5].tolist() == [200, 30, 30]
        assert (decoded[:, :, 17:] == 255).all()
    half_seen = read(tmp_path, "p.png", palette, transparency=bytes([255, 128]))
    assert close(half_seen[:, 5, 30], torch.tensor([132, 132, 132]), 1)


def test_a_transparent_colour_is_white_in_8_bits_and_refused_in_others(tmp_path):
    values = np.zeros((40, 40, 3))
    values[:, 20:] = 255
    path = png(tmp_path, values, bits=8, kind=2, tRNS=struct.pack(">HHH", 0, 0, 0))
    assert (pictures.decode(path, 32) == 255).all()
    for bits, kind, channels, colour in ((16, 2, 3, (0, 0, 0)), (16, 0, 1, (0,)), (4, 0, 1, (3,)), (2, 0, 1, (1,))):
        chunk = struct.pack(f">{len(colour)}H", *colour)
        path = png(tmp_path, np.zeros((40, 40, channels)), bits=bits, kind=kind, tRNS=chunk)
        with pytest.raises(ValueError, match=rf"hand.png has a transparent colour in {bits} bits"):
            pictures.decode(path, 32)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_as_they_are_seen(tmp_path, name, orientation):
    seen = Image.new("RGB", (48, 48), "white")
    seen.paste((255, 0, 0), (0, 0, 24, 24))  # red above, on the left; green below it
    seen.paste((0, 255, 0), (0, 24, 24, 48))
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    stored = seen.transpose(turn[orientation]) if orientation > 1 else seen
    exif = Image.Exif()
    exif[274] = orientation
    quality = {"quality": 95} if name != "a.png" and name != "a.tif" else {}
    decoded = read(tmp_path, name, stored, exif=exif.tobytes(), **quality)
    assert close(decoded[:, 5, 5], torch.tensor([255, 0, 0]), 12)
    assert close(decoded[:, 26, 5], torch.tensor([0, 255, 0]), 12)
    assert close(decoded[:, 16, 26], torch.tensor([255, 255, 255]), 12)


def test_an_orientation_that_is_none_is_left(tmp_path):
    exif = Image.Exif()
    exif[274] = 9
    plain = read(tmp_path, "a.png", Image.fromarray(GREY))
    assert torch.equal(read(tmp_path, "b.png", Image.fromarray(GREY), exif=exif), plain)


@pytest.mark.parametrize(
    ("name", "picture", "says"),
    [
        ("a.tif", Image.fromarray(RAMP.astype("float32")), "has floating-point numbers, whose black and white are not"),
        ("a.tif", Image.fromarray((1e6 * RAMP).astype("int32")), "has integers of 32 bits or with a sign, whose black"),
        ("a.pfm", Image.fromarray(RAMP.astype("float32")), "has floating-point numbers"),
    ],
)
def test_numbers_without_a_white_are_refused(tmp_path, name, picture, says):
    with pytest.raises(ValueError, match=rf"{name} {says}"):
        read(tmp_path, name, picture)


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.tif"])
def test_several_pictures_in_one_are_refused_and_one_is_read(tmp_path, name):
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue", "green")]
    with pytest.raises(ValueError, match=rf"{name} has 3 pictures, as an animation or pages; save the one"):
        read(tmp_path, name, frames[0], save_all=True, append_images=frames[1:])
    assert close(read(tmp_path, f"one{name}", frames[0])[:, 5, 5], torch.tensor([255, 0, 0]), 3)


def test_of_a_phones_photograph_with_a_preview_the_first_is_read(tmp_path):
    first, preview = Image.new("RGB", (40, 40), "red"), Image.new("RGB", (20, 20), "blue")
    first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[preview])
    assert Image.open(tmp_path / "a.jpg").format == "MPO"
    assert close(pictures.decode(tmp_path / "a.jpg", 32).int()[:, 5, 5], torch.tensor([255, 0, 0]), 3)


def test_too_large_a_picture_is_named(tmp_path, monkeypatch):
    Image.fromarray(GREY).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(
        ValueError, match=r"large.png has more than 200 pixels, Pillow's limit; make the picture smaller"
    ):
        pictures.decode(tmp_path / "large.png", 32)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert pictures.decode(tmp_path / "large.png", 32).shape == (3, 32, 32)


@pytest.mark.parametrize("shape", [(1, 64), (64, 1), (1, 1), (2, 300)])
def test_thin_pictures_are_read(tmp_path, shape):
    decoded = read(tmp_path, "thin.png", Image.new("RGB", shape, (10, 20, 30)))
    assert (decoded == torch.tensor([10, 20, 30])[:, None, None]).all()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM"])
def test_a_file_that_is_cut_or_no_picture_is_named_and_nothing_else_is_raised(tmp_path, kind):
    written, chance, path = io.BytesIO(), random.Random(0), tmp_path / "a.png"
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype("uint8")
    Image.fromarray(noise).save(written, kind)
    whole = written.getvalue()
    path.write_bytes(whole)
    assert pictures.decode(path, 32).shape == (3, 32, 32)  # by its content, not by its suffix
    for share in (0, 0.1, 0.5, 0.9, 0.98):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(ValueError, match=r"a.png is not a readable image \(.*\); remove or fix it"):
            pictures.decode(path, 32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(100):
            damaged = bytearray(whole)
            for _ in range(4):
                damaged[chance.randrange(min(len(damaged), 300))] = chance.randrange(256)
            path.write_bytes(damaged)
            try:
                pictures.decode(path, 32)
            except ValueError as error:
                assert str(path) in str(error)  # noqa: PT017, some damage can still be read


@pytest.mark.parametrize(
    "content", [b"", b"no image", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%!PS-Adobe-3.0 EPSF-3.0\n"]
)
def test_what_is_no_picture_is_named(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"a.png is not a readable image"):
        pictures.decode(tmp_path / "a.png", 32)
