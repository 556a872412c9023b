"""A drawn digit becomes what the makers of MNIST and of the UCI digits say that theirs are."""

import numpy as np
import pytest
import scipy.ndimage
from PIL import Image, ImageChops, ImageDraw, ImageOps
from sklearn.svm import SVC

from zoo import data
from zoo.data import prepare_digit
from zoo.errors import UserError


def draw_seven(x, y, size):
    """A seven of pen strokes on white paper of 300x300."""
    paper = Image.new("L", (300, 300), 255)
    points = [(x, y), (x + size * 0.6, y), (x + size * 0.2, y + size)]
    ImageDraw.Draw(paper).line(points, fill=20, width=size // 8, joint="curve")
    return paper


@pytest.mark.parametrize("picture", [draw_seven(30, 40, 120), draw_seven(150, 160, 120), draw_seven(40, 30, 240)])
def test_a_digit_lies_as_in_mnist(picture):
    """In the words of its makers: 20x20 with its proportions kept, the centre of mass in the middle of 28x28."""
    prepared = np.asarray(prepare_digit(picture))
    assert prepared.shape == (28, 28)
    assert prepared.max() == 255
    rows, columns = np.flatnonzero(prepared.any(1)), np.flatnonzero(prepared.any(0))
    left, top, right, bottom = ImageOps.invert(picture).point(lambda v: 255 * (v > 117)).getbbox()
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert height == 20
    assert width == pytest.approx(20 * (right - left) / (bottom - top), abs=1)
    np.testing.assert_allclose(scipy.ndimage.center_of_mass(prepared), 14, atol=0.51)  # MNIST's own mean: 14.0
    ink = np.mean(np.asarray(picture.crop((left, top, right, bottom))) < 138)
    assert prepared.sum() / 255 / (height * width) == pytest.approx(ink, rel=0.1)


@pytest.mark.parametrize("size", [8, 28])
def test_place_size_and_ground_change_nothing(size):
    picture = draw_seven(40, 30, 120)
    expected = np.asarray(prepare_digit(picture, size))
    transparent = Image.merge("LA", (Image.new("L", (300, 300)), ImageOps.invert(picture)))
    for changed in (ImageOps.invert(picture), ImageChops.offset(picture, 90, 110), transparent, picture.convert("RGB")):
        np.testing.assert_array_equal(np.asarray(prepare_digit(changed, size)), expected)
    larger = np.asarray(prepare_digit(picture.resize((750, 750)), size), float)
    assert np.abs(larger - expected).mean() < 4


def draw_shipped(digits, seed):
    """Shipped digits dark on white paper of 300x300, enlarged and anywhere."""
    random = np.random.default_rng(seed)
    for image in digits.images[..., 0]:
        side = int(random.integers(120, 260))
        large = ImageOps.invert(Image.fromarray(image)).resize((side, side), Image.Resampling.BICUBIC)
        paper = Image.new("L", (300, 300), 255)
        paper.paste(large, tuple(random.integers(0, 300 - side, 2).tolist()))
        yield paper


def test_shipped_digits_drawn_dark_and_anywhere_are_read_again():
    """By scikit-learn's support vector machine, which has seen the training images as they are."""
    train, test = data.load("digits")
    reader = SVC(C=10, gamma=0.5).fit(train.images.reshape(len(train), -1) / 255, train.labels)

    def accuracy(pictures):
        pixels = np.stack([np.asarray(picture, float).ravel() for picture in pictures])
        return reader.score(pixels / 255, test.labels)

    assert accuracy(test.images[..., 0]) > 0.98
    assert accuracy(prepare_digit(picture, 8) for picture in draw_shipped(test, 0)) > 0.95
    assert accuracy(picture.resize((8, 8)) for picture in draw_shipped(test, 0)) < 0.2
    assert accuracy(ImageOps.invert(picture).resize((8, 8)) for picture in draw_shipped(test, 0)) < 0.5


def test_the_digits_of_uci_are_counts_of_blocks():
    """A block of 20 x 32 fills five columns' worth of sixteenths, in the middle of eight."""
    paper = Image.new("L", (300, 300), 255)
    paper.paste(0, (50, 60, 130, 188))
    counts = np.asarray(prepare_digit(paper, 8), float) * 16 / 255
    np.testing.assert_allclose(counts, np.tile([0, 8, 16, 16, 16, 16, 8, 0], (8, 1)), atol=0.05)
    slanted = paper.transform(paper.size, Image.Transform.AFFINE, (1, 0.4, -50, 0, 1, 0), fillcolor=255)
    np.testing.assert_allclose(np.asarray(prepare_digit(slanted, 8), float) * 16 / 255, counts, atol=1.1)


def test_a_thin_stroke_stays_thin():
    paper = Image.new("L", (300, 300), 255)
    paper.paste(0, (150, 60, 160, 260))
    assert np.flatnonzero(np.asarray(prepare_digit(paper)).any(0)).size == 1
    assert np.flatnonzero(np.asarray(prepare_digit(paper, 8)).any(0)).size <= 2


def test_a_blank_picture_and_another_size_are_refused(tmp_path):
    with pytest.raises(UserError, match="300x300 is of one brightness"):
        prepare_digit(Image.new("RGB", (300, 300), "white"))
    with pytest.raises(UserError, match="28, as MNIST, or 8, as the digits of UCI, got 32"):
        prepare_digit(Image.new("L", (8, 8)), 32)
    Image.new("L", (9, 9), 200).save(tmp_path / "blank.png")
    with pytest.raises(UserError, match=r"blank\.png"):
        prepare_digit(tmp_path / "blank.png")
