"""`zoo list` and `zoo show`: the tables of models and of one model's layers."""

import fnmatch
import json
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from zoo.cli.terminal import format_shape, make_table, working, write
from zoo.errors import UserError

# What `zoo list` prints of the registry, in its order, without loading the nets: tools/write_model_table.py writes it.
ROWS = Path(__file__).with_name("models.json")


def list_(pattern: Annotated[Positional[str], arg(metavar="GLOB")] = "*") -> None:
    """List the models with their published figures.

    Args:
        pattern: Which, as a shell pattern such as 'res*'.
    """
    rows = json.loads(ROWS.read_text(encoding="utf-8"))
    names = fnmatch.filter(rows, pattern)
    if not names:
        raise UserError(f"no model matches {pattern!r}", "`zoo list` shows all models")
    table = make_table("model", "parameters>", "multiply-adds>", "input>", "paper", "arXiv")
    for name in names:
        row = rows[name]
        paper, _, number = row["paper"].partition(", arXiv:")
        table.add_row(name, f"{row['params']:,}", f"{row['macs']:,}", format_shape(row["input"]), paper, number)
    write(table)


def show(
    model: Annotated[str, arg(metavar="MODEL")],
    *,
    image_size: Annotated[int | None, arg(metavar="INT", help_behavior_hint="")] = None,
) -> None:
    """Show a model's layers: shapes, parameters, multiply-adds, endpoints.

    Args:
        model: Name of the net.
        image_size: Side of the images; the net's native size if not given.
    """
    from zoo.models import registry, summary

    row = registry.variant(model)
    size = row.image_size if image_size is None else image_size
    if size < 1:
        raise UserError(f"image_size is {size}", "it must be at least 1")
    net, image_shape = registry.create(model), (size, size, row.channels)
    with working(f"tracing {model}"):
        layers, endpoints = summary.summarise(net, image_shape, tuple(row.endpoints))
    table = make_table("layer", "output>", "parameters>", "multiply-adds>", "type")
    for layer in layers:
        type_ = f"{layer.type} (auxiliary)" if layer.auxiliary else layer.type
        numbers = f"{layer.params:,}", f"{layer.macs:,}" if layer.macs else ""
        table.add_row(layer.path, format_shape(layer.shape), *numbers, type_)
    table.add_section()
    macs = sum(layer.macs for layer in layers if not layer.auxiliary)
    table.add_row("total", "", f"{sum(layer.params for layer in layers):,}", f"{macs:,}", "", style="bold")
    ends = make_table("endpoint", "shape>")
    for name, shape in endpoints.items():
        ends.add_row(name, format_shape(shape))
    notes = (row.paper, row.departures and f"departs from it: {row.departures}", f"input {format_shape(image_shape)}")
    write(f"{model}: " + "; ".join(note for note in notes if note), "", table, "", ends)
