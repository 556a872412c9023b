"""What a training survives, as a table for benchmarks/RESULTS.md: `python -m tools.faults [MODEL]`, as root.

Each drill trains a small net, does it harm, continues it, and compares every weight and every figure of the metrics
with those of a run that was left in peace, bit for bit. Full disks and read-only folders are made in memory,
for which one must be root; the drills of `tests/test_faults.py` do without. The exit code is 1 if anything was lost.
"""

import contextlib
import errno
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import jax
import numpy as np

import zoo
from zoo.errors import Terminated
from zoo.training import RunFolder, TrainConfig, resume
from zoo.training.checkpoints import Checkpoints
from zoo.training.epochs import Training
from zoo.weights import read

STEPS = 6  # of an epoch
OPTIONS = ("--epochs", "3", "--batch-size", "256", "--ema-decay", "0.9", "--checkpoint-steps", "1")
PAGE = 4096  # bytes


class Row(NamedTuple):
    """A line of the table: how many trials came to what peace comes to, and what was said in the first of them."""

    fault: str
    trials: int
    survived: int
    told: str = ""


class Workplace:
    """A new folder for every trial, and what a run of the net comes to that is left in peace."""

    def __init__(self, folder: Path, model: str) -> None:
        self.folder, self.number = folder, 0
        self.config = TrainConfig(model, epochs=3, batch_size=256, ema_decay=0.9)
        zoo.fit(self.config, folder / "peace")
        self.peace = read_outcome(folder / "peace")

    def make(self) -> Path:
        self.number += 1
        (place := self.folder / str(self.number)).mkdir()
        return place / "run"

    def train(self, folder: Path, at_step: Callable[[], object] = lambda: None) -> str:
        """With a checkpoint at every step. Does something in the second epoch, and returns what ended the run early."""
        seen = []

        def on_step(progress, state):
            seen.append(progress)
            if len(seen) == STEPS + 2:
                at_step()

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that curves were not drawn
                zoo.fit(self.config, folder, checkpoint_steps=1, on_step=on_step)
        except (ValueError, OSError, KeyboardInterrupt) as error:
            return shorten(str(error) or type(error).__name__, folder)
        return ""

    def is_as_in_peace(self, folder: Path) -> bool:
        """Continues the run, or starts it where there is none, and compares."""
        run = RunFolder(folder)
        if not run.config_path.exists():
            zoo.fit(self.config, folder)
        elif not run.weights_path.exists():
            resume(folder)
        return read_outcome(folder) == self.peace


def read_outcome(folder: Path) -> tuple[dict[str, bytes], list[dict]]:
    """The bytes of every weight; and the metrics, without the times and the digest of all."""
    rows = [json.loads(line) for line in RunFolder(folder).metrics_path.read_text().splitlines()]
    timeless = [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second", "digest")} for row in rows]
    return {name: array.tobytes() for name, array in read(RunFolder(folder).weights_path).items()}, timeless


def shorten(text: str, folder: Path) -> str:
    return text.strip().replace(str(folder), "RUN").replace(socket.gethostname(), "HOST")


def start(command: str, *words: str, **environment: str) -> subprocess.Popen:
    """The command line, in a process of its own."""
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True, "cwd": Path(__file__).parents[1]}
    words = (sys.executable, "-m", "zoo", command, *words)
    return subprocess.Popen(words, env=os.environ | environment, **options)


def kill(work: Workplace, trials: int) -> Row:
    """By a signal that nobody can answer, at any moment between the first file and the last."""
    random, survived, killed = np.random.default_rng(0), 0, 0
    calm = work.make()
    start("train", work.config.model, *OPTIONS, "--out", str(calm)).communicate()
    lasted = calm.stat().st_mtime - (calm / "config.json").stat().st_mtime
    while killed < trials:
        folder = work.make()
        with start("train", work.config.model, *OPTIONS, "--out", str(folder)) as process:
            while not (folder / "config.json").exists():
                time.sleep(0.001)
            time.sleep(random.uniform(0, lasted))
            process.kill()
        if not (folder / "curves.png").exists():  # or it was through
            killed += 1
            start("resume", str(folder)).communicate()
            survived += read_outcome(folder) == read_outcome(calm)
    return Row("kill -9 at a random moment", trials, survived)


def refuse_files(work: Workplace, every: int) -> Row:
    """The disk is full when a file is to appear: the first, and every so many after it."""
    place, told, survived, trials = Path.replace, [], 0, 0
    while not told or told[-1]:
        left = iter(range(every * trials))

        def replace(path, target, left=left):
            if next(left, None) is None:
                raise OSError(errno.ENOSPC, "No space left on device")
            return place(path, target)

        folder, trials = work.make(), trials + 1
        with mock.patch.object(Path, "replace", replace):
            told.append(work.train(folder))
        survived += work.is_as_in_peace(folder)
    return Row("disk full when a file is to appear, each of them", trials, survived, told[0])


