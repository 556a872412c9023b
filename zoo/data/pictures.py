"""Reading pictures: the one place that opens them, and that says what their numbers mean."""

import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np

from zoo.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

Picture: TypeAlias = Union[str, Path, "Image.Image"]

WHITES = {"I": (255, 2**16 - 1, 2**31 - 1, 2**32 - 1), "F": (1, 255, 2**16 - 1)}  # of numbers that do not say it
BITS, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF 6.0
ORIENTATION, SIDEWAYS = 274, (5, 6, 7, 8)  # of EXIF 2.3, and its values that exchange height and width
ELONGATED = 100  # long side over short side
OPENING = threading.Lock()  # what catch_warnings changes, it changes for all threads


def read_picture(picture: Picture) -> "Image.Image":
    """A picture file, or a `PIL.Image.Image`, as upright bytes: of mode `"L"` if it is grey, else `"RGB"`.

    - It is turned as its EXIF orientation says.
    - What is transparent shows white paper: black ink on a transparent ground is read as black on white.
    - Grey of 16 bits goes from 0 to 65535, of a TIFF of 12 bits to 4095.
    - Integers of 32 bits and floats do not say what is white. It is the smallest of 255, 65535, 2**31 - 1 and
      2**32 - 1 (for floats of 1, 255 and 65535) that no pixel exceeds.
    - CMYK becomes RGB by Pillow's formula, without a colour profile.

    Raises:
      FileNotFoundError: there is no such file.
      UserError: the picture is damaged, not one, larger than Pillow's `MAX_IMAGE_PIXELS`, or has negative numbers;
        the message names it.
    """
    with _open(picture) as opened:
        return _flatten(opened)


def measure_picture(path: Path) -> tuple[int, int]:
    """Height and width of a picture file, upright, and the fast check that it is whole.

    A JPEG file is whole if its last bytes hold the mark of its end, a PNG file if its checksums are right; what these
    leave open, and all other formats, are decoded. A fault inside a JPEG file, which most decoders pass over, is none.

    Raises:
      FileNotFoundError, UserError: as `read_picture`, or the picture is one that no net can see.
    """
    from PIL import Image

    with _open(path) as opened:
        if opened.format in ("JPEG", "MPO"):
            whole = b"\xff\xd9" in _read_end(path, 64)  # some cameras write on behind it
        elif opened.format == "PNG":
            content = path.read_bytes()
            late = max(content.rfind(name) for name in (b"eXIf", b"tEXt", b"zTXt", b"iTXt"))
            whole = late < content.find(b"IDAT")  # what comes later, and may hold an orientation, is not read yet
            if whole:
                opened.verify()
        else:
            whole = False
        if not whole:
            opened.load()
        width, height = opened.size
        if Image.Image.getexif(opened).get(ORIENTATION) in SIDEWAYS:  # PNG's own getexif decodes
            height, width = width, height
    check_size(height, width, str(path))
    return height, width


def check_size(height: int, width: int, name: str) -> None:
    """Raises `UserError` where a picture is a mere point or line."""
    if height == width == 1:
        raise UserError(f"{name} is a single pixel", "nothing is seen in it")
    if not 0 < max(height, width) <= ELONGATED * min(height, width):
        raise UserError(f"{name} is too elongated, {width}x{height}", "cut out a part of it")


def _read_end(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - count))
        return file.read()


@contextmanager
def _open(picture: Picture) -> Iterator["Image.Image"]:
    """A picture, whose faults, those found while it is used too, are errors that name it."""
    from PIL import Image, UnidentifiedImageError

    name = name_picture(picture)
    if not isinstance(picture, Image.Image) and not Path(name).is_file():
        raise FileNotFoundError(f"no picture at {name}.")
    try:
        if isinstance(picture, Image.Image):
            yield picture
            return
        with OPENING, warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            opened = Image.open(name)
        with opened:
            yield opened
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        limit = f"more than {Image.MAX_IMAGE_PIXELS:,} pixels, the size of a decompression bomb"
        raise UserError(f"{name} has {limit}", "make it smaller") from error
    except MemoryError:  # which is no fault of the picture's
        raise
    except Exception as error:  # a damaged file can make its decoder raise anything
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "its format is unknown" if unknown else " ".join(str(error).split()).rstrip(".") or repr(error)
        raise UserError(f"{name} cannot be read as a picture: {reason}") from error


def name_picture(picture: Picture) -> str:
    """The path of a picture, or its size if it has none, for messages."""
    from PIL import Image

    if isinstance(picture, Image.Image):
        return str(getattr(picture, "filename", "")) or f"a picture of {picture.width}x{picture.height}"
    return str(Path(picture).expanduser())


def _flatten(picture: "Image.Image") -> "Image.Image":
    """Upright, opaque, 8 bits."""
    from PIL import Image, ImageOps

    upright = ImageOps.exif_transpose(picture)
    if upright.mode == "F" or upright.mode.startswith("I"):
        return Image.fromarray(_to_bytes(upright, getattr(picture, "tag_v2", {})))
    if upright.has_transparency_data:
        inked = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", inked.size, "white"), inked)
    return upright.convert("L" if upright.mode in ("1", "L") else "RGB")


def _to_bytes(picture: "Image.Image", tags: Mapping[int, Any]) -> np.ndarray:
    """The grey levels of more than 8 bits as 0 to 255; `tags` are a TIFF's."""
    values = np.asarray(picture)
    if picture.mode == "I" and tags and tags.get(SAMPLE_FORMAT, (1,))[0] == 1:
        values = values.view(np.uint32)  # Pillow keeps them in int32
    low, high = values.min(), values.max()
    whites = WHITES.get(picture.mode) or (2 ** tags.get(BITS, (16,))[0] - 1,)
    if not 0 <= low <= high <= whites[-1]:
        raise UserError(f"its pixels go from {low:g} to {high:g}", "store it with 8 or 16 bits")
    white = next(w for w in whites if high <= w)
    if tags.get(PHOTOMETRIC) == 0:  # zero is white, which Pillow minds for 8 bits only
        values = white - values
    transparent = values == picture.info.get("transparency", -1)
    return np.where(transparent, 255, np.round(values * (255 / white))).astype(np.uint8)
