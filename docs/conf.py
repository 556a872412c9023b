"""The site: `make docs`. Nothing here needs the network, and no notebook is executed: their outputs are committed."""

import shutil
import sys
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

# Copied, because MyST follows a symbolic link out of the site, and then finds no link to a notebook.
shutil.rmtree(HERE / "notebooks", ignore_errors=True)
shutil.copytree(HERE.parent / "notebooks", HERE / "notebooks", ignore=shutil.ignore_patterns(".*"))  # keeps their times

project = "zoo"
author = "the authors of zoo"
release = version = metadata.version("jax-cnn-zoo")
html_title = "zoo"

extensions = ["myst_nb", "api", "families"]  # the last two write their pages first
exclude_patterns = ["_build", "**.ipynb_checkpoints"]

nb_execution_mode = "off"
myst_enable_extensions = ["amsmath", "deflist", "dollarmath"]
myst_heading_anchors = 4

# Every reference to a name of zoo must lead somewhere; types of others are left as text.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!zoo\b).*")]
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 90
toc_object_entries_show_parents = "hide"

# JAX and Flax have this theme. furo reads as well on a phone; pydata's own puts the sections into a bar on top.
html_theme = "sphinx_book_theme"
html_theme_options = {
    "footer_content_items": [],
    "navbar_persistent": [],  # one search field is enough
    "show_navbar_depth": 1,
    "show_toc_level": 2,
}
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
