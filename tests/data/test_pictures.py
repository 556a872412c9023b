"""Pictures: upright, opaque, of 8 bits, and refused by name. Oracles: numpy, and Pillow for bytes."""

import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from zoo.data import Preprocessing, prepare_picture, read_picture
from zoo.errors import UserError

GREY = Preprocessing((1, 8), None, (0.0,), (1.0,))  # leaves eight grey pixels as they are, in [0, 1]
RAMP = np.arange(8) / 7


def test_a_picture_lies_as_its_exif_orientation_says(tmp_path):
    """Orientation 6: row 0 of the file is the right-hand side of what the camera saw (EXIF 2.3, tag 274)."""
    stored = np.zeros((4, 6, 3), np.uint8)
    stored[0] = 255
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(stored).save(tmp_path / "phone.png", exif=exif)
    upright = np.asarray(read_picture(tmp_path / "phone.png"))
    assert upright.shape == (6, 4, 3)
    assert (upright[:, -1] == 255).all()
    assert not upright[:, :-1].any()
    with Image.open(tmp_path / "phone.png") as opened:
        np.testing.assert_array_equal(np.asarray(read_picture(opened)), upright)
    bytes_of = Preprocessing((6, 4), None, (0.0,) * 3, (1.0,) * 3, 255.0)
    with Image.open(tmp_path / "phone.png") as opened:
        np.testing.assert_array_equal(prepare_picture(opened, bytes_of), upright)
    np.testing.assert_array_equal(prepare_picture(tmp_path / "phone.png", bytes_of), upright)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_grey_of_16_bits_keeps_its_ramp(tmp_path, suffix):
    stored = np.round(RAMP * 65535).astype(np.uint16)[None]
    Image.fromarray(stored).save(tmp_path / f"ramp.{suffix}")
    prepared = prepare_picture(read_picture(tmp_path / f"ramp.{suffix}"), GREY)[0, :, 0]
    np.testing.assert_allclose(prepared, RAMP, atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_grey_of_16_bits_in_memory_is_of_65535_however_dark(mode):
    dark = np.array([[0, 100, 257, 1000]], ">u2" if mode.endswith("B") else "<u2")
    picture = Image.frombytes(mode, (4, 1), dark.tobytes())
    np.testing.assert_array_equal(np.asarray(read_picture(picture)), np.round(dark / 257))


@pytest.mark.parametrize("white", [255, 65535, 2**31 - 1, 1.0, 255.0, 65535.0])
def test_integers_of_32_bits_and_floats_are_measured_by_the_white_they_reach(tmp_path, white):
    stored = RAMP * white if isinstance(white, float) else np.round(RAMP * white)
    Image.fromarray(stored.astype(np.float32 if isinstance(white, float) else np.int32)[None]).save(tmp_path / "r.tif")
    prepared = prepare_picture(read_picture(tmp_path / "r.tif"), GREY)[0, :, 0]
    np.testing.assert_allclose(prepared, RAMP, atol=0.5 / 255 + 1e-6)


def tiff(bits, photometric, pixels):
    """A little-endian TIFF of one row of unsigned integers, by its specification (TIFF 6.0, section 2)."""
    if bits == 12:  # two pixels in three bytes, the most significant bit first
        data = np.packbits(np.unpackbits(pixels.astype(">u4").view(np.uint8)).reshape(-1, 32)[:, 20:]).tobytes()
    else:
        data = pixels.astype(f"<u{bits // 8}").tobytes()
    entries = [(256, len(pixels)), (257, 1), (258, bits), (259, 1), (262, photometric), (273, 8 + 2 + 9 * 12 + 4)]
    entries += [(277, 1), (278, 1), (279, len(data))]
    directory = b"".join(struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value) for tag, value in entries)
    return struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + directory + bytes(4) + data


