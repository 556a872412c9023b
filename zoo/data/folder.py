"""Folders of pictures: one folder for each class, named as the class.

    DIR/train/CLASS/...  with  DIR/val/CLASS/...   the two splits; valid, validation or test may stand for val,
                                                   of several the first of these four is taken
    DIR/CLASS/...                                  every fifth picture of a class is drawn for the test

- All pictures below a class's folder are of that class, however deep they lie. Links are followed, of files and of
  folders, but for those that lead back to a folder above.
- Classes are numbered in the order of their names as text, as torchvision's are: 10 comes before 2.
- A picture is a file whose name ends as `SUFFIXES`. Other files, and those beside the folders of the classes, are left
  out and named in a warning; names that begin with a dot, and __MACOSX, are passed over.
- A class has pictures for the training, and there are two classes at least: else it is an error. A class without
  pictures for the test is a warning. Classes may have unlike numbers of pictures: each picture is seen as often as any
  other, and a drawn test has the same share of every class.
- Both splits of a folder that comes divided have the same classes: else it is an error that names the others.
- A file that is in both splits under whatever name, byte for byte, is a warning that names it; it stays in both.
- Every file is opened before the training starts (`zoo.data.pictures.measure_picture`). Those that cannot be read, are
  a single pixel or a mere line are an error that lists them all. Up to `max_bad_files` of them are left out instead, in
  a warning that lists them; no other picture takes their place.

The drawn test is a function of the seed and the paths below DIR alone: a folder that has moved, or another machine's
copy, is divided in the same way, and a new picture changes no class but its own.
"""

import hashlib
import operator
import os
import warnings
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from zoo.data.dataset import PictureFiles, Splits
from zoo.data.pictures import measure_picture
from zoo.data.preprocessing import Preprocessing
from zoo.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
TESTS = ("val", "valid", "validation", "test")
TEST_SHARE = 0.2
SOME = 5  # how many names a warning has room for

Classes: TypeAlias = Mapping[str, Sequence[Path]]  # the pictures of each class


class Checked(NamedTuple):
    """What is known of a file that was opened: height and width, and its length and the checksum of its end."""

    size: tuple[int, int]
    fingerprint: tuple[int, int]


def read_folder(folder: Path, *, seed: int = 0, max_bad_files: int = 0) -> Splits:
    """The two splits of a folder of pictures, as the top of this file says.

    Args:
      folder: the folder.
      seed: decides which pictures are for the test where the folder does not.
      max_bad_files: so many pictures, of both splits together, may be left out because they cannot be used.

    Raises:
      FileNotFoundError: there is no such folder.
      UserError: it holds no pictures, its classes do not fit together, or too many of its pictures cannot be used.
    """
    train, test = _divide(folder, seed)
    _check_classes(folder, train)
    checked = _check_files(folder, [*_list(train), *_list(test)], max_bad_files)
    train, test = _leave_out(train, checked), _leave_out(test, checked)
    _check_classes(folder, train)
    if not _list(test):
        raise UserError(f"{folder} has no pictures for the test", "two of a class are needed, one of them for the test")
    if missing := [name for name, paths in test.items() if not paths]:
        _warn(f"{folder} has no pictures for the test of {_name_some(missing)}")
    if twins := _find_twins(_list(train), _list(test), checked):
        _warn(f"{folder} has {len(twins)} test pictures that are training pictures too: {_name_some(twins)}")
    return Splits(_make_split(train, checked), _make_split(test, checked))


def read_class_folders(folder: Path, *, max_bad_files: int = 0) -> PictureFiles:
    """All pictures of `folder/CLASS/...`, undivided: a folder to be tested on.

    Raises:
      FileNotFoundError, UserError: as `read_folder`.
    """
    classes = _find_classes(folder)
    checked = _check_files(folder, _list(classes), max_bad_files)
    return _make_split(_leave_out(classes, checked), checked)


def find_pictures(folder: Path) -> list[Path]:
    """The pictures below a folder, however deep they lie, in the order of their names.

    Raises:
      UserError: there are none.
    """
    if not (found := [path for path in _walk(folder, ()) if path.suffix.lower() in SUFFIXES]):
        raise UserError(f"{folder} holds no pictures", f"name a folder with {', '.join(SUFFIXES)} files")
    return found


def _divide(folder: Path, seed: int) -> tuple[Classes, Classes]:
    """The training and the test pictures, as the folder has them or as they are drawn."""
    held_out = next((folder / name for name in TESTS if (folder / name).is_dir()), None)
    if held_out is None or not (folder / "train").is_dir():
        classes = _find_classes(folder)
        for name in ("train", *TESTS):
            if classes.get(name) and all(path.parent != folder / name for path in classes[name]):
                problem = f"{folder} has a folder {name}, but not both train and one of {', '.join(TESTS)}"
                raise UserError(problem, f"name the folder of the classes, folder:{folder / name}")
        return _draw(folder, classes, seed)
    train, test = _find_classes(folder / "train"), _find_classes(held_out)
    parts = ((folder / "train", train.keys() - test.keys()), (held_out, test.keys() - train.keys()))
    if alone := [f"{', '.join(sorted(names))} only in {part}" for part, names in parts if names]:
        raise UserError(f"{folder} has other classes for the test: {'; '.join(alone)}", "give both the same folders")
    return train, test


