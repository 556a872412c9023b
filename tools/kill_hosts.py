"""Kills one of several processes of a training, at random moments, and sees that all end and that the run resumes.

    python -m tools.kill_hosts [--processes 4] [--times 10] [--seed 0]

prints a line for each time: who was killed when, after how long the others had ended and how, how many lines they left,
and whether `zoo resume`, with as many processes, came to the end of the run.
"""

import argparse
import random
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from zoo.training import RunFolder

LONGEST = 60  # seconds in which all must have ended
EPOCHS = 12


def start_all(processes: int, *words: str) -> list[subprocess.Popen]:
    """The processes of one command on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "zoo", *words, "--coordinator", place, "--processes", str(processes)]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return [subprocess.Popen([*command, "--process", str(number)], **pipes) for number in range(processes)]


def kill_one(processes: int, chance: random.Random, folder: Path, longest: float) -> tuple[str, bool]:
    """One line of the table, and whether all went well."""
    started = start_all(processes, "train", "mlp", "--epochs", str(EPOCHS), "--out", str(folder))
    victim, moment = chance.randrange(processes), chance.uniform(0, longest)
    time.sleep(moment)
    started[victim].kill()
    began, said, hung = time.monotonic(), [], 0
    for one in started:
        try:
            said.append(one.communicate(timeout=max(began + LONGEST - time.monotonic(), 0.1))[1])
        except subprocess.TimeoutExpired:
            one.kill()
            said.append("")
            hung += 1
    seconds = time.monotonic() - began
    others = [text for one, text in zip(started, said, strict=True) if one is not started[victim]]
    for text in others:
        if len(re.findall("^zoo: ", text, re.MULTILINE)) != 1 and text:
            print(text[-2000:], file=sys.stderr)
    lines = [len(re.findall("^zoo: ", text, re.MULTILINE)) for text in others]
    new = ("train", "mlp", "--epochs", str(EPOCHS), "--out", str(folder))
    words = ("resume", str(folder)) if (folder / "config.json").exists() else new
    done = len(RunFolder(folder).read_metrics()) if folder.exists() else 0
    if not (folder / "weights.safetensors").exists():
        for one in start_all(processes, *words):
            one.communicate(timeout=600)
    finished = len(RunFolder(folder).read_metrics()) == EPOCHS and (folder / "weights.safetensors").exists()
    ends = ", ".join(str(one.returncode) for one in started)
    cells = (
        f"{victim}",
        f"{moment:.1f} s",
        f"{done}",
        f"{seconds:.1f} s",
        ends,
        str(lines),
        "yes" if finished else "no",
    )
    return f"| {' | '.join(cells)} |", finished and not hung


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--longest", type=float, default=25.0, help="seconds until the last moment")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    chance, survived = random.Random(given.seed), 0
    print("| killed | at | epochs done | all ended after | exit codes | lines | resumed to the end |")
    print("|---:|---:|---:|---:|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(given.times):
            line, well = kill_one(given.processes, chance, Path(folder, str(number)), given.longest)
            survived += well
            print(line, flush=True)
    print(f"\n{survived} of {given.times} with {given.processes} processes")
    return 0 if survived == given.times else 1


if __name__ == "__main__":
    sys.exit(main())
