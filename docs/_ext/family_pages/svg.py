"""The few shapes of which the figures consist, as text of an SVG; the style sheet has their colours."""

from collections.abc import Iterable, Sequence
from html import escape

Point = tuple[float, float]


def document(elements: Iterable[str], width: float, height: float, title: str) -> str:
    """A whole SVG; `title` is what a screen reader says."""
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    start = f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(title)}" {size}>'
    return "\n".join([start, *elements, "</svg>"])


def rectangle(style: str, x: float, y: float, width: float, height: float, about: str = "", radius: float = 3) -> str:
    """A box of a class of the style sheet; `about` appears where the pointer rests on it."""
    where = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{radius}"'
    return f'<rect class="{style}" {where}><title>{escape(about)}</title></rect>'


def text(style: str, x: float, y: float, words: str, anchor: str = "middle") -> str:
    """One line of text."""
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def arrow(points: Sequence[Point]) -> list[str]:
    """A line along points, each straight above, below or beside the next, with rounded corners and a head.

    The last stretch leads downwards or to the right.
    """
    points = [point for i, point in enumerate(points) if i == 0 or point != points[i - 1]]
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for before, at, after in zip(points, points[1:], points[2:], strict=False):
        near, far = _towards(at, before), _towards(at, after)
        path += f"L{near[0]:.1f} {near[1]:.1f}Q{at[0]:.1f} {at[1]:.1f} {far[0]:.1f} {far[1]:.1f}"
    x, y = points[-1]
    down = points[-2][0] == x
    end = f"{x:.1f} {y - 3:.1f}" if down else f"{x - 3:.1f} {y:.1f}"
    head = "l-4 -7h8z" if down else "l-7 -4v8z"
    return [f'<path class="line" d="{path}L{end}"/>', f'<path class="head" d="M{x:.1f} {y:.1f}{head}"/>']


def _towards(start: Point, end: Point, radius: float = 6) -> Point:
    """The point at `radius` from the start of a straight line, or half-way on a short one."""
    length = abs(end[0] - start[0]) + abs(end[1] - start[1])
    share = min(radius, length / 2) / length if length else 0
    return start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share
