"""The Python blocks of a page of the site run from top to bottom, as one program, with warnings as errors."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
# Pages whose blocks belong together and need nothing that is not in the repository.
RUN = ("index.md", "export.md", "nnx.md", "many_devices.md", "coming_from_flax_batch_norm.md")


@pytest.mark.parametrize("page", RUN)
def test_python_blocks_of_the_page_run(page, tmp_path):
    """In a process of their own, because they are a user's program: JAX as it comes, and no settings of the tests."""
    blocks = re.findall(r"^```python\n(.*?)^```$", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)
    assert blocks, "no block, nothing to run"
    (tmp_path / "page.py").write_text("\n".join(blocks))
    command = [sys.executable, "-W", "error", "page.py"]
    on_cpu = os.environ | {"JAX_PLATFORMS": "cpu"}
    ran = subprocess.run(command, cwd=tmp_path, env=on_cpu, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-3000:]
