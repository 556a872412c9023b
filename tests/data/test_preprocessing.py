"""Pictures become what the weights were trained on: against torchvision's transforms, Pillow, and by hand."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.support import live
from zoo import data
from zoo.data import Preprocessing, prepare_images, prepare_picture
from zoo.data.preprocessing import PRESETS, format_preprocessing, parse_preprocessing
from zoo.errors import UserError

BYTES = {"mean": (0.0,) * 3, "std": (1.0,) * 3, "scale": 255.0}  # leaves the pixels as they are


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Noise over a slope, so that a shift by one pixel shows."""
    noise = np.random.RandomState(0).randint(0, 80, (height, width, 3))
    slope = np.linspace(0, 175, width)[None, :, None]
    return Image.fromarray((noise + slope).astype(np.uint8)).convert(mode)


@pytest.mark.parity  # sizes whose long side comes out whole: elsewhere torchvision's is cut off
@pytest.mark.parametrize("size", [(360, 240), (240, 360), (200, 100), (224, 224)])
@pytest.mark.parametrize(
    "preprocessing",
    [Preprocessing(), Preprocessing(96, 0.75, interpolation="bicubic"), Preprocessing(98, 1.0)],
)
def test_prepare_picture_equals_torchvision_s_transforms(size, preprocessing):
    transforms = live.torchvision_of_cpu().transforms
    side, _, _ = preprocessing.image_shape
    mode = transforms.InterpolationMode(preprocessing.interpolation)
    theirs = transforms.Compose(
        [
            transforms.Resize(round(side / preprocessing.crop), mode),
            transforms.CenterCrop(side),
            transforms.ToTensor(),
            transforms.Normalize(preprocessing.mean, preprocessing.std),
        ]
    )
    expected = theirs(picture(*size)).numpy().transpose(1, 2, 0)
    ours = prepare_picture(picture(*size), preprocessing)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6)


def test_a_picture_of_the_native_size_is_only_standardised():
    image = picture(32, 32)
    preprocessing = Preprocessing(32, 1.0, mean=(1.0, 2.0, 3.0), std=(2.0, 4.0, 8.0), scale=255.0)
    expected = (np.asarray(image, np.float64) - [1, 2, 3]) / [2, 4, 8]
    np.testing.assert_allclose(prepare_picture(image, preprocessing), expected, rtol=1e-6)
    np.testing.assert_allclose(prepare_images(np.asarray(image)[None], preprocessing)[0], expected, rtol=1e-6)


def test_the_middle_is_cut_out_and_the_long_side_rounded():
    strip = np.zeros((32, 64, 3), np.uint8)
    strip[:, 16:48] = 255
    preprocessing = Preprocessing(32, 1.0, mean=(0.0,) * 3, std=(1.0,) * 3)
    assert prepare_picture(Image.fromarray(strip), preprocessing).min() == 1
    image = picture(159, 100)  # 15.9 by 10 pixels
    resized = image.resize((16, 10), Image.Resampling.BILINEAR).crop((3, 0, 13, 10))
    np.testing.assert_array_equal(prepare_picture(image, Preprocessing(10, 1.0, **BYTES)), np.asarray(resized))


def test_without_a_crop_the_whole_picture_is_stretched():
    image = picture(30, 20)
    stretched = np.asarray(image.resize((12, 16), Image.Resampling.BILINEAR), np.float32)
    np.testing.assert_array_equal(prepare_picture(image, Preprocessing((16, 12), None, **BYTES)), stretched)


@pytest.mark.parametrize("shape", [(30, 20), (20, 30), (16, 12), (9, 12)])
@pytest.mark.parametrize("crop", [None, 1.0, 0.75])
def test_a_rectangle_is_covered_and_cut_out_of_the_middle(shape, crop):
    """The largest centred rectangle of the net's proportions, whatever the picture's."""
    preprocessing = Preprocessing((8, 6), crop, **BYTES)
    height, width = preprocessing.resized_shape(*shape)
    assert height >= 8
    assert width >= 6
    if crop:
        assert min(height * crop / 8, width * crop / 6) == pytest.approx(1, abs=0.05)
    assert prepare_picture(picture(*shape[::-1]), preprocessing).shape == (8, 6, 3)