@pytest.mark.parametrize("bits", [8, 12, 16, 32])
def test_an_unsigned_tiff_goes_up_to_its_largest_number(tmp_path, bits):
    (tmp_path / "ramp.tif").write_bytes(tiff(bits, 1, np.round(RAMP * (2.0**bits - 1))))
    np.testing.assert_allclose(prepare_picture(tmp_path / "ramp.tif", GREY)[0, :, 0], RAMP, atol=0.003)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_tiff_whose_zero_is_white_is_turned_round(tmp_path, bits):
    (tmp_path / "negative.tif").write_bytes(tiff(bits, 0, np.round(RAMP * (2.0**bits - 1))))
    np.testing.assert_allclose(prepare_picture(tmp_path / "negative.tif", GREY)[0, :, 0], 1 - RAMP, atol=0.003)


@pytest.mark.parametrize("numbers", [[-5, 300], [0, np.nan], [0, np.inf], [0.0, 1e9]])
def test_numbers_that_say_neither_black_nor_white_are_refused_by_name(tmp_path, numbers):
    Image.fromarray(np.array([numbers], np.float32)).save(tmp_path / "odd.tif")
    with pytest.raises(UserError, match=r"odd\.tif cannot be read as a picture: its pixels go from .* store it with"):
        read_picture(tmp_path / "odd.tif")


def on_paper(colour, alpha):
    """By definition: what the ink covers of white paper."""
    return alpha[..., None] / 255 * colour + (1 - alpha[..., None] / 255) * 255


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P", "P with one colour", "L with one grey", "RGB with one"])
def test_what_is_transparent_shows_white_paper(tmp_path, mode):
    """The colour below full transparency is black, as drawing programs write it."""
    alpha = np.array([[0, 255, 0, 255]], np.uint8)
    colour = np.zeros((1, 4, 3), np.uint8)
    colour[0, 3] = 90
    expected = on_paper(colour.astype(float), alpha)
    if mode in ("RGBA", "LA"):
        alpha[0, 1] = 120
        expected = on_paper(colour.astype(float), alpha)
        picture = Image.fromarray(np.dstack([colour if mode == "RGBA" else colour[..., 0], alpha]))
    elif mode == "PA":
        picture = Image.fromarray(np.dstack([colour, alpha])).convert("PA")
    elif mode.startswith("P"):
        picture = Image.frombytes("P", (4, 1), bytes([0, 1, 0, 2]))
        picture.putpalette([0, 0, 0, 0, 0, 0, 90, 90, 90])
        picture.info["transparency"] = 0 if "one" in mode else bytes([0, 255, 255])
    else:  # one colour stands for transparency
        colour[0, ::2] = 7
        picture = Image.fromarray(colour if mode.startswith("RGB") else colour[..., 0])
        picture.info["transparency"] = (7, 7, 7) if mode.startswith("RGB") else 7
    assert picture.mode == mode.split()[0]
    np.testing.assert_allclose(np.asarray(read_picture(picture).convert("RGB"), float), expected, atol=1)
    if mode != "PA":
        picture.save(tmp_path / "ink.png", **{k: v for k, v in picture.info.items() if k == "transparency"})
        np.testing.assert_allclose(np.asarray(read_picture(tmp_path / "ink.png").convert("RGB")), expected, atol=1)
        grey = prepare_picture(tmp_path / "ink.png", Preprocessing((1, 4), None, (0.0,), (1.0,), 255.0))
        np.testing.assert_allclose(grey[0, :, 0], expected[0, :, 0], atol=1)