@contextlib.contextmanager
def mounted(folder: Path, size: int) -> Iterator[Callable[[str], object]]:
    """A disk in memory; the function that is given changes its options."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield lambda options: subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)
    finally:
        subprocess.run(["umount", folder], check=True)


def fill_disk(work: Workplace, trials: int) -> Row:
    """From a disk without a free page to one with what a run needs."""
    needed = 14 * (work.folder / "peace" / "weights.safetensors").stat().st_size + 2**17
    told, survived = [], 0
    for size in np.linspace(PAGE, needed, trials):
        disk = work.make()
        with mounted(disk, round(size)) as remount:
            (disk / "letter").write_bytes(bytes(PAGE))
            told.append(work.train(disk / "run"))
            remount("size=64m")
            survived += work.is_as_in_peace(disk / "run")
    tight = sum(map(bool, told))
    return Row(f"disk with 0 to {needed // 1024} KiB free, too few {tight} times", trials, survived, told[0])


def forbid_writing(work: Workplace) -> Row:
    """Into a folder that nobody may change, root neither: from the start, and from a step on."""
    told, survived = [], 0
    for late in (False, True):
        disk = work.make()
        with mounted(disk, 2**26):
            (folder := disk / "run").mkdir()
            allow, forbid = (partial(subprocess.run, ["chattr", sign, folder], check=True) for sign in ("-i", "+i"))
            if not late:
                forbid()
            told.append(work.train(folder, forbid))
            allow()
            survived += bool(told[-1]) and work.is_as_in_peace(folder)
    return Row("read-only folder, from the start or in the middle", 2, survived, told[0])


def remove_folder(work: Workplace) -> Row:
    """While a net is trained into it; nothing of it comes back by itself."""
    folder = work.make()

    def remove():
        while folder.exists():  # a checkpoint may appear in it meanwhile
            shutil.rmtree(folder, ignore_errors=True)

    told = work.train(folder, remove)
    survived = bool(told) and not folder.exists() and work.is_as_in_peace(folder)
    return Row("folder deleted in the middle", 1, survived, told)


def share_folder(work: Workplace) -> Row:
    """The second run into a folder is refused, and the first one ends as in peace."""
    folder, told = work.make(), []
    work.train(folder, lambda: told.append(work.train(folder)))
    return Row("a second run into the folder", 1, bool(told[0]) and work.is_as_in_peace(folder), told[0])


def terminate(work: Workplace) -> Row:
    """In the compilation, an epoch, its test, a save, and on the command line."""
    methods, survived = ("_compile", "_train_epoch", "_test", "_save_checkpoint"), 0
    for method in methods:
        do, signals = getattr(Training, method), iter([signal.SIGTERM])

        def terminated(training, *rest, do=do, signals=signals):
            for number in signals:
                os.kill(os.getpid(), number)
            return do(training, *rest)

        folder = work.make()
        with mock.patch.object(Training, method, terminated):
            told = work.train(folder)
        survived += told == Terminated.__name__ and work.is_as_in_peace(folder)
    folder = work.make()
    with start("train", work.config.model, "--epochs", "10000", "--out", str(folder)) as process:
        while not (folder / "metrics.jsonl").exists():
            time.sleep(0.01)
        process.terminate()
        told = process.communicate()[1].splitlines()[-1]
    survived += process.returncode == 128 + signal.SIGTERM and "zoo resume" in told
    return Row("SIGTERM in compilation, epoch, test, save", len(methods) + 1, survived, shorten(told, folder))


def turn_clock_back(work: Workplace) -> Row:
    """An hour at every look."""
    folder = work.make()
    with mock.patch("time.time", side_effect=itertools.count(1_000_000_000, -3600)):
        told = work.train(folder)
    return Row("clock that goes backwards", 1, not told and work.is_as_in_peace(folder), told)


def damage(work: Workplace, trials: int) -> Row:
    """The last checkpoint is cut off, or a bit of it is turned, at places over its whole length."""
    origin, told, survived = work.make(), [], 0

    def stop():
        raise KeyboardInterrupt

    work.train(origin, stop)
    content = (last := Checkpoints(origin).find_all()[-1]).read_bytes()
    for trial, place in enumerate(np.linspace(0, len(content) - 1, trials).astype(int)):
        shutil.copytree(origin, folder := work.make())
        changed = bytearray(content)
        changed[place] ^= 1 << trial % 8
        (folder / last.name).write_bytes(changed if trial % 2 else content[:place])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            survived += work.is_as_in_peace(folder) and len(caught) == 1
        told += [shorten(str(one.message), folder) for one in caught]
    return Row("last checkpoint cut off, or a bit of it turned", trials, survived, told[-1])


def ask_for_absent_device(work: Workplace) -> Row:
    """One line, and nothing is begun."""
    folder, absent = work.make(), "tpu" if jax.default_backend() == "gpu" else "cuda"
    process = start("train", work.config.model, "--out", str(folder), JAX_PLATFORMS=absent)
    told = process.communicate()[1]
    survived = process.returncode == 2 and told.count("\n") == 1 and work.is_as_in_peace(folder)
    return Row("a device that is not there", 1, survived, shorten(told, folder))


def format_table(rows: list[Row]) -> str:
    """In Markdown, which can be read as it is."""
    head = ["| fault | trials | survived | what was said |", "|---|---:|---:|---|"]
    return "\n".join(head + [f"| {row.fault} | {row.trials} | {row.survived:d} | {row.told} |" for row in rows])


def main() -> int:
    drills = (
        partial(kill, trials=50),
        partial(refuse_files, every=1),
        partial(fill_disk, trials=40),
        forbid_writing,
        remove_folder,
        share_folder,
        terminate,
        turn_clock_back,
        partial(damage, trials=200),
        ask_for_absent_device,
    )
    with tempfile.TemporaryDirectory() as folder:
        work, rows = Workplace(Path(folder), *(sys.argv[1:] or ["convnet_bn"])), []
        for drill in drills:
            rows.append(drill(work))
            print(rows[-1], file=sys.stderr, flush=True)
    print(format_table(rows))
    return int(any(row.survived != row.trials for row in rows))


if __name__ == "__main__":
    sys.exit(main())
