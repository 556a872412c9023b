"""Whether zoo computes what it should on this machine's accelerator, and how fast: `make gpu-check`.

    python benchmarks/gpu_check.py                           # everything; takes hours, nearly all of it compilation
    python benchmarks/gpu_check.py --parts parity layers     # some of it
    python benchmarks/gpu_check.py --parts nets --models resnet50 --batch 128
    python benchmarks/gpu_check.py --tiny                    # a rehearsal, on a CPU as well

Parity: nets in float32 and bfloat16 beside a CPU's float64. Nets and layers: beside flax's layers, beside what zoo
chooses on other platforms, and nets beside torch.compile, where torch is installed and sees the accelerator too.
Each row is told on stderr as soon as it is known; the table of all comes last, on stdout. Nothing is downloaded.
The exit code is 1 where a net is off or does not run, and 2 where something is missing.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # all else is imported when it is known to be there
    import jax
    from gpu_layers import Roofline
    from side_by_side import Comparison

NEEDED = ("jax", "flax", "optax", "zoo")
PARTS = ("parity", "nets", "layers")  # the memory that a part has taken stays with this process: layers take most
NETS = (
    *("resnet50", "resnetv2_50", "resnext50_32x4d", "densenet121"),
    *("vgg16_bn", "googlenet", "inception_v3", "alexnet"),
)
FAMILIES = (*NETS, "lenet5", "convnet_bn", "inception_v2", "inception_v4", "inception_resnet_v2")
FAMILIES += ("squeezenet1_1", "mobilenet_v1", "mobilenet_v2", "xception")
TELLING = 0.5  # distance from which on even a wrong kernel might pass
PATIENCE = 1800.0  # seconds: torch.compile tries many kernels


@dataclass(frozen=True)
class Scale:
    """How much is computed.

    Attributes:
      parity, nets: names of nets.
      parity_batch, parity_size: images beside the CPU's.
      batch: images of a step.
      size: their sides, each net's native one if None.
      rounds: steps that count.
      side, copied: of the matrices and the array that the roofline is measured with.
    """

    parity: tuple[str, ...] = FAMILIES
    nets: tuple[str, ...] = NETS
    parity_batch: int = 8
    parity_size: int = 128
    batch: int = 256
    size: int | None = None
    rounds: int = 20
    side: int = 8192
    copied: int = 2**30


TINY = Scale(("convnet_bn",), ("convnet_bn",), 2, 16, 2, 16, 2, 64, 2**16)


@dataclass
class Findings:
    """What is told in the end.

    Attributes:
      rows: of the table.
      failures: what is off or does not run.
      notes: what is absent.
    """

    rows: list["Comparison"] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, row: "Comparison") -> None:
        self.rows.append(row)
        tell(" | ".join(row.cells))


def main(words: Sequence[str] | None = None) -> int:
    options = parse(words)
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the nets' own processes need memory
    if missing := find_missing(options):
        tell(f"gpu-check: {missing}")
        return 2
    import jax
    from gpu_layers import Roofline

    from zoo.bench import describe_machine, format_machine
    from zoo.bench.roofline import measure_bandwidth, measure_matrix_rate

    scale, findings, device = choose_scale(options), Findings(), jax.devices()[0]
    roofline = Roofline(measure_matrix_rate("bfloat16", scale.side), measure_bandwidth(scale.copied))
    if options.tiny:
        findings.notes.append("a rehearsal, whose speeds mean nothing")
    checks = {"parity": check_parity, "nets": check_nets, "layers": check_layers}
    try:
        for part in options.parts:
            checks[part](scale, device, roofline, findings)
    finally:  # what is finished is worth a table, Ctrl-C or not
        name = f"{device.device_kind} ({' '.join(device.client.platform_version.split())})"
        print(f"{format_machine(describe_machine(), [name])}\n")
        print_findings(roofline, findings)
    return int(bool(findings.failures))


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--models", nargs="+", metavar="MODEL", help="of parity and nets, if not one of each family")
    parser.add_argument("--batch", type=int, metavar="N", help=f"images of a step and of the layers; {Scale.batch}")
    parser.add_argument("--tiny", action="store_true", help="small nets, maps and batches, on whatever device")
    return parser.parse_args(words)


def find_missing(options: argparse.Namespace) -> str | None:
    """What the check cannot be made without, in one line with the remedy."""
    if absent := [name for name in NEEDED if find_spec(name) is None]:
        return f"{', '.join(absent)} cannot be imported by {sys.executable}: pip install 'jax-cnn-zoo[cuda]'."
    if options.batch is not None and options.batch < 1:
        return f"--batch is {options.batch}: it must be at least 1."
    import jax

    from zoo.errors import UserError
    from zoo.models import registry

    try:
        for name in options.models or ():
            registry.variant(name)
        device = jax.devices()[0]
        jax.devices("cpu")
    except UserError as error:
        return str(error)
    except RuntimeError as error:  # of JAX: a platform that was asked for, or the CPU, is not there
        return f"{str(error).splitlines()[0]}: unset JAX_PLATFORMS, or name it and cpu."
    if device.platform == "cpu" and not options.tiny:
        return "no accelerator: JAX sees CPUs alone. On a machine with one, pip install 'jax-cnn-zoo[cuda]'; or --tiny."
    return None


def choose_scale(options: argparse.Namespace) -> Scale:
    scale, chosen = TINY if options.tiny else Scale(), {}
    if options.models:
        chosen |= {"parity": tuple(options.models), "nets": tuple(options.models)}
    if options.batch:
        chosen |= {"batch": options.batch}
    return replace(scale, **chosen)


def check_parity(scale: Scale, device: "jax.Device", _: "Roofline", findings: Findings) -> None:
    from gpu_parity import compare_with_cpu

    for name in scale.parity:
        for row, farthest in compare_with_cpu(name, device, batch=scale.parity_batch, size=scale.parity_size):
            findings.add(row)
            if row.gain < 1:
                findings.failures.append(f"{row.what}: {farthest} is {row.ours:.1e} off, {row.theirs:.1e} is allowed")
            elif row.theirs > TELLING:
                findings.notes.append(f"{row.what}: rounding alone takes this net so far that it says little")


def check_nets(scale: Scale, device: "jax.Device", roofline: "Roofline", findings: Findings) -> None:
    from side_by_side import Comparison

    from zoo.bench import make_jobs, race
    from zoo.bench.machine import available_cores
    from zoo.bench.roofline import count_work
    from zoo.models import registry

    names = choose_peers(device, findings)
    cores = tuple(available_cores())
    for mode in ("train", "infer"):
        for model in scale.nets:
            size = max(registry.create(model).min_size, scale.size or registry.variant(model).image_size)
            what = f"{model}, {mode}, {scale.batch}x{size}x{size}"
            task = {"model": model, "mode": mode, "batch": scale.batch, "size": size, "dtype": "bfloat16"}
            tell(f"{what}: {', '.join(names)} ...")
            jobs = make_jobs(names, **task, cores=cores)
            results = race(jobs, rounds=scale.rounds, patience=PATIENCE)
            for name, result in results.items():
                if text := result.failure or result.note:
                    told = findings.failures if result.failure and name == "zoo" else findings.notes
                    told.append(f"{what}, {name}: {text}")
            zoo = results.pop("zoo")
            if not zoo.failure:
                share = count_work(jobs["zoo"]) / roofline.matrix_rate / zoo.median
                for name, result in results.items():
                    if not result.failure:
                        ours, theirs = (scale.batch / median for median in (zoo.median, result.median))
                        findings.add(Comparison(what, "images/s", ours, name, theirs, share))


def choose_peers(device: "jax.Device", findings: Findings) -> list[str]:
    """zoo, flax, and torch.compile where it computes on the same kind of device."""
    from zoo.bench import PEERS

    names = ["zoo", "flax"]
    if device.platform == "cpu":
        findings.notes.append("without torch-compile, which a rehearsal on a CPU would wait for too long")
    elif absent := PEERS["torch-compile"].missing:
        findings.notes.append(f"without torch-compile: {', '.join(absent)} not installed")
    else:
        import torch

        if torch.cuda.is_available():
            names.append("torch-compile")
        else:
            findings.notes.append(f"without torch-compile: torch {torch.__version__} sees no accelerator")
    return names


def check_layers(scale: Scale, _: "jax.Device", roofline: "Roofline", findings: Findings) -> None:
    import gpu_layers

    plan = replace(gpu_layers.TINY if scale.size else gpu_layers.FULL, batch=scale.batch)
    for case in gpu_layers.list_cases(plan):
        for row in gpu_layers.compare(case, plan, roofline):
            findings.add(row)


def print_findings(roofline: "Roofline", findings: Findings) -> None:
    from side_by_side import HEADINGS, print_head, print_row

    rates = f"{roofline.matrix_rate / 1e12:,.1f} TFLOP/s in bfloat16, {roofline.bandwidth / 1e9:,.0f} GB/s"
    print(f"At best: {rates}, measured by a product and a map of large arrays.")
    print("A gain above 1: zoo is ahead, or within what is allowed. A backward pass includes the forward pass.\n")
    print_head(*HEADINGS)
    for row in findings.rows:
        print_row(*row.cells)
    for title, lines in (("notes", findings.notes), ("failures", findings.failures)):
        if lines:
            print(f"\n{title}:")
        for line in lines:
            print(f"- {line}.")


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
