"""`zoo bench`: zoo beside what a user would pick instead."""

import json as json_library
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from rich.table import Table
from tyro.conf import Positional, arg

from zoo.bench import PEERS, Result, choose_peers, describe_machine, format_machine, make_jobs, race
from zoo.bench.machine import Machine, available_cores
from zoo.bench.peers import INSTALL
from zoo.cli.terminal import format_shape, make_table, warn, working, write
from zoo.errors import UserError

FEWEST = 5  # rounds
COLUMNS = {  # with the format of their numbers
    "images/s": ",.2f",
    "time / zoo's": ".2f",
    "step [ms]": ",.2f",
    "spread": ".0%",
    "compile [s]": ".1f",
    "memory [MiB]": ",.1f",
    "matrix rate": ".0%",
}
Results = dict[str, dict[str, Result]]  # by model and peer


def bench(
    models: Annotated[Positional[tuple[str, ...]], arg(metavar="MODEL...")] = ("resnet50",),
    *,
    mode: Literal["train", "infer"] = "train",
    batch: int = 8,
    size: Annotated[int | None, arg(metavar="INT", help_behavior_hint="")] = None,
    dtype: Literal["float32", "bfloat16"] = "float32",
    threads: Annotated[int | None, arg(metavar="INT", help_behavior_hint="")] = None,
    peers: Annotated[str | None, arg(metavar="NAME,...", help_behavior_hint="")] = None,
    rounds: int = 10,
    patience: float = 600.0,
    plot: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None,
    json: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None,
) -> None:
    """Measure nets beside the same nets of other libraries.

    Time, compilation and memory of a step.

    Args:
        models: Names of nets, measured one after the other.
        mode: A whole training step, or inference with folded normalisations.
        batch: Images in a step.
        size: Side of the images; each net's native size if not given.
        dtype: Type of the computation.
        threads: Threads of each contestant, on as many cores; all cores if not given.
        peers: Who takes part besides zoo, out of flax,keras,torch,torch-compile; all that are installed if not given.
        rounds: Steps of each contestant that count.
        patience: Seconds within which a contestant must be ready.
        plot: Picture of a bar chart to write, a PNG.
        json: File for all figures, written anew after each model.
    """
    cores = available_cores()
    threads = len(cores) if threads is None else threads
    _check_numbers(batch=batch, rounds=rounds, patience=patience, threads=threads, cores=len(cores))
    sizes = {model: _choose_size(model, size) for model in models}
    names = choose_peers(None if peers is None else [name for name in peers.split(",") if name])
    if peers is None and (absent := [name for name in PEERS if name not in names]):
        warn(f"without {', '.join(absent)}: {INSTALL}")
    if plot and find_spec("matplotlib") is None:
        raise UserError("matplotlib is missing for --plot", INSTALL)
    if plot and not plot.parent.is_dir():
        raise UserError(f"there is no folder {plot.parent}", "choose another --plot")
    settings = {"mode": mode, "batch": batch, "dtype": dtype, "threads": threads, "rounds": rounds}
    machine, results = describe_machine(), Results()

    def save() -> None:
        if json:
            _write_json(json, {"machine": machine, "settings": settings, "sizes": sizes, "results": results})

    save()  # before hours of work, not after them
    try:
        with working("starting") as display:
            for model, side in sizes.items():
                task = {"model": model, "mode": mode, "batch": batch, "size": side, "dtype": dtype}
                jobs = make_jobs(names, **task, cores=tuple(cores[:threads]))
                results[model] = race(jobs, rounds=rounds, patience=patience, tell=display.update)
                save()
    finally:  # what is finished is worth a table, Ctrl-C or not
        if results:
            write(_describe(machine, settings, results), "", *_tabulate(sizes, batch, results), "", *_explain(results))
    if plot:
        from zoo import plots

        speeds = {
            model: {peer: batch / result.median for peer, result in row.items() if not result.failure}
            for model, row in results.items()
        }
        plots.write_plot(plots.plot_benchmark(speeds, title=_name_step(settings)), plot)
        write(f"plot: {plot}")


