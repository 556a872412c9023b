"""Reading picture files: the one place that opens them."""

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Union

from zoo.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

Picture: TypeAlias = Union[str, Path, "Image.Image"]


def read_picture(picture: Picture) -> "Image.Image":
    """A picture file, or a `PIL.Image.Image`, decoded and turned upright as its EXIF orientation says.

    Raises:
      FileNotFoundError: there is no such file.
      UserError: the file is damaged or not a picture.
    """
    from PIL import Image, ImageOps

    if isinstance(picture, Image.Image):
        return ImageOps.exif_transpose(picture)
    path = Path(picture)
    if not path.is_file():
        raise FileNotFoundError(f"no picture at {path}.")
    try:
        with Image.open(path) as file:
            return ImageOps.exif_transpose(file)
    except Exception as error:  # a damaged file can make its decoder raise anything
        raise UserError(f"{path} cannot be read as a picture: {str(error).rstrip('.')}") from error
