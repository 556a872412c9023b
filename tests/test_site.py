"""The site's pages hang together; that it builds, and its links within pages, is checked by `make docs`."""

import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
DOCS, NOTEBOOKS = ROOT / "docs", sorted((ROOT / "notebooks").glob("*.ipynb"))
MADE = ("_build/", "api/", "families/")  # by the build, which also gives them their place


def headings(notebook: Path, level: str) -> dict[str, str]:
    """A notebook's headings by their anchors, which are MyST's."""
    cells = [cell.source for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "markdown"]
    text = re.sub(r"^```.*?^```", "", "\n".join(cells), flags=re.MULTILINE | re.DOTALL)
    titles = [re.sub(r"[`*]", "", title) for title in re.findall(rf"^{level} (.+)$", text, re.MULTILINE)]
    return {re.sub(r"[^\w\- ]", "", title.strip().lower().replace(" ", "-")): title for title in titles}


def test_every_page_and_notebook_is_in_the_table_of_contents():
    pages = {str(path.relative_to(DOCS).with_suffix("")) for path in DOCS.glob("**/*.md")}
    pages = {page for page in pages if not page.startswith((*MADE, "notebooks/")) and page != "index"}
    pages |= {f"notebooks/{path.stem}" for path in NOTEBOOKS}
    trees = re.findall(r"```\{toctree\}\n(.*?)```", (DOCS / "index.md").read_text(), re.DOTALL)
    listed = [line for tree in trees for line in tree.splitlines() if line and not line.startswith(":")]
    assert {entry for entry in listed if not entry.startswith(MADE)} == pages
    assert len(listed) == len(set(listed))


def test_questions_lead_to_headings_that_exist():
    links = re.findall(r"\]\((notebooks/[\w.]+)#([^)]+)\)", (DOCS / "questions.md").read_text())
    assert links
    for path, anchor in links:
        assert anchor in headings(ROOT / path, "#{1,4}"), f"{path}#{anchor}"


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_question_of_a_notebook_is_in_the_list(notebook: Path):
    listed = set(re.findall(rf"\]\(notebooks/{notebook.name}#([^)]+)\)", (DOCS / "questions.md").read_text()))
    assert {anchor for anchor, title in headings(notebook, "##").items() if "?" in title} <= listed