def _draw(folder: Path, classes: Classes, seed: int) -> tuple[Classes, Classes]:
    """Of each class the pictures whose names, digested with the seed, come first are for the test."""
    seed = operator.index(seed)

    def draw(path: Path) -> bytes:
        name = f"{seed}/{path.relative_to(folder).as_posix()}"
        return hashlib.blake2b(name.encode(errors="surrogateescape")).digest()

    train: dict[str, list[Path]] = {}
    test: dict[str, list[Path]] = {}
    for name, paths in classes.items():
        count = max(1, round(TEST_SHARE * len(paths))) if len(paths) > 1 else 0
        drawn = set(sorted(paths, key=draw)[:count])
        train[name] = [path for path in paths if path not in drawn]
        test[name] = [path for path in paths if path in drawn]
    return train, test


def _find_classes(folder: Path) -> Classes:
    """The pictures of each class, all in the order of their names.

    Raises:
      FileNotFoundError: there is no such folder.
      UserError: there are no pictures in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {str(folder)!r}: folder:FOLDER names that of the classes' folders.")
    files: list[Path] = []
    classes: dict[str, list[Path]] = {}
    for path in _scan(folder):
        if path.is_dir():
            files += (below := list(_walk(path, (folder.resolve(),))))
            classes[path.name] = [file for file in below if file.suffix.lower() in SUFFIXES]
        else:
            files.append(path)
    found = set(_list(classes))
    others = [path for path in files if path not in found]
    if not found:
        direct = any(path.suffix.lower() in SUFFIXES for path in others)
        problem = "no folders for the classes of its pictures" if direct else "no pictures"
        kinds = sorted({path.suffix.lower() for path in others} - {"", *SUFFIXES})
        seen = f" (but {', '.join(kinds)} files)" if kinds else ""
        remedy = f"put those of each class, {', '.join(SUFFIXES)}, into a folder of its name"
        raise UserError(f"{folder} holds {problem}{seen}", remedy)
    if others:
        _warn(f"{folder}: {len(others)} files are not pictures of a class: {_name_some(others)}")
    return classes


def _scan(folder: Path) -> list[Path]:
    """What is in a folder and not hidden, in the order of the names."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.name != "__MACOSX")


def _walk(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """The files below a folder, which is not one of those above it."""
    above = (*above, folder.resolve())
    for path in _scan(folder) if above[-1] not in above[:-1] else ():
        if path.is_dir():
            yield from _walk(path, above)
        else:
            yield path


def _check_classes(folder: Path, train: Classes) -> None:
    if len(train) == 1:
        (only,) = train
        nested = any(path.is_dir() for path in _scan(folder / only)) if (folder / only).is_dir() else False
        remedy = f"did you mean folder:{folder / only}?" if nested else "at least two are needed, a folder for each"
        raise UserError(f"{folder} holds one class only, {only}", remedy)
    if empty := [name for name, paths in train.items() if not paths]:
        problem = f"{folder} holds no pictures to learn {', '.join(empty)} from"
        raise UserError(problem, "add some, or remove the folder")


def _check_files(folder: Path, paths: Sequence[Path], max_bad_files: int) -> dict[Path, Checked]:
    """What is known of the files that can be used; the others are at most `max_bad_files`."""
    with ThreadPoolExecutor() as pool:
        answers = dict(zip(paths, pool.map(_check_file, paths), strict=True))
    bad = [answer for answer in answers.values() if isinstance(answer, str)]
    if bad:
        problem = f"{len(bad)} of the {len(paths)} pictures in {folder} cannot be used: {'; '.join(bad)}"
        if len(bad) > max_bad_files:
            remedy = f"remove them, or pass max_bad_files={len(bad)} to go without them"
            raise UserError(problem, remedy, code="bad-files", count=len(bad))
        _warn(f"left out: {problem}")
    return {path: answer for path, answer in answers.items() if not isinstance(answer, str)}


def _check_file(path: Path) -> Checked | str:
    """What is known of a file, or why it cannot be used."""
    try:
        size = measure_picture(path)
        with path.open("rb") as file:
            length = file.seek(0, os.SEEK_END)
            file.seek(max(0, length - 1024))
            return Checked(size, (length, zlib.crc32(file.read())))
    except UserError as error:
        return error.problem
    except OSError as error:
        return str(error).rstrip(".")


def _leave_out(classes: Classes, checked: Mapping[Path, Checked]) -> Classes:
    return {name: [path for path in paths if path in checked] for name, paths in classes.items()}


def _find_twins(train: Sequence[Path], test: Sequence[Path], checked: Mapping[Path, Checked]) -> list[Path]:
    """The test pictures whose bytes are those of a training picture."""
    alike = defaultdict(list)
    for path in train:
        alike[checked[path].fingerprint].append(path)
    return [
        path
        for path in test
        if any(path.read_bytes() == other.read_bytes() for other in alike[checked[path].fingerprint])
    ]


def _make_split(classes: Classes, checked: Mapping[Path, Checked]) -> PictureFiles:
    paths = tuple(_list(classes))
    return PictureFiles(
        labels=np.repeat(np.arange(len(classes), dtype=np.int32), [len(paths) for paths in classes.values()]),
        num_classes=len(classes),
        preprocessing=Preprocessing(),
        class_names=tuple(classes),
        paths=paths,
        sizes=np.array([checked[path].size for path in paths], np.int32),
    )


def _list(classes: Classes) -> list[Path]:
    return [path for paths in classes.values() for path in paths]


def _name_some(names: Sequence[object]) -> str:
    more = f" and {len(names) - SOME} more" if len(names) > SOME else ""
    return ", ".join(map(str, names[:SOME])) + more


def _warn(text: str) -> None:
    warnings.warn(f"{text}.", stacklevel=4)
