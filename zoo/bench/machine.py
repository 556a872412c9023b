"""What the figures depend on besides the code: processor, versions, flags."""

import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

PACKAGES = ("jax-cnn-zoo", "jax", "jaxlib", "flax", "keras", "torch", "torchvision", "timm")
FLAGS = (
    "XLA_FLAGS",
    "JAX_PLATFORMS",
    "MALLOC_",
    "GLIBC_TUNABLES",
    "LD_PRELOAD",
    "OMP_",
    "MKL_",
    "KMP_",
    "TORCHINDUCTOR_",
)


def available_cores() -> list[int]:
    """The processor's cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


@dataclass(frozen=True)
class Machine:
    """Where and with what something was measured.

    Attributes:
      date: of the day.
      processor: its name.
      cores: that this process may use.
      python: its version.
      versions: of the packages that are installed.
      flags: environment variables that change how the libraries compute.
    """

    date: str
    processor: str
    cores: int
    python: str
    versions: dict[str, str]
    flags: dict[str, str]


def describe_machine() -> Machine:
    """This machine, now."""
    return Machine(
        date=time.strftime("%Y-%m-%d"),
        processor=_name_processor(),
        cores=len(available_cores()),
        python=platform.python_version(),
        versions={name: version for name in PACKAGES if (version := _find_version(name))},
        flags={name: value for name, value in sorted(os.environ.items()) if name.startswith(FLAGS)},
    )


def format_machine(machine: Machine, devices: Sequence[str]) -> str:
    """One line: these devices, and the machine."""
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    flags = " ".join(f"{name}={value}" for name, value in machine.flags.items()) or "no flags"
    where = ", ".join((*devices, machine.processor, machine.date))
    return f"{where}; python {machine.python}, {versions}; {flags}"


def _name_processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(": ")[2] for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _find_version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
