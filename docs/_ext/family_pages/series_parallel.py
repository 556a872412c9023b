"""What stands after what and what beside what: a block's graph as a sequence of stacks and of branches side by side.

Every block of the zoo is series-parallel: whatever forks is joined again, and branches do not cross. Such a graph has
a drawing without crossing lines, which `block_figure` makes from the sequence that is found here.
"""

from dataclasses import dataclass

from .tracing import IMAGES, Node

GLUED = ("norm", "activation", "scale")  # drawn at the lower edge of the box before


@dataclass(frozen=True)
class Stack:
    """Nodes that follow each other and are drawn as one box: a convolution, its normalisation, its activation."""

    nodes: tuple[Node, ...]


@dataclass(frozen=True)
class Parallel:
    """Branches side by side, one of which may be empty: a shortcut that changes nothing."""

    branches: tuple[tuple["Stack | Parallel", ...], ...]


Sequence = tuple[Stack | Parallel, ...]


@dataclass(frozen=True)
class _Edge:
    """What lies between two stacks; `argument` is its place among the inputs of the second."""

    start: str
    end: str
    argument: int
    between: Sequence = ()


def arrange(nodes: dict[str, Node]) -> Sequence:
    """The sequence of a block's stacks and branches, from its input to its output.

    Raises:
      ValueError: the block has several inputs or outputs, or branches that cross.
    """
    stacks, edges = _stack(nodes)
    starts, ends = {edge.start for edge in edges}, {edge.end for edge in edges}
    sources, sinks = stacks.keys() - ends, stacks.keys() - starts
    if len(sources) != 1 or len(sinks) != 1:
        raise ValueError(f"a block has one input and one output, not {sorted(sources)} and {sorted(sinks)}")
    while len(edges) > 1:
        joined = _join_branches(_join_chains(edges, stacks), stacks)
        joined = joined if len(joined) < len(edges) else _join_branches(edges, stacks, whole=False)
        if len(joined) == len(edges):
            raise ValueError(f"branches cross between {sorted(starts)}")
        edges = joined
    (edge,) = edges
    return stacks[edge.start], *edge.between, stacks[edge.end]


def _stack(nodes: dict[str, Node]) -> tuple[dict[str, Stack], list[_Edge]]:
    """Stacks by the name of their first node, and the edges between them."""
    readers: dict[str, list[str]] = {name: [] for name in nodes}
    for name, node in nodes.items():
        for read in node.inputs:
            readers[read].append(name)
    stack_of: dict[str, str] = {}
    stacks: dict[str, Stack] = {}
    edges = []
    for name, node in nodes.items():
        last = node.inputs[0] if len(node.inputs) == 1 else None
        if node.kind in GLUED and last and readers[last] == [name] and nodes[last].kind != IMAGES:
            stack_of[name] = stack_of[last]
            stacks[stack_of[name]] = Stack((*stacks[stack_of[name]].nodes, node))
        else:
            stack_of[name], stacks[name] = name, Stack((node,))
            edges += [_Edge(stack_of[read], name, argument) for argument, read in enumerate(node.inputs)]
    return stacks, edges


def _join_branches(edges: list[_Edge], stacks: dict[str, Stack], *, whole: bool = True) -> list[_Edge]:
    """One edge for all that lead from one stack to another, its branches in the order of the arguments.

    A branch without layers stands to the right. With `whole`, only where a stack reads nothing else.
    """
    beside: dict[tuple[str, str], list[_Edge]] = {}
    for edge in edges:
        beside.setdefault((edge.start, edge.end), []).append(edge)

    def join(group: list[_Edge]) -> list[_Edge]:
        if len(group) == 1 or (whole and len(group) < sum(edge.end == group[0].end for edge in edges)):
            return group
        summed = stacks[group[0].end].nodes[0].kind == "add"  # of a sum the order does not matter: the longest first
        group = sorted(group, key=lambda e: (not e.between, -len(e.between) if summed else e.argument))
        first = min(edge.argument for edge in group)
        return [_Edge(group[0].start, group[0].end, first, (Parallel(tuple(edge.between for edge in group)),))]

    return [edge for group in beside.values() for edge in join(group)]


def _join_chains(edges: list[_Edge], stacks: dict[str, Stack]) -> list[_Edge]:
    """One edge for the two at each stack that only one leads to and only one leaves."""
    for name, stack in stacks.items():
        before = [edge for edge in edges if edge.end == name]
        after = [edge for edge in edges if edge.start == name]
        if len(before) == len(after) == 1:
            (a,), (b,) = before, after
            edges = [edge for edge in edges if edge not in (a, b)]
            edges.append(_Edge(a.start, b.end, b.argument, (*a.between, stack, *b.between)))
    return edges
