"""The site's pages hang together; that it builds, and its links within pages, is checked by `make docs`."""

import re
from pathlib import Path

import nbformat
import pytest

from tools import write_questions

ROOT = Path(__file__).parent.parent
DOCS, NOTEBOOKS = ROOT / "docs", sorted((ROOT / "notebooks").glob("*.ipynb"))
MADE = ("_build/", "api/", "families/")  # by the build, which also gives them their place


def headings(notebook: Path) -> set[str]:
    """Those of a notebook that ask or name something, without code between them."""
    cells = [cell.source for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "markdown"]
    return set(re.findall(r"^## (.+)$", "\n".join(cells), re.MULTILINE))


def test_every_page_and_notebook_is_in_the_table_of_contents():
    pages = {str(path.relative_to(DOCS).with_suffix("")) for path in DOCS.glob("**/*.md")}
    pages = {page for page in pages if not page.startswith((*MADE, "notebooks/")) and page != "index"}
    pages |= {f"notebooks/{path.stem}" for path in NOTEBOOKS}
    trees = re.findall(r"```\{toctree\}\n(.*?)```", (DOCS / "index.md").read_text(), re.DOTALL)
    listed = [line for tree in trees for line in tree.splitlines() if line and not line.startswith(":")]
    assert {entry for entry in listed if not entry.startswith(MADE)} == pages
    assert len(listed) == len(set(listed))


def test_the_page_of_questions_is_the_one_the_command_writes():
    assert write_questions.page() == write_questions.PAGE.read_text(), "write it: python -m tools.write_questions"


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_question_of_a_notebook_has_a_measured_answer(notebook: Path):
    answers = write_questions.find_answers(notebook.stem)
    assert {title for title in headings(notebook) if "?" in title} <= set(answers)
    assert all(len(answer) > 30 for answer in answers.values())
