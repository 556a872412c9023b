"""Data sets by name: `digits`, which ship with the package, and `idx:FOLDER`, files of MNIST's format."""

import difflib
from pathlib import Path

from zoo.data.dataset import Splits
from zoo.data.digits import read_digits
from zoo.data.idx import read_idx_folder
from zoo.errors import UserError

SOURCES = ("digits", "idx:FOLDER")


def load(source: str) -> Splits:
    """The training and the test images of a source: `"digits"` or `"idx:FOLDER"`.

    `"idx:FOLDER/emnist-letters"` takes those of EMNIST's files in a folder that are called so.

    Raises:
      UserError: the source is unknown, or a file is damaged or inconsistent; the message names it.
      FileNotFoundError: the folder, or a file in it, does not exist.

    >>> train, test = load("digits")
    >>> train.images.shape, len(test), test.num_classes
    ((1442, 8, 8, 1), 355, 10)
    """
    name, colon, folder = source.partition(":")
    if source == "digits":
        return read_digits()
    if name == "idx" and folder:
        return read_idx_folder(Path(folder).expanduser())
    near = difflib.get_close_matches(name if colon else source, ("digits", "idx"), n=1)
    guess = {"digits": "did you mean 'digits'? ", "idx": f"did you mean 'idx:{folder or 'FOLDER'}'? "}
    raise UserError(
        f"no data set is called {source!r}",
        f"{guess[near[0]] if near else ''}Known: {', '.join(SOURCES)}, where FOLDER holds files of the MNIST format",
    )