@pytest.mark.parametrize("preprocessing", [Preprocessing(12, None, **BYTES), Preprocessing(12, 0.75, **BYTES)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_batch_of_bytes_becomes_what_each_picture_becomes(preprocessing, interpolation):
    """Up to Pillow's rounding to bytes, once for each direction of a resize."""
    preprocessing = Preprocessing(12, preprocessing.crop, **BYTES, interpolation=interpolation)
    image = Image.fromarray(np.random.RandomState(1).randint(60, 190, (20, 30, 3), np.uint8))
    ours = prepare_images(np.asarray(image)[None], preprocessing)[0]
    np.testing.assert_allclose(ours, prepare_picture(image, preprocessing), atol=1.6)


@pytest.mark.parametrize(("old", "new"), [((8, 8), (32, 32)), ((9, 7), (5, 12)), ((28, 28), (8, 8))])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_batch_is_resized_as_pillow_resizes_floats(old, new, interpolation):
    image = np.random.default_rng(0).integers(0, 256, old, np.uint8)
    resampling = Image.Resampling[interpolation.upper()]
    expected = Image.fromarray(image.astype(np.float32)).resize(new[::-1], resampling)
    preprocessing = Preprocessing(new, None, (0.0,), (1.0,), 255.0, interpolation)
    ours = prepare_images(image[None, ..., None], preprocessing)
    np.testing.assert_allclose(ours[0, ..., 0], np.asarray(expected), atol=5e-4)


def test_a_resized_dataset_gives_batches_of_that_size():
    test = data.load("digits").test.resize(32)
    assert test.preprocessing.image_shape == (32, 32, 1)
    assert next(data.batches(test, 4, seed=0, epoch=0))["image"].shape == (4, 32, 32, 1)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_pictures_of_every_mode_have_the_channels_of_the_preprocessing(mode):
    assert prepare_picture(picture(40, 30, mode), Preprocessing(16)).shape == (16, 16, 3)
    grey = Preprocessing(16, None, (0.5,), (0.5,))
    assert prepare_picture(picture(40, 30, mode), grey).shape == (16, 16, 1)


def test_pictures_that_no_net_can_see_are_refused():
    with pytest.raises(UserError, match=r"5000x1 is too elongated.*: cut out a part"):
        prepare_picture(Image.new("RGB", (5000, 1)), Preprocessing())
    with pytest.raises(UserError, match="1 or 3 channels, the preprocessing has 2"):
        prepare_picture(picture(8, 8), Preprocessing(8, None, (0.5, 0.5), (1.0, 1.0)))


@pytest.mark.parametrize(
    "images",
    [np.ones((2, 8, 8, 1), np.uint8), np.ones((2, 8, 8, 3), np.float32), np.ones((2, 8, 8, 3), np.uint16)],
)
def test_a_batch_of_other_channels_or_numbers_is_refused(images):
    with pytest.raises(UserError, match=r"images must be \[N, h, w, 3\] bytes, got "):
        prepare_images(images, Preprocessing(8))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "L", "P", "1"])
def test_a_net_of_one_channel_sees_pillow_s_grey(mode):
    grey = np.asarray(picture(40, 30, mode).convert("L"), np.float32)
    prepared = prepare_picture(picture(40, 30, mode), Preprocessing((30, 40), None, (0.5,), (0.25,)))
    np.testing.assert_allclose(prepared[..., 0], (grey / 255 - 0.5) / 0.25, atol=1e-5)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preprocessing_is_read_back_from_its_text(name):
    assert parse_preprocessing(format_preprocessing(PRESETS[name])) == PRESETS[name]
    assert parse_preprocessing(name) == PRESETS[name]


def test_an_int_is_a_square():
    assert Preprocessing(32) == Preprocessing((32, 32)) == parse_preprocessing(json.dumps({"size": [32, 32]}))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("cafe", "pass torchvision, caffe, inception or JSON"),
        ("[1]", "the fields size, crop, mean"),
        ('{"resize": 1}', "the fields size, crop, mean"),
        ('{"source": "elsewhere"}', "the fields size, crop, mean"),
        ('{"size": 1000000}', "size from 1 to 4096"),
        ('{"size": "224"}', "finite numbers"),
        ('{"size": [1, 2, 3]}', "size from 1 to 4096"),
        ('{"mean": [0.5]}', "a mean and a std for each channel"),
        ('{"mean": [], "std": []}', "a mean and a std for each channel"),
        ('{"mean": 0.5}', "not iterable|must be an iterable"),
        ('{"std": [1, 0, 1]}', "std above 0"),
        ('{"crop": 1e-9}', "crop above"),
        ('{"scale": NaN}', "finite numbers"),
        ('{"interpolation": "nearest"}', "bilinear or bicubic"),
    ],
)
def test_an_impossible_preprocessing_is_refused(text, why):
    with pytest.raises(UserError, match=why):
        parse_preprocessing(text)
