"""One training by many processes, on one host or on many: how they find each other, and how they end together.

Every process runs the same command, reads its own rows of every batch, and computes with its own devices; the first one
alone writes. None goes on without the others: where one ends, all do, and the run is resumed by as many new ones.
"""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

import jax
import numpy as np

from zoo.errors import UserError

HEARTBEAT = 30  # seconds without a sign of life, after which a process is taken for dead
PATIENCE = 45  # seconds to wait for the others at the start: who comes later cannot be told from who never comes


def join_processes(coordinator: str | None = None, processes: int | None = None, process: int | None = None) -> bool:
    """Makes this process one of many, before JAX touches a device. Returns whether it is.

    Args:
      coordinator: `HOST:PORT`, where process 0 listens.
      processes: how many there are.
      process: which one this is, from 0. Without these three, they are what SLURM, Open MPI or a TPU pod says, if
        anything.

    Raises:
      UserError: the three do not go together, or the processes do not find each other.
    """
    if not is_one_of_many(coordinator, processes, process):
        return False
    jax.config.update("jax_enable_preemption_service", val=False)  # it would take SIGTERM away from us
    try:
        jax.distributed.initialize(
            coordinator,
            processes,
            process,
            initialization_timeout=PATIENCE,
            heartbeat_timeout_seconds=HEARTBEAT,
        )
    except (RuntimeError, ValueError) as error:
        if coordinator or finds_launcher(os.environ, pod=False):
            place = f" at {coordinator}" if coordinator else ""
            problem = f"the processes did not find each other{place} ({' '.join(str(error).split())})"
            raise UserError(problem, "start all of them, with the same free port") from error
        return False  # a TPU of its own, which is no pod
    return True


def is_one_of_many(coordinator: str | None = None, processes: int | None = None, process: int | None = None) -> bool:
    """Whether `join_processes` will find others to join, as far as can be said before.

    Raises:
      UserError: the three do not go together.
    """
    given = {"coordinator": coordinator, "processes": processes, "process": process}
    if coordinator is None or processes is None or process is None:
        missing = [name for name, value in given.items() if value is None]
        if len(missing) < len(given):
            there = " and ".join(name for name in given if name not in missing)
            raise UserError(f"{there} without {' and '.join(missing)}", "the three belong together")
        return finds_launcher(os.environ)
    if not re.fullmatch(r".+:\d{1,5}", coordinator):
        raise UserError(f"coordinator is {coordinator!r}", "it must be HOST:PORT, of process 0")
    if processes < 1:
        raise UserError(f"processes is {processes}", "it must be at least 1")
    if not 0 <= process < processes:
        raise UserError(f"process is {process}", f"it must be from 0 to {processes - 1}")
    return True


def finds_launcher(environment: Mapping[str, str], *, pod: bool = True) -> bool:
    """Whether a launcher that JAX knows has started this process as one of many; `pod`: TPUs, which may be one's own.

    >>> finds_launcher({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "1"})
    False
    """
    launchers = {
        "SLURM_NTASKS": ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_PROCID", "SLURM_LOCALID"),
        "OMPI_COMM_WORLD_SIZE": ("OMPI_MCA_orte_hnp_uri",),
    }
    for count, needed in launchers.items():
        if all(name in environment for name in needed) and int(environment.get(count, 1)) > 1:
            return True
    on_tpu = environment.get("JAX_PLATFORMS", "tpu").startswith("tpu") and find_spec("libtpu") is not None
    return pod and on_tpu and any(Path(place).exists() for place in ("/dev/accel0", "/dev/vfio/0"))


def agree(number: int, *, due: bool) -> tuple[int, bool]:
    """What all processes do after a step because one of them wants it: answer a signal, and save.

    Args:
      number: of the signal that this process was sent, or 0.
      due: whether this one would save.
    """
    if jax.process_count() == 1:
        return number, due
    from jax.experimental import multihost_utils

    wishes = multihost_utils.process_allgather(np.array([number, due], np.int32))
    return int(wishes[:, 0].max()), bool(wishes[:, 1].any())


@contextlib.contextmanager
def explain_lost_process() -> Iterator[None]:
    """One line in the place of what a collective says whose other side has gone.

    Raises:
      UserError: another process has ended.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1:
            raise
        remedy = "start all of them again, with zoo.training.resume"
        raise UserError("another process of this job has ended", remedy, code="lost-process") from error
