"""Strict settings for every test, 8 virtual CPU devices, and processes that give their memory back.

What one test has compiled no other has to compile again, in whichever process it runs: a cache that is empty when the
run starts and gone when it ends, so that it holds nothing that this run has not compiled itself. Who names a folder in
`JAX_COMPILATION_CACHE_DIR` keeps it for the next run; its keys are the programs, so that a changed one is compiled.
"""

import atexit
import ctypes
import gc
import os
import resource
import shutil
import signal
import sys
import tempfile

if "PYTEST_XDIST_WORKER" not in os.environ:  # workers and commands inherit it
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = cache = tempfile.mkdtemp(prefix="zoo-tests-")
        atexit.register(shutil.rmtree, cache, ignore_errors=True)
    os.environ |= {
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
    }
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "agg")

import jax
import psutil
import pytest

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job, and its children, ignore it
jax.config.update("jax_num_cpu_devices", 8)  # before any device is touched
jax.config.update("jax_default_device", jax.devices()[0])  # a training uses one, but where a test says more
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_default_matmul_precision", "highest")

LONGEST = "tests/models/test_proof.py::test_training"
MUCH, MORE = 0.9e9, 250e6  # bytes that a process may keep from test to test; and beyond `least`
least = 0.0  # bytes that it kept when programs were dropped: to drop them at once again would free none
libc = ctypes.CDLL(None)
peaks: dict[str, int] = {}  # of each worker, in bytes

if hasattr(libc, "mallopt"):  # glibc
    M_MMAP_THRESHOLD = -3
    libc.mallopt(M_MMAP_THRESHOLD, 2**20)  # larger arrays are returned when freed; the default rises to 32 MiB


@pytest.fixture
def float64():
    """Double precision inside the test: references hold to the digits that were stored."""
    with jax.enable_x64(True):
        yield


def trim() -> None:
    """Returns to the system what glibc keeps: half a gigabyte after LLVM compiled a net."""
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


jax.monitoring.register_event_duration_secs_listener(lambda event, seconds, **_: trim() if seconds > 1 else None)


def resident() -> int:
    return psutil.Process().memory_info().rss


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol():
    """Drops compiled programs when many have gathered: until then they are used again."""
    global least
    answer = yield
    limit = max(MUCH, least + MORE)
    if resident() > limit:
        trim()
    if resident() > limit:
        jax.clear_caches()
        gc.collect()
        trim()
        least = resident()
    return answer


def pytest_addoption(parser):
    parser.addoption(
        "--share", metavar="I/N", help="of the tests found only every N-th, from number I (modulo N) on: so CI goes "
        "through the slow ones, a share with every commit"
    )  # fmt: skip


def pytest_collection_modifyitems(config, items):
    """The longest come first, or a run ends with one busy worker."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))
    if share := config.getoption("share"):
        number, shares = map(int, share.split("/"))
        chosen = items[number % shares :: shares]
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = chosen


def pytest_collection_finish():
    """What was imported is not looked through again and again while nets are traced."""
    gc.freeze()
    gc.set_threshold(50_000)


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["peak"] = peak()


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_testnodedown(node, error):
    if not error:
        peaks[node.gateway.id] = node.workeroutput["peak"]


def pytest_terminal_summary(terminalreporter):
    found = peaks or {"this process": peak()}
    terminalreporter.write_line(
        f"peak memory: {', '.join(f'{name} {size / 1e9:.1f} GB' for name, size in sorted(found.items()))}"
    )
