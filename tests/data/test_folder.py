"""Folders of pictures: what is a class, a picture, a test picture, and what becomes of everything else."""

import os
import re
import shutil
import sys

import numpy as np
import pytest
from PIL import Image, ImageFile

from zoo import data
from zoo.errors import UserError


def save(path, size=(6, 4), **options):
    """A picture of noise that is a function of its path's last parts, so that no two are the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(list("/".join(path.parts[-3:]).encode()))
    Image.fromarray(random.integers(0, 256, (*size[::-1], 3), np.uint8)).save(path, **options)
    return path


def make(folder, **counts):
    """`CLASS/0.png`, ... for each class."""
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            save(folder / name / f"{i}.png")
    return folder


def names(split, folder):
    return [path.relative_to(folder).as_posix() for path in split.paths]


def load(folder, **options):
    return data.load(f"folder:{folder}", **options)


@pytest.mark.parametrize("held_out", ["val", "valid", "validation", "test"])
def test_a_divided_folder_keeps_its_splits_and_numbers_its_classes_as_text(tmp_path, held_out):
    make(tmp_path / "train", **{"2": 2, "10": 1, "cat": 3, "Dog": 1})
    make(tmp_path / held_out, **{"2": 1, "10": 2, "cat": 1, "Dog": 1})
    train, test = load(tmp_path)
    assert train.class_names == test.class_names == ("10", "2", "Dog", "cat")
    assert (train.num_classes, len(train), len(test)) == (4, 7, 5)
    np.testing.assert_array_equal(train.labels, [0, 1, 1, 2, 3, 3, 3])
    assert train.labels.dtype == np.int32
    for split, part in ((train, "train"), (test, held_out)):
        parts = [path.split("/") for path in names(split, tmp_path)]
        assert [(part, split.class_names[label]) for label in split.labels] == [(a, b) for a, b, _ in parts]


def test_of_val_and_test_val_is_taken(tmp_path):
    for part, count in (("train", 2), ("test", 3), ("val", 1)):
        make(tmp_path / part, a=count, b=count)
    assert names(load(tmp_path).test, tmp_path) == ["val/a/0.png", "val/b/0.png"]


def test_a_fifth_of_every_class_is_drawn_and_every_picture_is_in_one_split(tmp_path):
    counts = {"rare": 2, "few": 7, "many": 50}
    make(tmp_path, **counts)
    train, test = load(tmp_path)
    assert train.class_names == ("few", "many", "rare")
    np.testing.assert_array_equal(np.bincount(test.labels), [1, 10, 1])
    np.testing.assert_array_equal(np.bincount(train.labels), [6, 40, 1])  # unlike numbers stay unlike
    both = names(train, tmp_path) + names(test, tmp_path)
    assert sorted(both) == sorted(f"{name}/{i}.png" for name, count in counts.items() for i in range(count))


def test_the_drawn_test_is_a_function_of_the_seed_and_the_names(tmp_path):
    here = make(tmp_path / "here", a=10, b=10)
    drawn = {seed: names(load(here, seed=seed).test, here) for seed in range(3)}
    assert drawn[0] == ["a/5.png", "a/8.png", "b/0.png", "b/7.png"]  # for good: a run that is resumed draws it again
    assert len({tuple(test) for test in drawn.values()}) == 3
    assert names(load(here, seed=np.int64(1)).test, here) == drawn[1]
    there = shutil.copytree(here, tmp_path / "there")
    for path in there.glob("*/*"):
        save(path, (5, 5))  # other pictures
    assert names(load(there).test, there) == drawn[0]
    for i in range(10, 15):
        save(there / "b" / f"{i}.png")
    assert [name for name in names(load(there).test, there) if name.startswith("a")] == drawn[0][:2]


def test_a_corrupt_picture_moves_no_other_to_the_other_split(tmp_path):
    make(tmp_path, a=10, b=10)
    before = [set(names(split, tmp_path)) for split in load(tmp_path)]
    for bad in ("a/0.png", "b/4.png"):
        (tmp_path / bad).write_bytes(b"")
    with pytest.warns(UserWarning, match="left out: 2 of the 20"):
        after = [set(names(split, tmp_path)) for split in load(tmp_path, max_bad_files=2)]
    assert after == [split - {"a/0.png", "b/4.png"} for split in before]


def test_an_image_is_the_resized_middle_or_the_resized_box(tmp_path):
    make(tmp_path, a=2, b=2)
    path = save(tmp_path / "a" / "wide.png", (30, 20))
    split = data.read_class_folders(tmp_path).resize(8)
    row = split.paths.index(path)
    assert split.picture_size(row) == (20, 30)
    picture = Image.open(path)
    middle = picture.resize((14, 9), Image.Resampling.BILINEAR).crop((3, 0, 11, 8))  # 8 / 0.875 = 9.1
    np.testing.assert_array_equal(split.read_image(row), np.asarray(middle))
    box = data.Box(top=3, left=5, height=10, width=20)
    part = picture.crop((5, 3, 25, 13)).resize((8, 8), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(split.read_image(row, box), np.asarray(part))


COLOURS = np.zeros((12, 16, 3), np.uint8)
COLOURS[:, :8], COLOURS[:, 8:] = (200, 60, 30), (20, 90, 160)
GREYS = COLOURS.mean(-1).astype(np.uint8)
CLEAR = np.dstack([COLOURS, np.where(np.arange(16) < 8, 255, 0).astype(np.uint8)[None].repeat(12, 0)])
PALETTE, INKS = (Image.fromarray(COLOURS).quantize(2), Image.fromarray(COLOURS).convert("CMYK"))
MOVING = {"save_all": True, "append_images": [Image.new("RGB", (16, 12))] * 2}
TYPES = {
    "colour.jpg": (COLOURS, {"quality": 95, "subsampling": 0}),
    "colour.JPEG": (COLOURS, {"quality": 95, "subsampling": 0}),
    "colour.png": (COLOURS, {}),
    "colour.webp": (COLOURS, {"lossless": True}),
    "colour.bmp": (COLOURS, {}),
    "colour.tiff": (COLOURS, {}),
    "colour.ppm": (COLOURS, {}),
    "grey.jpg": (GREYS, {"quality": 95}),
    "sixteen.png": (GREYS.astype(np.uint16) * 257, {}),
    "sixteen.tif": (GREYS.astype(np.uint16) * 257, {}),
    "palette.png": (PALETTE, {}),
    "palette.gif": (PALETTE, {}),
    "ink.tif": (INKS, {}),
    "ink.jpg": (INKS, {"quality": 95}),
    "clear.png": (CLEAR, {}),
    "clear.webp": (CLEAR, {"lossless": True}),
    "moving.gif": (COLOURS, MOVING),
    "moving.webp": (COLOURS, MOVING | {"lossless": True}),
}


def test_pictures_of_every_type_are_seen_as_they_are(tmp_path):
    """In a type of its own each is the same picture: opaque on the left, on white paper where it is transparent."""
    (tmp_path / "types").mkdir()
    for name, (pixels, options) in TYPES.items():
        picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
        picture.save(tmp_path / "types" / name, **options)
    make(tmp_path, other=2)
    pictures = data.read_class_folders(tmp_path)
    seen = {path.name: row for row, path in enumerate(pictures.paths) if path.parent.name == "types"}
    assert set(seen) == set(TYPES)
    whole = data.PictureFiles(**vars(pictures) | {"preprocessing": data.Preprocessing((12, 16), None)})
    for name, row in seen.items():
        grey = name.startswith(("grey", "sixteen"))
        expected = (GREYS[..., None] if grey else COLOURS).astype(int).repeat(3 if grey else 1, -1)
        if name.startswith("clear"):
            expected[:, 8:] = 255
        image = whole.read_image(row)
        assert (image.shape, image.dtype) == ((12, 16, 3), np.uint8)
        assert whole.picture_size(row) == (12, 16)
        np.testing.assert_allclose(image[:, [2, 5, 11, 14]], expected[:, [2, 5, 11, 14]], atol=4, err_msg=name)


def damage(content, suffix):
    yield f"cut{suffix}", content[: len(content) // 2]
    yield f"short{suffix}", content[:-20]
    yield f"empty{suffix}", b""
    yield f"text{suffix}", b"<html>404</html>"


def test_every_file_that_cannot_be_used_is_in_one_error(tmp_path):
    make(tmp_path, a=3, b=3)
    wrong = ["a/link.jpg", "b/line.png", "b/pixel.png", "a/altered.png"]
    (tmp_path / "a" / "link.jpg").symlink_to(tmp_path / "nowhere.jpg")
    save(tmp_path / "b" / "pixel.png", (1, 1))
    save(tmp_path / "b" / "line.png", (500, 2))
    content = bytearray(save(tmp_path / "a" / "altered.png", (40, 30)).read_bytes())
    content[300] ^= 1
    (tmp_path / "a" / "altered.png").write_bytes(content)
    for suffix in (".jpg", ".png", ".webp", ".bmp", ".tif", ".gif"):
        whole = save(tmp_path / f"whole{suffix}", (40, 30)).read_bytes()
        (tmp_path / f"whole{suffix}").unlink()
        for name, content in damage(whole, suffix):
            (tmp_path / "b" / name).write_bytes(content)
            wrong.append(f"b/{name}")
    with pytest.raises(UserError) as caught:
        load(tmp_path)
    assert f"{len(wrong)} of the {6 + len(wrong)} pictures in {tmp_path} cannot be used: " in str(caught.value)
    assert str(caught.value).endswith(f": remove them, or pass max_bad_files={len(wrong)} to go without them.")
    assert "\n" not in str(caught.value)
    assert (caught.value.code, caught.value.context) == ("bad-files", {"count": len(wrong)})
    assert all(str(caught.value).count(str(tmp_path / name)) == 1 for name in wrong)
    with pytest.raises(UserError, match="cannot be used"):
        load(tmp_path, max_bad_files=len(wrong) - 1)
    with pytest.warns(UserWarning, match="left out: ") as warned:
        splits = load(tmp_path, max_bad_files=len(wrong))
    assert all(str(tmp_path / name) in str(warned[0].message) for name in wrong)
    assert sum(map(len, splits)) == 6


def test_the_check_decodes_no_whole_jpeg_or_png(tmp_path, monkeypatch):
    make(tmp_path, a=2, b=2)
    save(tmp_path / "a" / "photo.jpg", exif=exif(6))
    (tmp_path / "a" / "padded.jpg").write_bytes(save(tmp_path / "a" / "padded.jpg").read_bytes() + b"\0" * 40)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    assert sum(map(len, load(tmp_path))) == 6


def test_a_jpeg_with_much_behind_its_end_is_decoded_and_taken(tmp_path):
    make(tmp_path, a=2, b=2)
    path = save(tmp_path / "a" / "video.jpg")
    path.write_bytes(path.read_bytes() + b"moving" * 1000)
    assert sum(map(len, load(tmp_path))) == 5


def exif(orientation):
    tags = Image.Exif()
    tags[274] = orientation
    return tags


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", " late.png"])
def test_sizes_are_those_of_the_upright_pictures(tmp_path, suffix):
    """In a PNG the orientation may stand behind the pixels (PNG's third edition, 5.6)."""
    make(tmp_path, a=1, b=1)
    for orientation in range(1, 9):
        path = save(tmp_path / "a" / f"{orientation}{suffix}", (12, 8), exif=exif(orientation))
        if "late" in suffix:
            content = path.read_bytes()
            at = content.index(b"eXIf") - 4
            chunk = content[at : at + 12 + int.from_bytes(content[at : at + 4])]
            path.write_bytes(content.replace(chunk, b"")[:-12] + chunk + content[-12:])
    pictures = data.read_class_folders(tmp_path)
    for row, path in enumerate(pictures.paths):
        assert pictures.picture_size(row) == data.read_picture(path).size[::-1]
    sizes = [pictures.picture_size(row) for row in range(len(pictures))]
    assert sizes.count((8, 12)) == sizes.count((12, 8)) == 4


def test_pictures_lie_however_deep_below_their_class_and_behind_links(tmp_path):
    folder = make(tmp_path / "pets", cat=1, dog=1)
    save(folder / "cat" / "tabby" / "young" / "0.png")
    save(tmp_path / "elsewhere" / "dogs" / "1.png")
    (folder / "dog" / "more").symlink_to(tmp_path / "elsewhere" / "dogs")
    (folder / "dog" / "one.png").symlink_to(save(tmp_path / "elsewhere" / "2.png"))
    (folder / "fox").symlink_to(make(tmp_path / "wild", fox=2) / "fox")
    (folder / "cat" / "round").symlink_to(folder / "cat")
    (folder / "cat" / "tabby" / "top").symlink_to(folder)
    pictures = data.read_class_folders(folder)
    assert names(pictures, folder) == [
        *("cat/0.png", "cat/tabby/young/0.png", "dog/0.png", "dog/more/1.png", "dog/one.png"),
        *("fox/0.png", "fox/1.png"),
    ]
    assert pictures.class_names == ("cat", "dog", "fox")


def test_hidden_files_are_passed_over_and_others_named(tmp_path):
    make(tmp_path, a=2, b=2, **{".git": 1, "__MACOSX": 1})
    (tmp_path / "a" / "._0.png").write_bytes(b"resource fork")
    save(tmp_path / "a" / ".thumbnails" / "0.png")
    assert sum(map(len, load(tmp_path))) == 4
    (tmp_path / "README.txt").touch()
    (tmp_path / "a" / "phone.heic").touch()
    save(tmp_path / "stray.png")
    with pytest.warns(UserWarning, match=r"3 files are not pictures of a class: ") as warned:
        assert sum(map(len, load(tmp_path))) == 4
    assert len(warned) == 1
    assert all(name in str(warned[0].message) for name in ("README.txt", "phone.heic", "stray.png"))
    for i in range(10):
        (tmp_path / "b" / f"{i}.txt").touch()
    with pytest.warns(UserWarning, match="13 files are not .* and 8 more"):
        load(tmp_path)


def test_the_same_file_in_train_and_test_is_named_and_stays(tmp_path):
    make(tmp_path / "train", a=2, b=2)
    make(tmp_path / "val", a=1, b=1)
    shutil.copy(tmp_path / "train" / "a" / "1.png", tmp_path / "val" / "b" / "copy.png")
    (tmp_path / "val" / "a" / "link.png").symlink_to(tmp_path / "train" / "a" / "0.png")
    content = bytearray(save(tmp_path / "train" / "a" / "2.bmp", (40, 30)).read_bytes())
    content[60] ^= 1  # a pixel: a picture as long that ends in the same way
    (tmp_path / "val" / "a" / "alike.bmp").write_bytes(content)
    with pytest.warns(UserWarning, match=r"2 test pictures that are training pictures too: \S+link.png, \S+copy.png"):
        assert len(load(tmp_path, max_bad_files=0).test) == 5


def test_a_class_without_test_pictures_is_a_warning(tmp_path):
    make(tmp_path, a=5, b=1)
    with pytest.warns(UserWarning, match=f"^{re.escape(str(tmp_path))} has no pictures for the test of b"):
        train, test = load(tmp_path)
    assert (train.num_classes, test.num_classes, len(test)) == (2, 2, 1)


def missing_class(folder):
    make(folder / "train", cat=2, cow=2, dog=2)
    make(folder / "val", cat=1, dog=1, emu=1, owl=1)


WRONG = {
    "nothing": (lambda folder: None, "holds no pictures: put those of each class"),
    "no class": (lambda folder: save(folder / "0.png"), "holds no folders for the classes of its pictures"),
    "no picture": (lambda folder: make(folder, a=0, b=0), "holds no pictures: put"),
    "other files": (
        lambda folder: [(make(folder, **{name: 0}) / name / f"1.{name}").touch() for name in ("heic", "HEIC", "txt")],
        r"holds no pictures \(but \.heic, \.txt files\)",
    ),
    "one class": (lambda folder: make(folder, cat=3), "one class only, cat: at least two are needed"),
    "one folder too high": (lambda folder: make(folder / "pets", a=2, b=2), "did you mean folder:.*/pets?"),
    "an empty class": (lambda folder: make(folder, a=2, b=0, c=2), "no pictures to learn b from: add some"),
    "an empty class in train": (
        lambda folder: (make(folder / "train", a=2, b=0), make(folder / "val", a=2, b=1)),
        "no pictures to learn b from",
    ),
    "other classes": (missing_class, r"cow only in \S+train; emu, owl only in \S+val: give both the same folders"),
    "train alone": (
        lambda folder: (make(folder / "train", a=2, b=2), make(folder / "more", a=2)),
        "a folder train, but not both train and one of val.*: name the folder of the classes, folder:.*/train",
    ),
    "one picture each": (lambda folder: make(folder, a=1, b=1), "no pictures for the test: two of a class are needed"),
}


@pytest.mark.parametrize(("write", "message"), WRONG.values(), ids=WRONG)
def test_a_folder_that_cannot_be_learnt_from_says_why(tmp_path, write, message):
    write(tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        load(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_class_of_corrupt_pictures_is_empty(tmp_path):
    make(tmp_path, a=2, b=2)
    for path in (tmp_path / "a").iterdir():
        path.write_bytes(b"")
    with pytest.warns(UserWarning, match="left out"), pytest.raises(UserError, match="no pictures to learn a from"):
        load(tmp_path, max_bad_files=2)


def test_a_class_may_be_called_train(tmp_path):
    make(tmp_path, bus=2, train=2, test=2)
    (tmp_path / "test").rename(tmp_path / "tram")
    assert load(tmp_path).train.class_names == ("bus", "train", "tram")


def test_an_absent_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere': folder:FOLDER"):
        load(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(FileNotFoundError, match=r"no folder .*file'"):
        load(tmp_path / "file")


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="the disks of Windows and macOS have no such names")
def test_names_of_any_bytes_are_drawn(tmp_path):
    make(tmp_path, a=2, b=2)
    os.rename(os.fsencode(tmp_path / "a" / "0.png"), os.fsencode(tmp_path / "a") + b"/caf\xe9.png")  # noqa: PTH104
    assert sum(map(len, load(tmp_path))) == 4
