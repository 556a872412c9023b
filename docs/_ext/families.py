"""A Sphinx extension: `docs/families/`, a page for each family, made from the code before Sphinx looks for sources."""

import re
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from family_pages import words
from family_pages.block_figure import WORDS, draw_block
from family_pages.net_figure import draw_net
from family_pages.table import FAMILIES, Drawing, Family
from family_pages.tracing import Node, trace

import zoo

if TYPE_CHECKING:
    from sphinx.application import Sphinx

STATIC = Path(__file__).parent / "family_pages" / "static"
FOLDER = "families"
CAPTION = 190  # pixels that a caption has at least


def setup(app: "Sphinx") -> dict[str, Any]:
    """What Sphinx calls."""
    app.connect("config-inited", lambda _, config: config.html_static_path.append(str(STATIC)))
    app.connect("builder-inited", lambda app: write_pages(Path(app.srcdir) / FOLDER))
    app.add_css_file("families.css")
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write_pages(folder: Path) -> None:
    """Writes the pages that changed, and removes those of families that are no more."""
    folder.mkdir(exist_ok=True)
    pages = {"index": index()} | {family.slug: page(family) for family in FAMILIES}
    for slug, text in pages.items():
        path = folder / f"{slug}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    for path in folder.glob("*.md"):
        if path.stem not in pages:
            path.unlink()


def index() -> str:
    """The page that leads to the others."""
    lines = ["| family | papers | models | parameters |", "|---|---|---:|---:|"]
    for family in FAMILIES:
        params = [zoo.variant(name).params for name in family.names]
        few, many = (f"{number / 1e6:.3g} M" for number in (min(params), max(params)))
        least = few if few == many else f"{few} to {many}"
        papers = words.link_papers(family.years)
        lines.append(f"| [{family.title}]({family.slug}.md) | {papers} | {len(params)} | {least} |")
    slugs = "\n".join(family.slug for family in FAMILIES)
    return "\n\n".join(
        [
            "# Families",
            "A page for each: what it is, its blocks drawn from a trace of the model itself, its variants, where it "
            "departs from its paper, what it is proved against and how far, and how to load its weights.",
            "\n".join(lines),
            f"```{{toctree}}\n:hidden:\n\n{slugs}\n```\n",
        ]
    )


def page(family: Family) -> str:
    """The whole page of a family."""
    module = family.module.__name__
    sections = [
        f"(family-{family.slug})=\n# {family.title}",
        family.added,
        words.prose(family.module.__doc__ or ""),
        f"Code: `{module}`, made by {{py:obj}}`zoo.create`. Papers: {words.link_papers(family.years)}.",
        "## Its blocks",
        "Drawn from a trace of the model: what feeds what is read off the program, and a shape is that of one image's "
        "map, height×width×channels.",
        figures([figure_of(drawing) for drawing in family.drawings], [drawing.nodes for drawing in family.drawings]),
        "## The whole net",
        f"`{family.example}`, from endpoint to endpoint, with the shares of its parameters and of its multiply-adds. "
        f"`zoo show {family.example}` prints every layer.",
        figures([figure(draw_net(trace(family.example), f"The stages of {family.example}"))]),
        "## Variants",
        words.variants(family.names),
        "## Departures from the paper",
        words.departures(family.names),
        "## What it is proved against",
        words.proofs(family.names),
        "## Endpoints",
        "`model.apply(..., endpoints=(...))` returns these maps beside the logits. Stride is image size over map size.",
        words.endpoints(family.names),
        "## Load its weights",
        words.loading(family.example),
    ]
    return "\n\n".join(sections) + "\n"


def figure_of(drawing: Drawing) -> str:
    """A block's figure with its caption."""
    caption = re.sub("`(.*?)`", r"<code>\1</code>", escape(drawing.caption))
    where = f"<code>{drawing.part}</code> of <code>{drawing.variant}</code>"
    svg = draw_block(drawing.nodes, f"{drawing.caption}: {drawing.part} of {drawing.variant}")
    return figure(svg, f"{caption}<br><small>{where}</small>")


def figure(svg: str, caption: str = "") -> str:
    """An SVG in a box as wide as it is, that scrolls where the screen is narrower."""
    (width,) = re.findall(r'width="(\d+)"', svg)[:1]
    below = f"<figcaption>{caption}</figcaption>" if caption else ""
    style = f'class="zoo-figure" style="width: {max(int(width), CAPTION)}px"'
    return f'<figure {style}><div class="zoo-scroll" tabindex="0">{svg}</div>{below}</figure>'


def figures(elements: list[str], drawn: Iterable[dict[str, Node]] = ()) -> str:
    """Figures beside each other where there is room, and below them what the colours of their boxes mean."""
    used = {node.kind for nodes in drawn for node in nodes.values()}
    chips = "".join(f'<span><i class="{kind}"></i>{word}</span>' for kind, word in WORDS.items() if kind in used)
    legend = f'<div class="zoo-legend">{chips}</div>' if chips else ""
    inside = "\n".join(elements)
    return f'```{{raw}} html\n<div class="zoo-figures">\n{inside}\n</div>\n{legend}\n```'
