import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from zoo.training.memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
import jax, jax.numpy as jnp
x = jnp.ones((512, 512))
step = jax.jit(lambda x: jnp.dot(jnp.dot(jnp.concatenate([x] * 64), x), x).sum(axis=0))  # arrays of 64 MiB
for _ in range(20):
    step(x).block_until_ready()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step(x).block_until_ready()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it is glibc that is told")
def test_a_step_needs_no_fresh_pages():
    faults = {
        how: int(
            subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True).stdout
        )
        for how in ("kept", "returned")
    }
    pages = 10 * 64 * 2**20 // 4096  # of one array a step
    assert faults["returned"] > 0.9 * pages
    assert faults["kept"] < 0.5 * pages  # none in most runs; now and then an array finds no gap that is large enough
