"""The figure of a block: its layers with their shapes, its branches, its shortcuts, as they were traced; an SVG.

Colours are left to the page: every shape has a class (`conv`, `norm`, ...), for which `static/families.css` has a
colour in light and in dark.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from . import svg
from .series_parallel import GLUED, Parallel, Sequence, Stack, arrange
from .svg import Point
from .tracing import IMAGES, Node

Line = list[Point]  # from where something was made to where it is read

MARGIN, GAP, BUS, BESIDE = 6, 24, 13, 9  # around all; between boxes; from a box to where its line forks; branches
LANE = 62  # of a shortcut without layers
TITLE, TEXT, STRIP = 17, 15, 19  # heights of a box's first line, of its others, of a strip at its lower edge
LETTER, BOLD = 6.7, 7.7  # widths of one, about; bold in a box's first line
WORDS = {
    "images": "input",
    "conv": "convolution",
    "dense": "dense layer",
    "norm": "normalisation",
    "activation": "activation",
    "pool": "pooling",
    "concat": "concatenation",
    "add": "addition",
    "scale": "factor",
    "other": "other",
}


def format_shape(shape: Iterable[int]) -> str:
    """`(28, 28, 512)` as it is written in a figure."""
    return "×".join(map(str, shape))


def draw_block(nodes: dict[str, Node], title: str) -> str:
    """The SVG of a block, as `Graph.block` or `Graph.stage` cuts it out; `title` is what a screen reader says."""
    sequence = arrange(nodes)
    canvas = _Canvas(max([104.0, *map(_width, nodes.values())]))
    left, right = canvas.extent(sequence)
    bottom = canvas.place(sequence, MARGIN + left, MARGIN, [])[1]
    return svg.document(canvas.lines + canvas.boxes, 2 * MARGIN + left + right, bottom + MARGIN, title)


def _lines(node: Node) -> list[str]:
    """What a box says: the operation, the layer's own name, the shape of its output."""
    if node.kind in GLUED:
        return [node.label]
    own = [node.path.rpartition("/")[2]] if node.name == node.path else []
    if node.path.endswith("/conv") and node.name == node.path:  # the brick's name says more than its convolution's
        own = [node.path.split("/")[-2]]
    return [*node.label.split(", "), *own, format_shape(node.shape)]


def _width(node: Node) -> float:
    """Of a box that holds what it says."""
    first, *others = _lines(node)
    return max(len(first) * BOLD + 12, *(len(text) * LETTER + 10 for text in others), 0)


def _about(node: Node) -> str:
    return ", ".join(filter(None, [node.label, node.path, format_shape(node.shape)]))


@dataclass
class _Canvas:
    """Places boxes from top to bottom around a vertical axis; boxes cover lines."""

    width: float
    lines: list[str] = field(default_factory=list)
    boxes: list[str] = field(default_factory=list)

    def extent(self, sequence: Sequence) -> Point:
        """How far a sequence reaches to the left and to the right of its axis."""
        sides = [self._sides(item) for item in sequence] or [(0, LANE)]
        return max(left for left, _ in sides), max(right for _, right in sides)

    def _sides(self, item: Stack | Parallel) -> Point:
        if isinstance(item, Stack):
            return self.width / 2, self.width / 2
        axes, total = self._axes(item)
        left = self.extent(item.branches[0])[0] - axes[0]
        return left, total - left

    def _axes(self, item: Parallel) -> tuple[list[float], float]:
        """Where the axes of branches are, from the axis of the whole, and the width of all together."""
        edges, x = [], 0.0
        for branch in item.branches:
            left, right = self.extent(branch)
            edges.append(x + left)
            x += left + right + BESIDE
        total = x - BESIDE
        full = [axis for axis, branch in zip(edges, item.branches, strict=True) if branch]
        middle = full[0] if len(full) == 1 else total / 2
        return [axis - middle for axis in edges], total

    def place(self, sequence: Sequence, x: float, y: float, incoming: list[Line]) -> tuple[list[Line], float]:
        """Draws a sequence from y downwards; returns the lines that leave it and its lower end."""
        span = (x - self.width / 2, x + self.width / 2)
        for item in sequence:
            if isinstance(item, Parallel):
                incoming, y, span = self._place_branches(item, x, incoming[0])
                continue
            wide = len(incoming) > 1
            left, right = span if wide else (x - self.width / 2, x + self.width / 2)
            y = y + GAP if incoming else y
            for line in incoming:
                self.lines += svg.arrow([*line, (line[-1][0], y)])
            y = self._box(item, left, right, y)
            incoming = [[(x, y)]]
        return incoming, y

    def _place_branches(self, item: Parallel, x: float, line: Line) -> tuple[list[Line], float, Point]:
        """Draws branches side by side; they end on one height, at which their join may begin."""
        top = line[-1][1] + BUS
        leaving, bottom, axes = [], top, [x + axis for axis in self._axes(item)[0]]
        for axis, branch in zip(axes, item.branches, strict=True):
            into = [*line, (line[-1][0], top), (axis, top)]
            lines, end = self.place(branch, axis, top, [into])
            leaving += lines
            bottom = max(bottom, end)
        if not all(item.branches):
            middle = (top + bottom + GAP) / 2 + 4
            self.boxes.append(svg.text("note", axes[-1] + 6, middle, "identity", "start"))
        left = axes[0] - self.extent(item.branches[0])[0]
        right = axes[-1] + (self.extent(item.branches[-1])[1] if item.branches[-1] else 10)
        return leaving, bottom, (left, right)

    def _box(self, stack: Stack, left: float, right: float, y: float) -> float:
        """One box, with strips at its lower edge, of which two may share a row; returns its lower end."""
        nodes = list(stack.nodes)
        while nodes:
            row = [nodes.pop(0)]
            if row[0].kind not in GLUED:
                y = self._body(row[0], left, right, y)
                continue
            if nodes and row[0].kind != "activation":
                row.append(nodes.pop(0))
            y = self._strips(row, left, right, y)
        return y

    def _body(self, node: Node, left: float, right: float, y: float) -> float:
        lines, middle = _lines(node), (left + right) / 2
        height = TITLE + TEXT * (len(lines) - 1) + 10
        self.boxes.append(svg.rectangle(node.kind, left, y, right - left, height, _about(node)))
        for number, words in enumerate(lines):
            style = "" if number or node.kind == IMAGES else "name"
            style = "path" if number == len(lines) - 2 and node.name == node.path else style
            self.boxes.append(svg.text(style, middle, y + TITLE + 1 + number * TEXT, words))
        return y + height

    def _strips(self, row: list[Node], left: float, right: float, y: float) -> float:
        letters, whole = [max(len(node.label), 5) for node in row], right - left
        for node, share in zip(row, letters, strict=True):
            width = whole * share / sum(letters)
            self.boxes.append(svg.rectangle(node.kind, left, y, width, STRIP, _about(node)))
            self.boxes.append(svg.text("strip", left + width / 2, y + 13.5, node.label))
            left += width
        return y + STRIP
