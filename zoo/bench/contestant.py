"""The process of one contestant: `python -m zoo.bench.contestant JOB`.

It makes the contestant of its job (JSON), computes a first step and reports itself in one line of JSON on stdout; then
one timed step, and one line, for each line on stdin. When stdin ends, with whoever started it, it ends as well.
"""

import json
import os
import pkgutil
import queue
import sys
import threading
import time
from typing import Any

from zoo.bench.job import Contestant, Job


def main() -> None:
    """Runs the job of the command line."""
    job = Job.from_json(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    turns: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=(turns,), daemon=True).start()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, job.cores)  # before any library counts the cores

    def answer(values: dict[str, Any]) -> None:
        print(json.dumps(values), file=answers, flush=True)

    try:
        contestant: Contestant = pkgutil.resolve_name(job.maker)(job)
        contestant.step()
    except Exception as error:  # whatever a library raises is told, and then raised
        lines = str(error).strip().splitlines() or [type(error).__name__]
        answer({"failure": lines[0].removesuffix(".")})
        raise
    answer({name: value for name, value in vars(contestant).items() if name != "step"})
    while True:
        turns.get()
        start = time.perf_counter()
        contestant.step()
        answer({"seconds": time.perf_counter() - start})


def _listen(turns: "queue.Queue[str]") -> None:
    """Passes on the lines of stdin. At their end it ends the process, whatever that is computing."""
    for line in sys.stdin:
        turns.put(line)
    os._exit(0)


if __name__ == "__main__":
    main()
