"""The figure of a whole net: its stages from endpoint to endpoint, with shapes and shares of the cost."""

from itertools import groupby
from textwrap import wrap

from . import svg
from .block_figure import MARGIN, format_shape
from .tracing import IMAGES, Graph, Node

WIDTH, INDENT, GAP = 304, 32, 22  # of a box, of an auxiliary head's, between boxes
TITLE, TEXT, PAD, BAR = 19, 15, 9, 6
LETTERS, PERCENT = 46, 30  # in a line of a box; room for a share beside its bar


def draw_net(graph: Graph, title: str) -> str:
    """The SVG of a net, one box a stage; `title` is what a screen reader says."""
    x, y, elements = MARGIN, MARGIN, []
    boxes: dict[str, tuple[float, float]] = {}  # {stage: upper and lower end}
    stages = list(graph.stages)
    feeds = {stage: _sources(graph, stage) for stage in stages}
    elements += [svg.rectangle("images", x, y, WIDTH, 26, "image"), svg.text("name", x + PAD, y + 17, "image", "start")]
    elements.append(svg.text("", x + WIDTH - PAD, y + 17, format_shape(graph.nodes[IMAGES].shape), "end"))
    boxes[IMAGES] = y, y + 26
    y += 26
    lines: list[str] = []
    for stage in stages:
        side = INDENT if stage in graph.auxiliary else 0
        box, height = _box(graph, stage, x + side, y + GAP)
        y, boxes[stage] = y + GAP + height, (y + GAP, y + GAP + height)
        elements += box
        for source in feeds[stage]:
            axis, start = x + 18, boxes[source][1]
            if side:
                middle = boxes[stage][0] + height / 2
                lines += svg.arrow([(axis, start), (axis, middle), (x + side, middle)])
            else:
                lines += svg.arrow([(axis, start), (axis, boxes[stage][0])])
    return svg.document(lines + elements, 2 * MARGIN + WIDTH + INDENT * bool(graph.auxiliary), y + MARGIN, title)


def _sources(graph: Graph, stage: str) -> list[str]:
    """The stages that a stage reads, `images` where it reads the image."""
    inside = [node for node in graph.nodes.values() if node.stage == stage and node.kind != IMAGES]
    read = dict.fromkeys(name for node in inside for name in node.inputs)
    found = dict.fromkeys(IMAGES if name == IMAGES else graph.nodes[name].stage for name in read)
    return [name for name in found if name != stage]


def _box(graph: Graph, stage: str, x: float, y: float) -> tuple[list[str], float]:
    """A stage: its name and shape, what it consists of, what it costs."""
    nodes = [node for node in graph.nodes.values() if node.stage == stage and node.kind != IMAGES]
    contents = wrap(" · ".join(_contents(graph, nodes)), LETTERS)
    elements = [svg.text("name", x + PAD, y + TITLE, stage, "start")]
    shape = format_shape(graph.nodes[graph.stages[stage]].shape)
    elements.append(svg.text("", x + WIDTH - PAD, y + TITLE, shape, "end"))
    end = y + TITLE
    for line in contents:
        end += TEXT
        elements.append(svg.text("quiet", x + PAD, end, line, "start"))
    if sum(node.params for node in nodes):
        end += TEXT + 2
        half = (WIDTH - 3 * PAD) / 2
        elements += _share(graph, nodes, "params", "parameters", x + PAD, end, half)
        elements += _share(graph, nodes, "macs", "multiply-adds", x + 2 * PAD + half, end, half)
        end += 6 + BAR
    height = end + PAD - y
    return [svg.rectangle("stage", x, y, WIDTH, height, stage), *elements], height


def _share(graph: Graph, nodes: list[Node], field: str, words: str, x: float, y: float, width: float) -> list[str]:
    """A number, and its share of the whole net's as a bar; an auxiliary head's multiply-adds are not the net's."""
    own, everything = (sum(getattr(node, field) for node in some) for some in (nodes, graph.nodes.values()))
    if field == "macs":
        everything -= sum(node.macs for node in graph.nodes.values() if node.stage in graph.auxiliary)
        if nodes[0].stage in graph.auxiliary:
            return [svg.text("quiet", x, y, "for training only", "start")]
    share, bar = own / everything, width - PERCENT
    percent = f"{share:.0%}" if share >= 0.005 or not own else "<1%"
    return [
        svg.text("quiet", x, y, f"{_scaled(own)} {words}", "start"),
        svg.rectangle("track", x, y + 6, bar, BAR, radius=2),
        svg.rectangle(field, x, y + 6, max(bar * share, 1), BAR, f"{own:,} {words}", 2),
        svg.text("quiet", x + width, y + 12, percent, "end"),
    ]


def _contents(graph: Graph, nodes: list[Node]) -> list[str]:
    """`["7×7 conv, stride 2", "Bottleneck (×3)"]`: the net's own modules, and operations between them.

    Normalisations and activations are left out where they follow a convolution, as is a module around a single one.
    """
    insides: dict[str, list[Node]] = {}
    for node in nodes:
        insides.setdefault(node.path.split("/")[0] or node.name, []).append(node)
    labels = []
    for top, inside in insides.items():
        layers = [node for node in inside if node.kind in ("conv", "dense")]
        more = len(layers) > 1 or any(node.kind in ("concat", "add", "pool") for node in inside[1:])
        labels += [graph.classes[top]] if more and top in graph.classes else [node.label for node in layers or inside]
    if any(node.kind in ("conv", "dense") for node in nodes):
        labels = [label for label in labels if label not in ("batch norm", "response norm", "ReLU", "scaled tanh")]
    runs = [(label, len(list(run))) for label, run in groupby(labels)]
    return [f"{label} (×{count})" if count > 1 else label for label, count in runs]


def _scaled(number: int) -> str:
    """`25.6 M`."""
    for unit, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= unit:
            return f"{number / unit:.3g}{letter}"
    return str(number)