def _check_numbers(*, batch: int, rounds: int, patience: float, threads: int, cores: int) -> None:
    rules = {
        "batch": (batch, batch >= 1, "at least 1"),
        "rounds": (rounds, rounds >= FEWEST, f"at least {FEWEST}"),
        "patience": (patience, patience > 0, "positive"),
        "threads": (threads, 1 <= threads <= cores, f"from 1 to {cores}, the cores that this process may use"),
    }
    for name, (value, holds, range_) in rules.items():
        if not holds:
            raise UserError(f"--{name} is {value}", f"it must be {range_}")


def _choose_size(model: str, size: int | None) -> int:
    """The side of a model's images.

    Raises:
      UserError: no such model, or it needs larger images.
    """
    from zoo.models import registry

    row, least = registry.variant(model), registry.create(model).min_size
    if size is not None and size < least:
        raise UserError(f"--size is {size}", f"{model} needs at least {least}")
    return row.image_size if size is None else size


def _name_step(settings: Mapping[str, Any]) -> str:
    name = {"train": "training step", "infer": "inference"}[settings["mode"]]
    threads = settings["threads"]
    return f"{name}, batch {settings['batch']}, {settings['dtype']}, {threads} thread{'s' * (threads > 1)}"


def _tabulate(sizes: Mapping[str, int], batch: int, results: Results) -> list[Table | str]:
    """A table for a terminal; anywhere else its lines in Markdown."""
    columns = dict(COLUMNS)
    if not any(row["zoo"].matrix_rate for row in results.values()):
        del columns["matrix rate"]  # of accelerators
    rows = []
    for model, row in results.items():
        for library, result in row.items():
            found = {} if result.failure else _measure(result, row["zoo"], batch)
            numbers = [format(found[name], form) if name in found else "-" for name, form in columns.items()]
            rows.append([model, library, *numbers, format_shape((batch, sizes[model], sizes[model]))])
    headings = ["model", "library", *(f"{name}>" for name in columns), "images"]
    if sys.stdout.isatty():
        table = make_table(*headings)
        for cells in rows:
            table.add_row(*cells)
        return [table]
    rule = ["---:" if heading.endswith(">") else "---" for heading in headings]
    return ["| " + " | ".join(cells) + " |" for cells in ([h.rstrip(">") for h in headings], rule, *rows)]


def _measure(result: Result, zoo: Result, batch: int) -> dict[str, float]:
    """The figures of a row that there are, by column."""
    numbers = {"images/s": batch / result.median, "step [ms]": 1e3 * result.median, "spread": result.spread}
    if not zoo.failure:
        numbers["time / zoo's"] = result.median / zoo.median
    if result.compile_seconds is not None:
        numbers["compile [s]"] = result.compile_seconds
    if result.memory is not None:
        numbers["memory [MiB]"] = result.memory / 2**20
    if zoo.work and zoo.matrix_rate:
        numbers["matrix rate"] = zoo.work / zoo.matrix_rate / result.median
    return numbers


def _describe(machine: Machine, settings: Mapping[str, Any], results: Results) -> str:
    """The conditions of the figures."""
    devices = {result.device: None for row in results.values() for result in row.values() if result.device}
    return f"{_name_step(settings)}; {format_machine(machine, [*devices] or ['no device'])}"


def _explain(results: Results) -> Iterator[str]:
    """Below the table: what its numbers are, who failed and who differs."""
    yield (
        "Medians of steps in turns. time / zoo's: above 1 zoo is the faster; spread: middle half of the steps, of their"
        " median; compile: cold and alone; memory: temporaries of the compiled step."
    )
    if rates := [row["zoo"].matrix_rate for row in results.values() if row["zoo"].matrix_rate]:
        yield f"Matrix rate: share of the {max(rates) / 1e12:,.1f} TFLOP/s of a product of large matrices."
    for model, row in results.items():
        for peer, result in row.items():
            if text := result.failure or result.note:
                yield f"{model}, {peer}: {text}."


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    """All figures, whole or not at all."""
    from zoo.weights.whole_files import write_whole

    text = json_library.dumps(values, indent=1, default=asdict)
    write_whole(path, lambda part: part.write_text(f"{text}\n"))
