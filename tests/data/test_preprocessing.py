"""Pictures become what the weights were trained on: against torchvision's transforms, and by hand."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.support import live
from zoo.data import preprocessing as preprocess
from zoo.models.variant import Weights


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Noise over a slope, so that a shift by one pixel shows."""
    noise = np.random.RandomState(0).randint(0, 80, (height, width, 3))
    slope = np.linspace(0, 175, width)[None, :, None]
    return Image.fromarray((noise + slope).astype(np.uint8)).convert(mode)


@pytest.mark.parity  # sizes whose long side comes out whole: elsewhere torchvision's is cut off
@pytest.mark.parametrize("size", [(360, 240), (240, 360), (200, 100), (224, 224)])
@pytest.mark.parametrize(
    "weights",
    [Weights("x"), Weights("x", size=96, crop=0.75, interpolation="bicubic"), Weights("x", size=98, crop=1.0)],
)
def test_prepare_equals_torchvision_s_transforms(size, weights):
    transforms = live.torchvision_of_cpu().transforms
    theirs = transforms.Compose(
        [
            transforms.Resize(round(weights.size / weights.crop), transforms.InterpolationMode(weights.interpolation)),
            transforms.CenterCrop(weights.size),
            transforms.ToTensor(),
            transforms.Normalize(weights.mean, weights.std),
        ]
    )
    expected = theirs(picture(*size)).numpy().transpose(1, 2, 0)[None]
    ours = preprocess.prepare(picture(*size), weights)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6)


def test_a_picture_of_the_native_size_is_only_standardised():
    image = picture(32, 32)
    weights = Weights("x", size=32, crop=1.0, mean=(1.0, 2.0, 3.0), std=(2.0, 4.0, 8.0), scale=255.0)
    expected = (np.asarray(image, np.float64) - [1, 2, 3]) / [2, 4, 8]
    np.testing.assert_allclose(preprocess.prepare(image, weights)[0], expected, rtol=1e-6)


def test_the_middle_is_cut_out_and_the_long_side_rounded():
    strip = np.zeros((32, 64, 3), np.uint8)
    strip[:, 16:48] = 255
    weights = Weights("x", size=32, crop=1.0, mean=(0.0,) * 3, std=(1.0,) * 3)
    assert preprocess.prepare(Image.fromarray(strip), weights).min() == 1
    image = picture(159, 100)  # 15.9 by 10 pixels
    resized = image.resize((16, 10), Image.Resampling.BILINEAR).crop((3, 0, 13, 10))
    weights = Weights("x", size=10, crop=1.0, mean=(0.0,) * 3, std=(1.0,) * 3, scale=255.0)
    np.testing.assert_array_equal(preprocess.prepare(image, weights)[0], np.asarray(resized))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_pictures_of_every_mode_have_three_channels(tmp_path, mode):
    path = tmp_path / ("p.tiff" if mode == "CMYK" else "p.png")
    picture(40, 30, mode).save(path)
    assert preprocess.prepare(path, Weights("x", size=16)).shape == (1, 16, 16, 3)


def test_a_broken_or_absent_picture_is_one_clear_error(tmp_path):
    path = tmp_path / "p.png"
    with pytest.raises(FileNotFoundError, match=r"no picture at \S+p\.png"):
        preprocess.prepare(path, Weights("x"))
    picture(40, 30).save(path)
    content = path.read_bytes()
    for bad in (b"", b"text", content[:50], content[:-200]):
        path.write_bytes(bad)
        with pytest.raises(ValueError, match=r"p\.png cannot be read as a picture: ") as error:
            preprocess.prepare(path, Weights("x"))
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="5000x1 is too elongated"):
        preprocess.prepare(Image.new("RGB", (5000, 1)), Weights("x"))


@pytest.mark.parametrize("name", preprocess.PRESETS)
def test_a_description_is_read_back(name):
    weights = preprocess.PRESETS[name]("w.safetensors")
    assert preprocess.preprocessing(preprocess.described(weights), "w.safetensors") == weights
    assert preprocess.preprocessing(name, "w.safetensors") == weights


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("cafe", "use torchvision, caffe, inception or JSON"),
        ("[1]", "the fields are size, crop, mean"),
        ('{"resize": 1}', "the fields are size, crop, mean"),
        ('{"source": "elsewhere"}', "the fields are size, crop, mean"),
        ('{"size": 1000000}', "size from 1 to 4096"),
        ('{"size": "224"}', "numbers"),
        ('{"mean": [0.5]}', "three channels"),
        ('{"mean": 0.5}', "not iterable|must be an iterable"),
        ('{"std": [1, 0, 1]}', "std above 0"),
        ('{"crop": 1e-9}', "crop above"),
        ('{"scale": NaN}', "numbers"),
        ('{"interpolation": "nearest"}', "bilinear or bicubic"),
    ],
)
def test_an_impossible_preprocessing_is_refused(text, why):
    with pytest.raises(ValueError, match=why) as error:
        preprocess.preprocessing(text, "w.safetensors")
    assert "w.safetensors" in str(error.value)


def test_class_names_come_from_lists_objects_and_lines(tmp_path):
    for name, content in (
        ("l.json", json.dumps(["cat", "dog"])),
        ("o.json", json.dumps({"1": "dog", "0": "cat"})),
        ("t.txt", "cat\ndog\n"),
    ):
        (tmp_path / name).write_text(content)
        assert preprocess.class_names(tmp_path / name, 2) == ["cat", "dog"]
        with pytest.raises(ValueError, match="no list of 3 names"):
            preprocess.class_names(tmp_path / name, 3)
    for content in ("{", '{"a": "cat", "b": "dog"}', "[1, 2]", "3"):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(ValueError, match=r"bad\.json (is no list of class names|has no list)"):
            preprocess.class_names(tmp_path / "bad.json", 2)
