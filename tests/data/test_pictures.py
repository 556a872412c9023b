"""Picture files: opened in one place, upright, and refused by name."""

import numpy as np
import pytest
from PIL import Image

from zoo.data import read_picture
from zoo.errors import UserError


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
