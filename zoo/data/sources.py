"""Data sets by name: `digits`, which ship with the package, and those of a folder, `KIND:FOLDER`."""

import difflib
from pathlib import Path

from zoo.data.cifar import read_cifar
from zoo.data.dataset import Splits
from zoo.data.digits import read_digits
from zoo.data.folder import read_folder
from zoo.data.idx import read_idx_folder
from zoo.errors import UserError

SOURCES = ("digits", "folder:FOLDER", "cifar10:FOLDER", "cifar100:FOLDER", "idx:FOLDER")


def load(source: str, *, seed: int = 0, max_bad_files: int = 0) -> Splits:
    """The training and the test images of a source.

    - `"digits"`: 1,797 of 8x8 pixels, which ship with the package.
    - `"folder:FOLDER"`: pictures, `train/CLASS/*.jpg` and `val/CLASS/*.jpg`, or `CLASS/*.jpg`, of which every fifth is
      drawn for the test (`zoo.data.folder` says what becomes of each file).
    - `"cifar10:FOLDER"`, `"cifar100:FOLDER"`: the published archives, python or binary, packed or unpacked.
    - `"idx:FOLDER"`: the four files of MNIST; `"idx:FOLDER/emnist-letters"` those of EMNIST that are called so.

    Args:
      source: one of these.
      seed: decides which pictures of `CLASS/*.jpg` are for the test.
      max_bad_files: so many pictures of a folder may be left out because they cannot be read.

    Raises:
      UserError: the source is unknown, or a file is damaged or inconsistent; the message names it.
      FileNotFoundError: the folder, or a file in it, does not exist.

    >>> train, test = load("digits")
    >>> len(train), test.picture_size(0), test.class_names
    (1442, (8, 8), ('0', '1', '2', '3', '4', '5', '6', '7', '8', '9'))
    """
    name, colon, place = source.partition(":")
    folder = Path(place).expanduser()
    if source == "digits":
        return read_digits()
    if name == "folder" and place:
        return read_folder(folder, seed=seed, max_bad_files=max_bad_files)
    if name in ("cifar10", "cifar100") and place:
        return read_cifar(name, folder)
    if name == "idx" and place:
        return read_idx_folder(folder)
    known = {source.partition(":")[0]: source for source in SOURCES}
    near = difflib.get_close_matches(name if colon else source, known, n=1)
    guess = f"did you mean {known[near[0]].replace('FOLDER', place or 'FOLDER')!r}? " if near else ""
    raise UserError(f"no data set is called {source!r}", f"{guess}Known: {', '.join(SOURCES)}")
