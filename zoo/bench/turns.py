"""Starts the contestants one after the other, lets them take turns, and takes medians."""

import contextlib
import json
import os
import random
import select
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from zoo.bench.job import Job
from zoo.training.memory import ENVIRONMENT

UNCOUNTED = 2  # first rounds, in which caches are filled


@dataclass
class Result:
    """What came of one contestant; see `Contestant` for what it reports itself.

    Attributes:
      failure: why there are no figures.
      seconds: of each step that counts.
    """

    failure: str = ""
    seconds: list[float] = field(default_factory=list)
    device: str = ""
    compile_seconds: float | None = None
    memory: int | None = None
    note: str = ""
    work: float | None = None
    matrix_rate: float | None = None

    @property
    def median(self) -> float:
        """Seconds of a step."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """What the middle half of the steps covers, as a share of the median."""
        low, _, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return (high - low) / self.median


class Failed(Exception):
    """A contestant that does not answer, or answers that it cannot."""


def race(
    jobs: Mapping[str, Job], *, rounds: int, patience: float, tell: Callable[[str], object] = lambda _: None
) -> dict[str, Result]:
    """The results of all jobs, by name.

    While one contestant starts and compiles, no other computes. Then each makes a step in every round, in an order
    that changes from round to round; the first two rounds do not count. Whoever fails is out, and the others go on.

    Args:
      jobs: by the name of the contestant.
      rounds: that count.
      patience: seconds within which a contestant must be ready, and make a step.
      tell: told what is going on, for a progress display.
    """
    results: dict[str, Result] = {}
    seats: dict[str, _Seat] = {}
    with contextlib.ExitStack() as stack:
        for number, (name, job) in enumerate(jobs.items(), 1):
            tell(f"{job.model}: preparing {name}, {number} of {len(jobs)}")
            seat = stack.enter_context(_Seat(job, patience))
            try:
                results[name], seats[name] = Result(**seat.hear()), seat
            except Failed as failure:
                results[name] = Result(failure=str(failure))
                seat.leave()
        shuffle = random.Random(0).shuffle
        for number in range(UNCOUNTED + rounds):
            tell(f"round {number + 1} of {UNCOUNTED + rounds}: {', '.join(seats)}")
            order = list(seats)
            shuffle(order)
            for name in order:
                try:
                    seconds = seats[name].take_turn()
                except Failed as failure:
                    results[name] = Result(failure=str(failure))
                    seats.pop(name).leave()
                else:
                    results[name].seconds += [seconds] if number >= UNCOUNTED else []
    return results


class _Seat:
    """A contestant's process, seen from outside. It ends with the `with` block, or with this process."""

    def __init__(self, job: Job, patience: float) -> None:
        self.patience = patience
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115, closed in leave
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "zoo.bench.contestant", job.to_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=os.environ | _settings(job),
            start_new_session=True,  # Ctrl-C is for this process alone, which then ends the others
        )

    def __enter__(self) -> "_Seat":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    def leave(self) -> None:
        """Ends the process and all that it has started."""
        if self.process.stdin and not self.process.stdin.closed:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.communicate()
            self.errors.close()

    def take_turn(self) -> float:
        """Seconds of one step."""
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):  # then there is no answer either
            self.process.stdin.write(b"\n")
            self.process.stdin.flush()
        return self.hear()["seconds"]

    def hear(self) -> dict[str, Any]:
        """The next answer.

        Raises:
          Failed: it says that it cannot, or nothing.
        """
        assert self.process.stdout
        if not select.select([self.process.stdout], [], [], self.patience)[0]:
            raise Failed(f"no answer within {self.patience:g} s")
        line = self.process.stdout.readline()
        if not line:
            raise Failed(self._explain_end())
        answer = json.loads(line)
        if "failure" in answer:
            raise Failed(answer["failure"])
        return answer

    def _explain_end(self) -> str:
        code = self.process.wait()
        self.errors.seek(0)
        said = self.errors.read().decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(said) if line.strip()), "")
        end = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        return f"{end}: {last}" if last else end


def _settings(job: Job) -> dict[str, str]:
    """Environment of a contestant: everything is compiled anew, and nobody takes a GPU's memory for itself."""
    threads = str(len(job.cores))
    kept = ENVIRONMENT if job.keeps_memory else {}  # by the environment, because the process starts with a thread
    return kept | {
        "JAX_ENABLE_COMPILATION_CACHE": "false",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",
        "TORCHINDUCTOR_COMPILE_THREADS": threads,
        "OMP_NUM_THREADS": threads,
        "KERAS_BACKEND": "jax",
    }
