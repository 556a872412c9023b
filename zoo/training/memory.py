"""What a program that trains asks of the system's memory."""

import ctypes
import sys

LIBRARY = ctypes.CDLL(None) if sys.platform == "linux" else None
LARGEST = 2**31 - 1
SETTINGS = {  # by glibc's variables of the environment: its number of the same parameter, and the value
    "MALLOC_ARENA_MAX": (-8, 1),
    "MALLOC_MMAP_MAX_": (-4, 0),
    "MALLOC_TRIM_THRESHOLD_": (-1, LARGEST),
}
ENVIRONMENT = {name: str(value) for name, (_, value) in SETTINGS.items()}  # the same, of a process to be started


def keep_freed_memory() -> None:
    """Tells glibc not to return what is freed to the system, which would clear it anew at every step.

    Fresh pages for XLA's temporary arrays are a tenth of a training step on a CPU. It concerns the whole process and
    is therefore a program's choice, not that of an import; call it before any thread is started. Elsewhere than on
    Linux with glibc it does nothing.
    """
    if LIBRARY is not None and hasattr(LIBRARY, "mallopt"):
        for parameter, value in SETTINGS.values():
            LIBRARY.mallopt(parameter, value)