def test_a_transparent_grey_of_16_bits_shows_white_paper(tmp_path):
    """PNG's chunk tRNS names one grey of 16 bits (PNG 1.2, 4.2.1.1)."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = b"\0" + np.array([0, 500, 30000, 65535], ">u2").tobytes()
    parts = (b"IHDR", struct.pack(">IIBBBBB", 4, 1, 16, 0, 0, 0, 0)), (b"tRNS", struct.pack(">H", 500))
    parts += (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    (tmp_path / "key.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    np.testing.assert_array_equal(np.asarray(read_picture(tmp_path / "key.png")), [[0, 255, 117, 255]])


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "HSV"])
def test_opaque_pictures_of_bytes_are_as_pillow_converts_them(mode):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)).convert(mode)
    expected = picture.convert("L" if mode in ("1", "L") else "RGB")
    read = read_picture(picture)
    assert read.mode == expected.mode
    np.testing.assert_array_equal(np.asarray(read), np.asarray(expected))
    np.testing.assert_array_equal(np.asarray(read_picture(read)), np.asarray(read))


def test_cmyk_is_the_complement_of_the_inks():
    inks = np.array([[[0, 0, 0, 0], [255, 0, 0, 0], [0, 255, 255, 0], [0, 0, 0, 255]]], np.uint8)
    read = np.asarray(read_picture(Image.frombytes("CMYK", (4, 1), inks.tobytes())))
    np.testing.assert_array_equal(read, [[[255] * 3, [0, 255, 255], [255, 0, 0], [0, 0, 0]]])


def test_a_broken_or_absent_picture_is_one_clear_error(tmp_path):
    path = tmp_path / "p.png"
    with pytest.raises(FileNotFoundError, match=r"no picture at \S+p\.png"):
        read_picture(path)
    Image.effect_noise((40, 30), 50).save(path)
    content = path.read_bytes()
    for bad in (b"", b"text", content[:50], content[:-200]):
        path.write_bytes(bad)
        with pytest.raises(UserError, match=r"p\.png cannot be read as a picture: ") as error:
            read_picture(path)
        assert "\n" not in str(error.value)
        assert str(error.value).count("p.png") == 1


def test_too_little_memory_is_not_the_picture_s_fault(tmp_path, monkeypatch):
    def run_out(*_):
        raise MemoryError

    Image.new("RGB", (4, 3)).save(tmp_path / "p.png")
    monkeypatch.setattr(Image.Image, "convert", run_out)
    with pytest.raises(MemoryError):
        read_picture(tmp_path / "p.png")


def test_an_elongated_picture_and_a_single_pixel_are_named(tmp_path):
    Image.new("RGB", (1, 1)).save(tmp_path / "tracker.png")
    with pytest.raises(UserError, match=r"tracker\.png is a single pixel"):
        prepare_picture(tmp_path / "tracker.png", Preprocessing())
    Image.new("L", (1000, 2)).save(tmp_path / "line.png")
    with pytest.raises(UserError, match=r"line\.png is too elongated, 1000x2"):
        prepare_picture(tmp_path / "line.png", GREY)


@pytest.mark.parametrize("size", [(20, 15), (40, 30)])  # above Pillow's limit, where it warns, and above twice it
def test_a_decompression_bomb_is_refused_by_name_and_without_a_warning(tmp_path, monkeypatch, recwarn, size):
    Image.new("L", size).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 290)
    with pytest.raises(UserError, match=r"bomb\.png has more than 290 pixels.*: make it smaller\.$"):
        read_picture(tmp_path / "bomb.png")
    assert not list(recwarn)


def test_of_many_pictures_the_bad_one_is_named_on_every_road(tmp_path):
    for name in "abc":
        Image.effect_noise((40, 30), 50).save(tmp_path / f"{name}.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "b.png").read_bytes()[:-200])

    def opened(path, take):
        with Image.open(path) as picture:
            return take(picture)

    for take in (read_picture, lambda picture: prepare_picture(picture, GREY)):
        for road in (take, lambda path, take=take: opened(path, take)):
            with pytest.raises(UserError, match=r"b\.png cannot be read as a picture: ") as error:
                [road(tmp_path / f"{name}.png") for name in "abc"]
            assert "\n" not in str(error.value)


def test_pictures_are_read_by_many_threads_and_python_s_warnings_stay_as_they_are(tmp_path):
    for i in range(16):
        Image.effect_noise((40, 30), 50).save(tmp_path / f"{i}.png")
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(read_picture, [tmp_path / f"{i % 16}.png" for i in range(320)]))
    assert warnings.filters == before
    for i, picture in enumerate(read):
        np.testing.assert_array_equal(np.asarray(picture), np.asarray(Image.open(tmp_path / f"{i % 16}.png")))


def test_a_picture_without_pixels_is_refused():
    for size in ((0, 5), (0, 0)):
        with pytest.raises(UserError, match=f"{size[0]}x{size[1]}"):
            prepare_picture(Image.new("L", size), GREY)
