"""Tests of the site; its extensions are found as Sphinx finds them."""

import sys
from pathlib import Path

EXTENSIONS = str(Path(__file__).parents[2] / "docs" / "_ext")
if EXTENSIONS not in sys.path:
    sys.path.append(EXTENSIONS)
