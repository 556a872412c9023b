"""What a program that trains asks of the system's memory."""

import ctypes
import sys

LIBRARY = ctypes.CDLL(None) if sys.platform == "linux" else None
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # of glibc's malloc.h
LARGEST = 2**31 - 1


def keep_freed_memory() -> None:
    """Tells glibc not to return what is freed to the system, which would clear it anew at every step.

    Fresh pages for XLA's temporary arrays are a tenth of a training step on a CPU. It concerns the whole process and
    is therefore a program's choice, not that of an import; call it before JAX starts its threads. Elsewhere than on
    Linux with glibc it does nothing.
    """
    if LIBRARY is not None and hasattr(LIBRARY, "mallopt"):
        for parameter, value in ((M_ARENA_MAX, 1), (M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, LARGEST)):
            LIBRARY.mallopt(parameter, value)
