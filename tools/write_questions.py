"""The page of all questions, docs/questions.md: each with the answer that its notebook measured.

    python -m tools.write_questions

A question is a heading of a notebook, and its answer what follows the word "Measured" under it, in the text or in what
a cell printed.
"""

import re
from pathlib import Path
from typing import Any

import nbformat

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "questions.md"
NOTEBOOKS = {
    "01_batch_norm": "Batch normalisation",
    "02_statistics": "Training against inference",
    "03_convolution": "Convolution",
    "04_architectures": "Architectures",
    "05_losses": "Losses",
    "06_your_own_pictures": "Use",
}
BEGIN = "<!-- questions: python -m tools.write_questions -->"
MEASURED = r"(?:^|\*\*)Measured\b[:.,]?(?:\*\*)?(.+?)(?:\n\n|\*\*|\Z)"  # the answer, in bold or not
SIGNS = {
    r"\gamma": "γ",
    r"\beta": "β",
    r"\mu": "μ",
    r"\pm": "±",
    r"\le": "≤",
    r"\times": "×",
    r"\cdot": "·",
    r"^\top": "ᵀ",
}


def anchor(title: str) -> str:
    """MyST's, of a heading."""
    title = re.sub(r"[`*]", "", title.strip())
    return re.sub(r"[^\w\- ]", "", title.lower().replace(" ", "-"))


def find_answers(name: str) -> dict[str, str]:
    """The answers of a notebook by its headings; a heading without one is no question."""
    answers: dict[str, list[str]] = {}
    title = ""
    for cell in nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4).cells:
        if cell.cell_type == "markdown":
            pieces = re.split(r"^## (.+)$", cell.source, flags=re.MULTILINE)
            _note(answers, title, pieces[0])
            for heading, text in zip(pieces[1::2], pieces[2::2], strict=True):
                title = heading
                _note(answers, title, text)
        else:
            for output in cell.outputs:
                _note(answers, title, _printed(output))
    return {title: " ".join(found) for title, found in answers.items()}


def _note(answers: dict[str, list[str]], title: str, text: str) -> None:
    if title and (found := re.search(MEASURED, text, re.MULTILINE | re.DOTALL)):
        answers.setdefault(title, []).append(_plain(found[1]))


def _printed(output: Any) -> str:
    """What a cell printed, from its measurement on; the lines are parts of one sentence."""
    text = output.get("text", "") if output.output_type == "stream" else ""
    before, word, after = text.partition("Measured")
    return before + word + re.sub(r"(?<=[^\n:])\n(?=[^\n])", "; ", after)


def _plain(text: str) -> str:
    """One sentence of Markdown without formulas."""
    text = re.sub(r"\$([^$]+)\$", lambda found: _formula(found[1]), text)
    text = re.sub(r"\s+", " ", text).replace("|", r"\|").strip(" :,.;")
    return f"{text[:1].upper()}{text[1:]}."


def _formula(tex: str) -> str:
    tex = re.sub(r"(\d*)\\cdot ?10\^\{(-?\d+)\}", r"\1e\2", tex)
    tex = re.sub(r"^10\^\{(-?\d+)\}$", r"1e\1", tex)
    for sign, plain in SIGNS.items():
        tex = tex.replace(sign, plain)
    return tex


def page() -> str:
    """The page as it should be; what stands before its mark is written by hand."""
    parts = [PAGE.read_text(encoding="utf-8").partition(BEGIN)[0] + BEGIN]
    for name, topic in NOTEBOOKS.items():
        rows = [
            f"| [{title}](notebooks/{name}.ipynb#{anchor(title)}) | {answer} |"
            for title, answer in find_answers(name).items()
        ]
        parts.append("\n".join([f"## {topic}", "", "| question | measured |", "|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
